"""A user at a terminal: how a command is run, and what it wrote."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import attrs
import pytest

from ezlink_async.emulator import faults
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply

_STATUSES = ("succeeded", "failed", "unknown", "skipped")

BOUND = 300.0
"""Seconds after which a command is taken for hanging; no result depends on it."""

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
"""Pictures with faces in them."""

FACES = SAMPLES / "astronaut.jpg", SAMPLES / "synthetic_1.jpg"
"""A source and a target for the engine."""


def enter_home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Be in *folder*, with quick settings and no key."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("EZLINK_API_KEY", "EZLINK_BASE_URL", "EZLINK_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("POLL_FIRST", "POLL_SHORTEST", "RETRY_FIRST", "RETRY_LONGEST"):
        monkeypatch.setenv(f"EZLINK_{name}", "0.02")


@attrs.frozen
class Said:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, object]]:
        """The JSON objects on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, object]:
        """The counts of the last JSON object."""
        summary = self.rows[-1]["summary"]
        assert isinstance(summary, dict)
        return {name: summary[name] for name in ("total", *_STATUSES)}


def sums(**given: int) -> dict[str, int]:
    """Return a summary: the numbers given, and their sum."""
    counts = dict.fromkeys(_STATUSES, 0) | given
    return {"total": sum(counts.values()), **counts}


class Ezlink(Protocol):
    """Runs a command with these arguments."""

    def __call__(self, *arguments: object) -> Said:
        """Return what it returned and wrote."""
        ...


@attrs.frozen
class Running:
    """A command in a process of its own."""

    process: subprocess.Popen[str]

    def first_line(self) -> str:
        """Wait for the first line on stdout, and return it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def read_until(self, words: str) -> str:
        """Wait for the line on stderr that holds *words*, and return it."""
        assert self.process.stderr is not None
        lines = [""]
        while words not in lines[-1]:
            lines.append(self.process.stderr.readline())
            assert lines[-1], f"{words!r} never came: {''.join(lines)}"
        return lines[-1]

    def interrupt(self, number: int = signal.SIGINT) -> str:
        """Send a signal; return the line in which the command says that it stops."""
        self.process.send_signal(number)
        return self.read_until("Stopping. ")

    def interrupt_twice(self, number: int = signal.SIGINT) -> Said:
        """Send a second signal once the first was heard; return how it ended."""
        self.interrupt(number)
        self.process.send_signal(number)
        return self.end()

    def end(self) -> Said:
        """Wait until the command has ended, and return what else it wrote."""
        out, err = self.process.communicate()
        return Said(self.process.returncode, out, err)


@contextlib.contextmanager
def killed_when_hanging(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill *process* after the bound, and when the test fails."""
    timer = threading.Timer(BOUND, process.kill)
    timer.start()
    try:
        with process:
            try:
                yield
            except BaseException:
                process.kill()
                raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def start(*arguments: object) -> Iterator[Running]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    with killed_when_hanging(process):
        yield Running(process)


def run_python(program: str, folder: Path) -> Said:
    """Run a program, and then the command line without arguments, in *folder*."""
    program += "\nfrom ezlink_async.__main__ import main\nimport sys\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@attrs.frozen
class Reached:
    """
    A fault by which a test waits for the request that it plays at.

    Without *then* the request is handled first; else it is read, and the other
    fault plays after the test was notified.
    """

    then: faults.Fault | None = None
    _event: threading.Event = attrs.field(factory=threading.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, or let the other fault, and notify the test."""
        if self.then is not None:
            await exchange.read()
            self._event.set()
            return await self.then.apply(exchange, proceed)
        reply = await proceed()
        self._event.set()
        return reply

    def wait(self) -> None:
        """Wait for the request."""
        assert self._event.wait(BOUND)
