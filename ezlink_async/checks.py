"""
What a setting must be, whichever source it comes from. Pure.

Each check is given the place where the value stands, and names it when it
refuses the value: whoever reads the sentence knows what to change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ezlink_async.errors import ConfigurationError

DEFAULT_BASE_URL = "https://api.ezlinkai.com"


def number(value: object, where: str) -> float:
    """Return a number, written as one or as text."""
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ConfigurationError(f"{where} is a number, not {value!r:.40}")


def switch(value: object, where: str) -> bool:
    """Return true or false; what may pay twice is not guessed from a word."""
    words = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).lower()
    if word not in words:
        raise ConfigurationError(f"{where} is true or false, not {value!r}")
    return words[word]


def whole(value: object, where: str) -> int:
    """Return a whole number, written as one or as text."""
    found = number(value, where)
    if not found.is_integer():
        raise ConfigurationError(f"{where} is a whole number, not {value!r}")
    return int(found)


READERS: Mapping[object, Callable[[object, str], object]] = {
    bool: switch,
    int: whole,
    float: number,
}
"""How a field of a policy is read, by the type of its default."""


def count(value: object, where: str) -> int:
    """Return how many there may be: a whole number from 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{where} is a whole number from 1, not {value!r}")
    return value


def typed(value: object, kind: type, where: str) -> None:
    """Refuse a value of another type; ``None`` is none."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(
            f"{where} is a {kind.__name__}, not {type(value).__name__}"
        )


def text(value: object, where: str) -> str:
    """Return text, empty for ``None``; it may be secret, so it is not shown."""
    typed(value, str, where)
    return str(value or "")


def api_key(value: str, where: str) -> str:
    """Return the key alone; no part of it is shown."""
    key = value.strip()
    if not key:
        blank = f" ({where} is blank)" if value else ""
        raise ConfigurationError(
            f"there is no API key: set EZLINK_API_KEY or pass api_key={blank}"
        )
    return _secret(key, where, "key")


def account_token(value: str, where: str) -> str | None:
    """Return the account's token alone, ``None`` for none; no part is shown."""
    return _secret(value.strip(), where, "token") or None


def _secret(text: str, where: str, what: str) -> str:
    if text.lower().startswith("bearer "):
        raise ConfigurationError(f"{where} is the {what} alone, without 'Bearer'")
    if not text.isascii() or not (text.isprintable() and " " not in text):
        raise ConfigurationError(
            f"{where} holds a blank or a character that no {what} has"
        )
    return text


def is_loopback(host: str | None) -> bool:
    """Return whether *host*, a name or an address, is this very machine."""
    if host is None or host == "localhost" or host.endswith(".localhost"):
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(url: str, where: str, *, allow_insecure: bool) -> str:
    """Return the address of a server that the key may be sent to."""
    url = url or DEFAULT_BASE_URL
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{where} is scheme, host and perhaps a path: no user, password, "
            "query or fragment"
        )
    if parts.scheme not in {"http", "https"} or not host or "\\" in url:
        # What is no address may be the key; in one a password is before the @.
        told = f", not {url!r}" if "://" in url and "@" not in url else ""
        raise ConfigurationError(
            f"{where} is an address such as {DEFAULT_BASE_URL}{told}"
        )
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure:
        raise ConfigurationError(
            f"{where} would send the key in clear to {url}: make it https, or "
            "pass allow_insecure=True"
        )
    return url.strip().rstrip("/")


def origin(url: str) -> str:
    """Return scheme, host and port of a checked address."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
