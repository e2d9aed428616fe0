"""Background tasks, the semaphore, and work in threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._io.concurrency import (
    INLINE_BYTES,
    BackgroundTasks,
    OutOfThreadsError,
    Semaphore,
    run_in_any_thread,
    run_in_thread,
    run_in_thread_if_large,
    start_in_thread,
    wait_until_done,
)
from ezlink_async.errors import ClientClosedError, SlotTimeoutError
from tests.support.cancelling import cancel
from tests.support.loop import turns
from tests.support.threads import out_of_threads

# The semaphore


async def test_semaphore_reaches_its_limit_and_never_passes_it() -> None:
    semaphore, inside, most, done = Semaphore(3), 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        async with semaphore.slot():
            inside += 1
            most = max(most, inside)
            await turns(2)
            inside -= 1
            done += 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, done, semaphore.taken) == (3, 20, 0)


async def test_slots_are_granted_in_the_order_of_the_requests() -> None:
    semaphore, order = Semaphore(1), list[int]()
    await semaphore.acquire()

    async def work(number: int) -> None:
        async with semaphore.slot():
            order.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await turns()
    semaphore.release()
    latecomer = asyncio.create_task(work(99))
    await asyncio.gather(*tasks, latecomer)
    assert order == [0, 1, 2, 3, 4, 99]


@pytest.mark.parametrize("cancelled_first", [False, True])
async def test_slot_released_while_its_waiter_is_cancelled_goes_to_the_next(
    *, cancelled_first: bool
) -> None:
    """The first waiter has not run again when both calls have been made."""
    semaphore = Semaphore(1)
    await semaphore.acquire()
    first = asyncio.create_task(semaphore.acquire())
    second = asyncio.create_task(semaphore.acquire())
    await turns()
    if cancelled_first:
        first.cancel()
        semaphore.release()
    else:
        semaphore.release()
        first.cancel()
    await second
    assert first.cancelled()
    assert semaphore.taken == 1


async def test_waiter_gets_slot_timeout_error_after_its_timeout() -> None:
    semaphore = Semaphore(1)
    await semaphore.acquire(0.01)
    with pytest.raises(SlotTimeoutError, match="all 1 slots") as caught:
        await semaphore.acquire(0.01)
    assert caught.value.retry_safe
    semaphore.release()
    await semaphore.acquire(0.01)


class SlotGame:
    """Two slots, and tasks that ask for them, are cancelled, or release them."""

    def __init__(self) -> None:
        self.semaphore = Semaphore(2)
        self.tasks: list[asyncio.Task[None]] = []

    def holders(self) -> list[asyncio.Task[None]]:
        return [task for task in self.tasks if task.done() and not task.cancelled()]

    async def ask(self) -> None:
        self.tasks.append(asyncio.create_task(self.semaphore.acquire()))

    async def cancel(self) -> None:
        if self.tasks:
            self.tasks[len(self.tasks) // 2].cancel()

    async def release(self) -> None:
        if holders := self.holders():
            self.tasks.remove(holders[0])
            self.semaphore.release()

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """Cancel the waiters, and take both slots."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self.semaphore.taken == len(self.holders())
        for _ in self.holders():
            self.semaphore.release()
        async with asyncio.timeout(300):
            await self.semaphore.acquire()
            await self.semaphore.acquire()


@given(st.lists(st.sampled_from(["ask", "cancel", "release", "turn"]), max_size=60))
def test_no_order_of_events_loses_a_slot(events: list[str]) -> None:
    async def play() -> None:
        game = SlotGame()
        for event in events:
            await getattr(game, event)()
            assert game.semaphore.taken <= 2
        await game.finish()

    asyncio.run(play())


# Background tasks


async def forever() -> None:
    await asyncio.Event().wait()


async def test_task_is_referenced_until_it_is_done() -> None:
    """The garbage collector takes a task after its end, and not before."""
    background, go_on, ended = BackgroundTasks(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        ended.set()

    task = weakref.ref(background.start(work()))
    await turns()
    gc.collect()
    assert task() is not None
    go_on.set()
    await ended.wait()
    await turns()
    gc.collect()
    assert task() is None


async def test_close_cancels_tasks_and_waits_for_their_cleanup() -> None:
    background, cleaned = BackgroundTasks(), list[int]()

    async def work(number: int) -> None:
        try:
            await forever()
        finally:
            await turns(number)
            cleaned.append(number)

    before = asyncio.all_tasks()
    for number in range(5):
        background.start_soon(work(number))
    await turns()
    await background.close()
    assert sorted(cleaned) == [0, 1, 2, 3, 4]
    assert asyncio.all_tasks() == before


async def test_close_ends_tasks_that_are_started_meanwhile() -> None:
    background, ended = BackgroundTasks(), list[str]()

    async def late() -> None:
        try:
            await forever()
        finally:
            ended.append("late")

    async def work() -> None:
        try:
            await forever()
        finally:
            background.start_soon(late())
            await turns()

    background.start_soon(work())
    await turns()
    await background.close()
    assert ended == ["late"]


async def test_no_task_starts_after_close() -> None:
    background = BackgroundTasks()
    await background.close()
    before = asyncio.all_tasks()
    with pytest.raises(ClientClosedError):
        background.start(forever())
    with pytest.raises(ClientClosedError):
        await background.run(forever())
    assert asyncio.all_tasks() == before


async def test_close_may_be_called_twice_at_once_and_again() -> None:
    background = BackgroundTasks()
    background.start_soon(forever())
    await asyncio.gather(background.close(), background.close())
    await background.close()


async def test_task_that_closes_the_client_ends_after_the_others() -> None:
    background, ended = BackgroundTasks(), asyncio.Event()

    async def closer() -> None:
        await background.close()
        ended.set()

    other = background.start(forever())
    task = background.start(closer())
    async with asyncio.timeout(300):
        await task
    assert ended.is_set()
    assert other.cancelled()


async def test_exempt_task_is_neither_cancelled_nor_waited_for() -> None:
    background, go_on = BackgroundTasks(), asyncio.Event()

    async def inside() -> str:
        assert background.exempt_current()
        await go_on.wait()
        return "by itself"

    task = background.start(inside())
    await turns()
    assert not background.exempt_current()  # the test is a foreign task
    await background.close()
    assert not task.done()
    go_on.set()
    assert await task == "by itself"


async def test_task_that_ignores_a_cancellation_is_cancelled_again() -> None:
    background, ignored = BackgroundTasks(patience=[0.01] * 4), list[int]()

    async def ignores(times: int) -> None:
        while len(ignored) < times:
            try:
                await forever()
            except asyncio.CancelledError:
                ignored.append(times)
        await forever()

    task = background.start(ignores(2))
    await turns()
    await background.close()
    assert (ignored, task.cancelled()) == ([2, 2], True)


async def test_task_that_ignores_every_cancellation_is_abandoned_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background, stop = BackgroundTasks(patience=[0.001] * 3), asyncio.Event()

    async def never_ends() -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    task = background.start(never_ends())
    await turns()
    with caplog.at_level(logging.WARNING, "ezlink_async"):
        await background.close()
    assert not task.done()
    (entry,) = caplog.records
    assert "ignored cancellation and was abandoned" in entry.message
    assert "never_ends" in entry.message
    stop.set()
    await task


async def test_run_returns_the_result_and_raises_the_exception_of_its_work() -> None:
    background = BackgroundTasks()

    async def succeeds() -> int:
        await turns()
        return 7

    async def fails() -> int:
        await turns()
        raise KeyError("x")

    assert await background.run(succeeds()) == 7
    with pytest.raises(KeyError):
        await background.run(fails())
    await background.close()


async def test_cancelling_the_caller_of_run_cancels_its_work() -> None:
    background, stopped = BackgroundTasks(), asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            stopped.set()

    caller = asyncio.create_task(background.run(work()))
    await turns()
    await cancel(caller)
    assert stopped.is_set()


async def test_result_of_a_caller_that_is_cancelled_as_it_ends_is_undone() -> None:
    background, undone = BackgroundTasks(), list[int]()
    ended = asyncio.Event()

    async def work() -> int:
        ended.set()
        return 7

    async def call() -> None:
        await background.run(work(), undo=undone.append)

    caller = asyncio.create_task(call())
    await ended.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert undone == [7]


async def test_close_raises_client_closed_error_in_callers_of_run() -> None:
    background = BackgroundTasks()

    def closed() -> ClientClosedError:
        return ClientClosedError("closed", task_ids=("7",))

    caller = asyncio.create_task(background.run(forever(), closed))
    plain = asyncio.create_task(background.run(forever()))
    await turns()
    await background.close()
    with pytest.raises(ClientClosedError) as caught:
        await caller
    assert caught.value.task_ids == ("7",)
    with pytest.raises(ClientClosedError):
        await plain


async def test_caller_cancelled_while_the_client_closes_stays_cancelled() -> None:
    background = BackgroundTasks()
    caller = asyncio.create_task(background.run(forever()))
    await turns()
    closing = asyncio.create_task(background.close())
    await cancel(caller)
    await closing


async def test_caller_that_swallowed_a_cancellation_gets_client_closed_error() -> None:
    background = BackgroundTasks()

    async def call() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await background.run(forever())

    caller = asyncio.create_task(call())
    await turns()
    caller.cancel()
    await turns()
    await background.close()
    with pytest.raises(ClientClosedError):
        await caller


async def test_timeout_of_the_caller_stays_a_timeout() -> None:
    background = BackgroundTasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await background.run(forever())
    await background.close()


async def test_exception_in_a_background_task_is_logged_and_a_cancellation_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    background = BackgroundTasks()

    async def fails() -> None:
        await turns()
        raise KeyError("unseen")

    with caplog.at_level(logging.ERROR, "ezlink_async"):
        background.start_soon(fails())
        background.start_soon(turns())
        background.start_soon(forever())
        await turns(10)
        await background.close()
    (entry,) = caplog.records
    assert "bug" in entry.message
    assert entry.exc_info


# Threads


@pytest.mark.parametrize(
    ("length", "inline"), [(INLINE_BYTES, True), (INLINE_BYTES + 1, False)]
)
async def test_more_than_256_kib_are_worked_on_in_a_thread(
    length: int, *, inline: bool
) -> None:
    thread = await run_in_thread_if_large(length, threading.get_ident)
    assert (thread == threading.get_ident()) is inline


@pytest.mark.parametrize("length", [1, INLINE_BYTES + 1])
async def test_exception_reaches_the_caller_from_loop_and_thread(length: int) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await run_in_thread_if_large(length, fail)


async def test_work_runs_in_the_pool_that_was_given() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="own") as pool:
        names = [
            await run_in_thread(lambda: threading.current_thread().name, pool),
            await run_in_thread_if_large(
                1 << 20, lambda: threading.current_thread().name, pool
            ),
        ]
    assert names == ["own_0", "own_0"]


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_caller_waits_for_its_thread(*, fails: bool) -> None:
    """Three cancellations wait, and asyncio logs no exception of the thread."""
    begun, go_on, ended = threading.Event(), threading.Event(), list[bool]()

    def work() -> None:
        begun.set()
        go_on.wait(300)
        ended.append(True)
        if fails:
            raise OSError(28, "No space left on device")

    logged: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: logged.append(context))
    task = asyncio.create_task(run_in_thread(work))
    await asyncio.to_thread(begun.wait, 300)
    for _ in range(3):
        task.cancel()
        await turns()
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    del task
    gc.collect()
    await turns()
    assert logged == []


async def test_cancelled_wait_leaves_its_work_and_other_waits_alone() -> None:
    work = asyncio.get_running_loop().create_future()
    waits = [asyncio.create_task(wait_until_done(work)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    assert not work.done()
    work.set_exception(OSError("retrieved below"))
    await waits[1]
    await wait_until_done(work)
    assert isinstance(work.exception(), OSError)


async def test_wait_cancelled_in_the_turn_its_work_ends_is_cancelled() -> None:
    work = asyncio.get_running_loop().create_future()
    wait = asyncio.create_task(wait_until_done(work))
    await asyncio.sleep(0)
    work.set_result(None)
    await cancel(wait)


async def test_work_without_a_thread_is_an_error_and_is_never_done_later() -> None:
    """A pool keeps it in its queue, where its other threads would find it."""
    done = list[str]()
    hold = threading.Event()
    with ThreadPoolExecutor(2, "busy") as pool:
        first = start_in_thread(hold.wait, pool)
        with out_of_threads("busy"), pytest.raises(OutOfThreadsError, match="ulimit"):
            await run_in_thread(lambda: done.append("refused"), pool)
        hold.set()
        await first
        await run_in_thread(lambda: done.append("later"), pool)
    assert done == ["later"]


async def test_work_that_must_be_done_runs_on_the_loop_without_a_thread() -> None:
    with ThreadPoolExecutor(1, "none") as pool, out_of_threads("none"):
        name = await run_in_any_thread(lambda: threading.current_thread().name, pool)
    assert name == threading.current_thread().name


async def test_pool_that_was_shut_down_is_no_lack_of_threads() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        await run_in_thread(list, pool)
