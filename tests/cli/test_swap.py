"""``ezlink swap``: what is sent, what comes home, what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import SAMPLES, Ezlink, home, sums
from tests.support.pictures import jpeg

BROKEN = Path("/proc/self/mem")
"""A file whose first bytes cannot be read, on Linux."""


def test_a_folder_comes_home_in_its_own_shape(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
    """Folders are walked, results keep their tree, the rest is counted."""
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 0
    out = tmp_path / "out"
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.jpg"))
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
    """What is saved and intact is done, whatever is asked; a broken one is brought."""
    command = ("swap", photos / "me.jpg", photos, "--output", tmp_path / "out")
    ezlink(*command)
    again = ezlink(*command, "--json")
    assert again.code == 0
    assert again.summary == sums(skipped=3)
    (tmp_path / "out" / "a.jpg").write_bytes(jpeg(20_001)[:-2])
    (tmp_path / "out" / "b.jpg").unlink()
    assert ezlink(*command, "--json").summary == sums(succeeded=2, skipped=1)
    assert ezlink(*command, "--existing", "replace", "--json").summary == sums(
        skipped=3
    )
    assert len(user.control.charges) == 3


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
    assert said.summary == sums(succeeded=3, failed=1)
    (bad,) = [row for row in said.rows[:-1] if row["status"] == "failed"]
    assert str(bad["error"]).startswith("ImageError: ")
    assert bad["output"] is None


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_photo_that_cannot_be_read_has_failed(
    ezlink: Ezlink, user: Emulator, photos: Path, more: tuple[str, ...]
) -> None:
    """A disk that fails is no doubt about money: nothing was sent, and it says so."""
    targets = (BROKEN, photos / "a.jpg")
    command = ("swap", photos / "me.jpg", *targets, "--output", "out", "--json", *more)
    said = ezlink(*command)
    assert said.code == 1
    rows = {str(row["target"]): row for row in said.rows[:-1]}
    broken = rows[str(BROKEN)]
    assert (broken["status"], broken["maybe_charged"]) == ("failed", False)
    assert str(broken["error"]).startswith(f"ImageError: {BROKEN}: ")
    assert rows[str(photos / "a.jpg")]["status"] in {"succeeded", "planned"}
    assert len(user.control.charges) == 1 - len(more)


def test_a_source_that_cannot_be_read_is_a_sentence(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """There is no traceback, and nothing is sent."""
    said = ezlink("swap", BROKEN, photos / "a.jpg", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"ezlink: {BROKEN}: " in said.err
    assert user.control.requests == []


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


def test_a_dry_run_as_json(ezlink: Ezlink, user: Emulator, photos: Path) -> None:
    """The same objects, with ``planned`` for what would be sent."""
    command = ("swap", photos / "me.jpg", photos / "a.jpg", photos / "no.jpg")
    said = ezlink(*command, "--output", "out", "--dry-run", "--json")
    assert said.code == 1
    rows = {str(row["status"]): row for row in said.rows[:-1]}
    assert set(rows) == {"failed", "planned"}
    assert rows["planned"] == {
        "target": str(photos / "a.jpg"),
        "output": "out/a",
        "task_id": None,
        "status": "planned",
        "error": None,
        "maybe_charged": False,
    }
    assert said.summary["total"] == 2
    assert not Path("out").exists()
    assert user.control.requests == []


@pytest.mark.parametrize("mode", ["fast", "turbo", "relax"])
def test_the_queue_of_the_server(
    ezlink: Ezlink, user: Emulator, photos: Path, mode: str
) -> None:
    """``--mode`` is part of the address the job is sent to."""
    command = ("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    assert ezlink(*command, "--mode", mode).code == 0
    paths = [seen.path for seen in user.control.requests if seen.method == "POST"]
    assert paths[0] == f"/mj-{mode}/mj/insight-face/swap"


def test_existing_pictures_are_replaced_on_demand(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """``--existing replace`` swaps again, whatever is there; ``skip`` looks first."""
    Path("out").mkdir()
    for name in ("a.png", "b.jpg", "trip.txt"):  # any suffix of a picture counts
        Path("out", name).write_bytes(jpeg(20_080))
    command = ("swap", photos / "me.jpg", photos / "a.jpg", photos / "b.jpeg")
    said = ezlink(*command, "--output", "out", "--json")
    assert (said.code, said.summary) == (1, sums(skipped=2))
    assert "FileExistsError: out/a.png is there already" in said.out
    assert {row["output"] for row in said.rows[:-1]} == {"out/a.png", "out/b.jpg"}
    said = ezlink(*command, "--output", "out", "--existing", "replace", "--json")
    assert (said.code, said.summary) == (0, sums(succeeded=2))
    assert Path("out", "b.jpg").read_bytes() != jpeg(20_080)
    assert len(user.control.charges) == 2


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


def test_a_passed_deadline_is_failed_with_its_id(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The same command takes the task up by its id."""
    user.control.script_tasks(scripts.slow(1.0))
    said = ezlink(
        *("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out"),
        *("--deadline", 0.2),
    )
    (task,) = user.control.tasks
    assert said.code == 1
    assert f"task {task.task_id} is not finished" in said.err
    assert "\ngo on with: ezlink swap " in said.err
    user.control.advance(1)
    again = ezlink("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    assert (again.code, again.out) == (0, "out/a.jpg\n")
    assert len(user.control.charges) == 1


def test_the_built_in_server_leaves_no_task_to_take_up(
    ezlink: Ezlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it could not do in time is swapped again, not waited for by id."""
    pytest.importorskip("cv2")
    home(monkeypatch, tmp_path)
    faces = SAMPLES / "astronaut.jpg", SAMPLES / "synthetic_1.jpg"
    said = ezlink("swap", *faces, "--local", "--output", "out", "--deadline", 0.001)
    assert said.code == 1
    assert "is not finished" in said.err
    said = ezlink("swap", *faces, "--local", "--output", "out")
    assert (said.code, said.out) == (0, "out/synthetic_1.jpg\n")


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
    (tmp_path / "plain.jpg").write_bytes(jpeg(20_001))
    said = ezlink(
        *("swap", SAMPLES / "astronaut.jpg", SAMPLES / "synthetic_1.jpg"),
        *("plain.jpg", "--local", "--output", "out", "--deadline", 60),
    )
    assert said.code == 1
    assert said.out == "out/synthetic_1.jpg\n"
    assert "failed: plain.jpg" in said.err
    assert "ezlink task" not in said.err
    before = (SAMPLES / "synthetic_1.jpg").read_bytes()
    assert (tmp_path / "out" / "synthetic_1.jpg").read_bytes() != before
