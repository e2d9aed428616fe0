"""A client beside an emulator, over real sockets: the harness of the client's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Unpack

import attrs

from ezlink_async import AsyncEzlink, Event, PollPolicy, RetryPolicy
from ezlink_async._core.settings import Options
from ezlink_async.emulator import Emulator, EmulatorSettings, serving

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02, attempts=3, timeout=20)

BOUND = 300.0
"""Seconds after which a test is hung; no result depends on them."""


@attrs.frozen
class EmulatedClient:
    """A client, the server it pays, and what the server counted."""

    ez: AsyncEzlink
    server: Emulator

    @property
    def tasks(self) -> int:
        """How many tasks exist upstream."""
        return len(self.server.control.tasks)

    @property
    def charges(self) -> int:
        """How many swaps were paid."""
        return len(self.server.control.charges)

    @property
    def submits(self) -> int:
        """How many submits arrived, whole or not."""
        return sum("/insight-face/swap" in path for path in self.paths)

    @property
    def paths(self) -> list[str]:
        """The path of every request."""
        return [each.path for each in self.server.control.requests]


@asynccontextmanager
async def emulated_client(
    settings: EmulatorSettings | None = None,
    *,
    path: str = "",
    with_account: bool = False,
    on_event: Callable[[Event], None] | None = None,
    **options: Unpack[Options],
) -> AsyncIterator[EmulatedClient]:
    """
    Serve, and enter a client with short waits.

    *path* goes behind the server's address; *with_account* gives the client the
    account's token; *on_event* and *options* go to the client.
    """
    async with asyncio.timeout(BOUND), serving(settings) as server:
        chosen = Options(
            api_key=server.api_key,
            base_url=server.base_url + path,
            poll=POLL,
            retry=RETRY,
            account_token=server.account_token if with_account else None,
        )
        chosen.update(options)
        async with AsyncEzlink(**chosen, on_event=on_event) as ez:
            yield EmulatedClient(ez, server)


@asynccontextmanager
async def beside_emulator(
    settings: EmulatorSettings | None = None,
    *,
    path: str = "",
    **options: Unpack[Options],
) -> AsyncIterator[tuple[AsyncEzlink, Emulator]]:
    """Do as :func:`emulated_client` does, and give client and server."""
    async with emulated_client(settings, path=path, **options) as here:
        yield here.ez, here.server


async def until(server: Emulator, what: str, count: int = 1) -> None:
    """Wait until the emulator's control counts *count* of ``charges`` or the like."""
    while len(getattr(server.control, what)) < count:
        await asyncio.sleep(0)


def charges(server: Emulator) -> int:
    """Return how many swaps were paid."""
    return len(server.control.charges)
