"""
Fixtures for tests of code that uses this package, with pytest alone.

Neither is a coroutine, so any async plugin will do, or none. Nothing of ours is
imported before a fixture runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ezlink_async import AsyncEzlink
    from ezlink_async.emulator import Emulator

__all__ = ["ezlink_client", "ezlink_emulator"]


@pytest.fixture
def ezlink_emulator() -> Iterator[Emulator]:
    """
    Give a running emulator, on a thread of its own.

    Its ``control`` scripts faults and counts charges.
    """
    from ezlink_async.emulator import in_thread

    with in_thread() as emulator:
        yield emulator


@pytest.fixture
def ezlink_client(ezlink_emulator: Emulator) -> AsyncEzlink:
    """Give a client of that emulator, not entered yet: ``async with ezlink_client``."""
    from ezlink_async import AsyncEzlink, PollPolicy

    return AsyncEzlink(
        api_key=ezlink_emulator.api_key,
        base_url=ezlink_emulator.base_url,
        poll=PollPolicy(first=0.01, shortest=0.01, longest=0.1, deadline=30),
    )
