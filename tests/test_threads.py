"""Work that leaves the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ezlink_async._io.concurrency import INLINE_BYTES, off_loop, see_through, until_done


@pytest.mark.parametrize(("length", "here"), [(INLINE_BYTES, True), (1 << 20, False)])
async def test_little_work_is_done_on_the_spot(length: int, *, here: bool) -> None:
    """A thread hop is for what would keep the loop for a while."""
    thread = await off_loop(length, threading.get_ident)
    assert (thread == threading.get_ident()) is here


@pytest.mark.parametrize("length", [1, INLINE_BYTES + 1])
async def test_an_error_comes_out_wherever_it_was_raised(length: int) -> None:
    """In a thread or not, the caller gets what the call raised."""

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await off_loop(length, fail)


async def test_a_pool_of_ones_own_is_used() -> None:
    """Both run in the pool that was given."""
    with ThreadPoolExecutor(1, thread_name_prefix="own") as pool:
        names = [
            await see_through(lambda: threading.current_thread().name, pool),
            await off_loop(1 << 20, lambda: threading.current_thread().name, pool),
        ]
    assert names == ["own_0", "own_0"]


async def test_what_must_be_seen_through_is() -> None:
    """A cancellation, however often, waits for the thread; then it holds."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20)

    task = asyncio.create_task(see_through(work))
    await asyncio.to_thread(begun.wait, 20)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_wait_that_is_cancelled_leaves_the_work_alone() -> None:
    """Who leaves neither ends what was waited for nor is called when it ends."""
    work = asyncio.get_running_loop().create_future()
    waits = [asyncio.create_task(until_done(work)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    assert not work.done()
    work.set_exception(OSError("seen by whoever asks"))
    await waits[1]
    await until_done(work)
    assert isinstance(work.exception(), OSError)


async def test_a_wait_that_is_cancelled_when_it_is_over_is_cancelled() -> None:
    """An end and a cancellation in one turn trouble nobody."""
    work = asyncio.get_running_loop().create_future()
    wait = asyncio.create_task(until_done(work))
    await asyncio.sleep(0)
    work.set_result(None)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
