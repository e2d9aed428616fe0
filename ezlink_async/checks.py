"""
What a setting must be, whichever source it comes from. Pure.

Each check is given the place where the value stands, and names it when it
refuses the value: whoever reads the sentence knows what to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ezlink_async.errors import ConfigurationError


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
    if key.lower().startswith("bearer "):
        raise ConfigurationError(f"{where} is the key alone, without 'Bearer'")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(
            f"{where} holds a blank or a character that no key has"
        )
    return key
