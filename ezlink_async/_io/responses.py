"""Answers as far as they arrive: small bodies, downloads, and a timeout for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from functools import partial

import aiohttp
import attrs

from ezlink_async._core.error_mapping import retry_after
from ezlink_async._core.messages import HttpResponse
from ezlink_async._io import transport_errors
from ezlink_async._io.concurrency import run_in_thread_if_large
from ezlink_async.errors import TransportError

BLOCK = 256 * 1024
"""How many bytes are read at once."""

_START = 64 * 1024  # bytes that are kept of an answer that has too many
_START_BLOCKS = 1024  # of so many blocks, which may be short
_PIECE = 1024 * 1024  # bytes that are searched at once, in less than a millisecond
_GRACE = 0.1  # seconds to read what arrived while the loop was blocked
_LONG_KEY = 16  # characters; a shorter key may be a word of ordinary answers


@attrs.frozen
class DownloadStream(AbstractAsyncContextManager["DownloadStream"]):
    """A started download: its status, and its bytes as they come. Leave it to close."""

    status: int
    url: str
    _answer: aiohttp.ClientResponse

    @property
    def retry_after(self) -> float | None:
        """The seconds to wait before another attempt, if the server says so."""
        return retry_after(self._head("retry-after", "date"))

    @property
    def target(self) -> str | None:
        """Where the answer redirects to, if it does."""
        is_redirect = 300 <= self.status < 400  # noqa: PLR2004 - 3xx
        return self._answer.headers.get("Location") if is_redirect else None

    @property
    def request_id(self) -> str | None:
        """The id that the server gave the request, if it says so."""
        return self._head("x-request-id").request_id

    def _head(self, *names: str) -> HttpResponse:
        headers = {name: self._answer.headers.get(name, "") for name in names}
        return HttpResponse(self.status, headers)

    @property
    def announced(self) -> int | None:
        """The number of bytes that the server says it sends, if it says so."""
        return self._answer.content_length

    async def block(self) -> bytes:
        """Return the next bytes, or none at the end."""
        try:
            return await self._answer.content.readany()
        except transport_errors.FOREIGN as fault:
            says = transport_errors.describe(fault)
        raise TransportError(f"the download from {self.url} broke off: {says}")

    async def __aexit__(self, *_: object) -> None:
        await self._answer.__aexit__(None, None, None)  # the rest is not read


@attrs.frozen
class Body:
    """
    The bytes of an answer, and the exception that *broke* it off, if any.

    *oversized* is the limit of one that has more; then only its start is kept.
    """

    content: bytes
    broke: Exception | None = None
    oversized: int = 0


async def read_body(
    answer: aiohttp.ClientResponse,
    most: int,
    until: float | None = None,
    pool: Executor | None = None,
) -> Body:
    """
    Return the body of *answer*, of at most *most* bytes, as far as it comes.

    Reads until *until* on the loop's clock; a large body is joined in *pool*. The
    bytes before a break are returned: the id of a paid task may be among them.
    """
    blocks, content, left = list[bytes](), answer.content, most + 1
    broke: Exception | None = None
    try:
        # Most bodies have arrived with their head, and need no wait.
        async with asyncio.timeout_at(None if content.is_eof() else until):
            while more := await content.read(min(BLOCK, left)):
                blocks.append(more)
                left -= len(more)
    except transport_errors.FOREIGN as fault:
        broke = fault
        # Time is up, but the rest may have arrived while the loop was blocked.
        with contextlib.suppress(*transport_errors.FOREIGN):
            blocks.append(content.read_nowait(left))
            left -= len(blocks[-1])
            broke = None if content.at_eof() else fault
    if left <= 0:
        return Body(b"".join(blocks[:_START_BLOCKS])[:_START], oversized=most)
    length, join = most + 1 - left, partial(b"".join, blocks)
    return Body(await run_in_thread_if_large(length, join, pool), broke)


class GraceTimeout:
    """
    A timeout that expires a moment after its deadline.

    A program that was stopped, or whose loop was blocked, finds an answer and
    the end of its time at once; an exact timeout would drop that answer.
    """

    def __init__(self) -> None:
        self._bound = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self.deadline: float | None = None

    def reschedule(self, deadline: float | None) -> None:
        """Set the *deadline* on the loop's clock; ``None`` for none."""
        self._cancel_timer()
        self._bound.reschedule(None)
        self.deadline, loop = deadline, asyncio.get_running_loop()
        if deadline is not None:
            self._timer = loop.call_at(
                deadline, lambda: self._bound.reschedule(loop.time() + _GRACE)
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raise :exc:`TimeoutError` in the block once time is up."""
        try:
            async with self._bound:
                yield
        finally:
            self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def redact(secret: bytes, body: bytes) -> bytes:
    """Return *body* without *secret*, in case the server echoed it."""
    echo = secret if len(secret) >= _LONG_KEY else b"Bearer " + secret
    # In pieces: a search holds the interpreter's lock from its start to its end.
    for start in range(0, len(body), _PIECE):
        if body.find(echo, start, start + _PIECE + len(echo) - 1) >= 0:
            return body.replace(echo, b"[key]")
    return body
