"""
The terminal: results to stdout, everything else to stderr.

On a terminal a bar stands below the lines; elsewhere a line of counts is written
now and then. File names and the texts of servers come from strangers, so callers
pass them through :func:`~ezlink_async.report.escaping.shown` first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Self, TextIO, cast

from rich.console import Console
from rich.constrain import Constrain
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from ezlink_async.cli.logs import shown_level
from ezlink_async.cli.tally import Kind, Tally
from ezlink_async.report.escaping import shown

STYLES = {Kind.FAILED: "red", Kind.UNUSABLE: "red", Kind.UNKNOWN: "yellow"}
"""The style of bad news on a terminal."""

_ECHO = 3  # columns: ^C, and the cursor behind it


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


def agree(question: str) -> bool:
    """
    Ask a *question* on the terminal, and return whether the answer is yes.

    Without a terminal to ask on, as in a pipe or a script, the answer is yes.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


class Display:
    """
    Where a command writes its lines.

    A *quiet* one shows results and problems alone. With a *tally* it shows the
    progress too: as a bar if stderr is a terminal
    that can draw one, else as a line each time another tenth has ended.
    """

    def __init__(self, tally: Tally | None = None, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._tally = tally = None if quiet else tally
        self._tenths = self._ended = 0
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
        self.end_progress()

    def end_progress(self) -> None:
        """Show the progress no more; lines can still be written."""
        self._tally = None
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

    def inform(self, line: str) -> None:
        """Write a line that names no problem, unless the display is quiet."""
        if not self._quiet:
            self.note(line)

    def update(self) -> None:
        """Show the counts of the tally, which have changed."""
        tally = self._tally
        if tally is None:
            return
        if self._bar is not None:
            self._bar.show(tally)
            return
        tenths = 10 * tally.settled // max(1, tally.total)
        # Orders done before are no news, and a summary follows the last one.
        is_news = tenths != self._tenths and tally.ended != self._ended
        if is_news and tally.settled != tally.total:
            self._tenths, self._ended = tenths, tally.ended
            words = filter(None, (str(tally), tally.speed, tally.time_left))
            self.inform(f"{tally.settled:,} of {tally.total:,}: {', '.join(words)}")


class _Bar(Progress):
    """One row that leaves its end free: a terminal echoes ^C there."""

    def __init__(self, stream: BrokenPipeSafeStream, total: int) -> None:
        # Before rich sets its own, which it does after it asks for the row.
        self._console = Console(file=cast("IO[str]", stream))
        super().__init__(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
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
        """Draw the counts, the rate and the time left."""
        words = [
            f"[{style}]{tally.kinds[kind]} {kind}[/]"
            for kind, style in STYLES.items()
            if tally.kinds[kind]
        ]
        if tally.in_progress:
            words.append(f"{tally.in_progress} in progress")
        if tally.budget is not None:
            words.append(f"budget {tally.paid}/{tally.budget}")
        if tally.state:
            words.insert(0, tally.state)
        else:
            words += filter(None, (tally.speed, tally.time_left))
        self.update(
            self._row,
            completed=tally.settled,
            total=tally.total,
            description=", ".join(words) or "starting",
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
