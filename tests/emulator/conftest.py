"""Running emulators, and a way to send each a request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import pytest

from ezlink_async.emulator import Clock, Emulator, EmulatorSettings, serving
from tests.support.emulator_requests import STOPPED, Send, sender


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
def send(emu: Emulator) -> Send:
    """Return a sender to the first emulator."""
    return sender(emu)


@pytest.fixture
def send_stopped(stopped: Emulator) -> Send:
    """Return a sender to the emulator with the stopped clock."""
    return sender(stopped)
