"""A client beside an emulator, with short waits: the harness of the client's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy
from ezlink_async._core.settings import Options
from ezlink_async.emulator import Emulator, EmulatorSettings, serving

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=20)

_HANGS = 300
"""Seconds after which a test counts as hanging; no test comes near."""


@asynccontextmanager
async def beside_emulator(
    settings: EmulatorSettings | None = None,
    *,
    path: str = "",
    **options: Unpack[Options],
) -> AsyncIterator[tuple[AsyncEzlink, Emulator]]:
    """
    Enter a client of an emulator that runs in the same loop.

    *path* goes behind the emulator's address; *options* go to the client.
    """
    async with asyncio.timeout(_HANGS), serving(settings) as server:
        chosen = Options(
            api_key=server.api_key,
            base_url=server.base_url + path,
            poll=POLL,
            retry=RETRY,
        )
        async with AsyncEzlink(**{**chosen, **options}) as ez:
            yield ez, server


async def until(server: Emulator, what: str, count: int = 1) -> None:
    """Wait until the emulator's control counts *count* of ``charges`` or the like."""
    while len(getattr(server.control, what)) < count:
        await asyncio.sleep(0)


def charges(server: Emulator) -> int:
    """Return how many swaps were paid."""
    return len(server.control.charges)
