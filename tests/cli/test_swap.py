"""``ezlink swap``: what it sends, saves and prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import FACES, SAMPLES, Ezlink, sums
from tests.support.pictures import jpeg

Command = tuple[object, ...]

BROKEN = Path("/proc/self/mem")
"""A file whose first bytes cannot be read, on Linux."""


def test_results_of_a_folder_keep_its_tree(
    ezlink: Ezlink, three: Command, user: Emulator, tmp_path: Path
) -> None:
    """Skipped files are counted by reason."""
    said = ezlink(*three)
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


def test_second_run_pays_nothing(
    ezlink: Ezlink, three: Command, user: Emulator, tmp_path: Path
) -> None:
    """A saved result that is broken or gone is downloaded again."""
    ezlink(*three)
    again = ezlink(*three, "--json")
    assert again.code == 0
    assert again.summary == sums(skipped=3)
    (tmp_path / "out" / "a.jpg").write_bytes(jpeg(20_001)[:-2])
    (tmp_path / "out" / "b.jpg").unlink()
    assert ezlink(*three, "--json").summary == sums(succeeded=2, skipped=1)
    assert ezlink(*three, "--existing", "replace", "--json").summary == sums(skipped=3)
    assert len(user.control.charges) == 3


def test_json_prints_one_object_a_line_and_the_summary_last(
    ezlink: Ezlink, user: Emulator, photos: Path, tmp_path: Path
) -> None:
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
def test_unreadable_photo_has_failed_and_is_not_charged(
    ezlink: Ezlink, user: Emulator, photos: Path, more: tuple[str, ...]
) -> None:
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


def test_unreadable_source_is_one_sentence_and_nothing_is_sent(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    said = ezlink("swap", BROKEN, photos / "a.jpg", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert f"ezlink: {BROKEN}: " in said.err
    assert user.control.requests == []


@pytest.mark.usefixtures("stranger")
def test_dry_run_lists_all_pairs_without_a_key(
    ezlink: Ezlink, three: Command, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    shutil.copy(photos / "a.jpg", tmp_path / "out" / "a.jpg")
    shutil.copy(photos / "me.jpg", photos / "twin.jpg")
    said = ezlink(*three, "--dry-run")
    assert said.code == 1
    assert said.out.count("send ") == 2
    assert "same picture" in said.err
    assert "2 planned" in said.err
    assert "1 not done" in said.err


def test_dry_run_as_json_calls_a_target_planned(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
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
    assert {each.method for each in user.control.requests} == {"GET"}


@pytest.mark.parametrize("mode", ["fast", "turbo", "relax"])
def test_mode_is_part_of_the_address(
    ezlink: Ezlink, one: Command, user: Emulator, mode: str
) -> None:
    assert ezlink(*one, "--mode", mode).code == 0
    paths = [seen.path for seen in user.control.requests if seen.method == "POST"]
    assert paths[0] == f"/mj-{mode}/mj/insight-face/swap"


def test_existing_pictures_of_any_suffix_are_skipped_or_replaced(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
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


def test_unknown_jobs_are_listed_with_request_ids_and_not_repeated(
    ezlink: Ezlink, one: Command, user: Emulator
) -> None:
    user.control.script("submit", faults.Drop(job=True))
    said = ezlink(*one, "--json")
    assert said.code == 1
    assert (said.rows[0]["status"], said.rows[0]["maybe_charged"]) == ("unknown", True)
    assert "may have been paid" in said.err
    assert next(iter(user.control.uploads)) in said.err
    user.control.script("submit", faults.Drop(job=True))
    assert ezlink(*one, "--resubmit-unknown").code == 0
    assert len(user.control.charges) == 3


def test_task_past_its_deadline_has_failed_and_is_resumed_by_id(
    ezlink: Ezlink, one: Command, user: Emulator
) -> None:
    user.control.script_tasks(scripts.slow(1.0))
    said = ezlink(*one, "--deadline", 0.2)
    (task,) = user.control.tasks
    assert said.code == 1
    assert f"task {task.task_id} is not finished" in said.err
    assert "\nresume with: ezlink swap " in said.err
    user.control.advance(1)
    again = ezlink(*one)
    assert (again.code, again.out) == (0, "out/a.jpg\n")
    assert len(user.control.charges) == 1


@pytest.mark.usefixtures("stranger")
def test_task_of_the_built_in_server_is_swapped_again_by_the_next_run(
    ezlink: Ezlink,
) -> None:
    pytest.importorskip("cv2")
    said = ezlink("swap", *FACES, "--local", "--output", "out", "--deadline", 0.001)
    assert said.code == 1
    assert "is not finished" in said.err
    said = ezlink("swap", *FACES, "--local", "--output", "out")
    assert (said.code, said.out) == (0, "out/synthetic_1.jpg\n")


@pytest.mark.usefixtures("stranger")
def test_faces_of_a_group_are_all_swapped_or_the_largest_alone(ezlink: Ezlink) -> None:
    """Another choice is another job, whose result may not replace the first one."""
    pytest.importorskip("cv2")
    command = ("swap", FACES[0], SAMPLES / "group.jpg", "--local", "--output", "out")
    saved = Path("out/group.jpg")
    assert ezlink(*command).code == 0
    every = saved.read_bytes()
    assert ezlink(*command, "--faces", "all", "--json").summary == sums(skipped=1)
    other = ezlink(*command, "--faces", "largest")
    assert other.code == 1
    assert "out/group.jpg is the result of an earlier swap" in other.err
    assert "and the options have changed since: --existing replace" in other.err
    assert ezlink(*command, "--faces", "largest", "--existing", "replace").code == 0
    assert saved.read_bytes() != every


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_faces_without_local_are_wrong_usage(
    ezlink: Ezlink, one: Command, user: Emulator, more: tuple[str, ...]
) -> None:
    for faces in ("all", "largest"):
        said = ezlink(*one, "--faces", faces, *more)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert "the real server decides by itself" in said.err
    assert user.control.requests == []


def test_failed_download_reports_the_task_id(
    ezlink: Ezlink, one: Command, user: Emulator
) -> None:
    user.control.standing("image", faults.Picture(status=404, content="gone"))
    said = ezlink(*one)
    assert said.code == 1
    assert user.control.tasks[0].task_id in said.err
    assert "DownloadError" in said.err


@pytest.mark.usefixtures("stranger")
def test_local_swaps_a_face_and_fails_on_a_picture_without(
    ezlink: Ezlink, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "plain.jpg").write_bytes(jpeg(20_001))
    said = ezlink(
        *("swap", *FACES, "plain.jpg", "--local", "--output", "out", "--deadline", 60),
    )
    assert said.code == 1
    assert said.out == "out/synthetic_1.jpg\n"
    assert "failed: plain.jpg" in said.err
    assert "ezlink task" not in said.err
    before = FACES[1].read_bytes()
    assert (tmp_path / "out" / "synthetic_1.jpg").read_bytes() != before
