"""
Bytes on their way through this process: in memory, or in a file without a name.

A verified result is a stream: nothing of it is given before all of it is there.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import AsyncIterator
from typing import Self

from ezlink_async._core.containers import verify_complete
from ezlink_async._io.concurrency import INLINE_BYTES, run_in_thread

_BLOCK = 256 * 1024


class Spool:
    """
    A download on its way to a reader, or an upload on its way to the server.

    Up to *most* bytes stay in memory. Anything that :meth:`is_quick` denies blocks
    and belongs in a thread.
    """

    def __init__(self, most: int = INLINE_BYTES) -> None:
        self.length: int = 0
        self._most = most
        self._stream = self._new_stream()

    def _new_stream(self) -> tempfile.SpooledTemporaryFile[bytes]:
        return tempfile.SpooledTemporaryFile(max_size=self._most)

    def is_quick(self, length: int) -> bool:
        """Return whether *length* more bytes stay in memory."""
        return self.length + length <= self._most

    def restart(self) -> None:
        """Drop everything written so far."""
        self._stream.close()
        self._stream, self.length = self._new_stream(), 0

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks*."""
        for block in blocks:
            self._stream.write(block)
            self.length += len(block)

    def verify(self) -> str | None:
        """Return the media type; see :func:`~.containers.verify_complete`."""
        content = self.content()
        if isinstance(content, bytes):
            return verify_complete(content)
        with content:
            return verify_complete(content)

    def content(self) -> bytes | mmap.mmap:
        """Return the bytes; those in a file as its map, which outlives the spool."""
        self._stream.seek(0)
        if self.is_quick(0):
            return self._stream.read()
        return mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)

    def rewind(self) -> None:
        """Begin to read at the start."""
        self._stream.seek(0)

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""
        return self._stream.read(_BLOCK)

    def close(self) -> None:
        """Drop the bytes."""
        self._stream.close()


class ResultStream(AsyncIterator[bytes]):
    """
    A verified result, read block by block; *length* is its size in bytes.

    It is complete before the first block is given, so a web server may announce
    *media_type* and *length*, and send no half of a result. It outlives the
    client. Read it to the end, or leave it as an async context manager: both free
    its temporary file.
    """

    def __init__(self, spool: Spool, media_type: str) -> None:
        self.media_type: str = media_type
        self.length: int = spool.length
        spool.rewind()
        self._spool = spool
        self._open = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> bytes:
        """Return the next block, of at most 256 KiB."""
        if not self._open:
            raise StopAsyncIteration
        if self._spool.is_quick(0):
            block = self._spool.read()
        else:
            block = await run_in_thread(self._spool.read)
        if not block:
            await self.aclose()
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        """Free the temporary file; twice is harmless."""
        self._open = False
        self._spool.close()
