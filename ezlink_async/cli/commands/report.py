"""``ezlink report``: the page about a batch, made from its journal."""

from __future__ import annotations

import sys
from pathlib import Path

from ezlink_async.batch.options import BatchOptions
from ezlink_async.cli.display import Display
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.report import report_on

_MANY = 200  # photos whose thumbnails take a while


def report(folder: Path) -> int:
    """Make it, and return the exit code."""
    try:
        path = report_on(folder)
    except OSError as fault:
        raise ConfigurationError(
            f"no report can be written in {folder}: {fault.strerror or fault}"
        ) from fault
    sys.stdout.write(f"{path}\n")
    return 0


def make_report(options: BatchOptions, display: Display, photos: int) -> None:
    """Make it at the end of a run, which it must not spoil; Ctrl-C leaves it out."""
    if photos >= _MANY:
        display.note("making the report (Ctrl-C leaves it out)")
    try:
        report_on(options.output, journal=options.journal_path)
    except (EzlinkError, OSError) as fault:
        display.note(f"there is no report: {fault}", "yellow")
    except KeyboardInterrupt:
        again = f"ezlink report {options.output}"
        display.note(f"the report was left out; make it with: {again}")
    else:
        display.note(f"report: {options.output / 'report.html'}")
