"""
Settings: which source wins, and what each error says.

Numbers such as E5 are this project's own list of edge cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts
from ezlink_async._core.settings import (
    DEFAULT_BASE_URL,
    Options,
    Settings,
    SettingsSources,
    is_loopback,
    profile_path,
    profile_sources,
    read_profile,
    resolve,
)
from ezlink_async.errors import ConfigurationError

KEY = "sk-0123456789abcdef"

FILE = Path("p.toml")


def _resolve(
    environ: Mapping[str, str] | None = None,
    profile: Mapping[str, object] | None = None,
    **options: object,
) -> Settings:
    sources = SettingsSources(environ or {}, profile or {}, FILE)
    return resolve(Options(**options), sources)  # type: ignore[typeddict-item]  # wrong ones too


def _settings(
    environ: Mapping[str, str] | None = None,
    profile: Mapping[str, object] | None = None,
    **options: object,
) -> Settings:
    """Resolve with a key given as an argument."""
    return _resolve(environ, profile, api_key=KEY, **options)


def _refused(
    match: str,
    environ: Mapping[str, str] | None = None,
    profile: Mapping[str, object] | None = None,
    **options: object,
) -> str:
    """Return the message of the error that settings end in."""
    with pytest.raises(ConfigurationError, match=match) as caught:
        _resolve(environ, profile, **{"api_key": KEY, **options})
    return str(caught.value)


def test_only_the_key_is_required() -> None:
    assert _settings() == Settings(api_key=KEY, base_url="https://api.ezlinkai.com")
    assert _settings().max_concurrency == 8
    assert _settings().slot_timeout is None


@given(st.tuples(*[st.none() | st.integers(1, 99)] * 3))
def test_number_is_taken_from_argument_then_environment_then_profile(
    three: tuple[int | None, int | None, int | None],
) -> None:
    argument, environ, profile = three
    names = ["max_concurrency", "max_uploads", "slot_timeout"]
    found = _settings(
        {f"EZLINK_{name.upper()}": str(environ) for name in names if environ},
        {name: profile for name in names if profile},
        **dict.fromkeys(names, argument),
    )
    expected = argument or environ or profile
    assert found.max_concurrency == found.max_uploads == (expected or 8)
    assert found.slot_timeout == expected


@pytest.mark.parametrize("name", ["base_url", "account_token"])
def test_text_is_taken_from_argument_then_environment_then_profile(name: str) -> None:
    words = ["https://a", "https://b", "https://c"]
    profile = {"api_key": KEY, name: words[2]}
    environ = {"EZLINK_API_KEY": KEY, f"EZLINK_{name.upper()}": words[1]}
    assert getattr(_resolve({}, profile), name) == words[2]
    assert getattr(_resolve(environ, profile), name) == words[1]
    assert getattr(_resolve(environ, profile, **{name: words[0]}), name) == words[0]


@pytest.mark.parametrize(
    ("argument", "environ", "profile", "key"),
    [
        ("k1", "k2", "k3", "k1"),
        (None, "k2", "k3", "k2"),
        ("", "k2", "k3", "k2"),
        (None, "", "k3", "k3"),
        (" k1\n", None, None, "k1"),
    ],
)
def test_key_is_taken_from_the_first_source_where_it_is_not_empty(
    argument: str | None, environ: str | None, profile: str | None, key: str
) -> None:
    """Blanks around a key are removed."""
    found = _resolve(
        {} if environ is None else {"EZLINK_API_KEY": environ},
        {} if profile is None else {"api_key": profile},
        api_key=argument,
    )
    assert found.api_key == key


def test_profiles_address_is_used_with_the_profiles_key_only() -> None:
    """Another key is never sent to an address that was written for this one."""
    profile = {"api_key": "k3", "base_url": "https://other"}
    own = _resolve({}, profile)
    assert (own.api_key, own.base_url) == ("k3", "https://other")
    assert _settings({}, profile).base_url == DEFAULT_BASE_URL
    other = _resolve({"EZLINK_API_KEY": "k2"}, profile)
    assert (other.api_key, other.base_url) == ("k2", DEFAULT_BASE_URL)


@pytest.mark.parametrize("own", [{}, {"base_url": "https://own/api"}])
def test_environment_cannot_send_the_profiles_key_to_another_server(
    own: dict[str, str],
) -> None:
    """A project's file of variables does not receive a person's own key."""
    profile = {"api_key": "k3", **own}
    server = own.get("base_url", DEFAULT_BASE_URL)
    away = {"EZLINK_BASE_URL": "https://away"}
    text = _refused("EZLINK_BASE_URL would have", away, profile, api_key=None)
    assert "k3" not in text
    same = {"EZLINK_BASE_URL": server.replace("own/api", "own")}
    assert _resolve(same, profile).api_key == "k3"
    loopback = {"EZLINK_BASE_URL": "http://127.0.0.1:8080"}  # stays on this machine
    assert _resolve(loopback, profile).api_key == "k3"
    # An address or a key given as an argument was chosen by the caller.
    given = _resolve(away, profile, base_url="https://away")
    assert (given.api_key, given.base_url) == ("k3", "https://away")
    other = _resolve(away, profile, api_key="k1")
    assert (other.api_key, other.base_url) == ("k1", "https://away")


PROFILE = {"api_key": "k3", "base_url": "https://own", "account_token": "t3"}


@pytest.mark.parametrize("left_out", ["", "base_url"])
@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({"api_key": "k1"}, {}),
        ({}, {"EZLINK_API_KEY": "k2"}),
        ({"base_url": "https://other"}, {}),
        ({"api_key": "k1"}, {"EZLINK_BASE_URL": "https://other"}),
    ],
)
def test_profiles_account_token_is_used_with_the_profiles_server_only(
    options: dict[str, object], environ: dict[str, str], left_out: str
) -> None:
    """The token opens the whole account, so it stays with its server and key."""
    profile = {name: text for name, text in PROFILE.items() if name != left_out}
    assert _resolve({}, profile).account_token == "t3"
    assert _resolve(environ, profile, **options).account_token is None
    environ = {**environ, "EZLINK_ACCOUNT_TOKEN": "t2"}
    assert _resolve(environ, profile, **options).account_token == "t2"


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({"base_url": "https://OWN:443/v2"}, {}),
        ({}, {"EZLINK_BASE_URL": "https://own/"}),
    ],
)
def test_profiles_account_token_is_used_when_its_origin_is_named_again(
    options: dict[str, object], environ: dict[str, str]
) -> None:
    assert _resolve(environ, PROFILE, **options).account_token == "t3"


@pytest.mark.parametrize(
    ("name", "what"), [("api_key", "key"), ("account_token", "token")]
)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Bearer sk-1", "is the {} alone, without 'Bearer'"),
        ("bearer sk-1", "is the {} alone, without 'Bearer'"),
        ("sk-1 2", "holds a blank or a character that no {} has"),
        ("sk-\x00", "holds a blank or a character that no {} has"),
        ("sk-é", "holds a blank or a character that no {} has"),
        (4711, "is a str, not int"),
    ],
)
def test_e5_impossible_secret_is_refused_and_not_shown(
    name: str, what: str, text: object, reason: str
) -> None:
    """The server cannot tell a mistyped key from a missing one; the client can."""
    reason = f"^the argument {name} {reason.format(what)}$"
    assert "sk-" not in _refused(reason, {}, {}, **{name: text})


@pytest.mark.parametrize("key", [None, "", "   "])
def test_e5_missing_key_is_named(key: str | None) -> None:
    _refused("^there is no API key: set EZLINK_API_KEY", api_key=key)


def test_blank_account_token_is_none() -> None:
    assert _settings(account_token="  ").account_token is None
    assert _settings(account_token=" token\n").account_token == "token"


def test_repr_shows_no_secret() -> None:
    text = repr(_settings(account_token="token-of-the-account"))
    assert KEY not in text
    assert "token-of-the-account" not in text


@pytest.mark.parametrize(
    ("url", "kept", "origin"),
    [
        ("https://h", "https://h", "https://h:443"),
        (" https://h/ ", "https://h", "https://h:443"),
        ("https://H:8443/api//", "https://H:8443/api", "https://h:8443"),
        ("http://localhost:9", "http://localhost:9", "http://localhost:9"),
        ("http://x.localhost", "http://x.localhost", "http://x.localhost:80"),
        ("http://127.0.0.7", "http://127.0.0.7", "http://127.0.0.7:80"),
        ("http://[::1]:9", "http://[::1]:9", "http://::1:9"),
    ],
)
def test_address_loses_its_last_slash_and_its_origin_names_the_port(
    url: str, kept: str, origin: str
) -> None:
    settings = _settings(base_url=url)
    assert (settings.base_url, settings.origin) == (kept, origin)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("api.ezlinkai.com", "base_url is an address such as"),
        ("ftp://h", "base_url is an address such as"),
        ("https://", "base_url is an address such as"),
        ("https://[bad", "base_url is an address such as"),
        ("https://h:x", "base_url is an address such as"),
        ("https://me:secret@h", "no user, password, query"),
        ("https://me:secret@h:x", "base_url is an address such as"),
        ("me:secret@h", "base_url is an address such as"),
        ("ftp://me:secret@h", "no user, password, query"),
        ("https:/me:secret@h", "base_url is an address such as"),
        ("https://me:secret@h:99999999", "base_url is an address such as"),
        ("https://me:secret@[::1", "base_url is an address such as"),
        ("//me:secret@h", "no user, password, query"),
        ("sk-secret", "base_url is an address such as"),
        ("https://h\\v1", "base_url is an address such as"),
        ("https://h?a=1", "no user, password, query"),
        ("https://h#a", "no user, password, query"),
        ("http://h", "would send the key in clear"),
        ("http://10.0.0.1", "would send the key in clear"),
        (7, "base_url is a str"),
    ],
)
def test_bad_address_is_refused_and_its_secret_not_shown(
    url: object, reason: str
) -> None:
    assert "secret" not in _refused(reason, base_url=url)


def test_plain_http_needs_allow_insecure() -> None:
    settings = _settings(base_url="http://h", allow_insecure=True)
    assert settings.base_url == "http://h"


def test_loopback_is_this_machine_only() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "::1"]))
    others = [None, "", "localhost.example.com", "10.0.0.1"]
    assert not any(map(is_loopback, others))


@pytest.mark.parametrize(
    ("name", "reason", "wrong"),
    [
        ("max_concurrency", "a whole number from 1", [0, -1, 2.5, True, "8"]),
        ("max_uploads", "a whole number from 1", [0, float("nan")]),
        ("slot_timeout", "a number of seconds", [0, -1, "5", True, float("inf")]),
    ],
)
def test_number_given_as_an_argument_is_not_converted(
    name: str, reason: str, wrong: list[object]
) -> None:
    for value in wrong:
        _refused(f"^the argument {name} is {reason}", {}, {}, **{name: value})


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "inf", "nan", "few"])
def test_count_from_outside_is_a_whole_number_from_1(text: str) -> None:
    """A zero in the environment or the profile is an error, not the default."""
    _refused(
        "EZLINK_MAX_CONCURRENCY is a whole number", {"EZLINK_MAX_CONCURRENCY": text}
    )
    _refused("max_concurrency in .* whole number", {}, {"max_concurrency": text})


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("many", "EZLINK_SLOT_TIMEOUT"),
        (True, "slot_timeout in the profile"),
        ([], "slot_timeout in the profile"),
        (10**400, "slot_timeout in the profile"),  # TOML allows any whole number
    ],
)
def test_error_about_a_number_says_where_it_stands(value: object, where: str) -> None:
    environ = {"EZLINK_SLOT_TIMEOUT": value} if isinstance(value, str) else {}
    _refused(f"{where}.* is a number", environ, {"slot_timeout": value})


POLICIES: dict[str, RetryPolicy | PollPolicy | Timeouts] = {
    "retry": RetryPolicy(),
    "poll": PollPolicy(),
    "timeouts": Timeouts(),
}
SECONDS = [
    (table, field.name)
    for table, policy in POLICIES.items()
    for field in attrs.fields(type(policy))
    if not isinstance(field.default, bool) and field.name != "attempts"
]


@pytest.mark.parametrize(("table", "name"), SECONDS)
def test_every_duration_of_a_policy_is_set_from_outside(table: str, name: str) -> None:
    """The environment wins over the profile, and both take fractions."""
    variable = f"EZLINK_{table}_{name}".upper()
    rows: dict[str, object] = {table: {name: 3.25}}
    assert getattr(getattr(_settings(profile=rows), table), name) == 3.25
    found = attrs.asdict(getattr(_settings({variable: "2.5"}, rows), table))
    assert found == {**attrs.asdict(POLICIES[table]), name: 2.5}


@pytest.mark.parametrize(("table", "name"), SECONDS)
def test_error_about_a_duration_of_a_policy_says_where_it_stands(
    table: str, name: str
) -> None:
    variable = f"EZLINK_{table}_{name}".upper()
    _refused(f"^{variable} is a number", {variable: "0"})
    where = f"^{table}.{name} in the profile p.toml is a number"
    _refused(where, {}, {table: {name: 0}})


@pytest.mark.parametrize(
    ("variable", "text", "changes"),
    [
        ("ATTEMPTS", "3", {"attempts": 3}),
        ("RESUBMIT_UNKNOWN", "true", {"resubmit_unknown": True}),
        ("RESUBMIT_UNKNOWN", "1", {"resubmit_unknown": True}),
        ("RESUBMIT_UNKNOWN", "False", {"resubmit_unknown": False}),
        ("RESUBMIT_UNKNOWN", "0", {"resubmit_unknown": False}),
        ("FIRST", "", {}),
    ],
)
def test_text_of_the_environment_becomes_the_fields_type(
    variable: str, text: str, changes: dict[str, object]
) -> None:
    """An empty variable counts as not set."""
    found = _settings({f"EZLINK_RETRY_{variable}": text}).retry
    assert found == attrs.evolve(RetryPolicy(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("ATTEMPTS", "2.5", "is a whole number from 1, not 2.5"),
        ("ATTEMPTS", "inf", "is a whole number from 1, not inf"),
        ("ATTEMPTS", "few", "is a whole number from 1, not 'few'"),
        ("ATTEMPTS", "0", "is a whole number from 1, not 0"),
        ("RESUBMIT_UNKNOWN", "perhaps", "is true or false, not 'perhaps'"),
    ],
)
def test_bad_variable_of_a_policy_is_named(
    variable: str, text: str, reason: str
) -> None:
    name = f"EZLINK_RETRY_{variable}"
    _refused(f"^{name} {reason}$", {name: text})


def test_policy_given_as_an_argument_replaces_the_whole_policy() -> None:
    """The environment changes no field of it."""
    environ = {"EZLINK_POLL_DEADLINE": "5", "EZLINK_TIMEOUTS_FETCH": "5"}
    poll, timeouts = PollPolicy(first=3), Timeouts(submit=60)
    found = _settings(environ, poll=poll, timeouts=timeouts, retry=RetryPolicy())
    assert (found.poll, found.timeouts) == (poll, timeouts)


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"apikey": "x"}, "^the profile p.toml has no setting 'apikey'"),
        ({"poll": {"last": 1}}, r"^\[poll\] in the profile p.toml has no .* 'last'"),
        ({"poll": 5}, r"^\[poll\] in the profile p.toml is a table"),
        ({"retry": {"resubmit_unknown": "perhaps"}}, "is true or false"),
    ],
)
def test_mistake_in_the_profile_is_named(
    profile: dict[str, object], reason: str
) -> None:
    """A misspelt setting is an error; it is not ignored."""
    _refused(reason, {}, {"api_key": KEY, **profile}, api_key=None)


BAD = [
    ("api_key", "sk- 1"),
    ("api_key", "Bearer sk-1"),
    ("api_key", " "),
    ("base_url", "h"),
    ("base_url", "http://h"),
    ("base_url", "https://h?a=1"),
    ("max_concurrency", 0),
    ("max_concurrency", 2.5),
    ("slot_timeout", -1),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_error_names_the_source_of_the_bad_setting(name: str, value: object) -> None:
    variable = f"EZLINK_{name}".upper()
    profile, environ = {"api_key": KEY, name: value}, {variable: str(value)}
    _refused(f"{name} in the profile p.toml", {}, profile, api_key=None)
    assert "profile" not in _refused(variable, environ, profile, api_key=None)
    options = {"api_key": None, name: value}
    text = _refused(f"the argument {name}", environ, profile, **options)
    assert "profile" not in text


@pytest.mark.parametrize("name", ["api_key", "base_url", "account_token"])
def test_number_in_place_of_text_is_named_and_not_shown(name: str) -> None:
    """The value may be a secret."""
    reason = f"^{name} in the profile p.toml is a str, not int$"
    _refused(reason, {}, {"api_key": KEY, name: 4711}, api_key=None)


def test_error_names_the_default_profile_too() -> None:
    sources = SettingsSources({"EZLINK_CONFIG": "/etc/ezlink.toml"}, {"apikey": "x"})
    with pytest.raises(ConfigurationError, match=r"^the profile .*ezlink\.toml has no"):
        resolve(Options(), sources)


@pytest.mark.parametrize("name", ["retry", "poll", "timeouts"])
def test_argument_that_is_not_a_policy_is_refused(name: str) -> None:
    _refused(f"argument {name} is a .*, not int", {}, {}, **{name: 5})
    _refused(f"argument {name} is a .*, not dict", {}, {}, **{name: {}})


def test_profile_is_the_named_file_or_the_users_own() -> None:
    """A profile in the current folder is never read."""
    default = profile_path({})
    assert default == Path.home() / ".config" / "ezlink" / "config.toml"
    with pytest.raises(ConfigurationError, match="home of the user in ~nosuchuser"):
        profile_path({"EZLINK_CONFIG": "~nosuchuser/mine.toml"})
    named = profile_path({"EZLINK_CONFIG": "~/mine.toml"})
    assert named == Path.home() / "mine.toml"


def test_profile_is_read_with_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'api_key = "{KEY}"\n[poll]\nfirst = 0.5\n', encoding="utf-8")
    found = resolve(Options(), profile_sources({}, path))
    assert (found.api_key, found.poll) == (KEY, PollPolicy(first=0.5))


def test_missing_profile_is_an_error_only_if_it_was_named(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert read_profile(path, demanded=False) == {}
    with pytest.raises(ConfigurationError, match="there is no profile at"):
        read_profile(path, demanded=True)


@pytest.mark.parametrize(
    "content",
    [b"api_key", b"\xff\xfe", b"a = " + b"[" * 50_000],
    ids=["no value", "no text", "deep arrays"],
)
def test_unreadable_profile_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    for unreadable in (path, tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_profile(unreadable, demanded=False)
