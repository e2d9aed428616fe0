"""Work that would block the event loop, done in a thread."""

from __future__ import annotations

import asyncio
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


async def until_done(work: asyncio.Future[_T]) -> None:
    """Wait for *work*, however it ends; a cancellation leaves it alone."""
    # Not asyncio.wait(), which is made for many and costs three times as much.
    if work.done():
        return
    over = asyncio.get_running_loop().create_future()

    def tell(_: object) -> None:
        if not over.done():
            over.set_result(None)

    work.add_done_callback(tell)
    try:
        await over
    finally:
        work.remove_done_callback(tell)


async def see_through(call: Callable[[], _T], pool: Executor | None = None) -> _T:
    """Run *call* in a thread; a cancellation waits until it has ended."""
    work = asyncio.get_running_loop().run_in_executor(pool, call)
    return await seen_through(work)


async def seen_through(work: asyncio.Future[_T]) -> _T:
    """Wait for *work* in a thread; a cancellation waits until it has ended."""
    left: asyncio.CancelledError | None = None
    # However often it is asked to leave: a file is in use. Not shield(), which
    # reports an error of the work when its caller has left, since Python 3.14.
    while not work.done():
        try:
            await until_done(work)
        except asyncio.CancelledError as asked:
            left = left or asked
    if left is None:
        return work.result()
    work.exception()  # asyncio would report one that nobody has seen
    raise left
