"""Work that would block the event loop, done in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

INLINE_BYTES = 256 * 1024
"""Up to here work is done on the loop: a thread hop would cost more."""

_T = TypeVar("_T")


async def off_loop(
    length: int, call: Callable[[], _T], pool: Executor | None = None
) -> _T:
    """Run *call* here when *length* bytes are few, else in a thread of *pool*."""
    if length <= INLINE_BYTES:
        return call()
    return await asyncio.get_running_loop().run_in_executor(pool, call)


async def see_through(call: Callable[[], _T], pool: Executor | None = None) -> _T:
    """Run *call* in a thread; a cancellation waits until it has ended."""
    work = asyncio.get_running_loop().run_in_executor(pool, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        # However often it is asked to leave: a file is in use.
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # asyncio would report one that nobody has seen
        raise
