"""
The body of one request, streamed, and the truth about how far it came.

Rules:

1. The last part is held back until all before it has left. Without it the
   server has no whole body, and acts on nothing: it is the point of no return.
2. :attr:`Upload.complete` turns true right before that part goes out. So
   false is certain, and true means "may have arrived".
3. :meth:`Upload.abort` is obeyed at once: after it the last part cannot leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp.payload
from aiohttp.abc import AbstractStreamWriter

from ezlink_async.disk import INLINE_BYTES, TextBlocks
from ezlink_async.images import PreparedImage
from ezlink_async.messages import HttpRequest, Part


class UploadStalledError(Exception):
    """No byte of the body moved for too long."""


class UploadAbortedError(Exception):
    """The upload was called off before its last part."""


class Upload(aiohttp.payload.Payload):
    """
    What one attempt sends; every attempt has a new one.

    *stall* is the longest time in which no byte moves. *finished* is called
    when the last part is on its way, *fault* keeps what stopped it before.
    """

    _autoclose = True  # nothing stays open between two attempts

    def __init__(
        self, request: HttpRequest, *, stall: float, finished: Callable[[], None]
    ) -> None:
        super().__init__(request, content_type="application/json")
        self._size = request.content_length
        self._body = request.body
        self._stall = stall
        self._finished = finished
        self._called_off = False
        self.complete = False
        self.fault: BaseException | None = None

    def abort(self) -> None:
        """Keep the last part back for good; without effect after it has left."""
        self._called_off = True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - aiohttp's signature
        """Refuse: the body is never whole in memory."""
        raise TypeError("the body is streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body; called by aiohttp, in a task of its own."""
        try:
            await self._send(writer)
        except BaseException as fault:
            self.fault = fault
            # Closing flushes what is buffered; nothing more may arrive.
            if writer.transport is not None and not self.complete:
                writer.transport.abort()
            raise

    async def _send(self, writer: AbstractStreamWriter) -> None:
        *first, last = self._body
        for part in first:
            await self._send_part(writer, part)
        self._check()
        self.complete = True
        self._finished()
        await self._put(writer, last if isinstance(last, bytes) else b"")

    async def _send_part(self, writer: AbstractStreamWriter, part: Part) -> None:
        if isinstance(part, PreparedImage):
            text = TextBlocks(part)
            while block := await text.next():
                await self._put(writer, block)
            return
        whole = part if isinstance(part, bytes) else part.text
        for start in range(0, len(whole), INLINE_BYTES):
            await self._put(writer, whole[start : start + INLINE_BYTES])

    async def _put(self, writer: AbstractStreamWriter, block: bytes) -> None:
        if not self.complete:
            self._check()
        try:
            async with asyncio.timeout(self._stall):
                await writer.write(block)
                await writer.drain()
            # Give the answer a chance: one that comes early (a refused key)
            # is lost when the loop never turns.
            await asyncio.sleep(0)
        except TimeoutError:
            raise UploadStalledError(
                f"no byte of the body moved for {self._stall:g} s"
            ) from None

    def _check(self) -> None:
        if self._called_off:
            raise UploadAbortedError("the upload was called off")
