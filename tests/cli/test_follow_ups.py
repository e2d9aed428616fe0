"""``ezlink action``, ``modal``, ``seed`` and ``task``: what goes on from a task."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, in_thread
from tests.support.command_line import Ezlink, Reached, start, sums
from tests.toy_family import PICTURES, ToyServer


@pytest.fixture
def grid(ezlink: Ezlink, user: Emulator) -> str:
    """Return the id of a finished grid."""
    assert ezlink("imagine", "a fox", "--output", "parents").code == 0
    return user.control.tasks[-1].task_id


@pytest.fixture
def single(ezlink: Ezlink, user: Emulator, grid: str) -> str:
    """Return the id of an enlarged picture."""
    assert ezlink("action", grid, "U2", "--output", "parents").code == 0
    return user.control.tasks[-1].task_id


def _submits(user: Emulator, call: str = "") -> int:
    return sum(f"/submit/{call}" in seen.path for seen in user.control.requests)


def _mask(name: str = "mask.png") -> str:
    mask = Image.new("L", (1024, 1024))
    mask.paste(255, (300, 300, 600, 600))
    mask.save(name)
    return name


# --- action


def test_buttons_are_found_by_label_emoji_and_custom_id(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    custom_id = f"MJ::JOB::upsample::3::{grid}"
    said = ezlink("action", grid, "u1", "🔄", "--output", "out")
    assert said.code == 0, said.err
    assert sorted(said.out.splitlines()) == [f"out/{grid}+U1.png", f"out/{grid}+🔄.png"]
    looks = len(user.control.requests)
    said = ezlink("action", grid, custom_id, "--output", "out")
    assert said.code == 0, said.err
    assert [charge.units for charge in user.control.charges[1:]] == [
        *(9_000, 18_000, 9_000)
    ] or _submits(user) == 4
    asked = {seen.path for seen in user.control.requests[looks:]}
    assert f"/mj/task/{grid}/fetch" not in asked  # it needs no record


def test_task_is_known_by_the_file_of_its_result(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    """And the results are named after that file."""
    del single
    command = ("action", "parents/a fox.png", "V1", "--output", "out")
    assert ezlink(*command).out == "out/a fox+V1.png\n"
    zoomed = ("action", "out/a fox+V1.png", "U3", "--output", "out/more")
    assert ezlink(*zoomed).out == "out/more/a fox+V1+U3.png\n"
    assert ezlink("seed", "parents/a fox.png").code == 0
    by_then = ("imagine", "a fox", "--then", "V1", "--output", "parents")
    by_file = ("action", "parents/a fox.png", "V1", "--output", "parents")
    assert ezlink(*by_then).out == "parents/a fox+V1.png\n"
    assert ezlink(*by_file, "--json").summary == sums(skipped=1)
    Path("other.png").touch()
    said = ezlink("action", "other.png", "U1", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "no journal beside other.png knows its task: give the id" in said.err
    Path("out/other.png").touch()
    assert ezlink("seed", "out/other.png").code == 2
    assert len(user.control.charges) == 5


def test_task_in_the_journal_is_the_same_by_its_file_and_by_its_id(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    paid = 0
    for button in ("V1", f"MJ::JOB::upsample::3::{grid}"):
        assert ezlink("action", grid, button, "--output", "parents").code == 0
        paid = len(user.control.charges)
        by_file = ("action", "parents/a fox.png", button, "--output", "parents")
        assert ezlink(*by_file, "--json").summary == sums(skipped=1)
        assert len(user.control.charges) == paid
    assert Path("parents/a fox+V1.png").exists()
    by_then = ("imagine", "a fox", "--then", "V1", "--output", "parents")
    assert ezlink(*by_then, "--json").summary == sums(skipped=2)
    assert len(user.control.charges) == paid


def test_id_of_a_task_of_another_server_is_none_of_the_journal(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    """Both servers have a task of this id."""
    elsewhere = user.base_url.replace("127.0.0.1", "localhost")
    assert elsewhere != user.base_url
    command = ("action", grid, "V1", "--output", "parents", "--base-url", elsewhere)
    assert ezlink(*command).out == f"parents/{grid}+V1.png\n"


def test_button_that_is_not_there_names_those_that_are(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    said = ezlink("action", grid, "U7", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "there is no button 'U7'; it has 'U1', 'U2'" in said.err
    assert _submits(user) == 1


def test_task_without_buttons_says_its_status(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    user.control.script("fetch", faults.Rows(change={"buttons": [], "status": ""}))
    said = ezlink("action", grid, "U1", "--output", "out")
    assert said.code == 2
    assert f"task {grid} has no buttons; its status is not started" in said.err
    said = ezlink("action", "nope", "U1", "--output", "out")
    assert said.code == 2
    assert said.err.startswith("ezlink: ")
    assert "nope" in said.err


@pytest.mark.parametrize("command", ["action 1 U1", "modal 1 --prompt x"])
@pytest.mark.usefixtures("stranger")
def test_local_server_has_no_task_of_an_earlier_command(
    ezlink: Ezlink, command: str
) -> None:
    said = ezlink(*command.split(), "--local", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "ezlink imagine --then, or run ezlink serve" in said.err


@pytest.mark.usefixtures("user")
def test_result_of_the_local_server_has_no_task_any_more(ezlink: Ezlink) -> None:
    assert ezlink("imagine", "a fox", "--local", "--output", "out").code == 0
    said = ezlink("action", "out/a fox.png", "U1", "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "out/a fox.png was made with --local: the built-in server" in said.err


def test_task_that_waits_for_input_names_the_command_and_is_never_sent_again(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    command = ("action", single, "Vary (Region)", "--output", "out")
    said = ezlink(*command, "--base-url", user.base_url)
    waits = user.control.tasks[-1].task_id
    assert said.code == 1
    assert (
        f"ModalNeededError: task {waits} waits for input: ezlink modal {waits} "
        f"--prompt WORDS --mask FILE --output out --base-url {user.base_url}; this "
        "input is charged"
    ) in said.err
    assert "0 jobs" not in said.err
    assert "resume with" not in said.err
    again = ezlink(*command, "--json")
    assert (again.code, _submits(user, "action")) == (1, 2)
    row = again.rows[0]
    assert (row["status"], row["task_id"]) == ("failed", waits)
    assert f"ezlink modal {waits} --prompt WORDS --mask FILE --output" in str(
        row["error"]
    )
    done = ezlink("modal", waits, "--prompt", "a hat", "--output", "out")
    assert (done.code, done.out) == (0, f"out/{waits}+modal.png\n")
    assert [charge.units for charge in user.control.charges[2:]] == [18_000]


def test_region_changes_nothing_outside_the_mask_and_is_paid_once(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    mask = ("--prompt", "a hat", "--mask", _mask())
    command = ("action", single, "Vary (Region)", *mask, "--output", "out")
    dry = ezlink(*command, "--dry-run")
    assert (dry.code, _submits(user, "action")) == (0, 1)
    said = ezlink(*command)
    assert said.code == 0, said.err
    assert said.out == f"out/{single}+Vary (Region).png\n"
    old = Image.open(next(Path("parents").glob("*+U2.png"))).convert("RGB")
    new = Image.open(said.out.strip()).convert("RGB")
    left, top, right, bottom = ImageChops.difference(old, new).getbbox() or (0,) * 4
    assert 300 <= left < right <= 600
    assert 300 <= top < bottom <= 600
    submits = _submits(user)
    again = ezlink(*command, "--json")
    assert (again.code, again.summary, _submits(user)) == (0, sums(skipped=1), submits)
    other = Image.new("L", (1024, 1024), 255)
    other.save("mask.png")
    assert ezlink(*command, "--existing", "replace").code == 0
    assert [charge.units for charge in user.control.charges[2:]] == [18_000, 18_000]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("U1", "--prompt", "x"), "'Upscale (Subtle)'"),
        (("Zoom Out 2x", "--prompt", "x"), "takes neither prompt nor mask"),
        (("Custom Zoom", "Zoom Out 2x", "--prompt", "x"), "one button, not several"),
        (("Custom Zoom", "--prompt", " "), "the prompt is a text"),
        (("Vary (Region)", "--mask", "none.png"), "none.png"),
    ],
)
def test_input_that_cannot_be_sent_is_refused_before_the_button_is_pressed(
    ezlink: Ezlink, user: Emulator, single: str, more: tuple[str, ...], says: str
) -> None:
    said = ezlink("action", single, *more, "--output", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert says in said.err
    assert _submits(user) == 2


def test_button_that_asks_for_nothing_after_all_is_named(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    body = {"code": 1, "description": "Submit success", "result": single}
    user.control.script("action", faults.Upstream(body=body))
    said = ezlink("action", single, "Custom Zoom", "--prompt", "x", "--output", "out")
    assert said.code == 2
    assert f"with: ezlink task {single} --output out" in said.err
    assert _submits(user, "modal") == 0


def test_interrupt_while_the_button_is_pressed_sends_no_modal(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    pressed = Reached(faults.Stall())
    user.control.script("action", pressed)
    command = ("action", single, "Custom Zoom", "--prompt", "a fox", "--output", "out")
    with start(*command) as running:
        pressed.wait()
        running.process.send_signal(signal.SIGINT)
        said = running.end()
    assert said.code == 130
    assert "Traceback" not in said.err
    assert ezlink(*command).code == 0
    assert [charge.units for charge in user.control.charges[2:]] == [18_000]


def test_manifest_has_rows_of_actions_and_modals(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    row = {"button": f"MJ::JOB::upsample::2::{grid}", "task": grid, "output": "two"}
    Path("rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    said = ezlink("action", "--manifest", "rows.jsonl", "--output", "out")
    assert (said.code, said.out) == (0, "out/two.png\n"), said.err
    enlarged = user.control.tasks[-1].task_id
    assert ezlink("action", enlarged, "Custom Zoom", "--output", "out").code == 1
    waits = user.control.tasks[-1].task_id
    row = {"task": waits, "prompt": "a hat", "output": "hat"}
    Path("rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    said = ezlink("modal", "--manifest", "rows.jsonl", "--output", "out")
    assert said.code == 0, said.err
    assert Path("out/hat.png").exists()


def test_dialog_is_no_paid_result_that_fresh_would_forget(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    command = ("action", single, "Custom Zoom", "--output", "out")
    assert ezlink(*command).code == 1
    said = ezlink(*command, "--fresh")
    assert "ModalNeededError" in said.err
    assert (said.code, _submits(user, "action")) == (1, 3)


# --- modal


def test_modal_without_a_prompt_sends_the_one_that_is_suggested(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    assert ezlink("action", single, "Custom Zoom", "--output", "out").code == 1
    waits = user.control.tasks[-1].task_id
    said = ezlink("modal", waits, "--output", "out")
    assert (said.code, said.out) == (0, f"out/{waits}+modal.png\n"), said.err
    again = ezlink("modal", waits, "--output", "out")
    assert (again.code, _submits(user, "modal")) == (0, 1)


@pytest.fixture
def remixing(monkeypatch: pytest.MonkeyPatch, stranger: None) -> Iterator[Emulator]:
    """Be a user of a server on which remix is switched on."""
    del stranger
    settings = EmulatorSettings(concurrency=50, queue=50, remix=True)
    with in_thread(settings) as server:
        monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
        yield server


def test_button_of_a_batch_that_waits_for_a_prompt_is_one_failure(
    ezlink: Ezlink, remixing: Emulator
) -> None:
    """The variation was charged, and is not pressed again."""
    command = ("imagine", "a fox", "--then", "V1,U1", "--output", "out")
    for _ in range(2):
        said = ezlink(*command)
        assert said.code == 1
        assert said.err.count("ModalNeededError: task ") == 1
        assert said.err.count("ezlink modal ") == 1
    assert len(remixing.control.charges) == 3
    assert Path("out/a fox+U1.png").exists()


# --- seed


def test_seeds_are_printed_and_an_unknown_task_exits_1(
    ezlink: Ezlink, user: Emulator, grid: str
) -> None:
    said = ezlink("seed", grid)
    assert said.code == 0, said.err
    number = said.out.split()[1]
    assert said.out == f"{grid} {int(number)}\n"
    said = ezlink("seed", grid, "nope")
    assert (said.code, said.out) == (1, f"{grid} {number}\n")
    assert "nope: TaskNotFoundError: " in said.err
    rows = {row["task_id"]: row for row in ezlink("seed", grid, "nope", "--json").rows}
    assert rows[grid] == {"task_id": grid, "seed": int(number), "error": None}
    assert rows["nope"]["seed"] is None
    assert _submits(user) == 1


# --- task, and families of plugins


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch, stranger: None) -> Iterator[ToyServer]:
    """Be a user of a server with a family that only a plugin knows."""
    del stranger
    toys = ToyServer()
    with in_thread(EmulatorSettings(routes=toys.routes)) as server:
        monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
        yield toys


def test_family_of_a_plugin_is_run_from_a_manifest_and_its_tasks_saved(
    ezlink: Ezlink, toys: ToyServer
) -> None:
    """The plugin is a module in the folder of the user."""
    Path("my_toys.py").write_text("import tests.toy_family", encoding="utf-8")
    Path("toys.csv").write_text("kind,word,output\ntoy,fox,a/fox\n", encoding="utf-8")
    command = ("run", "toys.csv", "--plugin", "my_toys", "--output", "out")
    said = ezlink(*command)
    assert said.code == 0, said.err
    assert said.out.splitlines() == ["out/a/fox_1.png", "out/a/fox_2.jpg"]
    assert ezlink(*command, "--json").summary == sums(skipped=1)
    assert toys.words == ["fox"]
    said = ezlink("task", "toy:t1", "--plugin", "my_toys")
    assert (said.code, said.out) == (0, "toy:t1 SUCCESS\n")
    said = ezlink("task", "toy:t1", "toy:x", "--output", "again", "--json")
    rows = {row["task_id"]: row for row in said.rows}
    assert said.code == 1
    assert rows["toy:t1"]["output"] == "again/t1_1.png"
    assert rows["toy:t1"]["outputs"] == ["again/t1_1.png", "again/t1_2.jpg"]
    assert Path("again/t1_2.jpg").read_bytes() == PICTURES[1]
    assert str(rows["toy:x"]["error"]).startswith("TaskNotFoundError: ")
    said = ezlink("task", "toy:x")
    assert (said.code, said.out) == (1, "")
    assert "toy:x: TaskNotFoundError: there is no such drawing" in said.err


def test_text_of_a_task_is_saved_and_in_its_json(
    ezlink: Ezlink, user: Emulator
) -> None:
    assert ezlink("shorten", "a very red fox", "--output", "out").code == 0
    task_id = user.control.tasks[-1].task_id
    (row,) = ezlink("task", task_id, "--output", "texts", "--json").rows
    assert row["output"] == f"texts/{task_id}.txt"
    text = Path(f"texts/{task_id}.txt").read_text(encoding="utf-8")
    assert str(row["text"]).strip() == text.strip()


def test_task_of_a_dialog_is_shown_in_its_family(
    ezlink: Ezlink, user: Emulator, single: str
) -> None:
    command = ("action", single, "Custom Zoom", "--prompt", "x", "--output", "out")
    assert ezlink(*command).code == 0
    task_id = user.control.tasks[-1].task_id
    named = f"midjourney-modal:{task_id}"
    assert ezlink("task", named).out == f"{named} SUCCESS 100%\n"
    assert ezlink("task", "a:b").err == "a:b: the server does not know this id\n"
