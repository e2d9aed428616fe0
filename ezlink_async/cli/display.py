"""
The terminal: results to stdout, everything else to stderr.

On a terminal a bar stands below the lines; elsewhere a line is written now
and then. What is shown holds no control characters: names and the words of
servers are written by strangers.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Literal, Protocol, Self, TextIO, cast

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ezlink_async.batch.outcomes import BatchOutcome, BatchStatus
from ezlink_async.batch.spending import Charges

Status = BatchStatus | Literal["planned"]
"""``planned`` is what a dry run calls a target it would send."""


_ORDER: tuple[Status, ...] = ("succeeded", "failed", "unknown", "skipped", "planned")


def to_json(outcome: BatchOutcome, status: Status) -> str:
    """Return the line that ``--json`` prints."""
    return json.dumps(
        {
            "target": str(outcome.target),
            "output": None if outcome.output is None else str(outcome.output),
            "task_id": outcome.task_id,
            "status": status,
            "error": outcome.error,
            "maybe_charged": outcome.maybe_charged,
        }
    )


@attrs.define
class Tally:
    """How many targets there are, how many are under way, what became of others."""

    total: int
    in_progress: int = 0
    counts: collections.Counter[Status] = attrs.field(factory=collections.Counter)

    @property
    def ended(self) -> int:
        """How many are through, however."""
        return self.counts.total()

    @property
    def worked_on(self) -> int:
        """How many took work in this run: those left out of it took none."""
        return self.ended - self.counts["skipped"]

    def __str__(self) -> str:
        words = [f"{self.counts[word]} {word}" for word in _ORDER if self.counts[word]]
        return ", ".join(words) or "nothing to do"

    def to_json(self, seconds: float, charges: Charges | None = None) -> str:
        """Return the last line that ``--json`` prints."""
        counts: dict[str, float] = {
            "total": self.total,
            "succeeded": self.counts["succeeded"],
            "failed": self.counts["failed"],
            "unknown": self.counts["unknown"],
            "skipped": self.counts["skipped"],
            "seconds": round(seconds, 3),
        }
        if charges is not None:
            counts["charged_usd"] = charges.dollars
            counts["accounted"] = charges.accepted
        return json.dumps({"summary": counts})


STYLES: dict[Status, str] = {"failed": "red", "unknown": "yellow"}
"""How bad news looks on a terminal."""

_ECHO = 3  # columns: ^C, and the cursor behind it


def shown(text: object) -> str:
    """Return *text* with what is no printable character spelled out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text)
    )


class Patient:
    """
    A stream that may lose its reader: a pipe that breaks, a closed terminal.

    From then on what is written is dropped: work that is paid for goes on, and
    what it brings is on disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, or drop it."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Bring what was written out, or drop it."""
        with self._dropping():
            self._stream.flush()

    def line(self, text: str) -> None:
        """Write one line at once."""
        self.write(text + "\n")
        self.flush()

    def isatty(self) -> bool:
        """Return whether it is, or was, a terminal."""
        return self._stream.isatty()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # Python would complain once more, at the end, about what is unwritten.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


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
        return Bar(tally, above=sys.stdout.isatty())
    return Lines()


class Lines(Display):
    """Plain lines; *counting* writes one each time another tenth is through."""

    def __init__(self, *, counting: bool = True) -> None:
        self._started = time.monotonic()
        self._counting = counting
        self._tenths = self._worked_on = 0
        self._out, self._err = Patient(sys.stdout), Patient(sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def result(self, line: str) -> None:
        """Write to stdout."""
        self._out.line(line)

    def note(self, line: str, style: str = "") -> None:  # noqa: ARG002 - no colours here
        """Write to stderr."""
        self._err.line(line)

    def count(self, tally: Tally) -> None:
        """Write how far it is, now and then; the end is told otherwise."""
        tenths = 10 * tally.ended // max(1, tally.total)
        idle = tally.worked_on == self._worked_on  # what is skipped is no news
        if tenths == self._tenths or idle or tally.ended == tally.total:
            return
        self._tenths, self._worked_on = tenths, tally.worked_on
        if not self._counting:
            return
        rate = speed(tally, time.monotonic() - self._started)
        self.note(f"{tally.ended} of {tally.total}: {tally}, {rate}")


class _Row(Progress):
    """A bar that leaves the end of its row free: a terminal echoes ^C there."""

    def get_renderables(self) -> Iterator[_Narrowed]:
        """Yield the one row."""
        yield from map(_Narrowed, super().get_renderables())


@attrs.frozen
class _Narrowed:
    row: RenderableType

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        width = max(1, options.max_width - _ECHO)
        yield from console.render(self.row, options.update_width(width))


class Bar(Display):
    """
    One bar with counts and a rate, below the lines.

    *above* says that stdout is a terminal too: then results are written above
    the bar, which would be torn otherwise.
    """

    def __init__(self, tally: Tally, *, above: bool) -> None:
        self._out = Patient(sys.stdout)
        self._console = Console(file=cast("IO[str]", Patient(sys.stderr)))
        self._above = above
        self._started = time.monotonic()
        self._progress = _Row(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
            transient=True,  # what stays is the sum, not the bar
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
            self._out.line(line)

    def note(self, line: str, style: str = "") -> None:
        """Write above the bar."""
        self._console.print(Text(line, style), soft_wrap=True)

    def count(self, tally: Tally) -> None:
        """Move the bar."""
        rate = speed(tally, time.monotonic() - self._started)
        words = [
            f"[{style}]{tally.counts[status]} {status}[/]"
            for status, style in STYLES.items()
            if tally.counts[status]
        ]
        if tally.in_progress:
            words.append(f"{tally.in_progress} in progress")
        self._progress.update(
            self._task,
            completed=tally.ended,
            total=tally.total,
            description=", ".join(filter(None, (*words, rate))),
        )


def speed(tally: Tally, seconds: float) -> str:
    """Return the speed of what took work; what was there already took none."""
    if not tally.worked_on or not seconds:
        return ""
    per_second = tally.worked_on / seconds
    if per_second < 1:
        return f"{per_second * 60:.1f}/min"
    return f"{per_second:.1f}/s"


class _Notes(logging.Handler):
    def __init__(self, display: Display, least: int) -> None:
        super().__init__(least)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, and the traceback where there is one, line by line."""
        for line in self.format(record).splitlines():
            self._display.note(shown(line), "yellow")


@contextmanager
def noted(display: Display, least: int = logging.WARNING) -> Iterator[None]:
    """Show what is logged meanwhile, from the level *least* upwards."""
    notes = _Notes(display, least)
    log = logging.getLogger("ezlink_async")
    log.addHandler(notes)
    try:
        yield
    finally:
        log.removeHandler(notes)
