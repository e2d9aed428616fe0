"""A network between a client and a server, which can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Network:
    """A proxy on a port of its own, whose connections can be cut."""

    def __init__(self, far: str) -> None:
        self._far = far.removeprefix("http://")
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for the client."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Accept connections, each time at the same address."""
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", self._port, reuse_address=True
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close the port and all connections."""
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _talk(
        self, near: asyncio.StreamReader, back: asyncio.StreamWriter
    ) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._open.add(this)
        host, port = self._far.split(":")
        far, on = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_carry(near, on), _carry(far, back))
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._open.discard(this)
            for end in (on, back):
                end.transport.abort()


async def _carry(there: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    while block := await there.read(65_536):
        back.write(block)
        await back.drain()
    back.write_eof()


@asynccontextmanager
async def network(server: str) -> AsyncIterator[Network]:
    """Open a network to the server at the address *server*."""
    opened = Network(server)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.cut()
