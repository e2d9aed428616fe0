"""A user at a terminal: how a command is run, and what it wrote."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import attrs
import pytest

from ezlink_async.emulator import faults
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply

_ENDS = ("succeeded", "failed", "unknown", "skipped")

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
"""Pictures with faces in them."""


def home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
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
        """The last of them: how many ended how."""
        summary = self.rows[-1]["summary"]
        assert isinstance(summary, dict)
        return {name: summary[name] for name in ("total", *_ENDS)}


def sums(**given: int) -> dict[str, int]:
    """Return a summary: the numbers given, and their sum."""
    counts = dict.fromkeys(_ENDS, 0) | given
    return {"total": sum(counts.values()), **counts}


class Ezlink(Protocol):
    """Runs a command with these arguments."""

    def __call__(self, *arguments: object) -> Said:
        """Return what it returned and wrote."""
        ...


@contextlib.contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, and wait for it."""
    command = [sys.executable, "-m", "ezlink_async", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()  # a test that failed waits for nothing
            raise


def read_until(stream: IO[str] | None, words: str) -> str:
    """Read lines up to one that holds *words*, and return it."""
    assert stream is not None
    lines = [""]
    while words not in lines[-1]:
        lines.append(stream.readline())
        assert lines[-1], f"{words!r} never came: {''.join(lines)}"
    return lines[-1]


@attrs.frozen
class Tells:
    """
    A fault that lets others wait for the request it plays around.

    *happened* once the request was handled; with *then* once it came whole,
    and before that fault plays.
    """

    then: faults.Fault | None = None
    _happened: threading.Event = attrs.field(factory=threading.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request, or let the other fault, and tell."""
        if self.then is not None:
            await exchange.read()
            self._happened.set()
            return await self.then.apply(exchange, proceed)
        reply = await proceed()
        self._happened.set()
        return reply

    def wait(self) -> None:
        """Wait for it; the bound is there for a command that died."""
        assert self._happened.wait(60)
