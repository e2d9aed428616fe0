"""
A small edition of the kill series; ``python -m tests.kills`` runs them in full.

A command is killed in the middle of its work, and run again until no job is
unfinished. The server reports what was paid, and made of which photo.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.__main__ import (
    killed,
    reconciled,
    without_account_pages,
)
from tests.kills.command import SwapCommand, emulator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills of another kind")

KILLS = 3


@pytest.fixture
def command(tmp_path: Path) -> Iterator[SwapCommand]:
    """Return a command over some photos, and an emulator that it talks to."""
    with emulator() as server:
        yield SwapCommand(
            folder=tmp_path,
            server=server,
            photos=24,
            random=random.Random(4),  # noqa: S311 - no secret
            options=("--concurrency", "2", "--no-report"),
        )


def test_killed_command_pays_nothing_twice(command: SwapCommand) -> None:
    """Photos that may be paid are listed; all others are saved and were paid once."""
    assert not killed(command, KILLS).broken
    assert command.kills == KILLS


def test_with_an_account_token_nothing_is_unknown_or_made_twice(
    command: SwapCommand,
) -> None:
    """The account's pages show what became of each submit that was cut off."""
    assert not reconciled(command, KILLS).broken
    assert command.kills == KILLS


def test_with_the_log_off_nothing_is_repeated(command: SwapCommand) -> None:
    """There is no proof that nothing was made, so it is as without a token."""
    assert not without_account_pages(command, 2, down=False).broken
