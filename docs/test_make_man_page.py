"""The files for packagers are the ones that are made from the help."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.make_man_page import SHARE, files, man_page
from ezlink_async.cli import COMMANDS, app

NAMES = [path.rpartition(":")[2] for path in COMMANDS]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_file_is_the_one_that_is_made(path: Path) -> None:
    """After a change of a command run ``python docs/make_man_page.py``."""
    assert path.read_text(encoding="utf-8") == files()[path]


def test_man_page_has_each_command_and_each_option() -> None:
    page = man_page().replace("\\-", "-")
    parts = re.findall(r'^\.SS "ezlink (\S+) ', page, re.MULTILINE)
    assert parts == NAMES
    options = {
        name
        for command in NAMES
        for argument in app[command].assemble_argument_collection(parse_docstring=True)
        if argument.show
        for name in argument.names
        if name.startswith("-")
    }
    bold = {
        name.partition(" ")[0]
        for line in re.findall(r"^\.B (.*)$", page, re.MULTILINE)
        for name in line.split(", ")
    }
    assert options - bold == set()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_man_page_is_typeset_without_a_warning() -> None:
    done = subprocess.run(  # noqa: S603 - a file of ours
        ["groff", "-man", "-ww", "-Tutf8", str(SHARE / "man/man1/ezlink.1")],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "Nothing could be done" in " ".join(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_a_command_by_the_script() -> None:
    script = SHARE / "bash-completion/completions/ezlink"
    code = (
        f"source '{script}'; COMP_WORDS=(ezlink sa); COMP_CWORD=1; "
        'COMP_LINE="ezlink sa"; COMP_POINT=9; _ezlink; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(  # noqa: S603 - a script of ours
        ["bash", "-c", code],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["samples"]
