"""Running emulators, and a way to api each a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, serving
from tests.support.emulator_requests import STOPPED, RawApi


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    """Run an emulator whose rows are always fresh."""
    async with serving(EmulatorSettings(queue=100)) as emulator:
        yield emulator


@pytest.fixture
async def stopped() -> AsyncIterator[Emulator]:
    """Run an emulator whose clock stands still and whose rows wait for a refresh."""
    async with serving(attrs.evolve(STOPPED, clock=Clock(ticking=False))) as emulator:
        yield emulator


@pytest.fixture
def api(emu: Emulator) -> RawApi:
    """Return the raw API of that emulator."""
    return RawApi(emu)


@pytest.fixture
def stopped_api(stopped: Emulator) -> RawApi:
    """Return the raw API of the emulator with the stopped clock."""
    return RawApi(stopped)
