"""
One request and its answer on the connection they share.

All use of the socket is here: a body is read in blocks, an answer is sent with its
headers in Go's order, a connection is dropped or left silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, NoReturn, cast

from aiohttp import ClientConnectionError, http_exceptions, web
from attrs import define
from multidict import CIMultiDict
from yarl import URL

from ezlink_async.emulator.http.replies import Reply

if TYPE_CHECKING:
    from ezlink_async.emulator.faults import Picture, Rows, Upstream
    from ezlink_async.emulator.scripts import Script

# net/http writeChunkSize and maxPostHandlerReadBytes
_UNCHUNKED = 2048
_DRAINED = 256 * 1024
# net/http rstAvoidanceDelay: seconds half closed, so that the answer arrives
_HALF_CLOSED = 0.5
_STALL_CHECK = 0.02  # seconds between two checks whether the client has left
_LOST = (ConnectionError, ClientConnectionError, http_exceptions.HttpProcessingError)


class _Response(web.StreamResponse):
    """A response whose headers are sent in a given order."""

    wanted: Sequence[tuple[str, str]] = ()


class GoneError(Exception):
    """The client or the server has closed the connection; no answer can be sent."""


@define
class Overrides:
    """
    The faults of one request that its handler applies.

    *trouble* holds the words of all ``faults.Trouble``.
    """

    trouble: frozenset[str] = frozenset()
    upstream: Upstream | None = None
    picture: Picture | None = None
    rows: Rows | None = None
    life: Script | None = None


def _new_request_id() -> str:
    """Return 14 digits of date, 1 to 9 of nanoseconds, 8 at random."""
    now = time.time_ns()
    date = time.strftime("%Y%m%d%H%M%S", time.gmtime(now // 1_000_000_000))
    return f"{date}{now % 1_000_000_000}{random.randrange(10**8):08d}"  # noqa: S311


class Exchange:
    """
    A request and the way to answer it. *leaving* is set when the server closes.

    *task_id* is the id in the path, or empty. *shared_with* is the origin whose pages
    may read the answer, or empty.
    """

    def __init__(self, request: web.Request, leaving: asyncio.Event) -> None:
        self.request = request
        self.overrides: Overrides = Overrides()
        self.task_id = ""
        self.shared_with = ""
        self._leaving = leaving
        headers = request.headers
        given = headers.get("X-Request-ID") or headers.get("Request-ID")
        self.request_id: str = given or _new_request_id()
        self._expects_continue = headers.get("Expect", "").lower() == "100-continue"
        self._read = bytearray()

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.request.method

    @property
    def path(self) -> str:
        """The path as it was sent, still escaped, without the query."""
        return self.request.raw_path.partition("?")[0]

    @property
    def host(self) -> str:
        """The name or address in the Host header, in lower case; empty if it is odd."""
        try:
            host = URL(f"http://{self.header('Host')}").host or ""
        except ValueError:
            return ""
        return host.lower().removesuffix(".")

    @property
    def local_address(self) -> str:
        """The address of this machine that the connection came to."""
        return str(self._transport().get_extra_info("sockname")[0])

    def header(self, name: str) -> str:
        """Return the first header of this name, or an empty string."""
        return self.request.headers.get(name, "")

    async def read(self, limit: int | None = None) -> bytes:
        """
        Return the body, or at least its first *limit* bytes.

        The bytes read are kept for the next call. GoneError when the client leaves
        before the end.
        """
        self._send_continue()
        content = self.request.content
        try:
            while not content.at_eof() and (limit is None or len(self._read) < limit):
                self._read += await content.readany()
        except _LOST:
            raise GoneError from None
        return bytes(self._read)

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, and keep none of it; GoneError as in read()."""
        self._send_continue()
        content = self.request.content
        try:
            while not content.at_eof():
                yield await content.readany()
        except _LOST:
            raise GoneError from None

    def _send_continue(self) -> None:
        if self._expects_continue:
            self._expects_continue = False
            self._transport().write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def send(self, reply: Reply) -> web.StreamResponse:
        """Answer with *reply*; the response is complete when this returns."""
        closing = await self._closes_after(reply)
        body = _encoded(reply)
        response = self._response(reply, len(body), closing=closing)
        kept = body if reply.keep is None else body[: reply.keep]
        try:
            await response.prepare(self.request)
            if self.method != "HEAD":
                await self._write_blocks(response, kept, reply)
            if len(kept) < len(body):
                raise GoneError
            await response.write_eof()
        except _LOST:
            raise GoneError from None
        if closing and not reply.close:
            await self._half_close()
        return response

    async def _closes_after(self, reply: Reply) -> bool:
        # net/http response.writeHeader: the server reads the rest of a short body
        # first; a long one costs the connection.
        if reply.close or self._expects_continue:
            return True
        unread = (self.request.content_length or 0) - len(self._read)
        if unread <= _DRAINED:
            await self.read(len(self._read) + _DRAINED + 1)
        return not self.request.content.at_eof()

    def _response(self, reply: Reply, size: int, *, closing: bool) -> _Response:
        response = _Response(status=reply.status)
        long = size > _UNCHUNKED or reply.drip > 0 or reply.flushed
        whole = reply.keep is None and not reply.names("Content-Length")
        chunked = long and whole and self.request.version >= (1, 1)
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = size
        if closing:
            response.force_close()
        length = None if chunked or self.method == "HEAD" else size
        response.wanted = _headers(reply, self, length)
        return response

    async def _write_blocks(
        self, response: web.StreamResponse, body: bytes, reply: Reply
    ) -> None:
        for start in range(0, len(body), reply.block):
            await response.write(body[start : start + reply.block])
            if reply.drip:
                await self.pause(reply.drip)

    async def _half_close(self) -> None:
        transport = self._transport()
        if transport.can_write_eof():
            transport.write_eof()
            await self.pause(_HALF_CLOSED)

    async def pause(self, seconds: float) -> None:
        """Wait *seconds* of real time, or until the server closes."""
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({leaving}, timeout=seconds)
        finally:
            leaving.cancel()

    async def stall(self) -> NoReturn:
        """Send nothing until the client leaves or the server closes."""
        while not (self._leaving.is_set() or self._transport().is_closing()):
            await self.pause(_STALL_CHECK)
        self.drop()

    def drop(self, *, reset: bool = False) -> NoReturn:
        """Close the connection without another byte; *reset* sends a RST."""
        transport = self._transport()
        if reset:
            wire = cast("socket.socket", transport.get_extra_info("socket"))
            linger = struct.pack("ii", 1, 0)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        raise GoneError

    def hang_up(self) -> None:
        """Close the connection after the bytes already written are sent."""
        with contextlib.suppress(GoneError):
            self._transport().close()

    async def send_raw(self, content: bytes) -> NoReturn:
        """Send *content* as it is, HTTP or not, and hang up."""
        self._transport().write(content)
        raise GoneError

    def _transport(self) -> asyncio.Transport:
        transport = self.request.transport
        if transport is None:
            raise GoneError
        return transport


def _encoded(reply: Reply) -> bytes:
    packed_already = reply.body.startswith(b"\x1f\x8b")  # a recorded answer
    if ("Content-Encoding", "gzip") not in reply.headers or packed_already:
        return reply.body
    # compress/gzip writes no time and no system, and ends with an empty block.
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(reply.body) + packer.flush(zlib.Z_SYNC_FLUSH)
    packed = packed if reply.body else b""
    tail = zlib.crc32(reply.body).to_bytes(4, "little")
    length = len(reply.body).to_bytes(4, "little")
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    return head + packed + b"\x01\x00\x00\xff\xff" + tail + length


def _headers(
    reply: Reply, exchange: Exchange, length: int | None
) -> list[tuple[str, str]]:
    named = list(reply.headers)
    if not reply.bare:
        named += [("Vary", "Origin")] * reply.vary
        if not reply.names("X-Request-Id"):
            named.append(("X-Request-Id", exchange.request_id))
        if exchange.shared_with:
            named.append(("Access-Control-Allow-Credentials", "true"))
            named.append(("Access-Control-Allow-Origin", exchange.shared_with))
    typed = [("Content-Type", reply.content_type)] if reply.content_type else []
    if not reply.sniffed:
        named += typed
    named.sort(key=lambda header: header[0])
    if not reply.names("Date"):
        named.append(("Date", ""))
    if length is not None and not reply.names("Content-Length"):
        named.append(("Content-Length", str(length)))
    return named + (typed if reply.sniffed else [])


async def put_in_order(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """Give *response* its headers in Go's order, without aiohttp's own."""
    if not isinstance(response, _Response):
        return
    made = response.headers.copy()
    headers: CIMultiDict[str] = response.headers
    headers.clear()
    for name, value in response.wanted:
        headers.add(name, value or made[name])
    for name in ("Connection", "Transfer-Encoding"):
        if name in made and name not in headers:
            headers.add(name, made[name])
