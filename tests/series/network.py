"""
The network in front of a server: its connections, and the ways in which it fails.

A :class:`Connection` reads no further than its server means to. asyncio's streams
read ahead, and its TLS a whole buffer more: a server that resets "at 99 %" would
have received everything long before. Here the bytes that were not asked for stay
with the kernel, and fill up the client's side as a slow link does.

Each failure of a :class:`Network` resets the established connections first.
Requests that had arrived whole by then, and had no answer, are in
:attr:`Network.lost`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs

from tests.support.raw_servers import SMALL

_RECORD = 16 * 1024  # the most of one TLS record, and of one read
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: discard unsent data and send a RST
_BACKLOG = 128
_PLUGS = 2


@attrs.define(eq=False)
class Request:
    """One request, as far as it has arrived."""

    path: str
    headers: dict[str, str]
    body: bytearray = attrs.field(factory=bytearray)
    received: int = 0

    @property
    def length(self) -> int:
        """The length of its body, by its header."""
        return int(self.headers.get("content-length", 0))

    @property
    def request_id(self) -> str:
        """The id that the client gave it."""
        return self.headers["x-request-id"]

    @property
    def is_submit(self) -> bool:
        """Whether it submits a job."""
        return self.path.endswith("/insight-face/swap")

    @property
    def whole(self) -> bool:
        """Whether all of its body has arrived."""
        return self.received >= self.length

    def append(self, block: bytes) -> None:
        """Take the next *block* of its body."""
        self.body += block
        self.received += len(block)


class Connection:
    """
    A connection, as the server sees it; clearing *flowing* holds it up.

    :attr:`request` is the one that has arrived and has no answer yet.
    """

    def __init__(
        self, raw: socket.socket, tls: ssl.SSLContext | None, flowing: asyncio.Event
    ) -> None:
        raw.settimeout(0)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = raw
        self._flowing = flowing
        self._loop = asyncio.get_running_loop()
        self._inward, self._outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._inward, self._outward, server_side=True)
        self._buffer = b""
        self.request: Request | None = None

    async def read_head(self) -> Request | None:
        """Read the head of the next request; None at the end of the stream."""
        self.request = None
        while not (request := self._parse_head()):
            block = await self._read(_RECORD)
            if not block:
                return None
            self._buffer += block
        return request

    async def read_body(self, stop: int | None = None) -> bool:
        """Read the body up to byte *stop*, or whole; False at the end of the stream."""
        request = self.request
        assert request is not None
        stop = request.length if stop is None else min(stop, request.length)
        while (left := stop - request.received) > 0:
            block, self._buffer = self._buffer[:left], self._buffer[left:]
            block = block or await self._read(left)
            if not block:
                return False
            request.append(block)
        return True

    async def send(self, answer: bytes) -> None:
        """Send the answer to :attr:`request`."""
        await self._flowing.wait()
        if self._tls is not None:
            self._tls.write(answer)
            answer = self._outward.read()
        await self._loop.sock_sendall(self._raw, answer)
        self.request = None

    def read_pending(self) -> None:
        """Read what the kernel holds of one request, without waiting."""
        with contextlib.suppress(OSError):  # BlockingIOError: there is no more
            while not self._parse_head():
                if not (block := self._read_now(_RECORD)):
                    return
                self._buffer += block
            request = self.request
            while request is not None and not request.whole:
                block = self._buffer or self._read_now(request.length)
                self._buffer = b""
                if not block:
                    return
                request.append(block)

    @property
    def closed(self) -> bool:
        """Whether this side has closed it."""
        return self._raw.fileno() < 0

    def reset(self) -> None:
        """Break it with a TCP reset, at once."""
        if not self.closed:
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._close()

    def close(self) -> None:
        """Close it in good order."""
        if not self.closed:
            with contextlib.suppress(OSError):
                if self._tls is not None:
                    self._tls.unwrap()
            with contextlib.suppress(OSError):
                self._raw.send(self._outward.read())
            self._close()

    def _close(self) -> None:
        self._loop.remove_reader(self._raw)
        self._loop.remove_writer(self._raw)
        self._raw.close()

    def _parse_head(self) -> Request | None:
        """Return the request in progress, if its head is there."""
        if self.request is None and b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            start, *lines = head.decode().split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            self.request = Request(start.split(" ")[1], headers)
        return self.request

    async def _read(self, most: int) -> bytes:
        while True:
            await self._flowing.wait()
            await asyncio.sleep(0)  # let the other connections read, too
            try:
                return self._read_now(min(most, _RECORD))
            except BlockingIOError:
                await self._until_readable()
            except OSError:
                return b""

    def _read_now(self, most: int) -> bytes:
        """Read what is there; :exc:`BlockingIOError` if nothing is."""
        if self._tls is None:
            return self._raw.recv(most)
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                if answer := self._outward.read():  # of the handshake
                    self._raw.sendall(answer)
                if block := self._raw.recv(_RECORD):
                    self._inward.write(block)
                else:
                    self._inward.write_eof()

    async def _until_readable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(self._raw, ready.set)
        try:
            await ready.wait()
        finally:
            if not self.closed:
                self._loop.remove_reader(self._raw)


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


@contextlib.asynccontextmanager
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
