"""The terminal: a bar, whole lines, and no control characters of strangers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import (
    Ezlink,
    Reached,
    Running,
    Said,
    killed_when_hanging,
    start,
)
from tests.support.pictures import jpeg

pty = pytest.importorskip("pty")

Command = tuple[object, ...]


@attrs.frozen
class _OnTerminal(Running):
    """A command whose stderr, or both streams, are on a terminal."""

    screen: int

    def hang_up(self) -> None:
        """Close the terminal."""
        os.close(self.screen)
        self.process.send_signal(signal.SIGHUP)

    def show_until(self, pattern: str) -> str:
        """Return what was shown, control sequences left out, once *pattern* was."""
        shown, text = bytearray(), ""
        while not re.search(pattern, text):
            shown += os.read(self.screen, 4096)
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="ignore"))
        return text

    def end(self) -> Said:
        """Return the exit code, stdout if it is a pipe, and what was shown."""
        shown = bytearray()
        with contextlib.suppress(OSError), os.fdopen(self.screen, "rb", 0) as screen:
            while block := screen.read(4096):
                shown += block
        out, _ = self.process.communicate()
        return Said(self.process.returncode, out or "", shown.decode())


@contextlib.contextmanager
def _terminal(
    *arguments: object, both: bool, columns: int = 80, term: str = "xterm"
) -> Iterator[_OnTerminal]:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": term, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    out = theirs if both else subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=out, stderr=theirs, env=environ, text=True
    )
    os.close(theirs)
    with killed_when_hanging(process):
        yield _OnTerminal(process, ours)


def _run(
    *arguments: object, both: bool, columns: int = 80, term: str = "xterm"
) -> Said:
    with _terminal(*arguments, both=both, columns=columns, term=term) as command:
        return command.end()


def test_bar_is_on_stderr_and_paths_alone_on_stdout(
    user: Emulator, three: Command
) -> None:
    user.control.script("submit", faults.banned_word())
    said = _run(*three, both=False)
    assert said.code == 1
    assert "3/3" in said.err
    assert "1 cannot be used" in said.err
    assert all(line.startswith("out/") for line in said.out.splitlines())
    assert len(said.out.splitlines()) == 2


def test_results_stand_above_the_bar_of_the_same_terminal(
    user: Emulator, three: Command
) -> None:
    Path("out").mkdir()
    Path("out", "a.jpg").write_bytes(jpeg(20_001))
    said = _run(*three, both=True)
    assert said.code == 1  # another picture is there
    assert "out/trip/a.jpg" in said.err
    assert "3/3" in said.err
    assert len(user.control.charges) == 2


@pytest.mark.parametrize("columns", [100, 20])
def test_bar_is_one_row_with_room_for_an_echoed_interrupt(
    user: Emulator, three: Command, columns: int
) -> None:
    """The row is never wrapped, and ^C at its end starts no second row."""
    user.control.script("submit", faults.banned_word(), faults.Drop(job=True))
    said = _run(*three, both=False, columns=columns)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.err)
    bars = [row for row in re.split(r"[\r\n]+", shown) if "\u2501" in row]
    assert bars
    assert all(len(row.rstrip()) <= columns - 3 for row in bars)
    assert all(re.match(r"\d/3 ", row) for row in bars)


def test_wait_that_the_server_asks_for_is_one_line_and_stands_on_the_bar(
    user: Emulator, one: Command
) -> None:
    """Without a terminal there is the line alone; both name the time it goes on."""
    busy = faults.Answer(429, headers=(("Retry-After", "600"),))
    user.control.standing("submit", busy)
    with _terminal(*one, both=False, columns=120) as command:
        shown = command.show_until(r"━.*going on at (\d\d:\d\d)")
        command.process.send_signal(signal.SIGINT)
        shown += command.end().err
    assert "in progress" not in shown.partition("Stopping")[0]
    assert "Stopping. Nothing is in progress." in shown
    assert "press Ctrl-C" not in shown
    lines = re.findall(r"the server asks to wait 10 min; going on at \d\d:\d\d", shown)
    assert len(lines) == 1
    with start(*one) as command:
        line = command.read_until("asks to wait")
        command.interrupt()
        said = command.end()
    assert re.fullmatch(r"the server asks .* 10 min; going on at \d\d:\d\d\n", line)
    assert "asks to wait" not in said.err
    assert not user.control.charges


def test_bar_of_a_run_that_stops_says_until_when_and_no_time_left(
    user: Emulator, three: Command
) -> None:
    """What was not begun moves no bar."""
    polled = Reached()
    user.control.script("fetch", polled)
    user.control.script_tasks(scripts.slow(600), *[scripts.stuck()] * 9)
    with _terminal(*three, "--concurrency", 1, both=False, columns=120) as command:
        polled.wait()
        command.process.send_signal(signal.SIGINT)
        shown = command.show_until(r"stopping by \d\d:\d\d, 1 in progress")
        user.control.advance(600)
        shown += command.end().err
    after = shown[shown.index("stopping by") :]
    assert " left" not in after
    assert set(re.findall(r"(\d)/3 ", after)) <= {"0", "1"}


def test_bar_of_a_run_with_a_budget_says_how_much_of_it_is_used(
    user: Emulator, three: Command
) -> None:
    user.control.script_tasks(*[scripts.slow(600)] * 3)
    budget = ("--budget", 1)
    with _terminal(*three, *budget, both=False, columns=120) as command:
        shown = command.show_until(r"1 in progress, budget 1/1")
        user.control.advance(600)
        shown += command.end().err
    assert "3 targets: 3 to send, the budget is for 1" in shown
    assert len(user.control.charges) == 1


def test_lines_of_counts_are_written_now_and_then_without_a_terminal(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    for number in range(97):
        (photos / f"{number:02}.jpg").write_bytes(jpeg(21_000 + number))
    Path("out").mkdir()
    Path("out", "a.jpg").write_bytes(jpeg(20_001))
    said = ezlink(*three)
    counts = [line for line in said.err.splitlines() if " of 100: " in line]
    assert 5 <= len(counts) <= 9
    assert "99 succeeded, 1 not done in " in said.err
    assert len(user.control.charges) == 99


def test_dumb_terminal_gets_lines_without_control_sequences(
    user: Emulator, three: Command
) -> None:
    said = _run(*three, both=True, term="dumb")
    assert said.code == 0
    assert "\x1b" not in said.err
    assert "3 succeeded" in said.err
    assert len(user.control.charges) == 3


def test_control_characters_in_names_are_made_visible(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    """Results get names that every file system takes, Windows' too."""
    (photos / "a\nb:\x1b[2J.jpg").write_bytes(jpeg(20_009))
    (photos / "con.jpg").write_bytes(jpeg(20_010))
    (photos / "dots..jpg").write_bytes(jpeg(20_011))
    (photos / ("x" * 250 + ".jpg")).write_bytes(jpeg(20_012))
    said = ezlink(*three)
    assert said.code == 0
    assert "\x1b" not in said.out + said.err
    names = {path.name for path in Path("out").iterdir()}
    assert {"a_b__[2J.jpg", "con_.jpg", "dots_.jpg"} <= names
    assert len(user.control.charges) == 7


@pytest.mark.parametrize("both", [False, True])
def test_broken_pipe_does_not_stop_paid_work(
    user: Emulator, three: Command, *, both: bool
) -> None:
    """With ``| head -1`` stdout breaks, with ``2>&1 | head -1`` stderr too."""
    with start(*three) as command:
        streams = command.process.stdout, command.process.stderr
        for stream in streams[: 1 + both]:
            assert stream is not None
            stream.close()
        complaints = "" if both else command.read_until("report: ")
        assert command.process.wait() == 0
    assert "Traceback" not in complaints
    assert len(list(Path("out").rglob("*.jpg"))) == 3
    assert len(user.control.charges) == 3


@pytest.mark.usefixtures("hangups")
def test_closed_terminal_stops_submits_and_saves_what_runs(
    user: Emulator, three: Command
) -> None:
    submitted = Reached()
    user.control.script("submit", submitted)
    user.control.script_tasks(*[scripts.slow(600)] * 3)
    with _terminal(*three, "--concurrency", 1, both=True) as command:
        submitted.wait()
        command.hang_up()
        user.control.advance(600)
        assert command.process.wait() == 130
    assert [path.name for path in Path("out").glob("*.jpg")] == ["a.jpg"]
    assert len(user.control.charges) == 1


def _answer(*arguments: object, answer: str) -> Said:
    """Run a command whose streams are all on a terminal, and answer its question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, text=True
    )
    os.close(theirs)
    with killed_when_hanging(process):
        running = _OnTerminal(process, ours)
        asked = running.show_until(r"\[y/N\] ")
        os.write(ours, f"{answer}\n".encode())
        said = running.end()
    return attrs.evolve(said, err=asked + said.err)


@pytest.mark.parametrize("answer", ["n", ""])
def test_terminal_is_asked_before_more_than_a_hundred_swaps_are_paid(
    user: Emulator, three: Command, photos: Path, answer: str
) -> None:
    for number in range(98):
        (photos / f"{number:02}.jpg").write_bytes(jpeg(21_000 + number))
    said = _answer(*three, answer=answer)
    assert said.code == 1
    assert "101 targets: 101 to send" in said.err
    assert "Pay for 101 swaps? [y/N] " in said.err
    assert "nothing was sent" in said.err
    assert not user.control.attempts


def test_terminal_is_asked_when_the_face_of_the_source_may_not_do(
    user: Emulator, photos: Path
) -> None:
    pytest.importorskip("cv2")
    cat = Path(__file__).parents[1] / "samples" / "cat.jpg"
    command = ("swap", cat, photos / "a.jpg", "--output", "out")
    said = _answer(*command, answer="n")
    assert said.code == 1
    assert "no face was found in the source picture" in " ".join(said.err.split())
    assert "Pay for 1 swap? [y/N] " in said.err
    assert not user.control.attempts


@pytest.mark.parametrize("answer", ["n", "y"])
def test_terminal_is_asked_when_the_account_is_below_the_bar_of_a_job(
    user: Emulator, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    user.control.balance = 50_000
    command = ("video", "a cat", "--model", "kling-v1", "--output", "out")
    said = _answer(*command, answer=answer)
    assert said.code == (2 if answer == "y" else 1)
    refused = "the account has 0.1 USD: below 0.20 USD the server refuses every video"
    assert refused in " ".join(said.err.split())
    assert "Pay for 1 job? [y/N] " in said.err
    sent = [seen for seen in user.control.requests if seen.method == "POST"]
    assert len(sent) == (answer == "y")
    assert user.control.charges == []


def test_terminal_is_asked_before_fresh_pays_again(
    ezlink: Ezlink, user: Emulator, one: Command
) -> None:
    """Another answer than yes leaves the journal as it is."""
    assert ezlink(*one).code == 0
    said = _answer(*one, "--fresh", answer="no")
    assert "Pay for 1 swap again? [y/N] " in said.err
    assert ezlink(*one, "--dry-run").err.count("1 done before") == 1
    assert _answer(*one, "--fresh", answer="y").code == 0
    assert len(user.control.charges) == 2


def test_yes_answers_the_question_beforehand(
    ezlink: Ezlink, user: Emulator, one: Command
) -> None:
    assert ezlink(*one).code == 0
    said = _run(*one, "--fresh", "-y", both=True)
    assert said.code == 0
    assert "[y/N]" not in said.err
    assert len(user.control.charges) == 2
