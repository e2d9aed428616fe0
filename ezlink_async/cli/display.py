"""
The terminal: results to stdout, everything else to stderr.

On a terminal a bar stands below the lines; elsewhere a line of counts is written
now and then. File names and the texts of servers come from strangers, so callers
pass them through :func:`~ezlink_async.report.escaping.shown` first.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Literal, Self, TextIO, cast, get_args

import attrs
from rich.console import Console
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ezlink_async.batch.outcomes import BatchOutcome, BatchStatus
from ezlink_async.batch.spending import Charges
from ezlink_async.cli.logs import shown_level
from ezlink_async.report.escaping import shown

Status = BatchStatus | Literal["planned"]
"""``planned`` is a target that a dry run would send."""

_ORDER: tuple[Status, ...] = ("succeeded", "failed", "unknown", "skipped", "planned")

STYLES: dict[Status, str] = {"failed": "red", "unknown": "yellow"}
"""The style of bad news on a terminal."""

_KEYS = ("target", "output", "task_id", "status", "error", "maybe_charged")

_ECHO = 3  # columns: ^C, and the cursor behind it


def to_json(outcome: BatchOutcome, status: Status) -> str:
    """Return the line that ``--json`` prints."""
    row = {name: getattr(outcome, name) for name in _KEYS} | {"status": status}
    return json.dumps(row, default=str)


@attrs.define
class Tally:
    """How many targets there are, are in progress, and ended how; and the time."""

    total: int
    in_progress: int = 0
    counts: collections.Counter[Status] = attrs.field(factory=collections.Counter)
    clock: Callable[[], float] = time.monotonic
    _started: float = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.clock(), takes_self=True)
    )
    _stopped: float | None = attrs.field(init=False, default=None)

    @property
    def ended(self) -> int:
        """How many have ended, with any status."""
        return self.counts.total()

    @property
    def worked_on(self) -> int:
        """How many took work in this run; skipped ones took none."""
        return self.ended - self.counts["skipped"]

    @property
    def seconds(self) -> float:
        """How long the run has taken, or took until it was stopped."""
        now = self.clock() if self._stopped is None else self._stopped
        return now - self._started

    @property
    def speed(self) -> str:
        """Targets a second or a minute, of those that took work; may be empty."""
        if not self.worked_on or not self.seconds:
            return ""
        per_second = self.worked_on / self.seconds
        if per_second < 1:
            return f"{per_second * 60:.1f}/min"
        return f"{per_second:.1f}/s"

    def stop(self) -> None:
        """Stop the time: what follows is no work of the run."""
        self._stopped = self.clock()

    def __str__(self) -> str:
        words = [f"{self.counts[word]} {word}" for word in _ORDER if self.counts[word]]
        return ", ".join(words) or "nothing to do"

    def to_json(self, charges: Charges | None = None) -> str:
        """Return the last line that ``--json`` prints."""
        counts: dict[str, float] = {"total": self.total}
        counts |= {status: self.counts[status] for status in get_args(BatchStatus)}
        counts["seconds"] = round(self.seconds, 3)
        if charges is not None:
            counts["charged_usd"] = charges.dollars
            counts["accounted"] = charges.accepted
        return json.dumps({"summary": counts})


class BrokenPipeSafeStream:
    """
    A stream that may lose its reader: the pipe breaks, the terminal is closed.

    From then on text is dropped without an error: work that is paid for goes on,
    and its results are on disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text*, or drop it."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the text written so far, or drop it."""
        with self._dropping():
            self._stream.flush()

    def line(self, text: str) -> None:
        """Write one line, and flush it."""
        self.write(text + "\n")
        self.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal; rich asks."""
        return self._stream.isatty()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # Python flushes the stream at exit, and would report the error then.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class Display:
    """
    Where a command writes its lines.

    With a *tally* it shows the progress too: as a bar if stderr is a terminal
    that can draw one, else as a line each time another tenth has ended.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally
        self._tenths = self._worked_on = 0
        self._out = BrokenPipeSafeStream(sys.stdout)
        self._err = BrokenPipeSafeStream(sys.stderr)
        dumb = os.environ.get("TERM", "") in {"dumb", "unknown"}
        self._bar: _Bar | None = None
        if tally is not None and sys.stderr.isatty() and not dumb:
            self._bar = _Bar(self._err, tally.total)
        # A result on the same terminal would tear the bar.
        self._above_bar = self._bar is not None and sys.stdout.isatty()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def result(self, line: str) -> None:
        """Write a result to stdout."""
        if self._above_bar:
            self.note(line)
        else:
            self._out.line(line)

    def note(self, line: str, style: str = "") -> None:
        """Write a line that is no result to stderr; the bar's terminal has *style*."""
        if self._bar is None:
            self._err.line(line)
        else:
            self._bar.console.print(Text(line, style), soft_wrap=True)

    def update(self) -> None:
        """Show the counts of the tally, which have changed."""
        tally = self._tally
        if tally is None:
            return
        if self._bar is not None:
            self._bar.show(tally)
            return
        tenths = 10 * tally.ended // max(1, tally.total)
        # Skipped targets alone are no news, and a summary follows the last one.
        is_news = tenths != self._tenths and tally.worked_on != self._worked_on
        if is_news and tally.ended != tally.total:
            self._tenths, self._worked_on = tenths, tally.worked_on
            self.note(f"{tally.ended} of {tally.total}: {tally}, {tally.speed}")


class _Bar(Progress):
    """One row that leaves its end free: a terminal echoes ^C there."""

    def __init__(self, stream: BrokenPipeSafeStream, total: int) -> None:
        # Before rich sets its own, which it does after it asks for the row.
        self._console = Console(file=cast("IO[str]", stream))
        super().__init__(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
            transient=True,  # the summary stays, the bar does not
            redirect_stdout=False,  # else results would go to stderr
        )
        self._row = self.add_task("starting", total=total)

    def get_renderables(self) -> Iterator[Constrain]:
        """Yield the row, narrower than the terminal is now."""
        width = max(1, self._console.width - _ECHO)
        yield from (Constrain(row, width) for row in super().get_renderables())

    def show(self, tally: Tally) -> None:
        """Draw the counts and the rate."""
        words = [
            f"[{style}]{tally.counts[status]} {status}[/]"
            for status, style in STYLES.items()
            if tally.counts[status]
        ]
        if tally.in_progress:
            words.append(f"{tally.in_progress} in progress")
        self.update(
            self._row,
            completed=tally.ended,
            total=tally.total,
            description=", ".join(filter(None, (*words, tally.speed))),
        )


class _LogHandler(logging.Handler):
    def __init__(self, display: Display, level: int) -> None:
        super().__init__(level)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show the message, and the traceback if there is one, line by line."""
        for line in self.format(record).splitlines():
            is_bad = record.levelno >= logging.WARNING
            self._display.note(shown(line), "yellow" if is_bad else "dim")


@contextmanager
def logs_shown_on(display: Display, level: int = logging.WARNING) -> Iterator[None]:
    """
    Show the library's log on *display* while entered, from *level* upwards.

    With ``-v`` the user's level counts.
    """
    chosen = shown_level.get()
    handler = _LogHandler(display, level if chosen == logging.WARNING else chosen)
    log = logging.getLogger("ezlink_async")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
