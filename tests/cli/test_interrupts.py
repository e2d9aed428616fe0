"""Signals: the first winds down, the second leaves, and neither loses an id."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from ezlink_async import AsyncEzlink
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.run import BatchRun
from ezlink_async.cli.display import Lines, noted
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import Ezlink, Tells, home, read_until, start

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of another kind")

_WINDS_DOWN = "nothing more is sent"


async def test_the_first_winds_down_the_second_leaves_the_third_is_too_late() -> None:
    """Each is heard once, and the task it runs in is cancelled once."""
    heard: list[str] = []

    async def work() -> None:
        with Interrupts(lambda: heard.append("wind down")) as interrupts:
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append(f"left after {interrupts.count}")
                raise

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())
    assert heard == ["wind down", "left after 3"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def hangups(request: pytest.FixtureRequest) -> Iterator[None]:
    """Be started with or without ``nohup``, however these tests were."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("hangups", [signal.SIG_IGN], indirect=True)
async def test_what_nohup_started_outlives_its_terminal() -> None:
    """A hangup that was ignored before stays ignored."""
    with Interrupts(pytest.fail) as interrupts:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        assert interrupts.count == 0


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("hangups", [signal.SIG_DFL], indirect=True)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted_once_it_brings_home_what_runs(
    user: Emulator, photos: Path, name: str
) -> None:
    """The first signal submits nothing more and waits; exit 130."""
    submitted = Tells()
    user.control.script("submit", submitted)
    user.control.script_tasks(*[scripts.slow(600)] * 9)
    with start(
        *("swap", photos / "me.jpg", photos, "--output", "out", "--concurrency", 1)
    ) as process:
        submitted.wait()
        process.send_signal(getattr(signal, name))
        said = read_until(process.stderr, _WINDS_DOWN)
        user.control.advance(600)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "waiting for 1 in progress" in said
    assert out == "out/a.jpg\n"
    assert "2 not swapped: Interrupted: nothing was sent" in err
    assert f"go on with: ezlink swap {photos / 'me.jpg'}" in err
    assert "1 succeeded, 2 skipped" in err
    assert len(user.control.charges) == 1


def test_interrupted_twice_it_leaves_with_the_ids(user: Emulator, photos: Path) -> None:
    """The second signal leaves at once; what was paid is named, in one command."""
    looked = Tells()
    user.control.script("fetch", looked)
    user.control.script_tasks(scripts.stuck())
    with start(
        *("swap", photos / "me.jpg", photos / "a.jpg", "--output", "my out", "--json")
    ) as process:
        looked.wait()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, _WINDS_DOWN)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (task,) = user.control.tasks
    assert "--output 'my out' --json" in err.splitlines()[-1]
    result, last = map(json.loads, out.splitlines())
    assert (result["status"], result["task_id"]) == ("failed", task.task_id)
    assert "the next run goes on with it" in result["error"]
    assert last["summary"] == {**last["summary"], "failed": 1, "unknown": 0}
    assert "may have been paid" not in err


def test_interrupted_twice_each_target_is_told_as_it_stands(
    user: Emulator, photos: Path
) -> None:
    """An id for what was accepted, even late; no fear for what was never sent."""
    looked, submitting = Tells(), Tells(faults.Delay(0.5, job=True))
    user.control.script("submit", Tells(), submitting)
    user.control.script("fetch", looked)
    user.control.script_tasks(*[scripts.stuck()] * 2)
    targets = [photos / name for name in ("a.jpg", "b.jpeg", "trip")]
    with start(
        *("swap", photos / "me.jpg", *targets, "--output", "out", "--json"),
        *("--concurrency", 2),
    ) as process:
        looked.wait()
        submitting.wait()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, _WINDS_DOWN)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    *rows, _ = map(json.loads, out.splitlines())
    told = {row["task_id"]: row["status"] for row in rows}
    ids = (task.task_id for task in user.control.tasks)
    assert told.pop(None) == "skipped"
    assert told == dict.fromkeys(ids, "failed")
    assert err.splitlines()[-1].startswith("go on with: ezlink swap ")


def test_interrupted_twice_before_the_answer_to_a_submit(
    user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be paid: what the service knows it by is told, and which photo it is."""
    monkeypatch.setenv("EZLINK_TIMEOUTS_CLOSE", "0.1")
    submitting = Tells(faults.Stall(job=True))
    user.control.script("submit", submitting)
    target = photos / "a.jpg"
    with start("swap", photos / "me.jpg", target, "--output", "out") as process:
        submitting.wait()
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, _WINDS_DOWN)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (request_id,) = user.control.attempts
    assert f"request {request_id}" in err
    known = f"  {target} (request id: {request_id})\n"
    assert "1 may have been paid; ask before you swap again" in err
    assert known in err
    assert "Traceback" not in err


def test_what_the_library_logs_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    """Line by line, without control characters, and as long as it is asked for."""
    log = logging.getLogger("ezlink_async")
    with noted(Lines(), logging.ERROR):
        log.warning("dropped")
        log.error("kept: %s", "\x1b[2J\nand more")
    log.warning("too late")
    assert capfd.readouterr().err == "kept: \\x1b[2J\nand more\n"


def test_interrupted_twice_while_a_result_comes_home(
    user: Emulator, photos: Path
) -> None:
    """It is done at the server, so its very id is told, and nothing half is left."""
    coming = Tells(faults.Stall())
    user.control.script("image", coming)
    with start(
        *("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out", "--json")
    ) as process:
        coming.wait()
        process.send_signal(signal.SIGTERM)
        read_until(process.stderr, _WINDS_DOWN)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    result = json.loads(out.splitlines()[0])
    (task,) = user.control.tasks
    assert (result["status"], result["task_id"]) == ("failed", task.task_id)
    assert "not saved yet; the next run goes on with it" in result["error"]
    assert list(Path("out").glob("[!.]*")) == []


async def test_what_nobody_pays_for_is_simply_not_done(
    user: Emulator, photos: Path
) -> None:
    """Leaving a run of the built-in server loses no money, and says no such thing."""
    looked = Tells()
    user.control.script("fetch", looked)
    user.control.script_tasks(scripts.stuck())
    options = BatchOptions(output=Path("out"), local=True)
    pairs = [(photos / "me.jpg", photos / "a.jpg")]
    async with AsyncEzlink() as ez:
        async with BatchRun(ez, pairs, options):
            await asyncio.to_thread(looked.wait)
        async with BatchRun(ez, pairs, options) as run:
            (outcome,) = [outcome async for outcome in run]
    assert (outcome.status, run.extra) == ("succeeded", 0)


def test_tasks_that_are_waited_for_run_on(user: Emulator, photos: Path) -> None:
    """One signal ends ``ezlink task``: there is nothing to wind down."""
    user.control.script_tasks(scripts.stuck())
    swap = ("swap", photos / "me.jpg", photos / "a.jpg", "--output", "out")
    with start(*swap, "--deadline", 0.2) as process:
        assert process.wait(60) == 1
    looked = Tells()
    user.control.script("fetch", looked)
    (task,) = user.control.tasks
    with start("task", task.task_id, "--output", "out") as process:
        looked.wait()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (130, 1)
    assert "the tasks run on" in err


class _Impatient(io.StringIO):
    """A stdout whose reader presses Ctrl-C at the first word."""

    def write(self, _text: str) -> NoReturn:
        """Be interrupted."""
        raise KeyboardInterrupt


def test_interrupted_while_it_lists(
    ezlink: Ezlink, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent there is nothing to wind down, and no traceback."""
    home(monkeypatch, tmp_path)
    with contextlib.redirect_stdout(_Impatient()):
        said = ezlink("swap", photos / "me.jpg", photos, "--output", "o", "--dry-run")
    assert said.code == 130
    assert "Traceback" not in said.err


def test_interrupted_while_it_loads(tmp_path: Path) -> None:
    """An impatient user sees no traceback either."""
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cyclopts':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from ezlink_async.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (130, "")
