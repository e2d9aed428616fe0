"""
The network in front of a server, and the ways in which it fails.

Each failure resets the established connections first. Requests that had arrived
whole by then, and had no answer, are in :attr:`Network.lost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.series.connection import Connection, Request
from tests.support.raw_servers import SMALL

_BACKLOG = 128
_PLUGS = 2

Talk = Callable[[Connection], Awaitable[None]]


class Network:
    """A port of this machine: serving, refusing, dropping, or swallowing."""

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None, buffer: int) -> None:
        self._serving = self._talk = talk
        self._tls = tls
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._flowing = asyncio.Event()
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._plugs: list[socket.socket] = []
        self._listener = self._bound(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"
        self.lost: list[Request] = []

    def _bound(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        listener.settimeout(0)
        listener.bind(("127.0.0.1", port))
        return listener

    def restore(self) -> None:
        """Bring the network up, as it was at first."""
        while self._plugs:
            self._plugs.pop().close()
        if self._talk is not self._serving:
            self.reset_all()  # requests that were swallowed get no answer
            self._talk = self._serving
        self._flowing.set()
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def refuse(self) -> None:
        """Refuse every connection; the port stays ours."""
        self.reset_all()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = self._bound(self.port)

    def drop(self) -> None:
        """Leave every attempt to connect without an answer."""
        self._loop.remove_reader(self._listener)
        # Linux answers no SYN while the queue of a listener is full.
        self._listener.listen(0)
        self.reset_all()
        for _ in range(_PLUGS):
            plug = socket.socket()
            plug.settimeout(0)
            plug.connect_ex(("127.0.0.1", self.port))
            self._plugs.append(plug)

    def stall(self) -> None:
        """Accept connections, and move no byte on them."""
        self.reset_all()
        self._flowing.clear()

    def swallow(self) -> None:
        """Read every byte, and answer none."""
        self.reset_all()
        self._talk = _swallow

    def reset_all(self) -> None:
        """Reset every connection, at once."""
        while self._accept():
            pass
        for task, connection in self._connections.items():
            if connection.closed:
                continue
            connection.read_pending()
            if connection.request is not None and connection.request.whole:
                self.lost.append(connection.request)
            connection.reset()
            task.cancel()

    async def close(self) -> None:
        """Reset every connection and close the port."""
        self.reset_all()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for plug in self._plugs:
            plug.close()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self) -> bool:
        try:
            raw, _ = self._listener.accept()
        except OSError:  # no connection waits, or the network is down already
            return False
        connection = Connection(raw, self._tls, self._flowing)
        task = self._loop.create_task(self._serve(connection))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)
        return True

    async def _serve(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await self._talk(connection)
        finally:
            connection.close()


async def _swallow(connection: Connection) -> None:
    # One request only: a client may not take a later answer for the first one's.
    if await connection.read_head() and await connection.read_body():
        await asyncio.Event().wait()


@asynccontextmanager
async def network(
    talk: Talk, tls: ssl.SSLContext | None = None, buffer: int = SMALL
) -> AsyncIterator[Network]:
    """Serve *talk* on loopback; *buffer* is the size of its receive buffer."""
    here = Network(talk, tls, buffer)
    here.restore()
    try:
        yield here
    finally:
        await here.close()
