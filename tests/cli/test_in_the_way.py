"""``ezlink swap``: what stands in the way, when, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import Ezlink, home, sums
from tests.support.pictures import jpeg


def test_no_key_and_no_local_is_one_sentence(
    ezlink: Ezlink, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to set, and what needs none."""
    home(monkeypatch, tmp_path)
    said = ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    assert (said.code, said.out) == (2, "")
    assert len(said.err.strip().splitlines()) == 1
    assert "EZLINK_API_KEY" in said.err
    assert "--local" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("swap",),
        ("swap", "me.jpg", "a.jpg"),
        ("swap", "me.jpg", "a.jpg", "--output", "o", "--mode", "ultra"),
        ("swap", "me.jpg", "a.jpg", "--output", "o", "--concurrency", "0"),
        ("swap", "me.jpg", "a.jpg", "--output", "o", "--deadline", "-1"),
        ("swap", "no-such.jpg", "a.jpg", "--output", "o"),
        ("swap", "me.jpg", "a.jpg", "--output", "me.jpg/x"),
        ("swap", "me.jpg", ".", "--output", "."),
        (
            "swap",
            "me.jpg",
            "a.jpg",
            "--output",
            "o",
            "--local",
            "--base-url",
            "http://x",
        ),
        ("dance",),
    ],
)
def test_wrong_usage_is_exit_2(
    ezlink: Ezlink, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str]
) -> None:
    """What cannot be meant is refused before anything is sent."""
    home(monkeypatch, photos)
    monkeypatch.setenv("EZLINK_API_KEY", "sk-x")
    monkeypatch.setenv("EZLINK_BASE_URL", "http://127.0.0.1:9")
    said = ezlink(*arguments)
    assert said.code == 2
    assert said.err


@pytest.mark.parametrize("targets", ["photos", "photos/a.jpg"])
def test_a_refused_key_is_said_once_and_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, targets: str
) -> None:
    """Nothing was accepted, so the run never began: exit 2."""
    user.control.set_key(user.api_key, status="disabled")
    command = ("swap", photos / "me.jpg", targets, "--output", "out")
    said = ezlink(*command, "--concurrency", 2)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("AuthenticationError") == 1
    assert "not swapped: AuthenticationError: " in said.err
    said = ezlink(*command, "--json")
    assert said.code == 2
    assert said.summary["succeeded"] == 0
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
def test_a_wrong_setting_is_one_sentence(
    ezlink: Ezlink,
    user: Emulator,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    says: str,
) -> None:
    """It is found before anything is begun: exit 2, and nothing on stdout."""
    monkeypatch.setenv(*setting.split("=", 1))
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert user.control.requests == []


def test_a_proxy_that_cannot_be_used_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found on entering, and said in one sentence."""
    monkeypatch.setenv("EZLINK_BASE_URL", "https://api.example.com")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("ezlink: ") == 1
    assert "only HTTP proxies" in said.err
    assert user.control.requests == []


def test_an_address_nobody_serves_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that cannot be reached at all is exit 2, and named."""
    monkeypatch.setenv("EZLINK_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("EZLINK_RETRY_ATTEMPTS", "1")
    monkeypatch.setenv("EZLINK_RETRY_TIMEOUT", "60")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 2
    assert "3 not swapped: TransportError: no connection to http://127" in said.err
    assert said.err.count("TransportError") == 1
    assert user.control.requests == []


def test_failures_and_the_limit_on_them(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """After ``--max-failures`` nothing more is taken in; the rest is skipped."""
    for number in range(20):
        (photos / f"z{number:02}.jpg").write_bytes(jpeg(21_000 + number))
    user.control.script_tasks(*[scripts.fails()] * 40)
    said = ezlink(
        *("swap", photos / "me.jpg", photos, "--output", "out", "--json"),
        *("--max-failures", 2, "--concurrency", 1),
    )
    assert said.code == 1
    assert said.summary["failed"] == 2
    assert said.summary["skipped"] == 21
    assert "TooManyFailures" in said.out
    assert "the upload to the engine failed" in said.out
    user.control.script("submit", faults.Drop(job=True))
    said = ezlink(
        *("swap", photos / "me.jpg", photos, "--output", "out", "--json"),
        *("--max-failures", 1, "--concurrency", 1),
    )
    # The two failures of before are told again, and not tried again.
    assert said.summary == sums(unknown=1, failed=2, skipped=20)


@pytest.mark.skipif(os.name == "nt", reason="another kind of permissions")
def test_a_folder_that_is_read_only_is_said_before_anything_is_sent(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Nobody pays for a result that has no place."""
    locked = Path("locked")
    locked.mkdir(0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("root may write everywhere")
    command = ("swap", photos / "me.jpg", photos, "--output")
    said = ezlink(*command, "locked/out")
    assert (said.code, said.out) == (2, "")
    assert "locked is read-only" in said.err
    assert user.control.requests == []
