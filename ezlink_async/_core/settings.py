"""
Settings, from arguments, the environment and a profile file, in that order.

Each setting is one field of :class:`Settings` or of a policy: its name is that
of the argument and of the profile's key, and ``EZLINK_`` with the name (of a
policy also its table: ``EZLINK_POLL_FIRST``) that of the variable. Nothing is
read at import. An error says where the bad value stands; the key and the
account token appear in no repr, in no message, and in no local variable of a
frame that an exception passes. So a check returns what is wrong with a text, and
its caller, which does not hold the text, raises.
"""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, TypeVar
from urllib.parse import urlsplit

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from ezlink_async._core.policies import (
    PollPolicy,
    RetryPolicy,
    Timeouts,
    check_boolean,
    check_count,
    check_seconds,
)
from ezlink_async._core.secret_text import (
    SecretText,
    WrongKind,
    hide_argument,
    hide_optional,
    hide_table,
    hide_text,
)
from ezlink_async.errors import ConfigurationError

DEFAULT_BASE_URL = "https://api.ezlinkai.com"

_Fields = TypeVar("_Fields", bound=attrs.AttrsInstance)


class Options(TypedDict, total=False):
    """The keyword arguments of a client, for type checkers; ``None`` is not given."""

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


_SECRETS = {"api_key", "account_token", "base_url"}


def hide_secrets(options: Options) -> Options:
    """Return *options* with texts that no repr shows: any may be the key."""
    secret = {
        name: hide_argument(value)
        for name, value in options.items()
        if isinstance(value, str) or name in _SECRETS
    }
    return Options(**{**options, **secret})  # type: ignore[typeddict-item]  # a wrong kind is refused by resolve()


@attrs.frozen(kw_only=True)
class Settings:
    """All a client needs to know, checked by :func:`resolve`."""

    api_key: str = attrs.field(repr=False, converter=hide_text)
    base_url: str = DEFAULT_BASE_URL
    account_token: str | None = attrs.field(
        default=None, repr=False, converter=hide_optional
    )
    max_concurrency: int = 8
    max_uploads: int = 8
    slot_timeout: float | None = None
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    poll: PollPolicy = attrs.field(factory=PollPolicy)
    timeouts: Timeouts = attrs.field(factory=Timeouts)

    @property
    def origin(self) -> str:
        """Scheme, host and port: the key is sent to this origin only."""
        return origin(self.base_url)

    @property
    def on_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return is_loopback(urlsplit(self.base_url).hostname)


attrs.resolve_types(Settings)


class _Source(enum.Enum):
    ARGUMENT = "argument"
    ENVIRONMENT = "environment"
    PROFILE = "profile"


@attrs.frozen
class _Found:
    """A value that was set; *where* says in a message where it stands."""

    value: object = attrs.field(repr=False)
    where: str
    source: _Source


_NOT_SET = _Found("", "", _Source.ARGUMENT)


def _text(found: _Found) -> str:
    """Return text; another type is named and not shown, since it may be secret."""
    if isinstance(found.value, str):
        return found.value
    raise _mistyped(found, str)


def _mistyped(found: _Found, kind: type) -> ConfigurationError:
    value = found.value
    given = value.name if isinstance(value, WrongKind) else type(value).__name__
    given = given.replace(SecretText.__name__, "str")
    return ConfigurationError(f"{found.where} is a {kind.__name__}, not {given}")


def _number(found: _Found) -> object:
    """Return the value; text of the environment or the profile as its number."""
    if isinstance(found.value, str) and found.source is not _Source.ARGUMENT:
        with contextlib.suppress(ValueError):
            return float(found.value)
    return _plain(found.value)


def _plain(value: object) -> object:
    """Return text as messages quote it; of a number's and a switch's place only."""
    return str(value) if isinstance(value, str) else value


def _seconds(found: _Found) -> float:
    return float(check_seconds(_number(found), found.where))


def _count(found: _Found) -> int:
    value = _number(found)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return check_count(value, found.where)


def _boolean(found: _Found) -> bool:
    # Only these words: a switch that may pay twice is not guessed.
    words = {"true": True, "1": True, "false": False, "0": False}
    value = words.get(str(found.value).lower(), _plain(found.value))
    return check_boolean(value, found.where)


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(str, lambda found, _: _text(found))
_converter.register_structure_hook(float, lambda found, _: _seconds(found))
_converter.register_structure_hook(int, lambda found, _: _count(found))
_converter.register_structure_hook(bool, lambda found, _: _boolean(found))


def _register(kind: type[_Fields]) -> None:
    """Structure a policy from its table, or take the one given as an argument."""
    read_table = make_dict_structure_fn(kind, _converter)

    def structure(found: _Found, _: object) -> _Fields:
        if isinstance(found.value, kind):
            return found.value
        if isinstance(found.value, dict) and found.source is not _Source.ARGUMENT:
            return read_table(found.value, kind)
        raise _mistyped(found, kind)

    _converter.register_structure_hook(kind, structure)


_register(RetryPolicy)
_register(PollPolicy)
_register(Timeouts)


def profile_path(environ: Mapping[str, str]) -> Path:
    """Return the one profile file; never one in the current folder."""
    if named := environ.get("EZLINK_CONFIG"):
        try:
            return Path(str(named)).expanduser()
        except RuntimeError:
            raise ConfigurationError(
                f"EZLINK_CONFIG: the home of the user in {named} is not known"
            ) from None
    if os.name == "nt":  # pragma: no cover - another system's folder
        return Path(environ.get("APPDATA", "~"), "ezlink", "config.toml").expanduser()
    return Path("~/.config/ezlink/config.toml").expanduser()


def own_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read here, with texts that no repr shows."""
    return {
        name: SecretText(text)
        for name, text in environ.items()
        if name.startswith("EZLINK_") or name == "APPDATA"
    }


def read_profile(path: Path, *, demanded: bool) -> dict[str, object]:
    """Read the profile; a missing one is empty unless it was *demanded*."""
    rows = _rows_or_fault(path)
    if isinstance(rows, dict):
        return rows
    if rows:
        raise ConfigurationError(f"the profile {path} cannot be read: {rows}")
    if demanded:
        raise ConfigurationError(f"there is no profile at {path}")
    return {}


def _rows_or_fault(path: Path) -> dict[str, object] | str:
    """Return the rows of a profile, or what is wrong; empty for a missing file."""
    try:
        return hide_table(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ""
    except RecursionError:
        return "its values are nested too deeply"
    except (OSError, ValueError) as fault:
        return str(fault) or type(fault).__name__


@attrs.frozen
class SettingsSources:
    """
    The environment and the profile; the environment is read first.

    Messages name the profile by *path*, by default :func:`profile_path`.
    """

    environ: Mapping[str, str] = attrs.field(converter=own_variables)
    profile: Mapping[str, object] = attrs.field(factory=dict, converter=hide_table)
    path: Path | None = None

    @property
    def file(self) -> str:
        """The profile's name in a sentence."""
        return f"the profile {self.path or profile_path(self.environ)}"

    def text(self, name: str) -> str:
        """Return a setting that is text, empty if it is not set."""
        return _text(self.find(Settings).get(name, _NOT_SET))

    def policy(self, table: str, kind: type[_Fields]) -> _Fields:
        """Return a policy from ``EZLINK_<TABLE>_<FIELD>`` and the profile's table."""
        return _converter.structure(self._table(table, kind), kind)

    def find(
        self, kind: type[attrs.AttrsInstance], table: str = ""
    ) -> dict[str, _Found]:
        """
        Return the fields of *kind* that are set, those of a policy below its name.

        :exc:`ConfigurationError` for a key of the profile that is no field.
        """
        rows = self.profile.get(table, {}) if table else self.profile
        where = f"[{table}] in {self.file}" if table else self.file
        if not isinstance(rows, Mapping):
            raise ConfigurationError(f"{where} is a table")
        fields = attrs.fields_dict(kind)
        if unknown := set(rows) - set(fields):
            raise ConfigurationError(f"{where} has no setting {min(unknown)!r}")
        found = {}
        prefix = f"{table}." if table else ""
        for name, field in fields.items():
            variable = f"EZLINK_{prefix}{name}".replace(".", "_").upper()
            if field.type is not None and attrs.has(field.type):
                found[name] = self._table(name, field.type)
            elif text := self.environ.get(variable):  # empty means not set
                found[name] = _Found(text, variable, _Source.ENVIRONMENT)
            elif name in rows:
                where = f"{prefix}{name} in {self.file}"
                found[name] = _Found(rows[name], where, _Source.PROFILE)
        return found

    def _table(self, name: str, kind: type[attrs.AttrsInstance]) -> _Found:
        return _Found(self.find(kind, name), f"[{name}]", _Source.PROFILE)


def profile_sources(environ: Mapping[str, str], path: Path | None) -> SettingsSources:
    """Return both sources; a profile named by *path* or the environment must exist."""
    environ = own_variables(environ)
    named = path is not None or bool(environ.get("EZLINK_CONFIG"))
    path = path or profile_path(environ)
    return SettingsSources(environ, read_profile(path, demanded=named), path)


def resolve(options: Options, sources: SettingsSources) -> Settings:
    """Return checked settings: argument before environment before profile."""
    found = sources.find(Settings)
    options = hide_secrets(options)
    for name in attrs.fields_dict(Settings):
        given = options.get(name)
        if given is not None and given != "":  # an empty text is not given
            found[name] = _Found(given, f"the argument {name}", _Source.ARGUMENT)
    key = _api_key(found.get("api_key", _NOT_SET))
    url, token = _server(found, sources, secure=not options.get("allow_insecure"))
    # A value that does not apply, such as a profile's own address, may be anything.
    checked = {"base_url", "account_token"}
    rest = {name: value for name, value in found.items() if name not in checked}
    settings = _converter.structure(rest, Settings)
    return attrs.evolve(settings, api_key=key, base_url=url, account_token=token)


def _server(
    found: Mapping[str, _Found], sources: SettingsSources, *, secure: bool
) -> tuple[str, str | None]:
    """
    Return the address the key may be sent to, and the token for that address.

    The profile's address was written for the profile's key, its account token
    for both: each is left out where another key or another server is used.
    """
    from_profile = {n for n, each in found.items() if each.source is _Source.PROFILE}
    own_key = "api_key" in from_profile
    if not own_key:
        found = {n: each for n, each in found.items() if n not in from_profile}
    written = found.get("base_url", _NOT_SET)
    url = _base_url(written, secure=secure)

    def is_foreign() -> bool:
        rows = attrs.evolve(sources, environ={}).find(Settings)
        own = _base_url(rows.get("base_url", _NOT_SET), secure=secure)
        return origin(url) != origin(own)

    # A project's file of variables can set the environment: that must not be
    # enough to have the profile's key sent to any server it names.
    is_loopback_url = is_loopback(urlsplit(url).hostname)
    by_environment = written.source is _Source.ENVIRONMENT and not is_loopback_url
    if own_key and by_environment and is_foreign():
        raise ConfigurationError(
            f"EZLINK_BASE_URL would have the key of {sources.file} sent to a server "
            "that the profile does not name: set EZLINK_API_KEY too, write base_url "
            "beside the key, or give the address as an argument"
        )
    token = found.get("account_token", _NOT_SET)
    if token.source is _Source.PROFILE and is_foreign():
        token = _NOT_SET
    return url, _secret(token, "token") or None


def _api_key(found: _Found) -> str:
    """Return the key alone; no part of it is shown."""
    if _text(found).strip():
        return _secret(found, "key")
    blank = f" ({found.where} is blank)" if found.value else ""
    raise ConfigurationError(
        f"there is no API key: set EZLINK_API_KEY or pass api_key={blank}"
    )


def _secret(found: _Found, what: str) -> SecretText:
    if fault := _secret_fault(found, what):
        raise ConfigurationError(f"{found.where} {fault}")
    return SecretText(_text(found).strip())


def _secret_fault(found: _Found, what: str) -> str:
    """Return what keeps the text from being a secret; empty for nothing."""
    text = _text(found).strip()
    if text.lower().startswith("bearer "):
        return f"is the {what} alone, without 'Bearer'"
    if not text.isascii() or not (text.isprintable() and " " not in text):
        return f"holds a blank or a character that no {what} has"
    return ""


def _base_url(found: _Found, *, secure: bool) -> str:
    """Return the address of a server that the key may be sent to."""
    if fault := _address_fault(_text(found) or DEFAULT_BASE_URL, secure=secure):
        raise ConfigurationError(f"{found.where} {fault}")
    return (_text(found) or DEFAULT_BASE_URL).strip().rstrip("/")


def _address_fault(url: str, *, secure: bool) -> str:
    """Return what keeps *url* from being such an address; empty for nothing."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.username or parts.password or parts.query or parts.fragment:
        return (
            "is scheme, host and perhaps a path: no user, password, query or fragment"
        )
    if parts.scheme not in {"http", "https"} or not host or "\\" in url:
        # A text without :// may be the key, and before an @ stands a password.
        shown = f", not {str(url)!r}" if "://" in url and "@" not in url else ""
        return f"is an address such as {DEFAULT_BASE_URL}{shown}"
    if parts.scheme == "http" and not is_loopback(host) and secure:
        return (
            f"would send the key in clear to {url}: make it https, or "
            "pass allow_insecure=True"
        )
    return ""


def is_loopback(host: str | None) -> bool:
    """Return whether *host*, a name or an address, is this machine."""
    host = host or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(url: str) -> str:
    """Return scheme, host and port of a checked address."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
