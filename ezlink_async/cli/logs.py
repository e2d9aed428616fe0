"""
What the library logs, as notes: ids of submits that nobody waits for any more.

Without it Python's last resort would write them to a stream it found first,
through the bar.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ezlink_async.cli.display import Display, shown


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
