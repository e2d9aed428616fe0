"""The built-in server in this very process: what ``--local`` and ``serve`` run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from ezlink_async import AsyncEzlink, emulator
from ezlink_async._core.policies import PollPolicy

# Looks cost next to nothing here, so a photo takes as long as the engine.
_POLL = PollPolicy(first=0.05, shortest=0.05, longest=0.2)

# Nobody pays, and nobody else waits: no limit may get in the way.
_PLENTY = 10**15


@asynccontextmanager
async def local_client(
    concurrency: int | None, deadline: float | None
) -> AsyncIterator[AsyncEzlink]:
    """Enter a client of a server of its own, with one engine thread a processor."""
    threads = os.cpu_count() or 1
    bound = _POLL.deadline if deadline is None else deadline
    async with (
        emulator.serving(
            emulator.EmulatorSettings(
                engine="opencv",
                concurrency=threads,
                queue=_PLENTY,
                balance=_PLENTY,
                key_quota=None,
            )
        ) as server,
        AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            account_token=server.account_token,  # not the user's own
            # Two more than the engine can take: it never waits for an upload.
            max_concurrency=concurrency or threads + 2,
            poll=attrs.evolve(_POLL, deadline=bound),
        ) as ez,
    ):
        yield ez
