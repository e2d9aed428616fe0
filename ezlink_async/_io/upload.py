"""
The streamed body of one request, and how much of it certainly did not arrive.

Rules:

1. The last part is withheld until all bytes before it have arrived, as far as
   the system can tell. Without it the server has no complete body and acts on
   nothing: sending it is the point of no return.
2. :attr:`Upload.complete` turns true right before that part is sent. So false is
   certain, and true means that the body may have arrived.
3. :meth:`Upload.abort` takes effect at once: after it the last part cannot leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

import aiohttp.payload
from aiohttp.abc import AbstractStreamWriter

from ezlink_async._core.images import InspectedImage
from ezlink_async._core.messages import (
    FileContent,
    HttpRequest,
    Part,
    StreamContent,
)
from ezlink_async._io.image_reader import PartStream
from ezlink_async.errors import ConfigurationError

if sys.platform == "linux":  # pragma: no branch - the others have no such call
    import fcntl
    import termios

# Bytes that may wait in the kernel. Its default is megabytes: a body would count
# as sent long before it left.
_UNSENT = 128 * 1024

_ESTABLISHED = 1  # a state of TCP in Linux, the first byte of struct tcp_info

_ACKNOWLEDGED = slice(120, 128)  # tcpi_bytes_acked in struct tcp_info


def limit_unsent(transport: asyncio.WriteTransport) -> None:
    """Let the kernel accept no more bytes than it is about to send."""
    with contextlib.suppress(AttributeError, OSError):
        wire = transport.get_extra_info("socket")
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def has_unacknowledged(transport: asyncio.WriteTransport) -> bool:
    """Return whether the kernel holds bytes, sent or not, that lack an ACK."""
    # Elsewhere than on Linux no call tells.
    if sys.platform == "linux" and not transport.is_closing():  # pragma: no branch
        with contextlib.suppress(AttributeError, OSError, ValueError):
            descriptor = transport.get_extra_info("socket").fileno()
            return any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return False


def _tcp_info(transport: asyncio.WriteTransport) -> bytes:
    """Return Linux's struct tcp_info as far as it is wanted; empty elsewhere."""
    if sys.platform == "linux":  # pragma: no branch
        with contextlib.suppress(AttributeError, OSError):
            info: bytes = transport.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.stop
            )
            return info
    return b""


def is_open(transport: asyncio.WriteTransport) -> bool:
    """Return whether neither side has closed, as far as this side knows."""
    if transport.is_closing():
        return False
    info = _tcp_info(transport)
    return not info or info[0] == _ESTABLISHED


def is_readable(transport: asyncio.WriteTransport | None) -> bool:
    """Return whether bytes have arrived that asyncio has not read yet."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)  # type: ignore[union-attr]
        return bool(poll.poll(0))
    return False


def progress(
    writer: AbstractStreamWriter, transport: asyncio.WriteTransport
) -> tuple[int, bytes]:
    """Return a value that changes with each byte that moves."""
    # On a slow line a block stays in the kernel for long, out of asyncio's sight:
    # there only the acknowledged bytes move.
    sent = writer.output_size - transport.get_write_buffer_size()
    return sent, _tcp_info(transport)[_ACKNOWLEDGED]


_AHEAD = 64 * 1024  # bytes that may wait in asyncio, besides those in the kernel

_BLOCK = 256 * 1024

_SMALL_PART = 128 * 1024  # up to here joining costs less than a write of its own

_FIRST_WAIT = 0.001  # seconds between two questions whether all has arrived

_WAIT_GROWTH = 1.3

_LONGEST_WAIT = 0.05

_QUIET_TLS_CHECKS = 3  # in a row, until nothing unacknowledged is believed

_STALL_CHECKS = 4  # within the longest time an upload may stall


class UploadStalledError(Exception):
    """No byte of the body moved for too long."""


class UploadAbortedError(Exception):
    """The upload was aborted before its last part."""


class Upload(aiohttp.payload.Payload):
    """
    The body of one attempt; every attempt has a new one.

    *stall* is the longest time in seconds without a byte that moves; *fault* is
    the exception that stopped the body before its end, *sent* how many of its bytes
    were handed to the connection.
    """

    _autoclose = True  # nothing stays open between two attempts

    def __init__(
        self, request: HttpRequest, *, stall: float, pool: Executor | None = None
    ) -> None:
        super().__init__(request, content_type=request.content_type)
        *self._first, last = request.body
        if not isinstance(last, bytes) or not last:
            raise TypeError("the last part of a body is some bytes")
        self._last = last
        self._size = request.content_length
        self._stall = stall
        self._pool = pool
        self._held: list[bytes] = []  # small parts that will leave in one write
        self._flushed_calls: list[Callable[[], object]] = []
        self._complete_calls: list[Callable[[], object]] = []
        self._transport: asyncio.WriteTransport | None = None
        self._aborted = False
        self._withheld = False
        self.complete: bool = False
        self.sent: int = 0
        self.fault: BaseException | None = None

    def on_flushed(self, call: Callable[[], object]) -> None:
        """Call *call* once all but the last part has been sent."""
        self._flushed_calls.append(call)

    def on_complete(self, call: Callable[[], object]) -> None:
        """Call *call* right before the last part is sent."""
        self._complete_calls.append(call)

    def abort(self) -> None:
        """Drop the connection; without effect after the last part was sent."""
        if self.complete:
            return
        self._aborted = True
        if self._transport is not None:
            # close() would flush the buffer, and nothing more may arrive. A
            # transport that has just closed itself has lost its loop.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    def withhold_end(self) -> None:
        """Never send the last part: an answer is there already."""
        self._withheld = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Refuse: the body is never in memory as a whole."""
        raise TypeError("the body is streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body; aiohttp calls this in a task of its own."""
        self._transport = writer.transport
        try:
            await self._send_first(writer, self._transport)
            self.complete = True
            for call in self._complete_calls:
                call()
            await writer.write(self._last)
            self.sent += len(self._last)
        except BaseException as fault:
            self.fault = fault
            self.abort()
            raise
        finally:
            self._transport = None

    async def _send_first(
        self, writer: AbstractStreamWriter, transport: asyncio.WriteTransport | None
    ) -> None:
        """Send all but the last part, and wait until it has arrived."""
        if transport is None:
            raise ConnectionResetError("the connection was lost")
        transport.set_write_buffer_limits(high=_AHEAD)
        limit_unsent(transport)
        async with _stall_timeout(lambda: progress(writer, transport), self._stall):
            for part in self._first:
                await self._send_part(writer, part)
            await self._send_held(writer)
            if transport.get_write_buffer_size():
                # Not 0: over TLS that would pause for good.
                transport.set_write_buffer_limits(high=1)
                await writer.drain()
                transport.set_write_buffer_limits(high=_AHEAD)
            for call in self._flushed_calls:
                call()
            await _wait_acknowledged(transport)
            if self._withheld:
                await asyncio.Event().wait()  # aiohttp cancels this with the answer
        self._check()
        # drain() returns alike when the connection is lost and when all is well, and
        # a server that has closed will act on nothing any more.
        if not is_open(transport):
            raise ConnectionResetError("the server closed the connection")

    async def _send_part(self, writer: AbstractStreamWriter, part: Part) -> None:
        if isinstance(part, InspectedImage | FileContent):
            stream = PartStream(part, self._pool)
            try:
                while pieces := await stream.next():
                    pieces.reverse()
                    while pieces:  # pop() frees each piece as soon as it was sent
                        await self._send_piece(writer, pieces.pop())
            finally:
                stream.close()
            return
        if isinstance(part, StreamContent):
            await self._send_stream(writer, part)
            return
        await self._send_piece(writer, part if isinstance(part, bytes) else part.text)

    async def _send_stream(
        self, writer: AbstractStreamWriter, part: StreamContent
    ) -> None:
        left = part.length
        async for block in part.blocks:
            left -= len(block)
            if left < 0:
                break
            await self._send_piece(writer, bytes(block))
        if left:
            more = "more" if left < 0 else "fewer"
            raise ConfigurationError(
                f"the iterator gave {more} bytes than the {part.length} promised"
            )

    async def _send_piece(self, writer: AbstractStreamWriter, piece: bytes) -> None:
        """Send *piece*; a small one is held, since more may leave in its write."""
        if sum(map(len, self._held)) + len(piece) > _SMALL_PART:
            await self._send_held(writer)
        if len(piece) <= _SMALL_PART:
            self._held.append(piece)
        else:
            await self._write(writer, piece)

    async def _send_held(self, writer: AbstractStreamWriter) -> None:
        held, self._held = self._held, []
        await self._write(writer, b"".join(held))

    async def _write(self, writer: AbstractStreamWriter, piece: bytes) -> None:
        view = memoryview(piece)
        for start in range(0, len(piece), _BLOCK):
            self._check()
            await writer.write(view[start : start + _BLOCK])
            self.sent += len(view[start : start + _BLOCK])
            await writer.drain()
            # Give an early answer (a refused key) its chance: it is lost when the
            # loop never turns, or when a write meets the reset behind it first. It
            # is read in the second turn from here.
            await asyncio.sleep(0)
            if is_readable(writer.transport):
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _check(self) -> None:
        if self._aborted:
            raise UploadAbortedError("the upload was aborted")


async def _wait_acknowledged(transport: asyncio.WriteTransport) -> None:
    """
    Wait until the other side has acknowledged every byte.

    No event tells when that is, so the kernel is asked again and again. Over TLS it
    must say so several times, since asyncio has one more buffer there, out of sight.
    """
    wait, quiet = _FIRST_WAIT, 0
    enough = _QUIET_TLS_CHECKS if transport.get_extra_info("sslcontext") else 1
    while quiet < enough:
        if has_unacknowledged(transport):
            quiet = 0
            await asyncio.sleep(wait)
            wait = min(_WAIT_GROWTH * wait, _LONGEST_WAIT)
        else:
            quiet += 1
            await asyncio.sleep(0)  # lets an answer that was read be handled first


@contextlib.asynccontextmanager
async def _stall_timeout(
    moved: Callable[[], object], stall: float
) -> AsyncIterator[None]:
    """Raise :exc:`UploadStalledError` if *moved* stays the same for *stall* seconds."""
    loop, bound = asyncio.get_running_loop(), asyncio.timeout(None)
    timer: asyncio.Handle

    def check(before: object = None, same: int = 0) -> None:
        nonlocal timer
        now = moved()
        same = same + 1 if now == before else 0
        if same < _STALL_CHECKS:
            timer = loop.call_later(stall / _STALL_CHECKS, check, now, same)
        else:
            bound.reschedule(loop.time())

    timer = loop.call_soon(check)
    try:
        async with bound:
            yield
    except TimeoutError:  # the kernel's own, ETIMEDOUT, is one, too
        if not bound.expired():
            raise
        raise UploadStalledError(f"no byte of the body moved for {stall:g} s") from None
    finally:
        timer.cancel()
