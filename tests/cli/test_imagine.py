"""``ezlink imagine`` and the other commands that make something new: their options."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import (
    SAMPLES,
    Ezlink,
    Reached,
    run_python,
    start,
    sums,
)

HOPPER, JOCONDE = SAMPLES / "hopper.jpg", SAMPLES / "joconde.jpg"

pillow = pytest.mark.skipif(
    importlib.util.find_spec("PIL") is None, reason="needs the images extra"
)


def _files(folder: str = "out") -> list[str]:
    found = (path.name for path in Path(folder).iterdir())
    return sorted(name for name in found if name not in {".ezlink", "report.html"})


def _bodies(user: Emulator, call: str) -> list[str]:
    """Return the paths of the submits of *call*."""
    return [
        seen.path for seen in user.control.requests if f"submit/{call}" in seen.path
    ]


def _units(user: Emulator) -> list[int]:
    return sorted(charge.units for charge in user.control.charges)


# --- imagine


def test_buttons_are_pressed_on_each_grid_and_counted_from_the_start(
    ezlink: Ezlink, user: Emulator
) -> None:
    command = ("imagine", "a fox", "a cat", "--then", "U2, V3", "--output", "out")
    said = ezlink(*command)
    assert said.code == 0, said.err
    assert "6 jobs: 6 to send\nabout 0.18 USD at default prices" in said.err
    names = [
        f"a {what}{more}.png" for what in ("cat", "fox") for more in ("+U2", "+V3", "")
    ]
    assert _files() == names
    assert sorted(said.out.splitlines()) == sorted(f"out/{name}" for name in names)
    assert _units(user) == [9_000, 9_000, 18_000, 18_000, 18_000, 18_000]
    again = ezlink(*command)
    assert (again.code, len(user.control.charges)) == (0, 6)
    assert "6 jobs: 6 done before" in again.err


def test_added_button_is_pressed_on_the_grid_that_is_there(
    ezlink: Ezlink, user: Emulator
) -> None:
    assert ezlink("imagine", "a fox", "--output", "out").code == 0
    dry = ezlink("imagine", "a fox", "--then", "U4", "--output", "out", "--dry-run")
    assert dry.out == "send a fox: U4 -> out/a fox+U4\n"
    assert "1 job would be paid for\nabout 0.018 USD" in dry.err
    said = ezlink("imagine", "a fox", "--then", "U4", "--output", "out")
    assert (said.code, said.out) == (0, "out/a fox+U4.png\n")
    assert "2 jobs: 1 to send, 1 done before" in said.err
    assert _units(user) == [9_000, 18_000]


def test_dry_run_lists_the_buttons_behind_their_grids(
    ezlink: Ezlink, user: Emulator
) -> None:
    command = ("imagine", "a fox", "--count", 2, "--then", "U1", "--output", "out")
    said = ezlink(*command, "--dry-run", "--budget", 3)
    assert said.out.splitlines() == [
        "send a fox -> out/a fox",
        "send a fox: U1 -> out/a fox+U1",
        "send a fox -> out/a fox-2",
        "send a fox: U1 -> out/a fox-2+U1",
    ]
    assert (
        "the budget leaves out 1 job\n3 jobs would be paid for\nabout 0.09" in said.err
    )
    assert not user.control.charges


def test_budget_counts_grids_and_buttons(ezlink: Ezlink, user: Emulator) -> None:
    command = ("imagine", "a fox", "--then", "U1,U2", "--output", "out")
    said = ezlink(*command, "--budget", 2)
    assert said.code == 1
    assert "3 jobs: 3 to send, the budget is for 2" in said.err
    assert "1 not done: BudgetReached" in said.err
    assert len(user.control.charges) == 2
    assert ezlink(*command).code == 0
    assert _files() == ["a fox+U1.png", "a fox+U2.png", "a fox.png"]


def test_failed_grid_has_no_buttons_pressed(ezlink: Ezlink, user: Emulator) -> None:
    user.control.script_tasks(scripts.fails("the machine is broken"))
    said = ezlink("imagine", "a fox", "--then", "U1", "--output", "out")
    assert (said.code, _files()) == (1, [])
    assert "failed: a fox: TaskFailedError: " in said.err
    again = ezlink("imagine", "a fox", "--then", "U1", "--output", "out")
    assert "2 jobs: 2 not to be sent\n" in again.err
    assert len(user.control.charges) == 1


def test_button_that_is_not_there_is_one_failure(
    ezlink: Ezlink, user: Emulator
) -> None:
    said = ezlink("imagine", "a fox", "--then", "U9,U1", "--output", "out")
    assert said.code == 1
    assert "there is no button 'U9'; it has 'U1', 'U2'" in said.err
    assert _files() == ["a fox+U1.png", "a fox.png"]
    assert len(user.control.charges) == 2


def test_mode_count_bot_and_pictures_are_sent(ezlink: Ezlink, user: Emulator) -> None:
    command = ("imagine", "a fox", "--mode", "relax", "--count", 2, "--bot", "niji")
    pictures = ("--image", HOPPER, "--image", JOCONDE)
    assert ezlink(*command, *pictures, "--output", "out").code == 0
    assert _files() == ["a fox-2.png", "a fox.png"]
    assert _units(user) == [6_000, 6_000]
    assert {task.prompt for task in user.control.tasks} == {"a fox --relax"}


@pillow
def test_grid_is_cut_into_its_four_pictures_pixel_by_pixel(
    ezlink: Ezlink, user: Emulator
) -> None:
    from PIL import Image

    command = ("imagine", "a fox", "--split", "--output", "out")
    said = ezlink(*command, "--json")
    four = [f"out/a fox_{number}.png" for number in range(1, 5)]
    assert said.rows[0]["outputs"] == ["out/a fox.png", *four]
    grid = Image.open("out/a fox.png").convert("RGB")
    half = grid.width // 2
    for number, (left, top) in enumerate([(0, 0), (half, 0), (0, half), (half, half)]):
        tile = Image.open(four[number]).convert("RGB")
        quarter = grid.crop((left, top, left + half, top + half))
        assert tile.tobytes() == quarter.tobytes()
    assert ezlink(*command, "--json").rows[0]["outputs"] == ["out/a fox.png", *four]
    Path(four[1]).unlink()
    Path(four[2]).write_bytes(b"retouched")
    assert ezlink(*command).code == 0
    assert Path(four[1]).exists()
    assert Path(four[2]).read_bytes() == b"retouched"
    assert len(user.control.charges) == 1
    assert ezlink(*command, "--fresh", "--yes").code == 0
    assert Path(four[2]).read_bytes() != b"retouched"


@pillow
def test_grid_that_cannot_be_cut_has_failed_and_is_cut_by_the_next_run(
    ezlink: Ezlink, user: Emulator
) -> None:
    Path("out/a fox_3.png").mkdir(parents=True)
    command = ("imagine", "a fox", "--then", "U1", "--split", "--output", "out")
    said = ezlink(*command, "--existing", "replace")
    assert said.code == 1
    assert "out/a fox.png is saved, and its four pictures are not" in said.err
    Path("out/a fox_3.png").rmdir()
    assert ezlink(*command).code == 0
    assert _files() == [
        *("a fox+U1.png", "a fox.png", "a fox_1.png", "a fox_2.png"),
        *("a fox_3.png", "a fox_4.png"),
    ]
    assert len(user.control.charges) == 2


def test_split_without_pillow_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['PIL'] = None\n"
        "sys.argv = ['ezlink', 'imagine', 'x', '--split', '--local', '-o', 'out']"
    )
    said = run_python(program, tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "pip install 'ezlink-async[images]'" in said.err
    assert said.err.count("\n") == 1


def test_prompts_without_quotes_are_doubted(ezlink: Ezlink, user: Emulator) -> None:
    """A script is not asked, and a terminal is."""
    said = ezlink("imagine", "a", "red", "fox", "--output", "out", "--dry-run")
    assert "3 prompts of one word each; for one prompt put quotes" in said.err
    assert "'a red fox'" in said.err
    assert not user.control.charges


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("imagine", "-o", "x"), "name what to imagine, or a file that lists it"),
        (("imagine", "a fox"), "--output DIR is missing"),
        (("imagine", " ", "-o", "x"), "the prompt is a text that says something"),
        (("imagine", "a --turbo", "--mode", "relax", "-o", "x"), "relax"),
        (("imagine", "a fox", "--count", "0", "-o", "x"), "--count"),
        (("imagine", "a", "--image", "https://a.b/c.png", "-o", "x"), "download it"),
        (("blend", "a.jpg", "-o", "x"), "2 to 5 pictures, not 1"),
        (("blend", "a", "https://a.b/c.png", "-o", "x"), "download it"),
        (("describe", "https://a.b/c.png", "-o", "x"), "download it"),
        (("imagine", "a", "--manifest", "jobs.csv", "-o", "x"), "give no other"),
        (("imagine", "--then", "U1", "--manifest", "m", "-o", "x"), "give no other"),
        (("run", "-o", "x"), "give one MANIFEST"),
        (("run", "a", "--manifest", "b", "-o", "x"), "give one MANIFEST"),
        (("run", "none.jsonl", "-o", "x"), "none.jsonl cannot be read"),
        (("run", "m", "--plugin", "no_such_module", "-o", "x"), "no_such_module"),
        (("modal", "-o", "x"), "name the TASK that waits"),
        (("action", "1", "-o", "x"), "give a TASK and at least one BUTTON"),
    ],
)
@pytest.mark.usefixtures("user")
def test_wrong_usage_is_one_line_and_sends_nothing(
    ezlink: Ezlink, arguments: tuple[str, ...], says: str
) -> None:
    said = ezlink(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert says in said.err
    assert not Path("x").exists()


# --- blend, describe, shorten


def test_blend_has_a_shape_and_buttons(ezlink: Ezlink, user: Emulator) -> None:
    command = ("blend", HOPPER, JOCONDE, "--dimensions", "portrait")
    assert ezlink(*command, "--then", "U1", "--output", "out").code == 0
    assert _files() == ["hopper+U1.png", "hopper.png"]
    assert _units(user) == [9_000, 18_000]


def test_folder_is_described_and_files_that_are_no_pictures_left_out(
    ezlink: Ezlink, user: Emulator
) -> None:
    """A rerun prints the texts again, and pays nothing."""
    photos = Path("photos")
    (photos / "trip").mkdir(parents=True)
    shutil.copy(HOPPER, photos / "a.jpg")
    shutil.copy(JOCONDE, photos / "trip" / "b.jpg")
    (photos / "notes.md").write_text("none", encoding="utf-8")
    (photos / "empty.jpg").touch()
    said = ezlink("describe", photos, "--output", "out")
    assert said.code == 1
    assert _files() == ["a.txt", "trip"]
    assert "left out: 1 (" in said.err
    assert "1 cannot be used (photos/empty.jpg)" in said.err
    assert said.out.count("a JPEG picture of ") == 2
    (photos / "empty.jpg").unlink()
    again = ezlink("describe", photos, "--output", "out")
    assert (again.code, len(user.control.charges)) == (0, 2)
    assert sorted(again.out.splitlines()) == sorted(said.out.splitlines())


def test_empty_folder_has_nothing_to_describe(ezlink: Ezlink, user: Emulator) -> None:
    Path("empty").mkdir()
    said = ezlink("describe", "empty", "--output", "out")
    assert (said.code, said.err) == (2, "there is no picture to describe in empty\n")
    assert not user.control.charges


def test_text_that_the_server_has_lost_is_a_failure(
    ezlink: Ezlink, user: Emulator
) -> None:
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/1"}
    user.control.script_tasks(scripts.sequence(view))
    said = ezlink("describe", HOPPER, "--output", "out")
    assert (said.code, _files()) == (1, [])
    assert "TextLostError: " in said.err
    assert ezlink("describe", HOPPER, "--output", "out").code == 1
    assert len(user.control.charges) == 1


# --- run, and manifests of the other commands


def test_manifest_has_jobs_of_many_kinds(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Lines of swaps are as they always were."""
    rows = [
        {"kind": "imagine", "prompt": "a fox", "then": ["U1"], "output": "animals/fox"},
        {"kind": "describe", "image": str(HOPPER)},
        {
            "kind": "swap",
            "source": str(photos / "me.jpg"),
            "target": str(photos / "a.jpg"),
        },
    ]
    Path("jobs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    said = ezlink("run", "jobs.jsonl", "--output", "out", "--json")
    assert said.code == 0, said.err
    assert "4 jobs: 4 to send\nabout 0.09 USD at default prices" in said.err
    by_kind = {str(row.get("kind", "swap")): row for row in said.rows[:-1]}
    assert set(by_kind) == {"imagine", "action", "describe", "swap"}
    assert set(by_kind["swap"]) == {
        *("target", "output", "task_id", "status", "error", "maybe_charged")
    }
    assert by_kind["action"]["output"] == "out/animals/fox+U1.png"
    assert said.summary == sums(succeeded=4)
    again = ezlink("run", "--manifest", "jobs.jsonl", "--output", "out", "--json")
    assert (again.code, again.summary) == (0, sums(skipped=4))
    assert len(user.control.charges) == 4


def test_wrong_row_is_named_by_line_and_field_before_anything_is_sent(
    ezlink: Ezlink, user: Emulator
) -> None:
    Path("jobs.jsonl").write_text(
        '{"prompt": "a fox"}\n\n{"prompt": "a cat", "modus": "fast"}\n', "utf-8"
    )
    said = ezlink("imagine", "--manifest", "jobs.jsonl", "--output", "out")
    assert said.code == 2
    assert said.err == "ezlink: jobs.jsonl, line 3: imagine has no field 'modus'\n"
    said = ezlink("run", "jobs.jsonl", "--output", "out")
    assert "jobs.jsonl, line 1: a row needs a kind: action, blend" in said.err
    assert not user.control.requests


@pytest.mark.parametrize(
    ("command", "row", "output"),
    [
        ("imagine", {"prompt": "a fox", "count": 2}, "a fox-2.png"),
        (
            "blend",
            {"images": [str(HOPPER), str(JOCONDE)]},
            "hopper.png",
        ),
        ("describe", {"image": str(HOPPER), "output": "words"}, "words.txt"),
        ("shorten", {"prompt": "a fox"}, "a fox.txt"),
        (
            "swap",
            {"source": str(HOPPER), "target": str(JOCONDE)},
            "joconde.jpg",
        ),
    ],
)
@pytest.mark.usefixtures("user")
def test_rows_without_a_kind_are_of_the_command_s(
    ezlink: Ezlink, command: str, row: dict[str, object], output: str
) -> None:
    Path("jobs.jsonl").write_text(json.dumps(row), encoding="utf-8")
    said = ezlink(command, "--manifest", "jobs.jsonl", "--output", "out")
    assert said.code == 0, said.err
    assert output in _files()
    both = ezlink(command, "x", "--manifest", "jobs.jsonl", "--output", "out")
    assert (both.code, both.out) == (2, "")


def test_empty_manifest_lists_no_job(ezlink: Ezlink, user: Emulator) -> None:
    Path("jobs.jsonl").touch()
    said = ezlink("run", "jobs.jsonl", "--output", "out")
    assert (said.code, said.err) == (2, "jobs.jsonl lists no job\n")
    assert not user.control.requests


# --- without a key


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("command", "output"),
    [
        (("imagine", "a fox", "--then", "U2"), "a fox+U2.png"),
        (("blend", HOPPER, JOCONDE), "hopper.png"),
        (("describe", HOPPER), "hopper.txt"),
        (("shorten", "a very red fox"), "a very red fox.txt"),
        (("run", "jobs.csv"), "a cat.png"),
    ],
)
def test_local_makes_everything_without_key_and_network(
    ezlink: Ezlink, command: tuple[object, ...], output: str
) -> None:
    Path("jobs.csv").write_text("kind,prompt\nimagine,a cat\n", encoding="utf-8")
    said = ezlink(*command, "--local", "--output", "out")
    assert said.code == 0, said.err
    assert "USD" not in said.err
    assert output in _files()


@pytest.mark.usefixtures("stranger")
def test_dry_run_needs_no_key(ezlink: Ezlink) -> None:
    said = ezlink("imagine", "a fox", "--output", "out", "--dry-run")
    assert (said.code, said.out) == (0, "send a fox -> out/a fox\n")
    said = ezlink("imagine", "a fox", "--output", "out")
    assert said.code == 2
    assert "there is no API key" in said.err


def test_first_signal_names_the_jobs_that_are_waited_for(
    user: Emulator,
) -> None:
    """The buttons of the grid that runs are not pressed any more."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.slow(600))
    command = ("imagine", "a fox", "a cat", "--then", "U1", "--output", "out")
    with start(*command, "--concurrency", 1) as running:
        polled.wait()
        line = running.interrupt()
        user.control.advance(600)
        said = running.end()
    assert said.code == 130
    assert "for 1 job running at the server; press Ctrl-C again" in line
    assert len(_files()) == len(user.control.charges) == 1
    assert "not done: Interrupted: nothing was sent" in said.err
    assert "resume with: ezlink imagine 'a fox' 'a cat' --then U1" in said.err


def test_picture_that_is_in_the_way_stays(ezlink: Ezlink, user: Emulator) -> None:
    """And no button is pressed."""
    Path("out").mkdir()
    shutil.copy(HOPPER, "out/a fox.jpg")
    command = ("imagine", "a fox", "--then", "U1", "--output", "out")
    said = ezlink(*command)
    assert (said.code, _files()) == (1, ["a fox.jpg"])
    assert "2 jobs: 2 not to be sent" in said.err
    assert "FileExistsError: out/a fox.jpg is there already" in said.err
    dry = ezlink(*command, "--dry-run")
    assert (dry.code, dry.out) == (1, "")
    assert not user.control.charges


def test_free_button_is_outside_of_budget_and_price(
    ezlink: Ezlink, user: Emulator
) -> None:
    assert ezlink("imagine", "a fox", "--then", "U1", "--output", "out").code == 0
    command = ("action", "out/a fox+U1.png", "Custom Zoom", "--output", "out")
    dry = ezlink(*command, "--dry-run", "--budget", 1)
    assert "0 jobs would be paid for\n" in dry.err
    assert "USD" not in dry.err
    said = ezlink(*command)
    assert "1 job: 1 to send\nfailed: a fox: U1: Custom Zoom: " in said.err
    assert len(user.control.charges) == 2


def test_refused_prompt_is_a_failure_without_charge(
    ezlink: Ezlink, user: Emulator
) -> None:
    user.control.script("imagine", faults.banned_word())
    said = ezlink("imagine", "a fox", "--output", "out")
    assert said.code == 1
    assert "a fox" in said.err
    assert not user.control.charges
