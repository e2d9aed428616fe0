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

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from rich.console import Console

from ezlink_async import __version__
from ezlink_async._io.concurrency import OutOfThreadsError, is_out_of_threads
from ezlink_async.cli.interrupts import INTERRUPTED
from ezlink_async.cli.logs import LogOptions, logging_as
from ezlink_async.errors import EzlinkError

COMMANDS = {
    "ezlink_async.cli.commands.swap:swap": (
        "SOURCE TARGET... --output DIR [OPTIONS]",
        "ezlink swap me.jpg photos -o swapped --dry-run",
        "find . -name '*.jpg' -print0 | ezlink swap me.jpg - -o out",
    ),
    "ezlink_async.cli.commands.imagine:imagine": (
        "PROMPT... --output DIR [OPTIONS]",
        "ezlink imagine 'a red fox --ar 3:2' -o posters --then U2",
        "ezlink imagine 'a red fox' -o out --mode relax --count 3 --dry-run",
    ),
    "ezlink_async.cli.commands.blend:blend": (
        "PICTURE PICTURE... --output DIR [OPTIONS]",
        "ezlink blend fox.png sea.png -o out",
        "ezlink blend a.png b.png c.png -o out --dimensions portrait --then U1",
    ),
    "ezlink_async.cli.commands.describe:describe": (
        "PICTURE|FOLDER... --output DIR [OPTIONS]",
        "ezlink describe photo.jpg -o texts",
        "ezlink describe photos -o texts --json",
    ),
    "ezlink_async.cli.commands.shorten:shorten": (
        "PROMPT... --output DIR [OPTIONS]",
        "ezlink shorten 'a very, very red fox in the snow' -o out",
        "ezlink shorten --manifest prompts.csv -o out",
    ),
    "ezlink_async.cli.commands.action:action": (
        "TASK BUTTON... --output DIR [OPTIONS]",
        "ezlink action posters/fox.png U2 V3 -o posters",
        "ezlink action 1733213213123456 'Custom Zoom' --prompt 'a fox' -o out",
    ),
    "ezlink_async.cli.commands.modal:modal": (
        "TASK --output DIR [OPTIONS]",
        "ezlink modal 1733213213123456 --prompt 'a red hat' -o posters",
        "ezlink modal 1733213213123456 --prompt 'a hat' --mask mask.png -o out",
    ),
    "ezlink_async.cli.commands.video:video": (
        "[PROMPT...] --model M --output DIR [OPTIONS]",
        "ezlink video 'a cat' --model kling-v1 --seconds 5 -o clips",
        "ezlink video 'it walks' --model kling-v1 --image cat.png -o clips",
    ),
    "ezlink_async.cli.commands.image:image": (
        "PROMPT... --model M --output DIR [OPTIONS]",
        "ezlink image 'a red fox' --model kling-v2 --count 2 -o out",
        "ezlink image 'a fox' --model flux-pro-1.1 --set width=768 -o out --dry-run",
    ),
    "ezlink_async.cli.commands.flux:flux": (
        "PROMPT... --output DIR [OPTIONS]",
        "ezlink flux 'a red fox' --size 1024x768 -o out",
        "ezlink flux 'a fox' --model flux-pro-1.1 --seed 7 -o out --dry-run",
    ),
    "ezlink_async.cli.commands.run:run": (
        "MANIFEST --output DIR [OPTIONS]",
        "ezlink run jobs.jsonl -o out --dry-run",
        "ezlink run jobs.csv -o out --budget 50",
    ),
    "ezlink_async.cli.commands.report:report": (
        "FOLDER",
        "ezlink report swapped",
        "xdg-open $(ezlink report swapped)",
    ),
    "ezlink_async.cli.commands.task:task": (
        "[OPTIONS] [FAMILY:]ID...",
        "ezlink task 1733213213123456",
        "ezlink task 1733213213123456 -o results --json",
    ),
    "ezlink_async.cli.commands.seed:seed": (
        "[OPTIONS] ID...",
        "ezlink seed 1733213213123456",
        "ezlink seed 1733213213123456 --json",
    ),
    "ezlink_async.cli.commands.upload:upload": (
        "[OPTIONS] FILE...",
        "ezlink upload photo.jpg --purpose vision",
        "ezlink upload *.mp4 --json",
    ),
    "ezlink_async.cli.commands.models:models": (
        "[OPTIONS] [WORD]",
        "ezlink models",
        "ezlink models kling --json",
    ),
    "ezlink_async.cli.commands.balance:balance": (
        "[OPTIONS]",
        "ezlink balance",
        "ezlink balance --json",
    ),
    "ezlink_async.cli.commands.stability:stability": (
        "WHAT [PICTURE] --output DIR [OPTIONS]",
        "ezlink stability core --prompt 'a red fox' -o out --local",
        "ezlink stability erase photo.jpg --set mask=mask.png -o out",
    ),
    "ezlink_async.cli.commands.samples:samples": (
        "FOLDER",
        "ezlink samples photos",
        'sh -c "$(ezlink samples photos)"',
    ),
    "ezlink_async.cli.commands.serve:serve": (
        "[OPTIONS]",
        "ezlink serve --port 8080",
        "ezlink serve --engine copy",
    ),
    "ezlink_async.cli.commands.doctor:doctor": (
        "[OPTIONS]",
        "ezlink doctor",
        "ezlink doctor --base-url https://api.ezlinkai.com",
    ),
}
"""Where each command is, its arguments, and two examples."""

typed: ContextVar[str] = ContextVar("typed", default="ezlink")
"""The command as the user typed it, quoted for a shell."""

_USAGE = 2

app: App = App(
    name="ezlink",
    help="Swap faces, and make pictures, with the EZLINK AI API.",
    version=f"ezlink-async {__version__}",
    version_flags=["--version"],
    help_flags=["--help", "-h"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _path, (_arguments, *_examples) in COMMANDS.items():
    _usage = f"Usage: ezlink {_path.rpartition(':')[2]} {_arguments}"
    app.command(_path, usage="\n".join((_usage, "", "Examples:", *_examples)))
app.register_install_completion_command(
    help="Have the shell complete commands and options (bash, zsh, fish)."
)


def load_commands() -> None:
    """Import every command: for the list of all, and for their completion."""
    for name in app:
        app[name]


def _says(error: CycloptsError) -> str:
    """Return *error* as a sentence; an option that is missing lacks no value."""
    argument = error.argument
    if not isinstance(error, MissingArgumentError) or argument is None or error.keyword:
        return str(error)
    value = " DIR" if argument.name == "--output" else ""
    return f"{argument.name}{value} is missing."


app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _command(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    options: LogOptions = LogOptions(),  # noqa: B008 - it is frozen
) -> int:
    """Swap faces, and make pictures, with the EZLINK AI API."""
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
            load_commands()  # one that is not imported yet shows no help
        # A console keeps the width it was made with, so each run makes its own.
        console = Console()
        # cyclopts takes a lone dash for an option; as a path it is the same word.
        words = ["./-" if word == "-" else word for word in arguments]
        code = app.meta(words, console=console, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        command = " ".join(("ezlink", *(error.command_chain or ())))
        sys.stderr.write(f"ezlink: {_says(error)} See: {command} --help\n")
        return _USAGE
    except EzlinkError as error:
        sys.stderr.write(f"ezlink: {error}\n")
        return _USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0
