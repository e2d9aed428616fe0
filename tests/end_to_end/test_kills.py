"""
A small edition of the kill series; ``python -m tests.kills`` runs them in full.

A command is killed in the middle of what it does, and run again until nothing is
open. What was paid, and made of which photo, is read from the server.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, in_thread
from tests.kills.__main__ import in_the_dark, killed, looked_up
from tests.kills.night import Night

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills of another kind")

PHOTOS, KILLS = 24, 4


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Run an emulator that takes a moment for each photo."""
    settings = EmulatorSettings(
        concurrency=4, queue=1_000, engine_seconds=0.02, code_22=False
    )
    with in_thread(settings) as emulator:
        yield emulator


@pytest.fixture
def night(server: Emulator, tmp_path: Path) -> Night:
    """Lay out some photos."""
    return Night(
        folder=tmp_path,
        server=server,
        photos=PHOTOS,
        chance=random.Random(4),  # noqa: S311 - no secret
        more=("--concurrency", "2", "--no-report"),
    )


def test_a_command_that_is_killed_pays_nothing_twice(night: Night) -> None:
    """What may be paid is listed; each other photo is at home, and was paid once."""
    verdict = killed(night, KILLS)
    assert not verdict.broken
    assert night.kills == KILLS


def test_with_an_account_token_nothing_is_unknown(night: Night) -> None:
    """And nothing is made twice."""
    verdict = looked_up(night, KILLS)
    assert not verdict.broken
    assert night.kills == KILLS


def test_with_the_log_off_it_is_as_without_a_token(night: Night) -> None:
    """Nobody can tell that nothing was made, so nothing is repeated."""
    verdict = in_the_dark(night, 2, down=False)
    assert not verdict.broken
