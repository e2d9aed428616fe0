"""
One connection of a server that reads no further than it means to.

asyncio's streams read ahead, and its TLS a whole buffer more: a server that
resets "at 99 %" would have received everything long before. Here the bytes that
were not asked for stay with the kernel, and fill up the client's side as a slow
link does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct

import attrs

_RECORD = 16 * 1024  # the most of one TLS record, and of one read
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: discard unsent data and send a RST


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
