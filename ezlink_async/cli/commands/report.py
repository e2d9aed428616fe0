"""``ezlink report``: the page about a batch, made from its journal."""

from __future__ import annotations

import sys
from pathlib import Path

from ezlink_async.batch.options import BatchOptions
from ezlink_async.cli.display import Display
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.report import report_on

_MANY = 200  # photos whose thumbnails take some seconds


def report(folder: Path, /) -> int:
    """
    Make report.html again, from the journal of the results in FOLDER.

    Parameters
    ----------
    folder
        Where the results are.

    """
    try:
        path = report_on(folder)
    except OSError as error:
        raise ConfigurationError(
            f"no report can be written in {folder}: {error.strerror or error}"
        ) from error
    sys.stdout.write(f"{path}\n")
    return 0


def make_report(options: BatchOptions, display: Display, photos: int) -> None:
    """Write the report at the end of a run. Errors and Ctrl-C do not fail the run."""
    if photos >= _MANY:
        display.inform("writing the report (Ctrl-C skips it)")
    try:
        report_on(options.output, journal=options.journal_path)
    except (EzlinkError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        display.note(f"no report was written: {reason or error}", "yellow")
    except KeyboardInterrupt:
        again = f"ezlink report {options.output}"
        display.note(f"the report was skipped; make it with: {again}")
    else:
        display.inform(f"report: {options.output / 'report.html'}")
