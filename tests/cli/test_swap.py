"""``ezlink swap``: what is sent, what comes home, what is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.cli.conftest import Ezlink, home
from tests.fakes import jpeg


def _sums(**given: int) -> dict[str, int]:
    counts = dict.fromkeys(("succeeded", "failed", "unknown", "skipped"), 0) | given
    return {"total": sum(counts.values()), **counts}


def test_a_folder_comes_home_in_its_own_shape(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    """Folders are walked, results keep their tree, the rest is counted."""
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 0
    out = tmp_path / "out"
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert found == ["a.jpg", "b.jpg", "trip/a.jpg"]
    assert sorted(said.out.splitlines()) == sorted(f"out/{name}" for name in found)
    for words in ("2 (hidden)", "links to folders", "the source itself", "GIF"):
        assert words in said.err
    assert "3 succeeded" in said.err
    assert len(user.control.charges) == 3
    assert user.api_key not in said.out + said.err


def test_a_second_run_pays_nothing(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    """A whole picture that is there is done; a broken one is not; replace redoes."""
    command = ("swap", photos / "me.jpg", photos, "--output", tmp_path / "out")
    ezlink(*command)
    again = ezlink(*command, "--json")
    assert again.code == 0
    assert again.summary == _sums(skipped=3)
    (tmp_path / "out" / "a.jpg").write_bytes(jpeg(20_001)[:-2])
    assert ezlink(*command, "--json").summary == _sums(succeeded=1, skipped=2)
    assert ezlink(*command, "--existing", "replace", "--json").summary == _sums(
        succeeded=3
    )
    assert len(user.control.charges) == 7


def test_json_is_one_object_a_line(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    """Exactly the documented keys, and the sum of all at the end."""
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(11_000_000))
    user.control.script("submit", *[faults.Delay(0.0)] * 3)
    said = ezlink(
        "swap", photos / "me.jpg", photos, "--output", tmp_path / "out", "--json"
    )
    assert said.code == 1
    keys = {"target", "output", "task_id", "status", "error", "maybe_charged"}
    assert all(set(row) == keys for row in said.rows[:-1])
    assert said.summary == _sums(succeeded=3, failed=1)
    (bad,) = [row for row in said.rows[:-1] if row["status"] == "failed"]
    assert str(bad["error"]).startswith("ImageError: ")
    assert bad["output"] is None


def test_a_dry_run_sends_nothing_and_needs_no_key(
    ezlink: Ezlink, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be sent, skipped and refused is listed, with no key set."""
    home(monkeypatch, tmp_path)
    (tmp_path / "out").mkdir()
    shutil.copy(photos / "a.jpg", tmp_path / "out" / "a.jpg")
    shutil.copy(photos / "me.jpg", photos / "twin.jpg")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out", "--dry-run")
    assert said.code == 1
    assert said.out.count("send ") == 2
    assert "same picture" in said.err
    assert "2 planned" in said.err
    assert "1 skipped" in said.err


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


def test_a_refused_key_is_said_once_and_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    """Nothing was accepted, so the run never began: exit 2."""
    user.control.set_key(user.api_key, status="disabled")
    said = ezlink(
        "swap", photos / "me.jpg", photos, "--output", tmp_path / "out", "--json"
    )
    assert said.code == 2
    assert said.summary["succeeded"] == 0
    assert "AuthenticationError" in said.out


def test_an_address_nobody_serves_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that cannot be reached at all is exit 2, and named."""
    monkeypatch.setenv("EZLINK_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("EZLINK_RETRY_ATTEMPTS", "1")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 2
    assert "127.0.0.1:9" in said.err
    assert user.control.requests == []


def test_unknown_ones_are_listed_and_not_repeated(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Status ``unknown``, maybe charged, with the request id to ask about."""
    command = ("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    user.control.script("submit", faults.Drop(job=True))
    said = ezlink(*command, "--json")
    assert said.code == 1
    assert (said.rows[0]["status"], said.rows[0]["maybe_charged"]) == ("unknown", True)
    assert "may have been paid" in said.err
    assert next(iter(user.control.uploads)) in said.err
    user.control.script("submit", faults.Drop(job=True))
    assert ezlink(*command, "--resubmit-unknown").code == 0
    assert len(user.control.charges) == 3


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


def test_a_passed_deadline_is_failed_with_its_id(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """It says how to take the task up; and then it can be taken up."""
    user.control.script_tasks(scripts.slow(1.0))
    said = ezlink(
        *("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out"),
        *("--deadline", 0.2),
    )
    (task,) = user.control.tasks
    assert said.code == 1
    assert f"ezlink task {task.task_id} --output out" in said.err
    again = ezlink("task", task.task_id, "--output", "out")
    assert (again.code, again.out) == (0, f"out/{task.task_id}.jpg\n")


def test_a_result_that_cannot_be_saved_keeps_its_id(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The swap is paid: its id and how to go on are told."""
    user.control.standing("image", faults.Picture(status=404, content="gone"))
    said = ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    assert said.code == 1
    assert user.control.tasks[0].task_id in said.err
    assert "DownloadError" in said.err


def test_the_built_in_server_with_its_engine(
    ezlink: Ezlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--local`` swaps a real face with no key, and fails on a picture without."""
    pytest.importorskip("cv2")
    home(monkeypatch, tmp_path)
    samples = Path(__file__).parents[2] / "docs" / "samples"
    (tmp_path / "plain.jpg").write_bytes(jpeg(20_001))
    said = ezlink(
        *("swap", samples / "astronaut.jpg", samples / "synthetic_1.jpg"),
        *("plain.jpg", "--local", "--output", "out", "--deadline", 60),
    )
    assert said.code == 1
    assert said.out == "out/synthetic_1.jpg\n"
    assert "failed: plain.jpg" in said.err
    before = (samples / "synthetic_1.jpg").read_bytes()
    assert (tmp_path / "out" / "synthetic_1.jpg").read_bytes() != before


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_once_it_brings_home_what_runs(
    user: Emulator, photos: Path, name: str
) -> None:
    """The first signal submits nothing more and waits; exit 130."""
    user.control.script_tasks(*[scripts.slow(1.0)] * 9)
    process = _start(
        *("swap", photos / "me.jpg", photos, "--output", "out", "--concurrency", 1)
    )
    while not user.control.charges:
        threading.Event().wait(0.01)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "out/a.jpg\n"
    assert "nothing more is sent" in err
    assert "not sent: Interrupted" in err
    assert len(user.control.charges) == 1


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_interrupted_twice_it_leaves_with_the_ids(user: Emulator, photos: Path) -> None:
    """The second signal leaves at once; what was paid is named."""
    user.control.script_tasks(*[scripts.stuck()] * 9)
    process = _start(*("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out"))
    assert process.stderr is not None
    while not any(s.path.endswith("/fetch") for s in user.control.requests):
        threading.Event().wait(0.01)
    process.send_signal(signal.SIGINT)
    line = process.stderr.readline()
    while "nothing more is sent" not in line:
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert user.control.tasks[0].task_id in err
