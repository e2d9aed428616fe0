"""
Settings, from arguments, the environment and a profile file, in that order.

Nothing is read before somebody asks, and every bad value is named together
with where it came from. The key appears in no repr and in no message.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict, TypeVar
from urllib.parse import urlsplit

import attrs

from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts, is_duration
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


def boolean(value: object, where: str) -> bool:
    """Return true or false; what may pay twice is not guessed from a word."""
    words = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).lower()
    if word not in words:
        raise ConfigurationError(f"{where} is true or false, not {value!r}")
    return words[word]


def whole_number(value: object, where: str) -> int:
    """Return a whole number, written as one or as text."""
    found = number(value, where)
    if not found.is_integer():
        raise ConfigurationError(f"{where} is a whole number, not {value!r}")
    return int(found)


READERS: Mapping[object, Callable[[object, str], object]] = {
    bool: boolean,
    int: whole_number,
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


DEFAULT_CONCURRENCY = 8

DEFAULT_UPLOADS = 8

_Policy = TypeVar("_Policy", bound=attrs.AttrsInstance)


class Options(TypedDict, total=False):
    """The keyword arguments of a client; ``None`` means not given."""

    api_key: str | None
    base_url: str | None
    account_token: str | None
    max_concurrency: int | None
    max_uploads: int | None
    slot_timeout: float | None
    retry: RetryPolicy | None
    poll: PollPolicy | None
    timeouts: Timeouts | None
    allow_insecure: bool


@attrs.frozen(kw_only=True)
class Settings:
    """All a client needs to know, checked."""

    api_key: str = attrs.field(repr=False)
    base_url: str
    account_token: str | None = attrs.field(default=None, repr=False)
    max_concurrency: int = DEFAULT_CONCURRENCY
    max_uploads: int = DEFAULT_UPLOADS
    slot_timeout: float | None = None
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    poll: PollPolicy = attrs.field(factory=PollPolicy)
    timeouts: Timeouts = attrs.field(factory=Timeouts)

    @property
    def origin(self) -> str:
        """Scheme, host and port: whom the key belongs to."""
        return origin(self.base_url)

    @property
    def on_loopback(self) -> bool:
        """Whether the server is on this very machine."""
        return is_loopback(urlsplit(self.base_url).hostname)


def profile_path(environ: Mapping[str, str]) -> Path:
    """Return the one profile file; never one in the current folder."""
    if named := environ.get("EZLINK_CONFIG"):
        return Path(named).expanduser()
    if os.name == "nt":  # pragma: no cover - another system's folder
        return Path(environ.get("APPDATA", "~"), "ezlink", "config.toml").expanduser()
    return Path("~/.config/ezlink/config.toml").expanduser()


def read_profile(path: Path, *, demanded: bool) -> dict[str, object]:
    """Read the profile; a missing one is empty unless it was *demanded*."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if demanded:
            raise ConfigurationError(f"there is no profile at {path}") from None
        return {}
    except (OSError, ValueError) as fault:
        raise ConfigurationError(
            f"the profile {path} cannot be read: {fault}"
        ) from None


@attrs.frozen
class SettingsSources:
    """
    Where a setting may stand: the environment, and below it the profile.

    *path* is the profile's, for what is said of it; the usual one if not given.
    """

    environ: Mapping[str, str]
    profile: Mapping[str, object] = attrs.field(factory=dict)
    path: Path | None = None

    @property
    def file(self) -> str:
        """What the profile is called in a sentence."""
        return f"the profile {self.path or profile_path(self.environ)}"

    def _find(
        self, name: str, rows: Mapping[str, object], table: str = ""
    ) -> tuple[object, str]:
        where = f"EZLINK_{table}{name}".upper()
        if found := self.environ.get(where):  # empty means not set
            return found, where
        return rows.get(name), f"{table.replace('_', '.')}{name} in {self.file}"

    def find(self, name: str) -> tuple[object, str]:
        """Return a setting, ``None`` if there is none, and where it stands."""
        return self._find(name, self.profile)

    def text(self, name: str) -> str:
        """Return a setting that is text, empty if there is none."""
        return text(*self.find(name))

    def policy(self, table: str, kind: type[_Policy]) -> _Policy:
        """Build a policy from ``EZLINK_<TABLE>_<FIELD>`` and the table's rows."""
        rows = self.profile.get(table, {})
        if not isinstance(rows, Mapping):
            raise ConfigurationError(f"[{table}] in {self.file} is a table")
        fields = attrs.fields(kind)
        readers = {each.name: READERS[type(each.default)] for each in fields}
        if unknown := set(rows) - set(readers):
            raise ConfigurationError(
                f"[{table}] in {self.file} has no setting {min(unknown)!r}"
            )
        chosen: dict[str, object] = {}
        for name, read in readers.items():
            found, where = self._find(name, rows, f"{table}_")
            if found is None:
                continue
            chosen[name] = read(found, where)
            try:
                kind(**{name: chosen[name]})
            except ConfigurationError as fault:
                raise ConfigurationError(f"{where}: {fault}") from None
        return kind(**chosen)


def profile_sources(environ: Mapping[str, str], path: Path | None) -> SettingsSources:
    """Return both sources; a profile that was named, by *path* or not, is there."""
    named = path is not None or bool(environ.get("EZLINK_CONFIG"))
    path = path or profile_path(environ)
    return SettingsSources(environ, read_profile(path, demanded=named), path)


_TOP: Mapping[str, type] = {
    "api_key": str,
    "base_url": str,
    "account_token": str,
    "max_concurrency": object,
    "max_uploads": object,
    "slot_timeout": object,
    "retry": RetryPolicy,
    "poll": PollPolicy,
    "timeouts": Timeouts,
}


def resolve(options: Options, sources: SettingsSources) -> Settings:
    """Return checked settings: argument before environment before profile."""
    if unknown := set(sources.profile) - set(_TOP):
        raise ConfigurationError(f"{sources.file} has no setting {min(unknown)!r}")
    for name, kind in _TOP.items():
        typed(options.get(name), kind, f"the argument {name}")
    # The profile's address was written for its key, its account token for both.
    near = _unless_given("api_key", options, sources)
    base_url = _server(options, near)
    own = _at_home(options, near, base_url)
    return Settings(
        api_key=api_key(*_word("api_key", options, sources)),
        base_url=base_url,
        account_token=account_token(*_word("account_token", options, own)),
        max_concurrency=_count(
            "max_concurrency", DEFAULT_CONCURRENCY, options, sources
        ),
        max_uploads=_count("max_uploads", DEFAULT_UPLOADS, options, sources),
        slot_timeout=_slot_timeout(options, sources),
        retry=options.get("retry") or sources.policy("retry", RetryPolicy),
        poll=options.get("poll") or sources.policy("poll", PollPolicy),
        timeouts=options.get("timeouts") or sources.policy("timeouts", Timeouts),
    )


def _server(options: Options, near: SettingsSources) -> str:
    """Return the address, which must be one that the key may be sent to."""
    insecure = options.get("allow_insecure", False)
    url, where = _word("base_url", options, near)
    url = base_url(url, where, allow_insecure=insecure)
    if options.get("base_url") or not near.profile:
        return url
    # An environment is easily made by somebody else, by a project's own file of
    # variables for one; the profile's key must not go wherever that says.
    own = is_loopback(urlsplit(url).hostname)
    if not own and origin(url) != _home(options, near):
        raise ConfigurationError(
            f"{where} would have the key of {near.file} sent to a server that the "
            "profile does not name: set EZLINK_API_KEY too, write base_url beside "
            "the key, or give the address as an argument"
        )
    return url


def _home(options: Options, near: SettingsSources) -> str:
    """Return the origin that the profile was written for."""
    written = _word("base_url", Options(), attrs.evolve(near, environ={}))
    insecure = options.get("allow_insecure", False)
    return origin(base_url(*written, allow_insecure=insecure))


def _at_home(options: Options, near: SettingsSources, base_url: str) -> SettingsSources:
    """Leave the profile's token out when it was not written for this server."""
    token = near.profile.get("account_token")
    if token is None or origin(base_url) == _home(options, near):
        return near
    return attrs.evolve(near, profile={})


def _unless_given(
    name: str, options: Options, sources: SettingsSources
) -> SettingsSources:
    """Leave the profile out when *name* comes from anywhere else."""
    given = options.get(name) or sources.environ.get(f"EZLINK_{name}".upper())
    return attrs.evolve(sources, profile={}) if given else sources


def _word(name: str, options: Options, sources: SettingsSources) -> tuple[str, str]:
    """Return a setting that is text, and where it stands; an empty one is none."""
    given, where = options.get(name), f"the argument {name}"
    if not given:
        given, where = sources.find(name)
    return text(given, where), where


def _number(
    name: str, options: Options, sources: SettingsSources
) -> tuple[object, str]:
    """Return a setting that is a number, as text outside, and where it stands."""
    given, where = options.get(name), f"the argument {name}"
    if given is not None:
        return given, where
    found, where = sources.find(name)
    return (None if found is None else number(found, where)), where


def _count(name: str, default: int, options: Options, sources: SettingsSources) -> int:
    found, where = _number(name, options, sources)
    return default if found is None else count(found, where)


def _slot_timeout(options: Options, sources: SettingsSources) -> float | None:
    bound, where = _number("slot_timeout", options, sources)
    if bound is None:
        return None
    if isinstance(bound, int | float) and is_duration(bound):
        return bound
    raise ConfigurationError(f"{where} is a number of seconds above 0, not {bound!r}")
