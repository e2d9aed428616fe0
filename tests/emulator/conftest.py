"""What the emulator's tests share: a running one, and a way to talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, serving
from tests.support.emulator_requests import STILL, Ask, asker


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    """Run an emulator whose rows are read live."""
    async with serving(EmulatorSettings(queue=100)) as emulator:
        yield emulator


@pytest.fixture
async def still() -> AsyncIterator[Emulator]:
    """Run an emulator whose time stands still and whose rows wait for a beat."""
    async with serving(attrs.evolve(STILL, clock=Clock(ticking=False))) as emulator:
        yield emulator


@pytest.fixture
def ask(emu: Emulator) -> Ask:
    """Ask the live emulator with its own key."""
    return asker(emu)


@pytest.fixture
def ask_still(still: Emulator) -> Ask:
    """Ask the emulator that stands still with its own key."""
    return asker(still)
