"""
Make the man page and the completion scripts of ``ezlink``, for packagers.

``python docs/make_man_page.py`` writes them below ``share``, from the signatures and
docstrings that are the help of the commands. They land in ``share`` of the
environment into which the wheel is installed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cyclopts import App, Group
from cyclopts.argument import Argument
from docstring_parser import parse

from ezlink_async import __version__
from ezlink_async.cli import COMMANDS, app, load_commands

SHARE = Path(__file__).parent.parent / "share"

_EVERY_JOB = "Options of every job"
"""The name of the group of options that the help shows with each command."""

_AFTER = """\
.SH EXIT STATUS
.TP
.B 0
All that was asked for is done.
.TP
.B 1
Some of it is not; the output says what, and what to do.
.TP
.B 2
Nothing could be done: an argument, a setting or the key is wrong.
.TP
.B 130
The command was interrupted. Jobs that are paid are fetched by the next run.
.SH ENVIRONMENT
.TP
.B EZLINK_API_KEY
The key of the API.
.TP
.B EZLINK_BASE_URL
The address of the API.
.TP
.B EZLINK_ACCOUNT_TOKEN
The access token of the account, with which lost answers are looked up.
.TP
.B EZLINK_CONFIG
The profile file, in place of the usual one.
.PP
Each setting of the profile has a variable:
.B EZLINK_
and its name in capitals, of a policy with its table, as in
.BR EZLINK_POLL_FIRST .
.SH FILES
.TP
.I ~/.config/ezlink/config.toml
The profile: settings that are not in the environment. Its JSON schema is
.IR share/ezlink\\-async/config.schema.json .
"""


def _roff(text: str) -> str:
    """Return *text* on one line, as words that mean nothing to roff."""
    text = re.sub(r"``?([^`]*)``?", r"\1", " ".join(text.split()))
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        yield f".PP\n{_roff(paragraph)}\n"


def _value(argument: Argument) -> str:
    """Return the value of an option in the synopsis; empty for a switch."""
    is_switch = argument.hint is bool or argument.parameter.count
    if is_switch or argument.index is not None:
        return ""
    if choices := argument.get_choices():
        return f" {'|'.join(choices)}"
    kinds = {"Path": " PATH", "int": " N", "float": " N"}
    return next((kinds[each] for each in kinds if each in str(argument.hint)), " TEXT")


def _arguments(command: App, *, shared: bool = False) -> Iterator[str]:
    """Yield the arguments of *command*, or those *shared* by all jobs."""
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show and (_EVERY_JOB in _group_names(argument)) is shared:
            names = ", ".join((*argument.names, *argument.negatives))
            bold = _roff(names + _value(argument))
            yield f".TP\n.B {bold}\n{_roff(argument.parameter.help or '')}\n"


def _group_names(argument: Argument) -> Iterator[str]:
    groups = argument.parameter.group
    for group in groups if isinstance(groups, Iterable) else (groups,):
        yield str(group.name if isinstance(group, Group) else group)


def _command(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the part about one command; *lines* are its arguments and examples."""
    command = app[name]
    arguments, *examples = lines
    described = parse(inspect.getdoc(command.default_command) or "")
    yield f'.SS "ezlink {name} {_roff(arguments)}"\n'
    for part in (described.short_description, described.long_description):
        yield from _paragraphs(part or "")
    yield from _arguments(command)
    if any(_arguments(command, shared=True)):
        yield f".PP\nIt takes the {_EVERY_JOB.lower()}, too.\n"
    yield f".PP\nExamples:\n.PP\n.nf\n{chr(10).join(map(_roff, examples))}\n.fi\n"


def man_page() -> str:
    """Return the man page, in roff."""
    load_commands()
    parts = [
        f'.TH EZLINK 1 "" "ezlink\\-async {__version__}" "User Commands"\n',
        ".SH NAME\nezlink \\- swap faces, and make pictures, with the EZLINK AI API\n",
        ".SH SYNOPSIS\n.B ezlink\n.I COMMAND\n[OPTIONS]\n",
        ".SH OPTIONS\n",
        *_arguments(app.meta),
        ".TP\n.B \\-\\-version\nPrint the version.\n",
        ".TP\n.B \\-\\-help, \\-h\nPrint the help, of a command after its name.\n",
        ".SH COMMANDS\n",
    ]
    for path, lines in COMMANDS.items():
        parts.extend(_command(path.rpartition(":")[2], lines))
    parts.append(f".SH {_EVERY_JOB.upper()}\n")
    parts.extend(_arguments(app["swap"], shared=True))
    return "".join([*parts, _AFTER]).replace(".PP\n\n", "")


@functools.cache
def files() -> dict[Path, str]:
    """Return the content of each file, by its path."""
    load_commands()
    return {
        SHARE / "man/man1/ezlink.1": man_page(),
        SHARE / "bash-completion/completions/ezlink": _completion("bash"),
        SHARE / "zsh/site-functions/_ezlink": _completion("zsh"),
        SHARE / "fish/vendor_completions.d/ezlink.fish": _completion("fish"),
    }


def _completion(shell: str) -> str:
    script = app.generate_completion(shell=shell)  # type: ignore[arg-type]  # it is one
    return "\n".join(line.rstrip() for line in script.splitlines()) + "\n"


def main() -> None:
    """Write all files."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
