"""
The terminal: results to stdout, everything else to stderr.

On a terminal a bar stands below the lines; elsewhere a line is written now
and then. What is shown holds no control characters: names and the words of
servers are written by strangers.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ezlink_async.cli.results import Status, Tally

STYLES: dict[Status, str] = {"failed": "red", "unknown": "yellow"}
"""How bad news looks on a terminal."""


def shown(text: object) -> str:
    """Return *text* with what is no printable character spelled out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def write_result(line: str) -> None:
    """
    Write one line to stdout at once.

    Once nobody reads it any more, lines are dropped: work that is paid for
    goes on, and what it brings is on disk.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more, at the end, about what is unwritten.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display(AbstractContextManager["Display"], Protocol):
    """Where lines go while work is going on."""

    def result(self, line: str) -> None:
        """Show a result."""
        ...

    def note(self, line: str, style: str = "") -> None:
        """Show what is no result; *style* is for terminals."""
        ...

    def count(self, tally: Tally) -> None:
        """Show how far it is."""
        ...


def display_for(tally: Tally) -> Display:
    """Return a bar where it can be drawn, else plain lines."""
    dumb = os.environ.get("TERM", "") in {"dumb", "unknown"}
    if sys.stderr.isatty() and not dumb:
        return Bar(tally, Console(stderr=True), above=sys.stdout.isatty())
    return Lines()


class Lines(Display):
    """Plain lines; *counting* writes one each time another tenth is through."""

    def __init__(self, *, counting: bool = True) -> None:
        self._started = time.monotonic()
        self._counting = counting
        self._tenths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()

    def result(self, line: str) -> None:
        """Write to stdout."""
        write_result(line)

    def note(self, line: str, style: str = "") -> None:  # noqa: ARG002 - no colours here
        """Write to stderr."""
        sys.stderr.write(line + "\n")

    def count(self, tally: Tally) -> None:
        """Write how far it is, now and then."""
        tenths = 10 * tally.ended // max(1, tally.total)
        if tenths == self._tenths or not (self._counting and tally.worked_on):
            return
        self._tenths = tenths
        rate = _rate(tally, time.monotonic() - self._started)
        self.note(f"{tally.ended} of {tally.total}: {tally}{rate}")


class Bar(Display):
    """
    One bar with counts and a rate, below the lines.

    *above* says that stdout is a terminal too: then results are written above
    the bar, which would be torn otherwise.
    """

    def __init__(self, tally: Tally, console: Console, *, above: bool) -> None:
        self._console = console
        self._above = above
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            redirect_stdout=False,  # it would send results to stderr
        )
        self._task = self._progress.add_task("starting", total=tally.total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def result(self, line: str) -> None:
        """Write to stdout, above the bar."""
        if self._above:
            self.note(line)
        else:
            write_result(line)

    def note(self, line: str, style: str = "") -> None:
        """Write above the bar."""
        self._console.print(Text(line, style), soft_wrap=True)

    def count(self, tally: Tally) -> None:
        """Move the bar."""
        rate = _rate(tally, time.monotonic() - self._started)
        words = [
            f"[{style}]{tally.counts[status]} {status}[/]"
            for status, style in STYLES.items()
            if tally.counts[status]
        ]
        self._progress.update(
            self._task,
            completed=tally.ended,
            description=", ".join(words) + (rate if words else rate.lstrip(", ")),
        )


def _rate(tally: Tally, seconds: float) -> str:
    """Return the speed of what took work; what was there already took none."""
    if not tally.worked_on or not seconds:
        return ""
    per_second = tally.worked_on / seconds
    if per_second < 1:
        return f", {per_second * 60:.1f}/min"
    return f", {per_second:.1f}/s"
