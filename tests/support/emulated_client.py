"""A client beside an emulator: a real client over real sockets, and its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack

import attrs

from ezlink_async import AsyncEzlink
from ezlink_async._core.settings import Options
from ezlink_async.emulator import Emulator, EmulatorSettings, serving

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
    with_account: bool = False,
    **options: Unpack[Options],
) -> AsyncIterator[EmulatedClient]:
    """Serve, and enter a client; *with_account* gives it the account's token."""
    async with asyncio.timeout(BOUND), serving(settings) as server:
        options["base_url"] = server.base_url
        options["api_key"] = server.api_key
        if with_account:
            options["account_token"] = server.account_token
        async with AsyncEzlink(**options) as ez:
            yield EmulatedClient(ez, server)
