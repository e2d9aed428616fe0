"""
Pytest fixtures for tests of code that uses this package: a server and a client.

Neither fixture is a coroutine, so both work with any async plugin or none. The rest
of the package is imported when a fixture runs. Short for a module: pytest loads it in
every run of every project that has the package installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ezlink_async import AsyncEzlink
    from ezlink_async.emulator import Emulator


@pytest.fixture
def ezlink_emulator() -> Iterator[Emulator]:
    """Give a running emulator, whose ``control`` scripts faults and counts charges."""
    from ezlink_async.emulator import in_thread

    with in_thread() as emulator:
        yield emulator


@pytest.fixture
def ezlink_client(ezlink_emulator: Emulator) -> AsyncEzlink:
    """Give a client of that emulator; enter it with ``async with ezlink_client``."""
    from ezlink_async import AsyncEzlink, PollPolicy

    return AsyncEzlink(
        api_key=ezlink_emulator.api_key,
        base_url=ezlink_emulator.base_url,
        poll=PollPolicy(first=0.01, shortest=0.01, longest=0.1, deadline=30),
    )
