"""
The network in front of a server, and the ways in which it goes away.

Whatever goes away, established connections are reset first; what had come
whole by then and was not answered is in :attr:`Network.lost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.series.wire import Request, Wire

SMALL = 16 * 1024
"""A receive buffer that fills at once, so that uploads stand still early."""

_BACKLOG = 128
_PLUGS = 2

Talk = Callable[[Wire], Awaitable[None]]


class Network:
    """A port of this machine: listening, refusing, deaf, or swallowing."""

    def __init__(
        self, talk: Talk, tls: ssl.SSLContext | None = None, buffer: int = SMALL
    ) -> None:
        self._usual = self._talk = talk
        self._tls = tls
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._moving = asyncio.Event()
        self._moving.set()
        self._lines: dict[asyncio.Task[None], Wire] = {}
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
        if self._talk is not self._usual:
            self.cut_off()  # what was swallowed comes back no more
            self._talk = self._usual
        self._moving.set()
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def refuse(self) -> None:
        """Refuse every connection; the port stays ours."""
        self.cut_off()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = self._bound(self.port)

    def drop(self) -> None:
        """Leave every attempt to connect without an answer."""
        self._loop.remove_reader(self._listener)
        # Linux answers no SYN while the queue of a listener is full.
        self._listener.listen(0)
        self.cut_off()
        for _ in range(_PLUGS):
            plug = socket.socket()
            plug.settimeout(0)
            plug.connect_ex(("127.0.0.1", self.port))
            self._plugs.append(plug)

    def stand_still(self) -> None:
        """Take connections, and move no byte on them."""
        self.cut_off()
        self._moving.clear()

    def swallow(self) -> None:
        """Take every byte, and answer nothing."""
        self.cut_off()
        self._talk = _swallows

    def cut_off(self) -> None:
        """Reset every connection, at once."""
        while self._accept():
            pass
        for task, wire in self._lines.items():
            if wire.closed:
                continue
            wire.catch_up()
            if wire.request is not None and wire.request.whole:
                self.lost.append(wire.request)
            wire.reset()
            task.cancel()

    async def close(self) -> None:
        """End everything."""
        self.cut_off()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for plug in self._plugs:
            plug.close()
        if self._lines:
            await asyncio.wait(self._lines)

    def _accept(self) -> bool:
        try:
            raw, _ = self._listener.accept()
        except OSError:  # nobody is there, or the network is down already
            return False
        wire = Wire(raw, self._tls, self._moving)
        task = self._loop.create_task(self._serve(wire))
        self._lines[task] = wire
        task.add_done_callback(self._lines.pop)
        return True

    async def _serve(self, wire: Wire) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await self._talk(wire)
        finally:
            wire.hang_up()


async def _swallows(wire: Wire) -> None:
    while request := await wire.head():
        if not await wire.body():
            return
        # It is waited for, for ever; so the next request is no answer to it.
        assert request.whole
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
