"""The page of what is covered is the one that is made, and each row holds."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from functools import cache

import pytest

from docs.make_coverage import PAGE, ROOT, ROWS, count, navigation, page
from ezlink_async import AsyncEzlink
from ezlink_async.cli import COMMANDS
from ezlink_async.emulator import EmulatorSettings
from ezlink_async.emulator.app import routes_of

_OPENAI = "ez.openai()."


def test_page_is_the_one_that_is_made() -> None:
    """After a change of the rows run ``python docs/make_coverage.py``."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_each_entry_of_the_navigation_has_a_row_and_no_row_is_left() -> None:
    meanings = [entry.meaning for entry in navigation()[1]]
    assert len(set(meanings)) == len(meanings) == 55
    assert set(ROWS) == set(meanings)


def _resolved(call: str) -> object:
    """Return what a user gets by writing *call*; AttributeError when there is none."""
    if not call.startswith("ez."):
        return pkgutil.resolve_name(call)
    found: object = AsyncEzlink("sk-none")
    for name in call.removeprefix("ez.").split("."):
        found = getattr(found, name)
    return found


@cache
def _package() -> object:
    """Return a client of the package that ``ez.openai()`` returns one of."""
    openai = pytest.importorskip("openai")
    return openai.AsyncOpenAI(api_key="sk-none")


@pytest.mark.parametrize("meaning", ROWS)
def test_each_call_exists(meaning: str) -> None:
    for call in ROWS[meaning].calls:
        if not call.startswith(_OPENAI):
            assert _resolved(call) is not None
            continue
        assert callable(_resolved("ez.openai"))
        found = _package()
        for name in call.removeprefix(_OPENAI).split("."):
            found = getattr(found, name)
        assert callable(found)


@pytest.mark.parametrize("meaning", ROWS)
def test_each_command_exists(meaning: str) -> None:
    known = {name.rpartition(":")[2] for name in COMMANDS}
    assert set(ROWS[meaning].commands) <= known


@pytest.mark.parametrize("meaning", ROWS)
def test_each_kind_of_request_is_served_by_the_emulator(meaning: str) -> None:
    served = {route.kind for route in routes_of(EmulatorSettings())}
    assert set(ROWS[meaning].kinds) <= served


@pytest.mark.parametrize("meaning", ROWS)
def test_each_row_has_recorded_exchanges(meaning: str) -> None:
    counts = {pattern: count(pattern) for pattern in ROWS[meaning].samples}
    assert [pattern for pattern, number in counts.items() if not number] == []
    assert counts


@cache
def _collected() -> frozenset[str]:
    """Return the ids of the tests that pytest collects in the files of the rows."""
    files = {name.partition("::")[0] for row in ROWS.values() for name in row.tests}
    there = sorted(file for file in files if (ROOT / file).exists())
    done = subprocess.run(  # noqa: S603 - a program of our own
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *there],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return frozenset(line.partition("[")[0] for line in done.stdout.splitlines())


@pytest.mark.parametrize("meaning", ROWS)
def test_each_named_test_is_collected(meaning: str) -> None:
    assert set(ROWS[meaning].tests) - _collected() == set()
