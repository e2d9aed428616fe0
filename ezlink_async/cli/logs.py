"""
What ``-v`` and ``--log FILE`` show of the library's log.

The options belong to every command, so they are read before the command is.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Group, Parameter

from ezlink_async._core.log_lines import get_logger
from ezlink_async._io.files import make_private
from ezlink_async.errors import ConfigurationError

LOG = get_logger()

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_GROUP = Group("Log", sort_key=100)

shown_level: ContextVar[int] = ContextVar("shown_level", default=logging.WARNING)
"""The level from which a command shows the log on its display."""


@Parameter(name="*", group=_GROUP)
@attrs.frozen
class LogOptions:
    """
    How much of the log is shown, and the file that keeps all of it.

    Parameters
    ----------
    verbose
        Show each step of a job with its id; twice, each request too.
    log
        Append all of that to a file. It holds no key and no picture.

    """

    verbose: Annotated[
        int, Parameter(("--verbose", "-v"), count=True, show_default=False)
    ] = 0
    log: Annotated[Path | None, Parameter("--log")] = None


@contextmanager
def logging_as(options: LogOptions) -> Iterator[None]:
    """Log as *options* say; :exc:`ConfigurationError` if the file cannot be opened."""
    level = _LEVELS[min(options.verbose, len(_LEVELS) - 1)]
    before, token = LOG.level, shown_level.set(level)
    try:
        with nullcontext() if options.log is None else _written_to(options.log):
            LOG.setLevel(level if options.log is None else logging.DEBUG)
            yield
    finally:
        LOG.setLevel(before)
        shown_level.reset(token)


@contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """Append the log to the file at *path*, in a thread: the disk may be slow."""
    try:
        if not path.exists():
            make_private(path)  # an id opens a picture without a key
        file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as fault:
        raise ConfigurationError(
            f"the log cannot be written to {path}: {fault.strerror}; "
            "give --log another file"
        ) from None
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(lines)
    listener = logging.handlers.QueueListener(lines, file)
    listener.start()
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        listener.stop()
        file.close()
