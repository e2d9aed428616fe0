"""
The command line: arguments in, exit code out.

Each command is declared here and done by a module of its name, which is
imported when it is called.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from ezlink_async import __version__
from ezlink_async.cli.interrupts import INTERRUPTED
from ezlink_async.errors import EzlinkError

if TYPE_CHECKING:
    from ezlink_async.batch.options import BatchOptions
    from ezlink_async.cli.connect import Connection


_typed: ContextVar[Sequence[str]] = ContextVar("_typed", default=())

_USAGE = 2

_Switch = Parameter(negative=(), show_default=False)

_Count = Parameter(validator=Number(gte=1))

_Seconds = Parameter(validator=Number(gt=0))

_Port = Parameter(validator=Number(gte=0, lte=65_535))

app = App(
    name="ezlink",
    help="Swap faces with the EZLINK AI API.",
    version=f"ezlink-async {__version__}",
    version_flags=["--version"],
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def run(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # File names may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    _typed.set(arguments)
    try:
        # Of this run: one that is kept keeps the width it once had.
        console = Console()
        code = app(arguments, console=console, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        command = " ".join(("ezlink", *(error.command_chain or ())))
        sys.stderr.write(f"ezlink: {error} See: {command} --help\n")
        return _USAGE
    except EzlinkError as error:
        sys.stderr.write(f"ezlink: {error}\n")
        return _USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SwapOptions:
    """
    The options of ``ezlink swap``.

    Attributes
    ----------
    output
        Folder for the results; made when it is missing.
    local
        Use the built-in server and engine: no key, no network, no cost.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    mode
        Queue of the server; the price is the same.
    concurrency
        Swaps in progress at one time. [env: EZLINK_MAX_CONCURRENCY]
    deadline
        Seconds a task may take, once accepted. [env: EZLINK_POLL_DEADLINE]
    existing
        What to do where another picture is there already.
    dry_run
        List what would be sent, and send nothing.
    pairs
        How sources and targets go together: zip (the two folders by name),
        product (each with each), or a file that lists them (CSV or JSON Lines,
        with source and target).
    fresh
        Begin anew: forget earlier runs, replace what is there, and pay again.
        Refused while something paid is not at home.
    retry_failed
        Send again what the server called a failure in an earlier run.
    resubmit_unknown
        Send again what may have been paid already; it may be paid twice.
    max_failures
        Send nothing more after this many failures.
    budget
        Pay for at most this many swaps in this run.
    strip_metadata
        Send pictures without position, names and thumbnails.
    json
        Print one JSON object a line.
    report
        Write report.html into the folder of the results.

    """

    output: Path
    local: Annotated[bool, _Switch] = False
    base_url: str | None = None
    mode: Literal["fast", "turbo", "relax"] | None = None
    concurrency: Annotated[int | None, _Count] = None
    deadline: Annotated[float | None, _Seconds] = None
    existing: Literal["skip", "replace"] = "skip"
    dry_run: Annotated[bool, _Switch] = False
    pairs: str | None = None
    fresh: Annotated[bool, _Switch] = False
    retry_failed: Annotated[bool, _Switch] = False
    resubmit_unknown: Annotated[bool, _Switch] = False
    max_failures: Annotated[int | None, _Count] = None
    budget: Annotated[int | None, _Count] = None
    strip_metadata: Annotated[bool, _Switch] = False
    json: Annotated[bool, _Switch] = False
    report: bool = True


@app.command(usage="Usage: ezlink swap SOURCE TARGET... --output DIR [OPTIONS]")
def swap(
    *pictures: Annotated[Path, Parameter(name="PICTURE")],
    options: SwapOptions,
) -> int:
    """
    Put the face of a source into every target: SOURCE TARGET...

    The key comes from EZLINK_API_KEY or the profile file. The same command goes
    on where one has ended, and pays for nothing twice. Exit code 0: all done;
    1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    pictures
        First the picture the face is taken from, then pictures or folders to
        put it into. With --pairs and a file: none.
    options
        See there.

    """
    from ezlink_async.cli.commands.swap import SwapOrder
    from ezlink_async.cli.commands.swap import swap as carry_out

    typed = shlex.join(("ezlink", *_typed.get()))
    order = SwapOrder(
        source=next(iter(pictures), None),
        targets=pictures[1:],
        connection=_connection(options),
        options=_batch(options, typed),
        pairing=options.pairs,
        fresh=options.fresh,
        dry_run=options.dry_run,
        as_json=options.json,
        report=options.report,
        command=typed,
    )
    return carry_out(order)


def _connection(options: SwapOptions) -> Connection:
    from ezlink_async.cli.connect import Connection

    return Connection(
        base_url=options.base_url,
        local=options.local,
        concurrency=options.concurrency,
        deadline=options.deadline,
        resubmit_unknown=options.resubmit_unknown,
    )


def _batch(options: SwapOptions, typed: str) -> BatchOptions:
    from ezlink_async.batch.options import BatchOptions
    from ezlink_async.services.midjourney import Mode

    return BatchOptions(
        output=options.output,
        mode=Mode.parse(options.mode),
        existing=options.existing,
        retry_failed=options.retry_failed,
        resubmit_unknown=options.resubmit_unknown,
        max_failures=options.max_failures,
        budget=options.budget,
        strip_metadata=options.strip_metadata,
        local=options.local,
        command=typed,
    )


@app.command
def report(folder: Path, /) -> int:
    """
    Make report.html again, from the journal of the results in FOLDER.

    Parameters
    ----------
    folder
        Where the results are.

    """
    from ezlink_async.cli.commands.report import report as carry_out

    return carry_out(folder)


@app.command
def task(
    *ids: Annotated[str, Parameter(name="ID", required=True)],
    output: Path | None = None,
    base_url: str | None = None,
) -> int:
    """
    Show tasks by their ids, or wait for them and save their results.

    Parameters
    ----------
    ids
        What the server called the tasks.
    output
        Folder for the results; without it the tasks are only shown.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]

    """
    from ezlink_async.cli.commands.task import task as carry_out
    from ezlink_async.cli.connect import Connection

    return carry_out(ids, output, Connection(base_url=base_url))


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, _Port] = 0,
    engine: Literal["opencv", "copy"] = "opencv",
) -> int:
    """
    Run the built-in server until it is interrupted.

    Parameters
    ----------
    host
        Address to listen on; others than this machine's own are not protected.
    port
        Port to listen on; 0 is any that is free.
    engine
        What makes the results: a face swap, or a copy of the target.

    """
    from ezlink_async.cli.commands.serve import serve as carry_out

    return carry_out(host, port, engine)


@app.command
def doctor(*, base_url: str | None = None) -> int:
    """
    Check address, key, balance, route and clock, and say what to do.

    Parameters
    ----------
    base_url
        Address of the API. [env: EZLINK_BASE_URL]

    """
    from ezlink_async.cli.commands.doctor import doctor as carry_out

    return carry_out(base_url)
