"""What comes back of a request, as far as it comes: small answers, and downloads."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import aiohttp
import attrs

from ezlink_async._core.error_mapping import retry_after
from ezlink_async._core.messages import HttpResponse
from ezlink_async._io import transport_errors
from ezlink_async.errors import TransportError

BLOCK = 256 * 1024
"""How many bytes are read at once."""

_ANSWER_LIMIT = 16 * 1024 * 1024
_GRACE = 0.1  # seconds: to read what has come while nothing ran
_LONG_KEY = 16  # that of a toy server may be a word of its answers


@attrs.frozen
class DownloadStream(AbstractAsyncContextManager["DownloadStream"]):
    """A download that has begun: its status, and its bytes as they come; leave it."""

    status: int
    url: str
    _answer: aiohttp.ClientResponse

    @property
    def retry_after(self) -> float | None:
        """The seconds to wait before another try, if the server says so."""
        names = "retry-after", "date"
        told = {name: self._answer.headers.get(name, "") for name in names}
        return retry_after(HttpResponse(self.status, told))

    async def block(self) -> bytes:
        """Return the next bytes, empty at the end."""
        try:
            return await self._answer.content.readany()
        except transport_errors.FOREIGN as fault:
            says = transport_errors.words(fault)
        raise TransportError(f"the download from {self.url} broke off: {says}")

    async def __aexit__(self, *_: object) -> None:
        await self._answer.__aexit__(None, None, None)  # the rest is not read


async def read_body(
    answer: aiohttp.ClientResponse, until: float | None = None
) -> tuple[bytes, Exception | None]:
    """Read an answer; of one that breaks off, what came: it may tell enough."""
    kept, content = bytearray(), answer.content
    try:
        # Most have come whole with their head, and nothing is waited for.
        async with asyncio.timeout_at(None if content.is_eof() else until):
            while len(kept) < _ANSWER_LIMIT and (more := await content.read(BLOCK)):
                kept += more
    except transport_errors.FOREIGN as fault:
        # Time is up, but the rest may have come while nothing ran.
        with contextlib.suppress(*transport_errors.FOREIGN):
            kept += content.read_nowait()
            return bytes(kept), None if content.at_eof() else fault
        return bytes(kept), fault
    return bytes(kept), None


class GraceTimeout:
    """
    Raises :exc:`TimeoutError` in ``async with``, a moment after its time.

    A program that was stopped, or whose loop was blocked, finds an answer and
    the end of its time at once, and a timeout would throw the answer away.
    """

    def __init__(self) -> None:
        self._bound = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self.when: float | None = None

    def set(self, when: float | None) -> None:
        """Let time be up at *when*, on the loop's clock; ``None`` for never."""
        if self._timer is not None:
            self._timer.cancel()
        self._bound.reschedule(None)
        self.when, loop = when, asyncio.get_running_loop()
        if when is not None:
            self._timer = loop.call_at(when, self._up, loop)

    def _up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._bound.reschedule(loop.time() + _GRACE)

    async def __aenter__(self) -> None:
        await self._bound.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._bound.__aexit__(kind, error, trace)


def redact(secret: bytes, body: bytes) -> bytes:
    """Return *body* with *secret* taken out, in case it was echoed."""
    echo = secret if len(secret) >= _LONG_KEY else b"Bearer " + secret
    return body.replace(echo, b"[key]")
