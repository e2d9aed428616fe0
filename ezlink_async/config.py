"""
Settings, from arguments, the environment and a profile file, in that order.

Nothing is read before somebody asks, and every bad value is named together
with where it came from. The key appears in no repr and in no message.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, TypeVar
from urllib.parse import urlsplit

import attrs

from ezlink_async import checks
from ezlink_async.errors import ConfigurationError
from ezlink_async.pacing import PollPolicy, RetryPolicy, is_duration, seconds

DEFAULT_BASE_URL = "https://api.ezlinkai.com"
DEFAULT_CONCURRENCY = 8

_Policy = TypeVar("_Policy", bound=attrs.AttrsInstance)


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    How long each stage of a request may take; seconds.

    *connect* bounds making a connection, *upload* the longest time in which
    no byte of a body moves, *submit* the wait for the answer after the last
    byte, *fetch* a whole status request, *image* the longest silence of a
    download, *close* how long closing waits for answers to submits,
    *reconcile* how long an unknown submit is looked up.

    The server itself may take 60 s to answer a submit: a shorter *submit*
    makes submits unknown.
    """

    connect: float = seconds(10)
    upload: float = seconds(30)
    submit: float = seconds(90)
    fetch: float = seconds(30)
    image: float = seconds(30)
    close: float = seconds(5)
    reconcile: float = seconds(75)


class Options(TypedDict, total=False):
    """The keyword arguments of a client; ``None`` means not given."""

    api_key: str | None
    base_url: str | None
    account_token: str | None
    max_concurrency: int | None
    slot_timeout: float | None
    retry: RetryPolicy | None
    poll: PollPolicy | None
    timeouts: Timeouts | None
    allow_insecure: bool


def is_loopback(host: str | None) -> bool:
    """Return whether *host*, a name or an address, is this very machine."""
    if host is None or host == "localhost" or host.endswith(".localhost"):
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(url: str, *, allow_insecure: bool) -> str:
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            "base_url has no user, password, query or fragment: it is scheme, "
            "host and perhaps a path"
        )
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(
            f"base_url is an address such as {DEFAULT_BASE_URL}, not {url!r}"
        )
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure:
        raise ConfigurationError(
            f"{url} would send the key in clear: use https, or allow_insecure=True"
        )
    return url.strip().rstrip("/")


@attrs.frozen(kw_only=True)
class Settings:
    """All a client needs to know, checked."""

    api_key: str = attrs.field(repr=False)
    base_url: str
    account_token: str | None = attrs.field(default=None, repr=False)
    max_concurrency: int = DEFAULT_CONCURRENCY
    slot_timeout: float | None = None
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    poll: PollPolicy = attrs.field(factory=PollPolicy)
    timeouts: Timeouts = attrs.field(factory=Timeouts)

    @property
    def origin(self) -> str:
        """Scheme, host and port: whom the key belongs to."""
        parts = urlsplit(self.base_url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


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
class Sources:
    """Where a setting may stand: the environment, and below it the profile."""

    environ: Mapping[str, str]
    profile: Mapping[str, object] = attrs.field(factory=dict)

    def _find(
        self, name: str, rows: Mapping[str, object], table: str = ""
    ) -> tuple[object, str]:
        where = f"EZLINK_{table}{name}".upper()
        if found := self.environ.get(where):  # empty means not set
            return found, where
        return rows.get(name), f"{table.replace('_', '.')}{name} in the profile"

    def text(self, name: str) -> str | None:
        """Return a setting that is text."""
        found, where = self._find(name, self.profile)
        if found is not None and not isinstance(found, str):
            raise ConfigurationError(f"{where} is a string")
        return found

    def number(self, name: str) -> float | None:
        """Return a setting that is a number."""
        found, where = self._find(name, self.profile)
        return None if found is None else checks.number(found, where)

    def policy(self, table: str, kind: type[_Policy]) -> _Policy:
        """Build a policy from ``EZLINK_<TABLE>_<FIELD>`` and the table's rows."""
        rows = self.profile.get(table, {})
        if not isinstance(rows, Mapping):
            raise ConfigurationError(f"[{table}] in the profile is a table")
        fields = attrs.fields(kind)
        readers = {each.name: checks.READERS[type(each.default)] for each in fields}
        if unknown := set(rows) - set(readers):
            raise ConfigurationError(f"[{table}] has no setting {min(unknown)!r}")
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


_TOP: Mapping[str, type] = {
    "api_key": str,
    "base_url": str,
    "account_token": str,
    "max_concurrency": object,
    "slot_timeout": object,
    "retry": RetryPolicy,
    "poll": PollPolicy,
    "timeouts": Timeouts,
}


def resolve(options: Options, sources: Sources) -> Settings:
    """Return checked settings: argument before environment before profile."""
    if unknown := set(sources.profile) - set(_TOP):
        raise ConfigurationError(f"the profile has no setting {min(unknown)!r}")
    for name, kind in _TOP.items():
        checks.typed(options.get(name), kind, name)
    # The profile's address was written for its key, its account token for both.
    near = _unless_given("api_key", options, sources)
    own = _unless_given("base_url", options, near)
    url = options.get("base_url") or near.text("base_url") or DEFAULT_BASE_URL
    insecure = options.get("allow_insecure", False)
    return Settings(
        api_key=checks.api_key(options.get("api_key") or sources.text("api_key")),
        base_url=_base_url(url, allow_insecure=insecure),
        account_token=options.get("account_token") or own.text("account_token"),
        max_concurrency=_concurrency(options, sources),
        slot_timeout=_slot_timeout(options, sources),
        retry=options.get("retry") or sources.policy("retry", RetryPolicy),
        poll=options.get("poll") or sources.policy("poll", PollPolicy),
        timeouts=options.get("timeouts") or sources.policy("timeouts", Timeouts),
    )


def _unless_given(name: str, options: Options, sources: Sources) -> Sources:
    """Leave the profile out when *name* comes from anywhere else."""
    given = options.get(name) or sources.environ.get(f"EZLINK_{name}".upper())
    return attrs.evolve(sources, profile={}) if given else sources


def _concurrency(options: Options, sources: Sources) -> int:
    slots: object = options.get("max_concurrency")
    if slots is None:
        number = sources.number("max_concurrency")
        if number is None:
            return DEFAULT_CONCURRENCY
        slots = int(number) if number.is_integer() else number
    if type(slots) is not int or slots < 1:
        raise ConfigurationError(
            f"max_concurrency is a whole number from 1, not {slots!r}"
        )
    return slots


def _slot_timeout(options: Options, sources: Sources) -> float | None:
    bound = options.get("slot_timeout")
    bound = sources.number("slot_timeout") if bound is None else bound
    if bound is None or is_duration(bound):
        return bound
    raise ConfigurationError(
        f"slot_timeout is a number of seconds above 0, not {bound!r}"
    )
