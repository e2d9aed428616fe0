"""
Uploads that an application is being sent, read into a picture to send.

An upload is a stranger's: it may be endless, stand still, or break off. It is read
once, block by block, and no further than its limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Iterator
from concurrent.futures import Executor
from functools import partial

from ezlink_async._core.images import AsyncReader, ChunkReader, Image, Upload
from ezlink_async._core.messages import clip
from ezlink_async._io.concurrency import run_in_thread
from ezlink_async._io.spool import Spool
from ezlink_async.errors import EzlinkError, ImageError

IN_MEMORY = 1024 * 1024
"""The most bytes of an upload that stay in memory; more are in a temporary file."""

_BLOCK = 256 * 1024


async def receive(
    upload: Upload, *, limit: int, stall: float, pool: Executor | None = None
) -> Image:
    """
    Return the picture that *upload* brings, of at most *limit* bytes.

    :exc:`ImageError` if it has more, none, or breaks off, if no byte of it comes for
    *stall* seconds, or if the disk is full; the rest is not read then.
    """
    spool = Spool(IN_MEMORY)
    try:
        async with contextlib.aclosing(_blocks(upload)) as blocks:
            while (block := await _next(blocks, stall)) is not None:
                if spool.length + len(block) > limit:
                    raise ImageError(
                        f"the upload has more than the {limit} bytes that are taken",
                        limit=limit,
                    )
                await _write(spool, block, pool)
        if not spool.length:
            raise ImageError("the upload is empty, or was read before")
        with _disk_errors():
            content = spool.content()
    finally:
        spool.close()
    if isinstance(content, bytes):
        return Image(content=content)
    return Image(spooled=content)


async def _blocks(upload: Upload) -> AsyncGenerator[bytes, None]:
    # A part of aiohttp has all three forms, and is unbounded in the others.
    if isinstance(upload, ChunkReader):
        read = upload.read_chunk
    elif isinstance(upload, AsyncReader):
        read = upload.read
    else:
        async for block in upload:
            yield block
        return
    while block := await _awaitable(read(_BLOCK)):
        yield block


def _awaitable(answer: Awaitable[bytes]) -> Awaitable[bytes]:
    given: object = answer
    if isinstance(given, Awaitable):
        return answer
    raise ImageError(
        "an upload is read by `await`; of an open file give its path, or its bytes"
    )


async def _next(blocks: AsyncGenerator[bytes, None], stall: float) -> bytes | None:
    """Return the next block, ``None`` at the end; see :func:`receive` for errors."""
    bound = asyncio.timeout(stall)
    try:
        async with bound:
            block: object = await anext(blocks, None)
    except EzlinkError:
        raise
    except Exception as fault:  # an upload is any program's, and raises what it likes
        says = f"broke off: {type(fault).__name__}: {fault}"
        if bound.expired():
            says = f"stands still: no byte of it came for {stall:g} s"
        raise ImageError(clip(f"the upload {says}")) from fault
    if block is None:
        return None
    if not isinstance(block, bytes | bytearray | memoryview):
        raise ImageError(f"an upload brings bytes, not {type(block).__name__}")
    return bytes(block)


async def _write(spool: Spool, block: bytes, pool: Executor | None) -> None:
    with _disk_errors():
        if spool.is_quick(len(block)):
            spool.write([block])
        else:
            await run_in_thread(partial(spool.write, [block]), pool)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        says = fault.strerror or fault
        raise ImageError(f"the upload cannot be kept on the disk: {says}") from fault


def release(picture: Image) -> None:
    """Free the temporary file of a *picture* that :func:`receive` returned."""
    if picture.spooled is not None:
        # A thread that still reads it frees it.
        with contextlib.suppress(BufferError):
            picture.spooled.close()
