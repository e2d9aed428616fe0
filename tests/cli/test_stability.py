"""``ezlink stability``: each call by command, what it saves, sends and says."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest

from ezlink_async import emulator
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, in_thread
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from tests.support.command_line import BOUND, Ezlink, start
from tests.support.pictures import png

PHOTO = "photo.png"

#: Each call: its arguments, its price in units, and the file that it saves.
CALLS = {
    "image-to-video": ((PHOTO,), 100_000, "photo+image-to-video.mp4"),
    "upscale": ((PHOTO, "--prompt", "a fox"), 125_000, "photo+upscale.png"),
    "conservative": (
        (PHOTO, "--prompt", "a fox", "--set", "how=conservative"),
        *(125_000, "photo+upscale.png"),
    ),
    "erase": ((PHOTO, "--set", f"mask={PHOTO}"), 15_000, "photo+erase.png"),
    "inpaint": ((PHOTO, "--prompt", "a fox"), 15_000, "photo+inpaint.png"),
    "outpaint": ((PHOTO, "--set", "left=10"), 20_000, "photo+outpaint.png"),
    "search-and-replace": (
        (PHOTO, "--prompt", "a fox", "--set", "search_prompt=a dog"),
        *(20_000, "photo+search-and-replace.png"),
    ),
    "remove-background": ((PHOTO,), 10_000, "photo+remove-background.png"),
    "ultra": (("--prompt", "a fox"), 40_000, "a fox.png"),
    "core": (("--prompt", "a: fox", "--set", "seed=7"), 15_000, "a_ fox.png"),
    "sd3": (("--set", 'prompt="a fox"'), 32_500, "sd3.png"),
    "sketch": ((PHOTO, "--prompt", "a fox"), 15_000, "photo+sketch.png"),
    "structure": ((PHOTO, "--prompt", "a fox"), 15_000, "photo+structure.png"),
}


def _command(name: str) -> tuple[str, ...]:
    what = "upscale" if name == "conservative" else name
    return ("stability", what, *CALLS[name][0], "--output", "out")


def _serve(
    monkeypatch: pytest.MonkeyPatch, settings: EmulatorSettings
) -> Iterator[Emulator]:
    Path(PHOTO).write_bytes(png())
    with in_thread(settings) as server:
        monkeypatch.setenv("EZLINK_API_KEY", server.api_key)
        monkeypatch.setenv("EZLINK_BASE_URL", server.base_url)
        yield server


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch, stranger: None) -> Iterator[Emulator]:
    """Be a user with a key, on a server that has the calls."""
    del stranger
    yield from _serve(monkeypatch, EmulatorSettings(stability=True))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, stranger: None) -> Iterator[Emulator]:
    """Be a user with a key, on a server where a task takes ten minutes."""
    del stranger
    settings = EmulatorSettings(stability=True, engine_seconds=600)
    yield from _serve(monkeypatch, settings)


@attrs.frozen
class _Held:
    """A fault that holds an answer back until the test lets it go."""

    _done: threading.Event = attrs.field(factory=threading.Event)
    _released: threading.Event = attrs.field(factory=threading.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, and answer it later."""
        del exchange
        reply = await proceed()
        self._done.set()
        await asyncio.to_thread(self._released.wait, BOUND)
        return reply

    def wait(self) -> None:
        """Wait until the request is handled."""
        assert self._done.wait(BOUND)

    def let_go(self) -> None:
        """Send the answer."""
        self._released.set()


def _charges(server: Emulator) -> list[int]:
    return [charge.units for charge in server.control.charges]


@pytest.mark.parametrize("name", CALLS)
def test_each_call_saves_its_result(name: str, ezlink: Ezlink, old: Emulator) -> None:
    _, units, file = CALLS[name]
    said = ezlink(*_command(name))
    assert (said.code, said.out) == (0, f"out/{file}\n"), said.err
    assert Path(f"out/{file}").stat().st_size > 100
    assert _charges(old) == [units]
    is_task = name in {"image-to-video", "upscale"}
    assert ("accepted as task stability" in said.err) is is_task


@pytest.mark.parametrize("name", CALLS)
def test_dry_run_sends_nothing(name: str, ezlink: Ezlink, old: Emulator) -> None:
    said = ezlink(*_command(name), "--dry-run")
    place = CALLS[name][2].rpartition(".")[0]
    assert said.code == 0
    assert said.out.startswith("send ")
    assert said.out.endswith(f" -> out/{place}\n")
    assert "1 call would be paid for" in said.err
    assert (old.control.requests, Path("out").exists()) == ([], False)


@pytest.mark.usefixtures("stranger")
def test_dry_run_of_the_built_in_server_pays_for_nothing(ezlink: Ezlink) -> None:
    said = ezlink("stability", "core", "--prompt", "a", "-o", "out", "-n", "--local")
    assert said.err == "1 call would be done by the built-in server, for free\n"


def test_dry_run_needs_no_key(ezlink: Ezlink, stranger: None) -> None:
    del stranger
    said = ezlink("stability", "core", "--prompt", "a", "-o", "out", "-n")
    assert said.code == 0


@pytest.mark.usefixtures("stranger")
def test_built_in_server_serves_the_calls(ezlink: Ezlink) -> None:
    said = ezlink("stability", "core", "--prompt", "a fox", "-o", "out", "--local")
    assert (said.code, said.out) == (0, "out/a fox.png\n"), said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("blur", PHOTO), "one of 'upscale', 'image-to-video', 'erase'"),
        (("creative", PHOTO), "one of 'upscale'"),
        (("erase",), "'erase' needs image"),
        (("core", PHOTO, "--prompt", "a"), "'core' takes no 'image'"),
        (("core",), "'core' needs prompt"),
        (("core", "--prompt", "a", "--set", "seed=x"), "seed is a whole number"),
        (("core", "--prompt", "a", "--set", "seed"), "--set is KEY=JSON: 'seed'"),
        (("core", "--prompt", "a", "--set", "prompt=b"), "--set is given twice"),
        (
            ("upscale", PHOTO, "--prompt", "a", "--set", "how=best"),
            "one of 'creative', 'conservative', not 'best'",
        ),
        (("erase", "none.png"), "none.png"),
        (("erase", "text.png"), "text.png"),
        (("core", "--prompt", "a", "--base-url", "x", "--local"), "leave out"),
    ],
)
def test_wrong_call_sends_nothing(
    arguments: tuple[str, ...], says: str, ezlink: Ezlink, old: Emulator
) -> None:
    Path("text.png").write_text("no picture", encoding="utf-8")
    said = ezlink("stability", *arguments, "--output", "out")
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert old.control.requests == []


def test_output_that_is_a_file_sends_nothing(ezlink: Ezlink, old: Emulator) -> None:
    said = ezlink("stability", "erase", PHOTO, "--output", PHOTO)
    assert (said.code, f"{PHOTO} is no folder" in said.err) == (2, True)
    assert old.control.requests == []


def test_result_never_replaces_another_file(ezlink: Ezlink, old: Emulator) -> None:
    """Each run pays anew, so each has a file of its own."""
    outs = [ezlink(*_command("erase")).out for _ in range(3)]
    assert outs == [
        "out/photo+erase.png\n",
        "out/photo+erase-2.png\n",
        "out/photo+erase-3.png\n",
    ]
    assert _charges(old) == [15_000] * 3


def test_name_that_another_run_has_taken_meanwhile_is_left_to_it(
    ezlink: Ezlink, old: Emulator
) -> None:
    held = _Held()
    old.control.script("stability", held)
    with start(*_command("erase")) as first:
        held.wait()
        second = ezlink(*_command("erase"))
        assert second.out == "out/photo+erase.png\n"
        held.let_go()
        said = first.end()
    assert (said.code, said.out) == (0, "out/photo+erase-2.png\n"), said.err
    names = {"photo+erase.png", "photo+erase-2.png"}
    assert {path.name for path in Path("out").iterdir()} == names
    assert _charges(old) == [15_000] * 2


@pytest.mark.parametrize("letter", ["a", "é", "狐"])
def test_result_of_a_picture_with_the_longest_name_is_saved(
    letter: str, ezlink: Ezlink, old: Emulator
) -> None:
    """A result whose file cannot be written would be paid, and lost."""
    photo = letter * (250 // len(letter.encode())) + ".png"
    Path(photo).write_bytes(png())
    said = ezlink(
        "stability",
        "search-and-replace",
        photo,
        "--prompt",
        "a fox",
        "--set",
        "search_prompt=a dog",
        "--output",
        "out",
    )
    assert said.code == 0, said.err
    assert Path(said.out.strip()).name.endswith("+search-and-replace.png")
    assert _charges(old) == [20_000]


def test_result_of_a_prompt_of_wide_characters_is_saved(
    ezlink: Ezlink, old: Emulator
) -> None:
    said = ezlink("stability", "core", "--prompt", "🦊" * 80, "--output", "out")
    assert (said.code, said.out) == (0, f"out/{'🦊' * 50}.png\n"), said.err
    assert _charges(old) == [15_000]


def test_server_without_the_calls_is_named(ezlink: Ezlink, user: Emulator) -> None:
    said = ezlink("stability", "core", "--prompt", "a fox", "-o", "out")
    assert (said.code, said.out) == (1, "")
    assert "removed its Stability routes (January 2026)" in said.err
    assert "may have been paid" not in said.err
    assert user.control.charged == 0


def test_refusal_is_one_line(ezlink: Ezlink, old: Emulator) -> None:
    said_so = {"errors": ["flagged"], "id": "x", "name": "content_moderation"}
    old.control.script("stability", faults.Upstream(403, said_so))
    said = ezlink(*_command("erase"))
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert line.startswith("failed: erase: RejectedError: ")
    assert "flagged" in line


def test_lost_picture_may_have_been_paid(ezlink: Ezlink, old: Emulator) -> None:
    old.control.script("stability", faults.Drop(job=True))
    said = ezlink(*_command("erase"))
    assert said.code == 1
    assert "SubmitUnknownError" in said.err
    assert "it may have been paid; another run pays again" in said.err
    assert _charges(old) == [15_000]


def test_blurred_result_is_saved_and_said(ezlink: Ezlink, old: Emulator) -> None:
    blurred = ezlink(*_command("erase"))
    content = Path(blurred.out.strip()).read_bytes()
    body = {
        "image": base64.b64encode(content).decode(),
        "finish_reason": "CONTENT_FILTERED",
    }
    old.control.script("stability", faults.Upstream(200, body))
    said = ezlink(*_command("erase"))
    assert said.code == 0
    assert "the provider has blurred it" in said.err


def test_task_goes_on_in_another_process(ezlink: Ezlink, slow: Emulator) -> None:
    said = ezlink(*_command("upscale"), "--deadline", 0.2)
    assert said.code == 1
    resume = said.err.splitlines()[-1].partition("resume with: ezlink ")[2]
    assert resume.startswith("task stability-upscale:")
    slow.control.advance(600)
    with start(*resume.split()) as command:
        again = command.end()
    assert again.code == 0, again.err
    assert Path(again.out.strip()).read_bytes().startswith(b"\x89PNG")
    assert _charges(slow) == [125_000]


def test_interrupted_task_names_the_command_that_resumes(slow: Emulator) -> None:
    with start(*_command("image-to-video")) as command:
        command.read_until("accepted as task stability:")
        command.process.send_signal(2)
        line = command.read_until("resume with")
        said = command.end()
    assert said.code == 130
    assert "the task runs on; resume with: ezlink task stability:" in line
    assert _charges(slow) == [100_000]


def test_interrupted_call_waits_for_its_answer(old: Emulator) -> None:
    """The server has it, so it may be paid: the picture is saved first."""
    held = _Held()
    old.control.script("stability", held)
    with start(*_command("erase")) as command:
        held.wait()
        command.interrupt()
        held.let_go()
        said = command.end()
    assert (said.code, said.out) == (130, "out/photo+erase.png\n")
    assert _charges(old) == [15_000]


def test_interrupted_submit_of_a_task_names_the_task(slow: Emulator) -> None:
    held = _Held()
    slow.control.script("stability", held)
    with start(*_command("upscale")) as command:
        held.wait()
        command.interrupt()
        held.let_go()
        said = command.end()
    assert said.code == 130
    assert "resume with: ezlink task stability-upscale:" in said.err


def test_task_of_the_built_in_server_ends_with_it(
    ezlink: Ezlink, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del stranger
    slow = partial(EmulatorSettings, engine_seconds=600)
    monkeypatch.setattr(emulator, "EmulatorSettings", slow)
    Path(PHOTO).write_bytes(png())
    command = ("stability", "image-to-video", PHOTO, "-o", "out", "--local")
    said = ezlink(*command, "--deadline", 0.2)
    assert said.code == 1
    assert "the built-in server ends with this command, and the task with it" in (
        said.err
    )
