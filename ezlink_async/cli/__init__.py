"""
The command line: arguments in, exit code out.

Each command is declared, with its options, in a module of its own. A module is
imported when its command is called, and all of them when ``--help`` lists them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from io import TextIOWrapper
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from ezlink_async import __version__
from ezlink_async._io.concurrency import OutOfThreadsError, is_out_of_threads
from ezlink_async.cli.interrupts import INTERRUPTED
from ezlink_async.cli.logs import LogOptions, logging_as
from ezlink_async.errors import EzlinkError

COMMANDS: dict[str, str | None] = {
    "ezlink_async.cli.commands.swap:swap": (
        "Usage: ezlink swap SOURCE TARGET... --output DIR [OPTIONS]"
    ),
    "ezlink_async.cli.commands.report:report": None,
    "ezlink_async.cli.commands.task:task": None,
    "ezlink_async.cli.commands.serve:serve": None,
    "ezlink_async.cli.commands.doctor:doctor": None,
}
"""Where each command is, and its line of usage if cyclopts shall not make one."""

typed: ContextVar[str] = ContextVar("typed", default="ezlink")
"""The command as the user typed it, quoted for a shell."""

_USAGE = 2

app: App = App(
    name="ezlink",
    help="Swap faces with the EZLINK AI API.",
    version=f"ezlink-async {__version__}",
    version_flags=["--version"],
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _path, _usage in COMMANDS.items():
    app.command(_path, usage=_usage)


app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _command(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    options: LogOptions = LogOptions(),  # noqa: B008 - it is frozen
) -> int:
    """Swap faces with the EZLINK AI API."""
    with logging_as(options):
        console = Console()
        code = app(tokens, console=console, exit_on_error=False, print_error=False)
    return code if isinstance(code, int) else 0


def run(arguments: Sequence[str]) -> int:
    """Run one command, and return its exit code."""
    try:
        return _run(arguments)
    except RuntimeError as fault:
        if not is_out_of_threads(fault):  # pragma: no cover - a bug of ours
            raise
    sys.stderr.write(f"ezlink: {OutOfThreadsError()}\n")
    return _USAGE


def _run(arguments: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # File names may hold characters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    typed.set(shlex.join(("ezlink", *arguments)))
    try:
        if not arguments or arguments[0] in app.help_flags:
            for name in app:  # a command that is not imported yet shows no help
                app[name]
        # A console keeps the width it was made with, so each run makes its own.
        console = Console()
        code = app.meta(
            arguments, console=console, exit_on_error=False, print_error=False
        )
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
