"""
One connection of a server that reads no further than it means to.

asyncio's streams read ahead, and its TLS a whole buffer more: a server that
"resets at 99 %" would have had everything long before. Here what nobody asked
for stays with the kernel, and fills up the client's side as a slow line does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct

import attrs

_RECORD = 16 * 1024  # the most of one TLS record, and of one read
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: throw away, and say so


@attrs.define(eq=False)
class Request:
    """One request, as far as it came."""

    path: str
    headers: dict[str, str]
    body: bytearray = attrs.field(factory=bytearray)
    received: int = 0

    @property
    def length(self) -> int:
        """How long its body is said to be."""
        return int(self.headers.get("content-length", 0))

    @property
    def sent_id(self) -> str:
        """The id the client gave it."""
        return self.headers["x-request-id"]

    @property
    def is_submit(self) -> bool:
        """Whether it orders something."""
        return self.path.endswith("/insight-face/swap")

    @property
    def whole(self) -> bool:
        """Whether all of it came."""
        return self.received >= self.length

    def append(self, block: bytes) -> None:
        """Take some more of its body."""
        self.body += block
        self.received += len(block)


class Wire:
    """
    A connection, as the server sees it; *moving* is cleared to hold it up.

    :attr:`request` is the one that came and has no answer yet.
    """

    def __init__(
        self, raw: socket.socket, tls: ssl.SSLContext | None, moving: asyncio.Event
    ) -> None:
        raw.settimeout(0)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = raw
        self._moving = moving
        self._loop = asyncio.get_running_loop()
        self._inward, self._outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            self._tls = tls.wrap_bio(self._inward, self._outward, server_side=True)
        self._kept = b""
        self.request: Request | None = None

    async def head(self) -> Request | None:
        """Read the head of the next request; ``None`` when there is none."""
        self.request = None
        while not (request := self._begun()):
            block = await self._some(_RECORD)
            if not block:
                return None
            self._kept += block
        return request

    async def body(self, upto: int | None = None) -> bool:
        """Read the body up to its byte *upto*, or whole; false at its end."""
        request = self.request
        assert request is not None
        stop = request.length if upto is None else min(upto, request.length)
        while (left := stop - request.received) > 0:
            block, self._kept = self._kept[:left], self._kept[left:]
            block = block or await self._some(left)
            if not block:
                return False
            request.append(block)
        return True

    async def say(self, answer: bytes) -> None:
        """Send an answer to :attr:`request`, which is over with it."""
        await self._moving.wait()
        if self._tls is not None:
            self._tls.write(answer)
            answer = self._outward.read()
        await self._loop.sock_sendall(self._raw, answer)
        self.request = None

    def catch_up(self) -> None:
        """Take what the network has brought of a request, without waiting."""
        with contextlib.suppress(OSError):  # BlockingIOError: there is no more
            while not self._begun():
                if not (block := self._read_now(_RECORD)):
                    return
                self._kept += block
            request = self.request
            while request is not None and not request.whole:
                block = self._kept or self._read_now(request.length)
                self._kept = b""
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

    def hang_up(self) -> None:
        """Close it as a server does that has had enough."""
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

    def _begun(self) -> Request | None:
        """Return the request that is under way, if its head is there."""
        if self.request is None and b"\r\n\r\n" in self._kept:
            head, _, self._kept = self._kept.partition(b"\r\n\r\n")
            start, *lines = head.decode().split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            self.request = Request(start.split(" ")[1], headers)
        return self.request

    async def _some(self, most: int) -> bytes:
        while True:
            await self._moving.wait()
            await asyncio.sleep(0)  # others want to read, too
            try:
                return self._read_now(min(most, _RECORD))
            except BlockingIOError:
                await self._readable()
            except OSError:
                return b""

    def _read_now(self, most: int) -> bytes:
        """Read what is there; :exc:`BlockingIOError` when nothing is."""
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

    async def _readable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(self._raw, ready.set)
        try:
            await ready.wait()
        finally:
            if not self.closed:
                self._loop.remove_reader(self._raw)
