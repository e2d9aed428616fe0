"""Signals: the first stops a command, the second ends it, and no id is lost."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import threading
from pathlib import Path
from typing import NoReturn

import attrs
import pytest

from ezlink_async import AsyncEzlink
from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.reader import OrderReader
from ezlink_async.batch.run import BatchRun
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.emulator import Emulator, faults, scripts
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from tests.support.command_line import BOUND, Ezlink, Reached, run_python, start, sums

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of another kind")


async def test_first_signal_stops_second_cancels_third_is_ignored() -> None:
    heard: list[str] = []

    async def work() -> None:
        with Interrupts(lambda: heard.append("stop")) as interrupts:
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
    assert heard == ["stop", "left after 3"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("hangups", [signal.SIG_IGN], indirect=True)
async def test_hangup_that_nohup_ignores_stays_ignored() -> None:
    with Interrupts(pytest.fail) as interrupts:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        assert interrupts.count == 0


def test_interrupted_run_that_has_done_all_names_no_command_to_resume_with(
    user: Emulator, one: tuple[object, ...]
) -> None:
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.slow(600))
    with start(*one) as command:
        polled.wait()
        command.interrupt()
        user.control.advance(600)
        said = command.end()
    assert (said.code, said.out) == (130, "out/a.jpg\n")
    assert "1 succeeded in " in said.err
    assert "resume with" not in said.err


@pytest.mark.usefixtures("hangups")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_first_signal_submits_no_more_and_saves_what_runs(
    user: Emulator, three: tuple[object, ...], name: str
) -> None:
    """The command exits with 130 and names the command that resumes."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(*[scripts.slow(600)] * 9)
    with start(*three, "--concurrency", 1) as command:
        polled.wait()
        line = command.interrupt(getattr(signal, name))
        user.control.advance(600)
        said = command.end()
    assert said.code == 130
    assert line == (
        "Stopping. Waiting up to 16 min for 1 swap running at the server; "
        "press Ctrl-C again to quit now.\n"
    )
    assert said.out == "out/a.jpg\n"
    assert "2 not done: Interrupted: nothing was sent" in said.err
    assert f"resume with: ezlink swap {three[1]}" in said.err
    assert "1 succeeded, 2 not done in " in said.err
    assert len(user.control.charges) == 1


def test_first_signal_names_each_stage_that_is_waited_for(
    user: Emulator, three: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that waits for a busy server is let go: nothing of it was sent."""
    monkeypatch.setenv("EZLINK_POLL_DEADLINE", "20")
    monkeypatch.setenv("EZLINK_TIMEOUTS_CLOSE", "0.1")
    submitting, downloading = Reached(faults.Stall()), Reached(faults.Stall())
    busy = faults.Answer(429, headers=(("Retry-After", "600"),))
    user.control.script("submit", faults.Delay(0), submitting, busy)
    user.control.script("image", downloading)
    with start(*three, "--concurrency", 3) as command:
        submitting.wait()
        downloading.wait()
        command.read_until("asks to wait")
        line = command.interrupt()
        command.process.send_signal(signal.SIGINT)
        command.end()
    assert line == (
        "Stopping. Waiting up to 4 min for 1 swap being sent and 1 being saved; "
        "press Ctrl-C again to quit now.\n"
    )


def test_wait_after_the_first_signal_ends_at_its_bound(
    user: Emulator, one: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download that does not end is left to the next run."""
    monkeypatch.setenv("EZLINK_TIMEOUTS_IMAGE", "0.1")
    monkeypatch.setenv("EZLINK_RETRY_ATTEMPTS", "500")
    downloading = Reached(faults.Stall())
    user.control.script("image", downloading)
    user.control.standing("image", faults.Stall())
    with start(*one) as command:
        downloading.wait()
        line = command.interrupt()
        said = command.end()
    assert "Waiting up to 1 s for 1 swap being saved" in line
    assert said.code == 130
    assert "not waiting any longer than 1 s" in said.err
    assert "1 still running at the server; the next run fetches it" in said.err
    assert len(user.control.charges) == 1


@attrs.frozen
class _Held:
    """A fault that waits until the test lets it answer."""

    fault: faults.Fault
    go_on: threading.Event = attrs.field(factory=threading.Event)

    async def apply(self, exchange: Exchange, proceed: faults.Proceed) -> Reply:
        """Wait, then play the fault."""
        await asyncio.to_thread(self.go_on.wait, BOUND)
        return await self.fault.apply(exchange, proceed)


@pytest.mark.parametrize(
    "refusal",
    [
        faults.Answer(429, headers=(("Retry-After", "600"),)),
        faults.Trouble("no_channel"),
    ],
)
def test_wait_that_a_stopped_run_will_not_make_is_not_announced(
    user: Emulator, one: tuple[object, ...], refusal: faults.Fault
) -> None:
    """A submit that is refused after the signal ends the run at once."""
    held = _Held(refusal)
    submitting = Reached(held)
    user.control.script("submit", submitting)
    with start(*one) as command:
        submitting.wait()
        command.interrupt()
        held.go_on.set()
        said = command.end()
    assert said.code == 130
    assert "asks to wait" not in said.err
    assert "trying again" not in said.err
    assert "1 not done: Interrupted: nothing was sent" in said.err
    assert not user.control.charges


def test_second_signal_leaves_and_reports_the_task_ids(
    user: Emulator, photos: Path
) -> None:
    """The command that resumes is quoted for a shell."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.stuck())
    with start(
        *("swap", photos / "me.jpg", photos / "a.jpg", "--output", "my out", "--json")
    ) as command:
        polled.wait()
        said = command.interrupt_twice()
    assert said.code == 130
    (task,) = user.control.tasks
    assert "--output 'my out' --json" in said.err.splitlines()[-1]
    result, _ = said.rows
    assert (result["status"], result["task_id"]) == ("failed", task.task_id)
    assert "the next run goes on with it" in str(result["error"])
    assert said.summary == sums(failed=1)
    assert said.rows[-1]["summary"]["running"] == 1  # type: ignore[index]
    assert "1 still running at the server; the next run fetches it\n" in said.err
    assert "may have been paid" not in said.err


def test_second_signal_reports_each_target_as_it_stands(
    user: Emulator, photos: Path
) -> None:
    """An accepted job has its id, even one accepted late; an unsent one is skipped."""
    polled, submitting = Reached(), Reached(faults.Delay(0.5, job=True))
    user.control.script("submit", Reached(), submitting)
    user.control.script("fetch", polled)
    user.control.script_tasks(*[scripts.stuck()] * 2)
    targets = [photos / name for name in ("a.jpg", "b.jpeg", "trip")]
    with start(
        *("swap", photos / "me.jpg", *targets, "--output", "out", "--json"),
        *("--concurrency", 2),
    ) as command:
        polled.wait()
        submitting.wait()
        said = command.interrupt_twice()
    assert said.code == 130
    found = {row["task_id"]: row["status"] for row in said.rows[:-1]}
    assert found.pop(None) == "skipped"
    assert found == {task.task_id: "failed" for task in user.control.tasks}
    assert said.err.splitlines()[-1].startswith("resume with: ezlink swap ")


def test_second_signal_counts_running_jobs_apart_from_failures(
    user: Emulator, three: tuple[object, ...]
) -> None:
    polled = Reached()
    user.control.script("submit", faults.banned_word())
    user.control.script("fetch", polled)
    user.control.script_tasks(*[scripts.stuck()] * 2)
    with start(*three, "--concurrency", 1) as command:
        polled.wait()
        said = command.interrupt_twice()
    assert said.code == 130
    assert "1 still running at the server; the next run fetches it" in said.err
    assert "1 cannot be used, 1 still running, 1 not done in " in said.err


def test_second_signal_before_the_answer_to_a_submit_names_request_and_photo(
    user: Emulator, one: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZLINK_TIMEOUTS_CLOSE", "0.1")
    submitting = Reached(faults.Stall(job=True))
    user.control.script("submit", submitting)
    with start(*one) as command:
        submitting.wait()
        said = command.interrupt_twice()
    assert said.code == 130
    (request_id,) = user.control.attempts
    assert f"request {request_id}" in said.err
    assert "1 may have been paid, their answers are lost:" in said.err
    assert f"  {one[2]} (request id: {request_id})\n" in said.err
    assert "Traceback" not in said.err


def test_second_signal_during_a_download_reports_the_id_and_leaves_no_file(
    user: Emulator, one: tuple[object, ...]
) -> None:
    downloading = Reached(faults.Stall())
    user.control.script("image", downloading)
    with start(*one, "--json") as command:
        downloading.wait()
        said = command.interrupt_twice(signal.SIGTERM)
    assert said.code == 130
    result = said.rows[0]
    (task,) = user.control.tasks
    assert (result["status"], result["task_id"]) == ("failed", task.task_id)
    assert "the next run" in str(result["error"])
    assert list(Path("out").glob("[!.]*")) == []


@pytest.mark.parametrize("stage", [faults.Delay(1.0), faults.Stall()])
def test_signal_before_the_first_submit_sends_nothing(
    user: Emulator, three: tuple[object, ...], stage: faults.Fault
) -> None:
    """One signal waits for the answer on what the key has spent, two do not."""
    asked = Reached(then=stage)
    user.control.script("usage", *[faults.Delay(0)] * 2, asked)  # after the quote
    with start(*three) as command:
        asked.wait()
        if isinstance(stage, faults.Stall):
            said = command.interrupt_twice()
        else:
            command.interrupt()
            said = command.end()
    assert said.code == 130
    assert "3 not done: Interrupted: nothing was sent" in said.err
    assert f"resume with: ezlink swap {three[1]}" in said.err
    assert not user.control.attempts


def test_signal_while_the_balance_is_asked_for_sends_nothing(
    user: Emulator, three: tuple[object, ...]
) -> None:
    asked = Reached(then=faults.Stall())
    user.control.script("usage", asked)
    with start(*three) as command:
        asked.wait()
        command.process.send_signal(signal.SIGINT)
        said = command.end()
    assert said.code == 130
    assert "3 not done: Interrupted: nothing was sent" in said.err
    assert f"resume with: ezlink swap {three[1]}" in said.err
    assert not user.control.attempts


def test_interrupted_run_is_resumed_by_the_command_it_names(
    ezlink: Ezlink, user: Emulator, three: tuple[object, ...]
) -> None:
    """The resumed run pays nothing twice."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.slow(600))
    with start(*three, "--concurrency", 1) as command:
        polled.wait()
        said = command.interrupt_twice()
    (line,) = [line for line in said.err.splitlines() if "resume with: " in line]
    words = line.removeprefix("resume with: ezlink ").split()
    user.control.advance(600)
    said = ezlink(*words, "--json")
    assert (said.code, said.summary["succeeded"]) == (0, 3)
    assert len(user.control.charges) == 3


async def test_unfinished_job_of_the_built_in_server_is_swapped_again(
    user: Emulator, photos: Path
) -> None:
    """Its tasks end with the process, so the next run resumes none of them."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.stuck())
    options = BatchOptions(output=Path("out"), local=True)
    pairs = [(photos / "me.jpg", photos / "a.jpg")]
    async with AsyncEzlink() as ez:
        async with BatchRun(ez, OrderReader.of_pairs(pairs), options) as left:
            await asyncio.to_thread(polled.wait)
        (cut_off,) = left.unread()
        assert (cut_off.status, cut_off.reason) == ("skipped", Reason.INTERRUPTED)
        async with BatchRun(ez, OrderReader.of_pairs(pairs), options) as run:
            (outcome,) = [outcome async for outcome in run]
    assert (outcome.status, run.extra) == ("succeeded", 0)


def test_one_signal_ends_ezlink_task_and_the_tasks_run_on(
    ezlink: Ezlink, user: Emulator, one: tuple[object, ...]
) -> None:
    user.control.script_tasks(scripts.stuck())
    assert ezlink(*one, "--deadline", 0.2).code == 1
    polled = Reached()
    user.control.script("fetch", polled)
    (task,) = user.control.tasks
    with start("task", task.task_id, "--output", "out") as command:
        polled.wait()
        command.process.send_signal(signal.SIGINT)
        said = command.end()
    assert (said.code, said.err.count("\n")) == (130, 1)
    assert "the tasks run on" in said.err


class _Impatient(io.StringIO):
    """A stdout whose reader presses Ctrl-C at the first word."""

    def write(self, _text: str) -> NoReturn:
        raise KeyboardInterrupt


@pytest.mark.usefixtures("stranger")
def test_interrupted_dry_run_shows_no_traceback(
    ezlink: Ezlink, three: tuple[object, ...]
) -> None:
    with contextlib.redirect_stdout(_Impatient()):
        said = ezlink(*three, "--dry-run")
    assert said.code == 130
    assert "Traceback" not in said.err


def test_interrupt_during_import_shows_no_traceback(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cyclopts':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())"
    )
    said = run_python(program, tmp_path)
    assert (said.code, said.err) == (130, "")


def test_logs_are_shown_from_their_level_while_entered(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A message is one line, in which control characters are escapes."""
    log = logging.getLogger("ezlink_async")
    with logs_shown_on(Display(), logging.ERROR):
        log.warning("dropped")
        log.error("kept: %s", "\x1b[2J\nand more")
    log.warning("too late")
    assert capfd.readouterr().err == "kept: \\x1b[2J\\nand more\n"
