"""
Settings, from arguments, the environment and a profile file, in that order.

Nothing is read before somebody asks, and every bad value is named together
with where it came from. The key appears in no repr and in no message.
"""

from __future__ import annotations

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

DEFAULT_CONCURRENCY = 8
DEFAULT_UPLOADS = 8

_Policy = TypeVar("_Policy", bound=attrs.AttrsInstance)


@attrs.frozen(kw_only=True)
class Timeouts:
    """
    How long each stage of a request may take; seconds.

    *connect* bounds making a connection, *upload* the longest time in which
    no byte of a body moves, *submit* the wait for the answer after the last
    byte, *fetch* a whole status request, *image* the longest silence of a
    download, *close* how long closing waits for answers to submits,
    *reconcile* how long after its last byte a lost submit is looked up; it
    needs an account token.

    The server itself may take 60 s to answer a submit: a shorter *submit*
    makes submits unknown, and a *reconcile* below 65 s leaves unknown what
    was never created.
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
        return checks.origin(self.base_url)

    @property
    def on_loopback(self) -> bool:
        """Whether the server is on this very machine."""
        return checks.is_loopback(urlsplit(self.base_url).hostname)


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
        return checks.text(*self.find(name))

    def policy(self, table: str, kind: type[_Policy]) -> _Policy:
        """Build a policy from ``EZLINK_<TABLE>_<FIELD>`` and the table's rows."""
        rows = self.profile.get(table, {})
        if not isinstance(rows, Mapping):
            raise ConfigurationError(f"[{table}] in {self.file} is a table")
        fields = attrs.fields(kind)
        readers = {each.name: checks.READERS[type(each.default)] for each in fields}
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


def profile_sources(environ: Mapping[str, str], path: Path | None) -> Sources:
    """Return both sources; a profile that was named, by *path* or not, is there."""
    named = path is not None or bool(environ.get("EZLINK_CONFIG"))
    path = path or profile_path(environ)
    return Sources(environ, read_profile(path, demanded=named), path)


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


def resolve(options: Options, sources: Sources) -> Settings:
    """Return checked settings: argument before environment before profile."""
    if unknown := set(sources.profile) - set(_TOP):
        raise ConfigurationError(f"{sources.file} has no setting {min(unknown)!r}")
    for name, kind in _TOP.items():
        checks.typed(options.get(name), kind, f"the argument {name}")
    # The profile's address was written for its key, its account token for both.
    near = _unless_given("api_key", options, sources)
    base_url = _server(options, near)
    own = _at_home(options, near, base_url)
    return Settings(
        api_key=checks.api_key(*_word("api_key", options, sources)),
        base_url=base_url,
        account_token=checks.account_token(*_word("account_token", options, own)),
        max_concurrency=_count(
            "max_concurrency", DEFAULT_CONCURRENCY, options, sources
        ),
        max_uploads=_count("max_uploads", DEFAULT_UPLOADS, options, sources),
        slot_timeout=_slot_timeout(options, sources),
        retry=options.get("retry") or sources.policy("retry", RetryPolicy),
        poll=options.get("poll") or sources.policy("poll", PollPolicy),
        timeouts=options.get("timeouts") or sources.policy("timeouts", Timeouts),
    )


def _server(options: Options, near: Sources) -> str:
    """Return the address, which must be one that the key may be sent to."""
    insecure = options.get("allow_insecure", False)
    url, where = _word("base_url", options, near)
    url = checks.base_url(url, where, allow_insecure=insecure)
    if options.get("base_url") or not near.profile:
        return url
    # An environment is easily made by somebody else, by a project's own file of
    # variables for one; the profile's key must not go wherever that says.
    own = checks.is_loopback(urlsplit(url).hostname)
    if not own and checks.origin(url) != _home(options, near):
        raise ConfigurationError(
            f"{where} would have the key of {near.file} sent to a server that the "
            "profile does not name: set EZLINK_API_KEY too, write base_url beside "
            "the key, or give the address as an argument"
        )
    return url


def _home(options: Options, near: Sources) -> str:
    """Return the origin that the profile was written for."""
    written = _word("base_url", Options(), attrs.evolve(near, environ={}))
    insecure = options.get("allow_insecure", False)
    return checks.origin(checks.base_url(*written, allow_insecure=insecure))


def _at_home(options: Options, near: Sources, base_url: str) -> Sources:
    """Leave the profile's token out when it was not written for this server."""
    token = near.profile.get("account_token")
    if token is None or checks.origin(base_url) == _home(options, near):
        return near
    return attrs.evolve(near, profile={})


def _unless_given(name: str, options: Options, sources: Sources) -> Sources:
    """Leave the profile out when *name* comes from anywhere else."""
    given = options.get(name) or sources.environ.get(f"EZLINK_{name}".upper())
    return attrs.evolve(sources, profile={}) if given else sources


def _word(name: str, options: Options, sources: Sources) -> tuple[str, str]:
    """Return a setting that is text, and where it stands; an empty one is none."""
    given, where = options.get(name), f"the argument {name}"
    if not given:
        given, where = sources.find(name)
    return checks.text(given, where), where


def _number(name: str, options: Options, sources: Sources) -> tuple[object, str]:
    """Return a setting that is a number, as text outside, and where it stands."""
    given, where = options.get(name), f"the argument {name}"
    if given is not None:
        return given, where
    found, where = sources.find(name)
    return (None if found is None else checks.number(found, where)), where


def _count(name: str, default: int, options: Options, sources: Sources) -> int:
    found, where = _number(name, options, sources)
    return default if found is None else checks.count(found, where)


def _slot_timeout(options: Options, sources: Sources) -> float | None:
    bound, where = _number("slot_timeout", options, sources)
    if bound is None:
        return None
    if isinstance(bound, int | float) and is_duration(bound):
        return bound
    raise ConfigurationError(f"{where} is a number of seconds above 0, not {bound!r}")
