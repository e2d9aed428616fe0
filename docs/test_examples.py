"""
Every Python block of README and docs is executed, as a user would run it.

So are the commands of the pages that can be executed as they are.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import shlex
from pathlib import Path

import pytest
from sybil import Document, Sybil
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from ezlink_async import AsyncEzlink, PollPolicy, emulator
from ezlink_async.cli import run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = {"account.md", "images.md", "poster.md", "stability.md", "video.md"}
"""The pages whose commands are executed, too."""


class CommandParser(CodeBlockParser):
    """Runs the lines of a block for a shell, each of which is a command of ours."""

    language = "sh"

    def evaluate(self, example: Example) -> None:
        """Run each line; all end well."""
        for line in str(example.parsed).splitlines():
            program, *arguments = shlex.split(line)
            assert program == "ezlink"
            assert run(arguments) == 0, line


class CellParser(CodeBlockParser):
    """Runs the blocks of a page as the cells of a notebook, in one event loop."""

    language = "python"

    def __init__(self, runner: asyncio.Runner) -> None:
        super().__init__()
        self._runner = runner

    def evaluate(self, example: Example) -> None:
        """Run a cell, which may await at its top level."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        text = str(example.parsed)
        cell = compile(text, example.path, "exec", flags, dont_inherit=True)
        awaitable = eval(cell, example.namespace)  # noqa: S307 - a page of ours
        if awaitable is not None:
            self._runner.run(awaitable)


def _parse(page: Path, runner: asyncio.Runner) -> Document:
    is_notebook = page.name == "notebooks.md"
    python = CellParser(runner) if is_notebook else PythonCodeBlockParser()
    commands = [CommandParser()] if page.name in COMMANDS else []
    document = Sybil(parsers=[python, *commands]).parse(page)
    document.namespace["__name__"] = page.stem
    return document


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("account")
def test_examples(page: Path) -> None:
    """All blocks of a page run, one after the other, and its tests pass."""
    with asyncio.Runner() as runner:
        document = _parse(page, runner)
        for example in document.examples():
            example.evaluate()
    for name, test in document.namespace.items():
        if name.startswith("test_"):
            _call(test)


def _call(test: object) -> None:
    """Call *test*, an async test of a page, with the fixtures it names."""
    if not inspect.iscoroutinefunction(test):
        raise TypeError(f"{test} is no async test")
    with emulator.in_thread() as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            poll=PollPolicy(first=0.05, shortest=0.05),
        )
        fixtures = {"ezlink_emulator": server, "ezlink_client": client}
        names = inspect.signature(test).parameters
        asyncio.run(test(**{name: fixtures[name] for name in names}))
