"""
Settings: which source wins, and what every bad value is told.

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
    DEFAULT_CONCURRENCY,
    Options,
    Settings,
    SettingsSources,
    is_loopback,
    profile_path,
    read_profile,
    resolve,
)
from ezlink_async.errors import ConfigurationError

KEY = "sk-0123456789abcdef"


def _settings(
    environ: dict[str, str] | None = None,
    profile: Mapping[str, object] | None = None,
    **options: object,
) -> Settings:
    given = Options(api_key=KEY, **options)  # type: ignore[typeddict-item]  # wrong ones too
    return resolve(given, SettingsSources(environ or {}, profile or {}))


def test_a_key_is_all_it_takes() -> None:
    """Everything else has a default."""
    assert _settings() == Settings(api_key=KEY, base_url="https://api.ezlinkai.com")
    assert _settings().max_concurrency == 8
    assert _settings().slot_timeout is None


THREE = st.tuples(*[st.none() | st.integers(1, 99)] * 3)


@given(THREE)
def test_an_argument_beats_the_environment_beats_the_profile(
    three: tuple[int | None, int | None, int | None],
) -> None:
    """The first source that says something wins, for every kind of setting."""
    argument, environ, profile = three
    variables = ["MAX_CONCURRENCY", "SLOT_TIMEOUT"]
    found = resolve(
        Options(api_key=KEY, max_concurrency=argument, slot_timeout=argument),
        SettingsSources(
            {f"EZLINK_{name}": str(environ) for name in variables if environ},
            {name.lower(): profile for name in variables if profile},
        ),
    )
    expected = argument or environ or profile
    assert found.max_concurrency == (expected or DEFAULT_CONCURRENCY)
    assert found.slot_timeout == expected


@pytest.mark.parametrize("name", ["base_url", "account_token"])
def test_words_have_the_same_order(name: str) -> None:
    """An address and a token are looked for in the same three places."""
    words = ["https://a", "https://b", "https://c"]
    options = Options(**{name: words[0]})  # type: ignore[misc]  # either name
    profile = {"api_key": KEY, name: words[2]}
    environ = {"EZLINK_API_KEY": KEY, f"EZLINK_{name.upper()}": words[1]}
    assert getattr(resolve(Options(), SettingsSources({}, profile)), name) == words[2]
    sources = SettingsSources(environ, profile)
    assert getattr(resolve(Options(), sources), name) == words[1]
    assert getattr(resolve(options, sources), name) == words[0]


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
def test_a_key_is_found_in_the_same_order(
    argument: str | None, environ: str | None, profile: str | None, key: str
) -> None:
    """An empty key is no key, and blanks around one are a slip of the hand."""
    sources = SettingsSources(
        {} if environ is None else {"EZLINK_API_KEY": environ},
        {} if profile is None else {"api_key": profile},
    )
    assert resolve(Options(api_key=argument), sources).api_key == key


def test_a_profiles_address_holds_only_with_its_own_key() -> None:
    """Another key is never sent to an address that was written for this one."""
    profile = {"api_key": "k3", "base_url": "https://other"}
    own = resolve(Options(), SettingsSources({}, profile))
    assert (own.api_key, own.base_url) == ("k3", "https://other")
    assert _settings(profile=profile).base_url == DEFAULT_BASE_URL
    environ = {"EZLINK_API_KEY": "k2"}
    assert resolve(Options(), SettingsSources(environ, profile)).base_url == (
        DEFAULT_BASE_URL
    )


@pytest.mark.parametrize("own", [{}, {"base_url": "https://own/api"}])
def test_a_profiles_key_goes_where_the_environment_says_only_if_it_knows_the_place(
    own: dict[str, str],
) -> None:
    """A project's file of variables cannot have somebody's own key sent to it."""
    profile = {"api_key": "k3", **own}
    home = own.get("base_url", DEFAULT_BASE_URL)
    away = {"EZLINK_BASE_URL": "https://away"}
    with pytest.raises(ConfigurationError, match="EZLINK_BASE_URL would have") as told:
        resolve(Options(), SettingsSources(away, profile))
    assert "k3" not in str(told.value)
    near = {"EZLINK_BASE_URL": home.replace("own/api", "own")}
    assert resolve(Options(), SettingsSources(near, profile)).api_key == "k3"
    tried = {"EZLINK_BASE_URL": "http://127.0.0.1:8080"}  # leaks it to nobody else
    assert resolve(Options(), SettingsSources(tried, profile)).api_key == "k3"
    # Whoever gives the address or the key in person has seen both.
    given = resolve(Options(base_url="https://away"), SettingsSources(away, profile))
    assert (given.api_key, given.base_url) == ("k3", "https://away")
    other = resolve(Options(api_key="k1"), SettingsSources(away, profile))
    assert (other.api_key, other.base_url) == ("k1", "https://away")


PROFILE = {"api_key": "k3", "base_url": "https://own", "account_token": "t3"}


@pytest.mark.parametrize("profile", [PROFILE, {**PROFILE, "base_url": None}])
@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (Options(api_key="k1"), {}),
        (Options(), {"EZLINK_API_KEY": "k2"}),
        (Options(base_url="https://other"), {}),
        (Options(api_key="k1"), {"EZLINK_BASE_URL": "https://other"}),
    ],
)
def test_a_profiles_account_token_holds_only_with_its_own_server(
    options: Options, environ: dict[str, str], profile: dict[str, str | None]
) -> None:
    """What opens the whole account goes nowhere that the profile does not name."""
    written = {name: text for name, text in profile.items() if text is not None}
    assert resolve(Options(), SettingsSources({}, written)).account_token == "t3"
    assert resolve(options, SettingsSources(environ, written)).account_token is None
    environ = {**environ, "EZLINK_ACCOUNT_TOKEN": "t2"}
    assert resolve(options, SettingsSources(environ, written)).account_token == "t2"


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (Options(base_url="https://OWN:443/v2"), {}),
        (Options(), {"EZLINK_BASE_URL": "https://own/"}),
    ],
)
def test_a_profiles_account_token_goes_wherever_its_own_server_is_named(
    options: Options, environ: dict[str, str]
) -> None:
    """Who names the profile's server once more has not left it."""
    assert resolve(options, SettingsSources(environ, PROFILE)).account_token == "t3"


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("Bearer abc", "account_token is the token alone, without 'Bearer'"),
        ("ab c", "account_token holds a blank"),
        ("ab\x00", "account_token holds a blank or a character that no token has"),
    ],
)
def test_an_account_token_that_cannot_be_one_is_refused(token: str, told: str) -> None:
    """Like the key, and without showing any of it."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        _settings(account_token=token)
    assert "ab" not in str(caught.value)


def test_a_blank_account_token_is_none() -> None:
    """An empty variable is one that is not set."""
    assert _settings(account_token="  ").account_token is None
    assert _settings(account_token=" token\n").account_token == "token"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "there is no API key: set EZLINK_API_KEY"),
        ("   ", "there is no API key"),
        ("Bearer sk-1", "without 'Bearer'"),
        ("bearer sk-1", "without 'Bearer'"),
        ("sk-1 2", "holds a blank"),
        ("sk-\x00", "holds a blank or a character"),
        ("sk-é", "holds a blank or a character"),
        (7, "api_key is a str"),
    ],
)
def test_e5_a_key_that_cannot_be_one_is_refused(key: object, told: str) -> None:
    """The server says the same of a missing and a mistyped key, so we tell first."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        resolve(Options(api_key=key), SettingsSources({}))  # type: ignore[typeddict-item]
    assert "sk-" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    """Neither the key nor the token is in what a log may hold."""
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
def test_an_address_is_scheme_host_and_path(url: str, kept: str, origin: str) -> None:
    """The slash at its end goes, and its origin always names the port."""
    settings = _settings(base_url=url)
    assert (settings.base_url, settings.origin) == (kept, origin)


@pytest.mark.parametrize(
    ("url", "told"),
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
def test_a_bad_address_is_refused(url: object, told: str) -> None:
    """Nothing is sent to a place that was mistyped or that would leak the key."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        _settings(base_url=url)
    assert "secret" not in str(caught.value)


def test_plain_http_is_allowed_by_name() -> None:
    """Who says so in so many words may send the key in clear."""
    settings = _settings(base_url="http://h", allow_insecure=True)
    assert settings.base_url == "http://h"


@pytest.mark.parametrize(
    ("host", "near"),
    [
        (None, False),
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_this_very_machine(host: str | None, *, near: bool) -> None:
    """A name that merely begins like it is another machine."""
    assert is_loopback(host) is near


@pytest.mark.parametrize("slots", [0, -1, 2.5, True, "8", float("nan")])
def test_the_semaphore_has_a_whole_size(slots: object) -> None:
    """No slot at all would hang, half a one is a mistake."""
    with pytest.raises(ConfigurationError, match="max_concurrency is a whole number"):
        _settings(max_concurrency=slots)


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "inf", "nan"])
def test_a_size_from_outside_is_no_less_whole(text: str) -> None:
    """A zero in the environment or the profile is an error, not the default."""
    with pytest.raises(ConfigurationError, match="MAX_CONCURRENCY is a whole number"):
        _settings({"EZLINK_MAX_CONCURRENCY": text})
    with pytest.raises(ConfigurationError, match=r"max_concurrency in .* whole number"):
        _settings(profile={"max_concurrency": float(text)})


@pytest.mark.parametrize("bound", [0, -1, "5", True, float("inf"), float("nan")])
def test_the_wait_for_a_slot_is_a_duration(bound: object) -> None:
    """Zero is no wait, and a word is no number."""
    with pytest.raises(ConfigurationError, match="slot_timeout is a number of seconds"):
        _settings(slot_timeout=bound)


@pytest.mark.parametrize(
    ("value", "where"),
    [("many", "EZLINK_SLOT_TIMEOUT"), (True, "profile"), ([], "profile")],
)
def test_a_number_that_is_none_names_its_place(value: object, where: str) -> None:
    """Whoever reads the sentence knows which file or variable to mend."""
    environ = {"EZLINK_SLOT_TIMEOUT": value} if isinstance(value, str) else {}
    with pytest.raises(ConfigurationError, match=f"{where}.* is a number"):
        _settings(environ, {"slot_timeout": value})


def test_a_number_beyond_all_numbers_is_an_error_of_ours() -> None:
    """TOML has whole numbers without end; a setting has not."""
    with pytest.raises(ConfigurationError, match="slot_timeout in the profile"):
        _settings(profile={"slot_timeout": 10**400})


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
def test_every_duration_can_be_set_from_outside(table: str, name: str) -> None:
    """Fractions of a second are taken from the environment and from the profile."""
    variable = f"EZLINK_{table}_{name}".upper()
    rows: dict[str, object] = {table: {name: 3.25}}
    assert getattr(getattr(_settings(profile=rows), table), name) == 3.25
    found = attrs.asdict(getattr(_settings({variable: "2.5"}, rows), table))
    assert found == {**attrs.asdict(POLICIES[table]), name: 2.5}


@pytest.mark.parametrize(("table", "name"), SECONDS)
def test_a_bad_duration_names_its_place(table: str, name: str) -> None:
    """Zero is refused wherever it comes from, with the place to mend."""
    variable = f"EZLINK_{table}_{name}".upper()
    with pytest.raises(ConfigurationError, match=f"{variable}: {name} is a number"):
        _settings({variable: "0"})
    place = f"{table}.{name} in the profile p.toml: {name} is a number"
    rows: dict[str, object] = {"api_key": KEY, table: {name: 0}}
    with pytest.raises(ConfigurationError, match=place):
        resolve(Options(), SettingsSources({}, rows, Path("p.toml")))


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
def test_counts_and_switches_are_read_too(
    variable: str, text: str, changes: dict[str, object]
) -> None:
    """Text becomes what the field is; an empty variable is not set."""
    found = _settings({f"EZLINK_RETRY_{variable}": text}).retry
    assert found == attrs.evolve(RetryPolicy(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("ATTEMPTS", "2.5", "EZLINK_RETRY_ATTEMPTS is a whole number"),
        ("ATTEMPTS", "inf", "EZLINK_RETRY_ATTEMPTS is a whole number"),
        ("ATTEMPTS", "few", "EZLINK_RETRY_ATTEMPTS is a number"),
        ("ATTEMPTS", "0", "EZLINK_RETRY_ATTEMPTS: attempts is a whole"),
        ("RESUBMIT_UNKNOWN", "perhaps", "EZLINK_RETRY_RESUBMIT_UNKNOWN is true"),
    ],
)
def test_bad_counts_and_switches_name_their_place(
    variable: str, text: str, told: str
) -> None:
    """What may pay twice is not guessed from a word."""
    with pytest.raises(ConfigurationError, match=told):
        _settings({f"EZLINK_RETRY_{variable}": text})


def test_a_policy_given_as_an_argument_is_taken_whole() -> None:
    """The environment does not reach into it."""
    environ = {"EZLINK_POLL_DEADLINE": "5", "EZLINK_TIMEOUTS_FETCH": "5"}
    poll, timeouts = PollPolicy(first=3), Timeouts(submit=60)
    found = _settings(environ, poll=poll, timeouts=timeouts, retry=RetryPolicy())
    assert (found.poll, found.timeouts) == (poll, timeouts)


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ({"apikey": "x"}, "^the profile p.toml has no setting 'apikey'"),
        ({"poll": {"last": 1}}, r"^\[poll\] in the profile p.toml has no .* 'last'"),
        ({"poll": 5}, r"^\[poll\] in the profile p.toml is a table"),
        ({"retry": {"resubmit_unknown": "perhaps"}}, "is true or false"),
    ],
)
def test_a_mistake_in_the_profile_is_named(
    profile: dict[str, object], told: str
) -> None:
    """A setting that is misspelt is not passed over in silence."""
    with pytest.raises(ConfigurationError, match=told):
        resolve(
            Options(), SettingsSources({}, {"api_key": KEY, **profile}, Path("p.toml"))
        )


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
def test_a_bad_setting_names_the_source_it_came_from(name: str, value: object) -> None:
    """Whoever reads the sentence knows which of the three places to change."""
    path, variable = Path("p.toml"), f"EZLINK_{name}".upper()
    profile = {"api_key": KEY, name: value}
    with pytest.raises(ConfigurationError, match=f"{name} in the profile p.toml"):
        resolve(Options(), SettingsSources({}, profile, path))
    with pytest.raises(ConfigurationError, match=variable) as caught:
        resolve(Options(), SettingsSources({variable: str(value)}, profile, path))
    assert "profile" not in str(caught.value)
    options = Options(**{name: value})  # type: ignore[misc]  # each of the names
    with pytest.raises(ConfigurationError, match=f"the argument {name}") as caught:
        resolve(options, SettingsSources({variable: str(value)}, profile, path))
    assert "profile" not in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "base_url", "account_token"])
def test_text_that_is_none_names_its_place_and_is_not_shown(name: str) -> None:
    """A number for a word is a slip, and what was meant may be secret."""
    profile = {"api_key": KEY, name: 4711}
    told = f"^{name} in the profile p.toml is a str, not int$"
    with pytest.raises(ConfigurationError, match=told):
        resolve(Options(), SettingsSources({}, profile, Path("p.toml")))


def test_the_usual_profile_is_named_too() -> None:
    """The sentence says which file to open, wherever the file was said to be."""
    sources = SettingsSources({"EZLINK_CONFIG": "/etc/ezlink.toml"}, {"apikey": "x"})
    with pytest.raises(ConfigurationError, match=r"^the profile .*ezlink\.toml has no"):
        resolve(Options(), sources)


@pytest.mark.parametrize("name", ["retry", "poll", "timeouts"])
def test_a_policy_of_the_wrong_kind_is_refused(name: str) -> None:
    """A number where a policy belongs would fail much later."""
    options = Options(api_key=KEY)
    options.update({name: 5})  # type: ignore[misc]  # the mistake itself
    with pytest.raises(ConfigurationError, match=f"argument {name} is a .*, not int"):
        resolve(options, SettingsSources({}))


def test_the_timeouts_are_the_documented_ones() -> None:
    """A submit waits longer than the server's own 60 seconds."""
    assert Timeouts() == Timeouts(
        connect=10, upload=30, submit=90, fetch=30, image=30, close=5, reconcile=75
    )


def test_a_profile_is_one_file() -> None:
    """The one that is named, else the user's own; never one in this folder."""
    home = profile_path({})
    assert home == Path.home() / ".config" / "ezlink" / "config.toml"
    named = profile_path({"EZLINK_CONFIG": "~/mine.toml"})
    assert named == Path.home() / "mine.toml"


def test_a_profile_is_read(tmp_path: Path) -> None:
    """Keys and tables come out as they stand."""
    path = tmp_path / "config.toml"
    path.write_text(f'api_key = "{KEY}"\n[poll]\nfirst = 0.5\n', encoding="utf-8")
    profile = read_profile(path, demanded=True)
    assert resolve(Options(), SettingsSources({}, profile)).poll == PollPolicy(
        first=0.5
    )


def test_a_missing_profile_is_an_error_only_if_it_was_named(tmp_path: Path) -> None:
    """Nobody has to have one; who names one wants it read."""
    path = tmp_path / "none.toml"
    assert read_profile(path, demanded=False) == {}
    with pytest.raises(ConfigurationError, match="there is no profile at"):
        read_profile(path, demanded=True)


@pytest.mark.parametrize("content", [b"api_key", b"\xff\xfe"])
def test_a_profile_nobody_can_read_is_named(content: bytes, tmp_path: Path) -> None:
    """The sentence says which file, and not what is in it."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    for unreadable in (path, tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_profile(unreadable, demanded=False)
