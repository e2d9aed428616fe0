"""What a terminal shows: a bar, whole lines, and nothing a stranger wrote."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezlink_async.cli.display import Tally, speed
from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.command_line import Ezlink, Tells, start
from tests.support.pictures import jpeg

pty = pytest.importorskip("pty")


def _on_a_terminal(
    *arguments: object, both: bool, columns: int = 80, term: str = "xterm"
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a command with stderr, or both streams, on a terminal."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": term, "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    stdout = theirs if both else subprocess.PIPE
    process = subprocess.Popen(command, stdout=stdout, stderr=theirs, env=environ)
    os.close(theirs)
    return ours, process


def _through(ours: int, process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Return the exit code, stdout if it is no terminal, and what was shown."""
    shown = bytearray()
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", 0) as screen:
        while block := screen.read(4096):
            shown += block
    out, _ = process.communicate(timeout=60)
    return process.returncode, (out or b"").decode(), shown.decode()


def test_a_bar_counts_and_results_stay_clean(user: Emulator, photos: Path) -> None:
    """The bar is on stderr alone; stdout has the paths and nothing else."""
    user.control.script("submit", faults.banned_word())
    command = ("swap", photos / "me.jpg", photos, "--output", "out")
    code, out, screen = _through(*_on_a_terminal(*command, both=False))
    assert code == 1
    assert "3/3" in screen
    assert "1 failed" in screen
    assert all(line.startswith("out/") for line in out.splitlines())
    assert len(out.splitlines()) == 2


def test_results_stand_above_the_bar(user: Emulator, photos: Path) -> None:
    """With both on one terminal, the lines do not tear the bar."""
    Path("out").mkdir()
    Path("out", "a.jpg").write_bytes(jpeg(20_001))
    command = ("swap", photos / "me.jpg", photos, "--output", "out")
    code, _, screen = _through(*_on_a_terminal(*command, both=True))
    assert code == 1  # another picture is there
    assert "out/trip/a.jpg" in screen
    assert "3/3" in screen
    assert len(user.control.charges) == 2


@pytest.mark.parametrize("columns", [100, 40, 20])
def test_the_bar_is_one_row_that_leaves_room(
    user: Emulator, photos: Path, columns: int
) -> None:
    """It is never wrapped, and ^C at its end cannot push it into a second row."""
    user.control.script("submit", faults.banned_word(), faults.Drop(job=True))
    command = ("swap", photos / "me.jpg", photos, "--output", "out")
    _, _, screen = _through(*_on_a_terminal(*command, both=False, columns=columns))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    bars = [row for row in re.split(r"[\r\n]+", shown) if "\u2501" in row]
    assert bars
    assert all(len(row.rstrip()) <= columns - 3 for row in bars)
    assert all(re.match(r"\d/3 ", row) for row in bars)


@pytest.mark.parametrize(
    ("succeeded", "seconds", "says"),
    [(0, 9.0, ""), (5, 0.0, ""), (5, 10.0, "30.0/min"), (50, 20.0, "2.5/s")],
)
def test_the_speed_is_that_of_the_work(
    succeeded: int, seconds: float, says: str
) -> None:
    """What was there already took none; a slow run is told by the minute."""
    tally = Tally(100)
    tally.counts["succeeded"], tally.counts["skipped"] = succeeded, 7
    assert speed(tally, seconds) == says


def test_without_a_bar_lines_say_how_far_it_is(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """Now and then, of what took work; the last word is the sum."""
    for number in range(97):
        (photos / f"{number:02}.jpg").write_bytes(jpeg(21_000 + number))
    Path("out").mkdir()
    Path("out", "a.jpg").write_bytes(jpeg(20_001))
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    counts = [line for line in said.err.splitlines() if " of 100: " in line]
    assert 5 <= len(counts) <= 9
    assert "99 succeeded, 1 skipped in " in said.err
    assert len(user.control.charges) == 99


def test_a_terminal_that_cannot_move_its_cursor(user: Emulator, photos: Path) -> None:
    """It gets lines, without a single control sequence."""
    ours, process = _on_a_terminal(
        "swap", photos / "me.jpg", photos, "--output", "out", both=True, term="dumb"
    )
    code, _, screen = _through(ours, process)
    assert code == 0
    assert "\x1b" not in screen
    assert "3 succeeded" in screen
    assert len(user.control.charges) == 3


def test_a_name_with_control_characters_is_spelled_out(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """What a stranger named a file cannot move the cursor; Windows' names escape."""
    (photos / "a\nb:\x1b[2J.jpg").write_bytes(jpeg(20_009))
    (photos / "con.jpg").write_bytes(jpeg(20_010))
    (photos / "dots..jpg").write_bytes(jpeg(20_011))
    (photos / ("x" * 250 + ".jpg")).write_bytes(jpeg(20_012))
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 0
    assert "\x1b" not in said.out + said.err
    names = {path.name for path in Path("out").iterdir()}
    assert {"a_b__[2J.jpg", "con_.jpg", "dots_.jpg"} <= names
    assert len(user.control.charges) == 7


def test_nobody_reads_stdout_any_more(user: Emulator, photos: Path) -> None:
    """Work that is paid for goes on, and what it brings is on disk."""
    with start("swap", photos / "me.jpg", photos, "--output", "out") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaints = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in complaints
    assert len(list(Path("out").rglob("*.jpg"))) == 3
    assert len(user.control.charges) == 3


def test_nobody_reads_anything_any_more(user: Emulator, photos: Path) -> None:
    """As with ``2>&1 | head -1``: both streams are broken, the work is done."""
    with start("swap", photos / "me.jpg", photos, "--output", "out") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()
    assert process.returncode == 0
    assert len(list(Path("out").rglob("*.jpg"))) == 3
    assert len(user.control.charges) == 3


def test_the_terminal_is_closed(user: Emulator, photos: Path) -> None:
    """What runs is brought home, and nothing more is sent, as after Ctrl-C."""
    submitted = Tells()
    user.control.script("submit", submitted)
    user.control.script_tasks(*[scripts.slow(600)] * 3)
    ours, process = _on_a_terminal(
        *("swap", photos / "me.jpg", photos, "--output", "out", "--concurrency", 1),
        both=True,
    )
    with process:
        submitted.wait()
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        user.control.advance(600)
        assert process.wait(60) == 130
    assert [path.name for path in Path("out").glob("*.jpg")] == ["a.jpg"]
    assert len(user.control.charges) == 1


def test_two_that_would_become_one_file(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The later one gets a number, in the order of the targets, every time."""
    (photos / "a.png").write_bytes(jpeg(20_020))
    (photos / "A.jpg").write_bytes(jpeg(20_021))
    command = ("swap", photos / "me.jpg", photos, photos / "a.jpg", "--output", "out")
    said = ezlink(*command)
    assert said.code == 0
    assert "1 (named twice)" in said.err
    names = sorted(path.name for path in Path("out").glob("*.jpg"))
    assert names == ["A.jpg", "a-2.jpg", "a-3.jpg", "b.jpg"]
    assert ezlink(*command).out == ""
    assert len(user.control.charges) == 5
