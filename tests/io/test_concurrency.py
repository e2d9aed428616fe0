"""Who owns the tasks of a client, and how they end."""

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
    Semaphore,
    run_in_thread,
    run_in_thread_if_large,
    wait_until_done,
)
from ezlink_async.errors import ClientClosedError, SlotTimeoutError
from tests.support.loop import turns

# Slots


async def test_no_more_slots_are_taken_than_there_are() -> None:
    """The limit is reached and never passed, and everybody gets a turn."""
    slots, inside, most, done = Semaphore(3), 0, 0, 0

    async def work() -> None:
        nonlocal inside, most, done
        await slots.acquire()
        inside += 1
        most = max(most, inside)
        await turns(2)
        inside -= 1
        done += 1
        slots.release()

    await asyncio.gather(*(work() for _ in range(20)))
    assert (most, done, slots.taken) == (3, 20, 0)


async def test_who_waits_longest_goes_first() -> None:
    """Slots are given in the order in which they were asked for."""
    slots, order = Semaphore(1), list[int]()
    await slots.acquire()

    async def work(number: int) -> None:
        await slots.acquire()
        order.append(number)
        slots.release()

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await turns()
    slots.release()
    latecomer = asyncio.create_task(work(99))
    await asyncio.gather(*tasks, latecomer)
    assert order == [0, 1, 2, 3, 4, 99]


async def test_a_cancelled_waiter_loses_no_slot() -> None:
    """A waiter that leaves while the slot is being given hands it on."""
    slots = Semaphore(1)
    await slots.acquire()
    first = asyncio.create_task(slots.acquire())
    second = asyncio.create_task(slots.acquire())
    await turns()
    slots.release()  # first has it now, but has not run yet
    first.cancel()
    await second
    assert first.cancelled()
    assert slots.taken == 1


async def test_a_release_right_after_a_cancellation_finds_the_next_waiter() -> None:
    """A slot given back while a waiter is leaving goes to the one behind it."""
    slots = Semaphore(1)
    await slots.acquire()
    first = asyncio.create_task(slots.acquire())
    second = asyncio.create_task(slots.acquire())
    await turns()
    first.cancel()  # has not run yet either
    slots.release()
    await second
    assert slots.taken == 1


async def test_the_wait_for_a_slot_can_be_bounded() -> None:
    """After its timeout a waiter gets SlotTimeoutError, and nothing was sent."""
    slots = Semaphore(1)
    await slots.acquire(0.01)
    with pytest.raises(SlotTimeoutError, match="all 1 slots") as caught:
        await slots.acquire(0.01)
    assert caught.value.retry_safe
    slots.release()
    await slots.acquire(0.01)


async def test_more_slots_are_given_at_once_and_fewer_are_not_renewed() -> None:
    """A raised limit wakes waiters; a lowered one waits for slots to come back."""
    slots = Semaphore(1)
    await slots.acquire()
    waiting = [asyncio.create_task(slots.acquire()) for _ in range(3)]
    await turns()
    slots.resize(3)
    await turns()
    assert (slots.taken, sum(task.done() for task in waiting)) == (3, 2)
    slots.resize(1)
    slots.release()
    slots.release()
    await turns()
    assert not waiting[2].done()
    slots.release()
    await waiting[2]
    assert slots.taken == 1


class SlotGame:
    """Two slots, and those who ask for them, leave, and give them back."""

    def __init__(self) -> None:
        self.slots = Semaphore(2)
        self.tasks: list[asyncio.Task[None]] = []

    def held(self) -> list[asyncio.Task[None]]:
        """Return those who have a slot."""
        return [task for task in self.tasks if task.done() and not task.cancelled()]

    async def ask(self) -> None:
        """Ask for a slot."""
        self.tasks.append(asyncio.create_task(self.slots.acquire()))

    async def cancel(self) -> None:
        """Cancel somebody."""
        if self.tasks:
            self.tasks[len(self.tasks) // 2].cancel()

    async def release(self) -> None:
        """Give a slot back."""
        if held := self.held():
            self.tasks.remove(held[0])
            self.slots.release()

    async def turn(self) -> None:
        """Let the loop turn."""
        await asyncio.sleep(0)

    async def over(self) -> None:
        """Cancel who waits, and see that both slots are there."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert self.slots.taken == len(self.held())
        for _ in self.held():
            self.slots.release()
        async with asyncio.timeout(5):
            await self.slots.acquire()
            await self.slots.acquire()


@given(st.lists(st.sampled_from(["ask", "cancel", "release", "turn"]), max_size=60))
def test_slots_survive_any_order_of_events(events: list[str]) -> None:
    """However asking, leaving and giving back interleave, no slot is lost."""

    async def play() -> None:
        game = SlotGame()
        for event in events:
            await getattr(game, event)()
            assert game.slots.taken <= 2
        await game.over()

    asyncio.run(play())


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def test_a_task_is_kept_until_it_is_done() -> None:
    """A task nobody else holds is not collected under way, and not kept after."""
    background, go_on = BackgroundTasks(), asyncio.Event()
    ended = asyncio.Event()

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


async def test_closing_cancels_and_waits() -> None:
    """After close nothing runs any more, whatever it had to tidy up."""
    background, tidied = BackgroundTasks(), list[int]()

    async def work(number: int) -> None:
        try:
            await forever()
        finally:
            await turns(number)
            tidied.append(number)

    before = asyncio.all_tasks()
    for number in range(5):
        background.start_soon(work(number))
    await turns()
    await background.close()
    assert sorted(tidied) == [0, 1, 2, 3, 4]
    assert asyncio.all_tasks() == before


async def test_closing_ends_what_is_started_meanwhile() -> None:
    """A task that another one starts while it is leaving ends too."""
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


async def test_nothing_starts_in_a_closed_nursery() -> None:
    """After close a task is refused, so that none outlives the client."""
    background = BackgroundTasks()
    await background.close()
    before = asyncio.all_tasks()
    with pytest.raises(ClientClosedError):
        background.start(forever())
    with pytest.raises(ClientClosedError):
        await background.run(forever())
    assert asyncio.all_tasks() == before


async def test_closing_twice_is_harmless() -> None:
    """Both of two closings return when all is over."""
    background = BackgroundTasks()
    background.start_soon(forever())
    await asyncio.gather(background.close(), background.close())
    await background.close()


async def test_one_of_its_own_tasks_may_close_it() -> None:
    """Closing from inside ends the others and lets the closer finish."""
    background, ended = BackgroundTasks(), asyncio.Event()

    async def closer() -> None:
        await background.close()
        ended.set()

    other = background.start(forever())
    task = background.start(closer())
    async with asyncio.timeout(5):
        await task
    assert ended.is_set()
    assert other.cancelled()


async def test_a_task_that_is_spared_ends_by_itself() -> None:
    """Whoever closes the client from inside is neither cancelled nor waited for."""
    background, go_on = BackgroundTasks(), asyncio.Event()

    async def inside() -> str:
        assert background.exempt_current()
        await go_on.wait()
        return "by itself"

    task = background.start(inside())
    await turns()
    assert not background.exempt_current()  # this is none of its own
    await background.close()
    assert not task.done()
    go_on.set()
    assert await task == "by itself"


async def test_what_swallows_a_cancellation_is_cancelled_again() -> None:
    """Code that takes a cancellation for a time-out keeps nobody from closing."""
    background, swallowed = BackgroundTasks(patience=[0.01] * 4), list[int]()

    async def swallows(times: int) -> None:
        while len(swallowed) < times:
            try:
                await forever()
            except asyncio.CancelledError:
                swallowed.append(times)
        await forever()

    task = background.start(swallows(2))
    await turns()
    await background.close()
    assert (swallowed, task.cancelled()) == ([2, 2], True)


async def test_what_swallows_every_cancellation_is_left_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the end a close goes on without it, and the log says what it was."""
    background, stop = BackgroundTasks(patience=[0.001] * 3), asyncio.Event()

    async def never_leaves() -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    task = background.start(never_leaves())
    await turns()
    with caplog.at_level(logging.WARNING, "ezlink_async"):
        await background.close()
    assert not task.done()
    (entry,) = caplog.records
    assert "never_leaves" in entry.message
    stop.set()
    await task


async def test_run_gives_the_result_and_the_error_as_they_are() -> None:
    """What runs for a caller returns to it, whether it went well or not."""
    background = BackgroundTasks()

    async def well() -> int:
        await turns()
        return 7

    async def badly() -> int:
        await turns()
        raise KeyError("x")

    assert await background.run(well()) == 7
    with pytest.raises(KeyError):
        await background.run(badly())
    await background.close()


async def test_cancelling_the_caller_cancels_its_work() -> None:
    """A caller that leaves takes its work along, and is cancelled itself."""
    background, stopped = BackgroundTasks(), asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            stopped.set()

    caller = asyncio.create_task(background.run(work()))
    await turns()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stopped.is_set()


async def test_a_close_becomes_the_caller_s_error() -> None:
    """Whoever waits when the client closes gets ClientClosedError, with its ids."""
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


async def test_a_caller_cancelled_while_the_client_closes_stays_cancelled() -> None:
    """A close does not swallow the cancellation of a caller."""
    background = BackgroundTasks()
    caller = asyncio.create_task(background.run(forever()))
    await turns()
    closing = asyncio.create_task(background.close())
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await closing


async def test_an_old_cancellation_is_not_taken_for_a_new_one() -> None:
    """A caller that once swallowed a cancellation is told of a close all the same."""
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


async def test_a_timeout_of_the_caller_stays_a_timeout() -> None:
    """A caller's own time limit ends the work and is not called a close."""
    background = BackgroundTasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await background.run(forever())
    await background.close()


async def test_work_that_fails_unseen_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error in work nobody waits for goes to the log, a cancellation does not."""
    background = BackgroundTasks()

    async def fails() -> None:
        await turns()
        raise KeyError("unseen")

    async def well() -> None:
        await turns()

    with caplog.at_level(logging.ERROR, "ezlink_async"):
        background.start_soon(fails())
        background.start_soon(well())
        background.start_soon(forever())
        await turns(10)
        await background.close()
    (entry,) = caplog.records
    assert "bug" in entry.message
    assert entry.exc_info


@pytest.mark.parametrize(("length", "here"), [(INLINE_BYTES, True), (1 << 20, False)])
async def test_little_work_is_done_on_the_spot(length: int, *, here: bool) -> None:
    """A thread hop is for what would keep the loop for a while."""
    thread = await run_in_thread_if_large(length, threading.get_ident)
    assert (thread == threading.get_ident()) is here


@pytest.mark.parametrize("length", [1, INLINE_BYTES + 1])
async def test_an_error_comes_out_wherever_it_was_raised(length: int) -> None:
    """In a thread or not, the caller gets what the call raised."""

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await run_in_thread_if_large(length, fail)


async def test_a_pool_of_ones_own_is_used() -> None:
    """Both run in the pool that was given."""
    with ThreadPoolExecutor(1, thread_name_prefix="own") as pool:
        names = [
            await run_in_thread(lambda: threading.current_thread().name, pool),
            await run_in_thread_if_large(
                1 << 20, lambda: threading.current_thread().name, pool
            ),
        ]
    assert names == ["own_0", "own_0"]


async def test_what_must_be_seen_through_is() -> None:
    """A cancellation, however often, waits for the thread; then it holds."""
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20)

    task = asyncio.create_task(run_in_thread(work))
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
    waits = [asyncio.create_task(wait_until_done(work)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    assert not work.done()
    work.set_exception(OSError("seen by whoever asks"))
    await waits[1]
    await wait_until_done(work)
    assert isinstance(work.exception(), OSError)


async def test_a_wait_that_is_cancelled_when_it_is_over_is_cancelled() -> None:
    """An end and a cancellation in one turn trouble nobody."""
    work = asyncio.get_running_loop().create_future()
    wait = asyncio.create_task(wait_until_done(work))
    await asyncio.sleep(0)
    work.set_result(None)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
