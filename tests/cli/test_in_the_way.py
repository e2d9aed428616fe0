"""``ezlink swap``: errors that stop a run, and the exit code and sentence of each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import Ezlink, enter_home, sums
from tests.support.pictures import jpeg
from tests.support.threads import out_of_threads

Command = tuple[object, ...]


@pytest.mark.usefixtures("stranger")
def test_missing_key_is_one_sentence_that_mentions_local(
    ezlink: Ezlink, one: Command
) -> None:
    said = ezlink(*one)
    assert (said.code, said.out) == (2, "")
    assert len(said.err.strip().splitlines()) == 1
    assert "EZLINK_API_KEY" in said.err
    assert "--local" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        "swap",
        "swap me.jpg a.jpg",
        "swap me.jpg a.jpg --output o --mode ultra",
        "swap me.jpg a.jpg --output o --concurrency 0",
        "swap me.jpg a.jpg --output o --deadline -1",
        "swap no-such.jpg a.jpg --output o",
        "swap me.jpg a.jpg --output me.jpg/x",
        "swap me.jpg . --output .",
        "swap me.jpg a.jpg --output o --local --base-url http://x",
        "dance",
    ],
)
def test_wrong_usage_exits_2(
    ezlink: Ezlink, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    enter_home(monkeypatch, photos)
    monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
    monkeypatch.setenv("EZLINK_BASE_URL", "http://127.0.0.1:9")
    said = ezlink(*arguments.split())
    assert said.code == 2
    assert said.err


@pytest.mark.parametrize("targets", ["photos", "photos/a.jpg"])
def test_refused_key_is_one_error_and_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, targets: str
) -> None:
    user.control.set_key(user.api_key, status="disabled")
    command = ("swap", photos / "me.jpg", targets, "--output", "out")
    said = ezlink(*command, "--concurrency", 2)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("AuthenticationError") == 1
    assert "not done: AuthenticationError: " in said.err
    said = ezlink(*command, "--json")
    assert (said.code, said.summary["succeeded"]) == (2, 0)
    assert "AuthenticationError" in said.out


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("EZLINK_POLL_DEADLINE=soon", "EZLINK_POLL_DEADLINE is a number"),
        ("EZLINK_BASE_URL=http://example.com", "make it https"),
        ("EZLINK_API_KEY=sk-1 2", "blank"),
        ("EZLINK_CONFIG=nowhere.toml", "there is no profile at nowhere.toml"),
    ],
)
def test_wrong_setting_is_one_sentence_before_anything_is_sent(
    ezlink: Ezlink,
    user: Emulator,
    three: Command,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    says: str,
) -> None:
    monkeypatch.setenv(*setting.split("=", 1))
    said = ezlink(*three)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert says in said.err
    assert user.control.requests == []


def test_unusable_proxy_is_one_sentence_and_exits_2(
    ezlink: Ezlink,
    user: Emulator,
    three: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EZLINK_BASE_URL", "https://api.example.com")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    said = ezlink(*three)
    assert (said.code, said.out, said.err.count("ezlink: ")) == (2, "", 1)
    assert "only HTTP proxies" in said.err
    assert user.control.requests == []


def test_unreachable_server_is_named_and_exits_2(
    ezlink: Ezlink,
    user: Emulator,
    three: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EZLINK_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("EZLINK_RETRY_ATTEMPTS", "1")
    monkeypatch.setenv("EZLINK_RETRY_TIMEOUT", "60")
    said = ezlink(*three)
    assert said.code == 2
    assert "3 not done: TransportError: no connection to http://127" in said.err
    assert said.err.count("TransportError") == 1
    assert user.control.requests == []


def test_max_failures_skips_the_rest(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    """The next run reports the failures of before again, and does not retry them."""
    for number in range(20):
        (photos / f"z{number:02}.jpg").write_bytes(jpeg(21_000 + number))
    user.control.script_tasks(*[scripts.fails()] * 40)
    command = (*three, "--json", "--concurrency", 1, "--max-failures")
    said = ezlink(*command, 2)
    assert (said.code, said.summary) == (1, sums(failed=2, skipped=21))
    assert "TooManyFailures" in said.out
    assert "the upload to the engine failed" in said.out
    user.control.script("submit", faults.Drop(job=True))
    said = ezlink(*command, 1)
    assert said.summary == sums(unknown=1, failed=2, skipped=20)


@pytest.mark.skipif(os.name == "nt", reason="another kind of permissions")
def test_read_only_output_folder_is_refused_before_anything_is_sent(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    locked = Path("locked")
    locked.mkdir(0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("root may write everywhere")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "locked/out")
    assert (said.code, said.out) == (2, "")
    assert "locked is read-only" in said.err
    assert user.control.requests == []


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("name", ["ezlink-journal", "Thread-"])
def test_lack_of_threads_is_one_sentence(
    ezlink: Ezlink, one: Command, name: str
) -> None:
    """The end of an event loop needs a thread, too: one without a name."""
    with out_of_threads(name):
        said = ezlink(*one)
    assert said.code == 2
    assert said.err.strip().splitlines()[-1].startswith("ezlink: no thread can be")
    assert "ulimit -u" in said.err
    assert "Traceback" not in said.err
