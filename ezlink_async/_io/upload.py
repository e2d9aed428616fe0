"""
The body of one request, streamed, and the truth about how far it came.

Rules:

1. The last part is held back until all before it has arrived, as far as the
   system can tell. Without it the server has no whole body, and acts on
   nothing: it is the point of no return.
2. :attr:`Upload.complete` turns true right before that part goes out. So
   false is certain, and true means "may have arrived".
3. :meth:`Upload.abort` is obeyed at once: after it the last part cannot leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from types import TracebackType

import aiohttp.payload
from aiohttp.abc import AbstractStreamWriter

from ezlink_async._core.images import InspectedImage
from ezlink_async._core.messages import HttpRequest, Part
from ezlink_async._io.image_reader import Base64Stream

if sys.platform == "linux":  # pragma: no branch - the others have no such call
    import fcntl
    import termios

# What may wait in the kernel: by default that is megabytes, and a body would
# count as gone long before.
_UNSENT = 128 * 1024

_ESTABLISHED = 1  # of the states of TCP, as Linux counts them

_ACKNOWLEDGED = 120  # where Linux keeps tcpi_bytes_acked in struct tcp_info

_COUNTER = 8


def limit_unsent(transport: asyncio.WriteTransport) -> None:
    """Let the kernel take no more than it is about to send."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    with contextlib.suppress(AttributeError, TypeError, OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, option, _UNSENT
        )


def has_unacknowledged(transport: asyncio.WriteTransport) -> bool:
    """Tell whether something was not acknowledged yet, sent or not."""
    if sys.platform != "linux":  # pragma: no cover - elsewhere nothing tells
        return False
    if transport.is_closing():
        return False
    with contextlib.suppress(AttributeError, OSError, ValueError):
        descriptor = transport.get_extra_info("socket").fileno()
        return any(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return False


def is_open(transport: asyncio.WriteTransport) -> bool:
    """Tell whether both sides hold the connection, as far as is known here."""
    if transport.is_closing():
        return False
    if sys.platform != "linux":  # pragma: no cover - elsewhere nothing tells
        return True
    with contextlib.suppress(AttributeError, OSError, ValueError):
        wire = transport.get_extra_info("socket")
        numbers = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTER)
        return bool(numbers[0] == _ESTABLISHED)
    return True


def is_readable(transport: asyncio.WriteTransport | None) -> bool:
    """Tell whether something came that asyncio has not read yet."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)  # type: ignore[union-attr]
        return bool(poll.poll(0))
    return False


def progress(
    writer: AbstractStreamWriter, transport: asyncio.WriteTransport
) -> tuple[int, int]:
    """Return what changes with each byte that moves."""
    taken = writer.output_size - transport.get_write_buffer_size()
    # On a slow line a block is long under way, out of asyncio's sight.
    acknowledged = 0
    with contextlib.suppress(AttributeError, OSError, struct.error):
        numbers = transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED + _COUNTER
        )
        (acknowledged,) = struct.unpack_from("=Q", numbers, _ACKNOWLEDGED)
    return taken, acknowledged


_AHEAD = 64 * 1024  # what may wait in asyncio, beside the kernel's own share

_BLOCK = 256 * 1024

_LITTLE = 128 * 1024  # up to here a copy costs less than a write of its own

_FIRST_WAIT = 0.001  # for what has not arrived; each is a little longer

_SLOWER = 1.3

_LONGEST_WAIT = 0.05

_QUIET_TLS = 3  # looks that find nothing on its way, before that is believed

_LOOKS = 4  # at the progress of an upload in the longest time it may stall


class UploadStalledError(Exception):
    """No byte of the body moved for too long."""


class UploadAbortedError(Exception):
    """The upload was called off before its last part."""


class Upload(aiohttp.payload.Payload):
    """
    What one attempt sends; every attempt has a new one.

    *stall* is the longest time in which no byte moves; *fault* keeps what
    stopped it before the end.
    """

    _autoclose = True  # nothing stays open between two attempts

    def __init__(
        self, request: HttpRequest, *, stall: float, pool: Executor | None = None
    ) -> None:
        super().__init__(request, content_type="application/json")
        *self._first, last = request.body
        if not isinstance(last, bytes) or not last:
            raise TypeError("the last part of a body is some bytes")
        self._last = last
        self._size = request.content_length
        self._stall = stall
        self._pool = pool
        self._held: list[bytes] = []  # parts that wait to leave in one write
        self._length = 0  # of them
        self._sent: list[Callable[[], object]] = []
        self._finished: list[Callable[[], object]] = []
        self._transport: asyncio.WriteTransport | None = None
        self._called_off = False
        self._kept_back = False
        self.complete = False
        self.fault: BaseException | None = None

    def on_flushed(self, call: Callable[[], object]) -> None:
        """Call *call* when all but the last part is on its way."""
        self._sent.append(call)

    def on_complete(self, call: Callable[[], object]) -> None:
        """Call *call* when the last part is on its way."""
        self._finished.append(call)

    def abort(self) -> None:
        """Drop the connection; without effect after the last part has left."""
        if self.complete:
            return
        self._called_off = True
        if self._transport is not None:
            # Closing would flush what is buffered; nothing more may arrive.
            # One that has just closed by itself has no loop any more.
            with contextlib.suppress(AttributeError):
                self._transport.abort()

    def withhold_end(self) -> None:
        """Keep the last part back for good: there is an answer already."""
        self._kept_back = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Refuse: the body is never whole in memory."""
        raise TypeError("the body is streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body; called by aiohttp, in a task of its own."""
        self._transport = writer.transport
        try:
            await self._send(writer, self._transport)
            self.complete = True
            for call in self._finished:
                call()
            await writer.write(self._last)
        except BaseException as fault:
            self.fault = fault
            self.abort()
            raise
        finally:
            self._transport = None

    async def _send(
        self, writer: AbstractStreamWriter, transport: asyncio.WriteTransport | None
    ) -> None:
        """Send all but the last part, and see it off."""
        if transport is None:
            raise ConnectionResetError("the connection was lost")
        transport.set_write_buffer_limits(high=_AHEAD)
        limit_unsent(transport)
        async with _StallTimeout(lambda: progress(writer, transport), self._stall):
            for part in self._first:
                await self._send_part(writer, part)
            await self._release(writer)
            if transport.get_write_buffer_size():
                # Not 0: over TLS that would pause for good.
                transport.set_write_buffer_limits(high=1)
                await writer.drain()
                transport.set_write_buffer_limits(high=_AHEAD)
            for call in self._sent:
                call()
            await _arrived(transport)
            if self._kept_back:
                await asyncio.Event().wait()  # aiohttp cancels it with the answer
        self._check()
        # A connection that was lost ends the wait of drain() like one that is well,
        # and what was closed by the server will act on nothing any more.
        if not is_open(transport):
            raise ConnectionResetError("the server closed the connection")

    async def _send_part(self, writer: AbstractStreamWriter, part: Part) -> None:
        if isinstance(part, InspectedImage):
            text = Base64Stream(part, self._pool)
            try:
                while pieces := await text.next():
                    pieces.reverse()
                    while pieces:  # which keeps none that has left
                        await self._put(writer, pieces.pop())
            finally:
                text.close()
            return
        await self._put(writer, part if isinstance(part, bytes) else part.text)

    async def _put(self, writer: AbstractStreamWriter, whole: bytes) -> None:
        """Send *whole*, or hold it when it is little: more may go with it."""
        if self._length + len(whole) > _LITTLE:
            await self._release(writer)
        if len(whole) <= _LITTLE:
            self._held.append(whole)
            self._length += len(whole)
        else:
            await self._write(writer, whole)

    async def _release(self, writer: AbstractStreamWriter) -> None:
        """Send what was held."""
        held, self._held, self._length = self._held, [], 0
        await self._write(writer, b"".join(held))

    async def _write(self, writer: AbstractStreamWriter, whole: bytes) -> None:
        view = memoryview(whole)
        for start in range(0, len(whole), _BLOCK):
            self._check()
            await writer.write(view[start : start + _BLOCK])
            await writer.drain()
            # Give the answer a chance: one that comes early (a refused key)
            # is lost when the loop never turns, or when a write meets the
            # reset behind it first. It is read in the second turn from here.
            await asyncio.sleep(0)
            if is_readable(writer.transport):
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    def _check(self) -> None:
        if self._called_off:
            raise UploadAbortedError("the upload was called off")


async def _arrived(transport: asyncio.WriteTransport) -> None:
    """
    Wait until the other side has acknowledged everything.

    Nothing tells when that is, so it is looked at; over TLS several times, since
    there is another buffer on the way, out of sight.
    """
    wait, quiet = _FIRST_WAIT, 0
    enough = _QUIET_TLS if transport.get_extra_info("sslcontext") else 1
    while quiet < enough:
        if has_unacknowledged(transport):
            quiet = 0
            await asyncio.sleep(wait)
            wait = min(_SLOWER * wait, _LONGEST_WAIT)
        else:
            quiet += 1
            await asyncio.sleep(0)  # an answer that was read is heard of by now


class _StallTimeout:
    """Raises :exc:`UploadStalledError` once *progress* stands for *stall* seconds."""

    def __init__(self, progress: Callable[[], object], stall: float) -> None:
        self._progress = progress
        self._stall = stall
        self._bound = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._known: object = None
        self._still = 0

    async def __aenter__(self) -> None:
        await self._bound.__aenter__()
        self._look()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        try:
            await self._bound.__aexit__(kind, error, trace)
        except TimeoutError:
            says = f"no byte of the body moved for {self._stall:g} s"
            raise UploadStalledError(says) from None

    def _look(self) -> None:
        now = self._progress()
        self._still = self._still + 1 if now == self._known else 0
        self._known = now
        if self._still < _LOOKS:
            self._timer = self._loop.call_later(self._stall / _LOOKS, self._look)
        else:
            self._bound.reschedule(self._loop.time())
