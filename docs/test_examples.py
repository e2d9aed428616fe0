"""Every Python block of README and docs is executed, as a user would run it."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from ezlink_async import AsyncEzlink, PollPolicy, emulator

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SYBIL = Sybil(parsers=[PythonCodeBlockParser()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("account")
def test_examples(page: Path) -> None:
    """All blocks of a page run, one after the other, and its tests pass."""
    document = SYBIL.parse(page)
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
