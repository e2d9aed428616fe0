"""Who owns the tasks of a client, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref

import pytest

from ezlink_async._io.concurrency import Nursery
from ezlink_async.errors import ClientClosedError


async def turns(count: int = 5) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def test_a_task_is_kept_until_it_is_done() -> None:
    """A task nobody else holds is not collected under way, and not kept after."""
    nursery, go_on = Nursery(), asyncio.Event()
    ended = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        ended.set()

    task = weakref.ref(nursery.start(work()))
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
    nursery, tidied = Nursery(), list[int]()

    async def work(number: int) -> None:
        try:
            await forever()
        finally:
            await turns(number)
            tidied.append(number)

    before = asyncio.all_tasks()
    for number in range(5):
        nursery.leave_alone(work(number))
    await turns()
    await nursery.close()
    assert sorted(tidied) == [0, 1, 2, 3, 4]
    assert asyncio.all_tasks() == before


async def test_closing_ends_what_is_started_meanwhile() -> None:
    """A task that another one starts while it is leaving ends too."""
    nursery, ended = Nursery(), list[str]()

    async def late() -> None:
        try:
            await forever()
        finally:
            ended.append("late")

    async def work() -> None:
        try:
            await forever()
        finally:
            nursery.leave_alone(late())
            await turns()

    nursery.leave_alone(work())
    await turns()
    await nursery.close()
    assert ended == ["late"]


async def test_nothing_starts_in_a_closed_nursery() -> None:
    """After close a task is refused, so that none outlives the client."""
    nursery = Nursery()
    await nursery.close()
    before = asyncio.all_tasks()
    with pytest.raises(ClientClosedError):
        nursery.start(forever())
    with pytest.raises(ClientClosedError):
        await nursery.run(forever())
    assert asyncio.all_tasks() == before


async def test_closing_twice_is_harmless() -> None:
    """Both of two closings return when all is over."""
    nursery = Nursery()
    nursery.leave_alone(forever())
    await asyncio.gather(nursery.close(), nursery.close())
    await nursery.close()


async def test_one_of_its_own_tasks_may_close_it() -> None:
    """Closing from inside ends the others and lets the closer finish."""
    nursery, ended = Nursery(), asyncio.Event()

    async def closer() -> None:
        await nursery.close()
        ended.set()

    other = nursery.start(forever())
    task = nursery.start(closer())
    async with asyncio.timeout(5):
        await task
    assert ended.is_set()
    assert other.cancelled()


async def test_a_task_that_is_spared_ends_by_itself() -> None:
    """Whoever closes the client from inside is neither cancelled nor waited for."""
    nursery, go_on = Nursery(), asyncio.Event()

    async def inside() -> str:
        assert nursery.spare()
        await go_on.wait()
        return "by itself"

    task = nursery.start(inside())
    await turns()
    assert not nursery.spare()  # this is none of its own
    await nursery.close()
    assert not task.done()
    go_on.set()
    assert await task == "by itself"


async def test_what_swallows_a_cancellation_is_cancelled_again() -> None:
    """Code that takes a cancellation for a time-out keeps nobody from closing."""
    nursery, swallowed = Nursery(patience=[0.01] * 4), list[int]()

    async def swallows(times: int) -> None:
        while len(swallowed) < times:
            try:
                await forever()
            except asyncio.CancelledError:
                swallowed.append(times)
        await forever()

    task = nursery.start(swallows(2))
    await turns()
    await nursery.close()
    assert (swallowed, task.cancelled()) == ([2, 2], True)


async def test_what_swallows_every_cancellation_is_left_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the end a close goes on without it, and the log says what it was."""
    nursery, stop = Nursery(patience=[0.001] * 3), asyncio.Event()

    async def never_leaves() -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stop.wait()

    task = nursery.start(never_leaves())
    await turns()
    with caplog.at_level(logging.WARNING, "ezlink_async"):
        await nursery.close()
    assert not task.done()
    (entry,) = caplog.records
    assert "never_leaves" in entry.message
    stop.set()
    await task


async def test_run_gives_the_result_and_the_error_as_they_are() -> None:
    """What runs for a caller returns to it, whether it went well or not."""
    nursery = Nursery()

    async def well() -> int:
        await turns()
        return 7

    async def badly() -> int:
        await turns()
        raise KeyError("x")

    assert await nursery.run(well()) == 7
    with pytest.raises(KeyError):
        await nursery.run(badly())
    await nursery.close()


async def test_cancelling_the_caller_cancels_its_work() -> None:
    """A caller that leaves takes its work along, and is cancelled itself."""
    nursery, stopped = Nursery(), asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            stopped.set()

    caller = asyncio.create_task(nursery.run(work()))
    await turns()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stopped.is_set()


async def test_a_close_becomes_the_caller_s_error() -> None:
    """Whoever waits when the client closes gets ClientClosedError, with its ids."""
    nursery = Nursery()

    def closed() -> ClientClosedError:
        return ClientClosedError("closed", task_ids=("7",))

    caller = asyncio.create_task(nursery.run(forever(), closed))
    plain = asyncio.create_task(nursery.run(forever()))
    await turns()
    await nursery.close()
    with pytest.raises(ClientClosedError) as caught:
        await caller
    assert caught.value.task_ids == ("7",)
    with pytest.raises(ClientClosedError):
        await plain


async def test_a_caller_cancelled_while_the_client_closes_stays_cancelled() -> None:
    """A close does not swallow the cancellation of a caller."""
    nursery = Nursery()
    caller = asyncio.create_task(nursery.run(forever()))
    await turns()
    closing = asyncio.create_task(nursery.close())
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await closing


async def test_an_old_cancellation_is_not_taken_for_a_new_one() -> None:
    """A caller that once swallowed a cancellation is told of a close all the same."""
    nursery = Nursery()

    async def call() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await nursery.run(forever())

    caller = asyncio.create_task(call())
    await turns()
    caller.cancel()
    await turns()
    await nursery.close()
    with pytest.raises(ClientClosedError):
        await caller


async def test_a_timeout_of_the_caller_stays_a_timeout() -> None:
    """A caller's own time limit ends the work and is not called a close."""
    nursery = Nursery()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await nursery.run(forever())
    await nursery.close()


async def test_work_that_fails_unseen_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error in work nobody waits for goes to the log, a cancellation does not."""
    nursery = Nursery()

    async def fails() -> None:
        await turns()
        raise KeyError("unseen")

    async def well() -> None:
        await turns()

    with caplog.at_level(logging.ERROR, "ezlink_async"):
        nursery.leave_alone(fails())
        nursery.leave_alone(well())
        nursery.leave_alone(forever())
        await turns(10)
        await nursery.close()
    (entry,) = caplog.records
    assert "bug" in entry.message
    assert entry.exc_info
