"""What comes back of a request, as far as it comes: small answers, and downloads."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import aiohttp
import attrs

from ezlink_async import faults
from ezlink_async.errors import TransportError

BLOCK = 256 * 1024
"""How many bytes are read at once."""

_ANSWER_LIMIT = 16 * 1024 * 1024
_LONG_KEY = 16  # that of a toy server may be a word of its answers


@attrs.frozen
class Stream(AbstractAsyncContextManager["Stream"]):
    """A download that has begun: its status, and its bytes as they come; leave it."""

    status: int
    url: str
    _answer: aiohttp.ClientResponse

    async def block(self) -> bytes:
        """Return the next bytes, empty at the end."""
        try:
            return await self._answer.content.readany()
        except faults.FOREIGN as fault:
            says = faults.words(fault)
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
    except faults.FOREIGN as fault:
        return bytes(kept), fault
    return bytes(kept), None


def without(secret: bytes, body: bytes) -> bytes:
    """Return *body* with *secret* taken out, in case it was echoed."""
    echo = secret if len(secret) >= _LONG_KEY else b"Bearer " + secret
    return body.replace(echo, b"[key]")
