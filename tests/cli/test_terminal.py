"""What a terminal shows: a bar, whole lines, and nothing a stranger wrote."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, faults
from tests.cli.conftest import Ezlink
from tests.fakes import jpeg

pty = pytest.importorskip("pty")


def _on_a_terminal(*arguments: object, both: bool) -> tuple[int, str, str]:
    """Run a command with stderr, or both streams, on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    stdout = theirs if both else subprocess.PIPE
    process = subprocess.Popen(command, stdout=stdout, stderr=theirs, env=environ)
    os.close(theirs)
    shown = bytearray()
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", 0) as screen:
        while block := screen.read(4096):
            shown += block
    out, _ = process.communicate(timeout=60)
    return process.returncode, (out or b"").decode(), shown.decode()


def test_a_bar_counts_and_results_stay_clean(user: Emulator, photos: Path) -> None:
    """The bar is on stderr alone; stdout has the paths and nothing else."""
    user.control.script("submit", faults.banned_word())
    code, out, screen = _on_a_terminal(
        "swap", photos / "me.jpg", photos, "--output", "out", both=False
    )
    assert code == 1
    assert "3/3" in screen
    assert "1 failed" in screen
    assert all(line.startswith("out/") for line in out.splitlines())
    assert len(out.splitlines()) == 2


def test_results_stand_above_the_bar(user: Emulator, photos: Path) -> None:
    """With both on one terminal, the lines do not tear the bar."""
    code, _, screen = _on_a_terminal(
        "swap", photos / "me.jpg", photos, "--output", "out", both=True
    )
    assert code == 0
    assert "out/trip/a.jpg" in screen
    assert "3/3" in screen
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
    command = [sys.executable, "-m", "ezlink_async", "swap"]
    command += [str(photos / "me.jpg"), str(photos), "--output", "out"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaints = process.stderr.read().decode()
    assert process.returncode == 0
    assert "Traceback" not in complaints
    assert len(list(Path("out").rglob("*.jpg"))) == 3
    assert len(user.control.charges) == 3


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
