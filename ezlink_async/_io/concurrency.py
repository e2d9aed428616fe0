"""
Who owns the asyncio tasks of a client, and how they end.

Every task has a strong reference here until it is done. Closing cancels what
is left and waits for it, so that nothing outlives the client. Some of them run
what a user wrote: code that swallows a cancellation, or that closes the client
it runs in, must not keep the client from closing.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from typing import Self, TypeVar

from ezlink_async.errors import ClientClosedError, SlotTimeoutError

_log = logging.getLogger("ezlink_async")

_T = TypeVar("_T")

PATIENCE = (0.25, 0.75, 2.0, 2.0)
"""Seconds until what was cancelled is cancelled again, and then left."""


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[_T]], patience: Iterable[float] = PATIENCE
) -> set[asyncio.Task[_T]]:
    """
    Cancel *tasks* and wait until they have ended; return those that would not.

    The task that calls this is not one of them.
    """
    this = asyncio.current_task()
    left = {task for task in tasks if task is not this}
    for seconds in patience:
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=seconds)
    for task in left:
        _log.warning("this swallows being cancelled, and is left running: %r", task)
    return left


class BackgroundTasks:
    """The tasks one client started, in one event loop."""

    def __init__(self, patience: Iterable[float] = PATIENCE) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._patience = tuple(patience)
        self._over = False
        self.closed = False
        self.exempt: set[asyncio.Task[object]] = set()
        """Its own tasks that are neither cancelled nor waited for."""

    def start(self, work: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        """Run *work* in a task of its own; :exc:`ClientClosedError` after close."""
        if self._over:
            work.close()
            raise ClientClosedError
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start_soon(self, work: Coroutine[object, object, object]) -> None:
        """Run *work* with nobody waiting for it."""
        self.start(work).add_done_callback(_report)

    async def run(
        self,
        work: Coroutine[object, object, _T],
        closed: Callable[[], ClientClosedError] = ClientClosedError,
    ) -> _T:
        """
        Run *work* for a caller; cancelling the caller cancels it.

        When the client closes meanwhile, the caller gets *closed*.
        """
        before = _cancelling()
        task = self.start(work)
        try:
            return await task
        except asyncio.CancelledError:
            if self.closed and _cancelling() == before:
                raise closed() from None
            raise

    def exempt_current(self) -> bool:
        """Let the task that calls this end by itself, if it is one of ours."""
        this = asyncio.current_task()
        if this is None or this not in self._tasks:
            return False
        self.exempt.add(this)
        return True

    async def close(self) -> None:
        """Cancel everything and wait until it has ended, or will not."""
        self.closed = True
        self.exempt_current()
        while left := self._tasks - self.exempt:
            self.exempt |= await cancel_and_wait(left, self._patience)
            self._tasks -= left - self.exempt
        self._over = True


def _cancelling() -> int:
    # Not just "is it zero": a caller may have swallowed a cancellation before.
    caller = asyncio.current_task()
    return caller.cancelling() if caller is not None else 0


def _report(task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("this is a bug in ezlink_async", exc_info=error)


class Semaphore:
    """
    A fair semaphore whose size may change while it is in use.

    Who waits longest goes first. Cancelling a waiter loses no slot.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self, timeout: float | None = None) -> None:
        """Take a slot, or raise :exc:`SlotTimeoutError` after *timeout*."""
        if self.taken < self.limit and not self._queue:
            self.taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            if timeout is None:
                await turn
            else:
                async with asyncio.timeout(timeout):
                    await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise SlotTimeoutError(
                    f"all {self.limit} slots were taken for {timeout:g} s; "
                    "nothing was sent"
                ) from None
            raise

    def release(self) -> None:
        """Give a slot back; the next waiter has it before this returns."""
        self.taken -= 1
        self._grant()

    def slot(self) -> Slot:
        """Return what holds a slot from entering it, until it is left or over."""
        return Slot(self)

    def resize(self, limit: int) -> None:
        """Change the size; slots above it are not taken away, only not renewed."""
        self.limit = limit
        self._grant()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.release()  # it was granted while its waiter was leaving
        elif turn in self._queue:
            self._queue.remove(turn)

    def _grant(self) -> None:
        while self._queue and self.taken < self.limit:
            turn = self._queue.popleft()
            if not turn.done():  # a waiter that is leaving has cancelled it
                self.taken += 1
                turn.set_result(None)


class Slot:
    """A slot that may be given back before its holder is through."""

    def __init__(self, slots: Semaphore) -> None:
        self._slots = slots
        self._over = False

    async def __aenter__(self) -> Self:
        await self._slots.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back; the second time does nothing."""
        if not self._over:
            self._over = True
            self._slots.release()


INLINE_BYTES = 256 * 1024
"""Up to here work is done on the loop: a thread hop would cost more."""


async def run_in_thread_if_large(
    length: int, call: Callable[[], _T], pool: Executor | None = None
) -> _T:
    """Run *call* here when *length* bytes are few, else in a thread of *pool*."""
    if length <= INLINE_BYTES:
        return call()
    return await asyncio.get_running_loop().run_in_executor(pool, call)


async def wait_until_done(work: asyncio.Future[_T]) -> None:
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


async def run_in_thread(call: Callable[[], _T], pool: Executor | None = None) -> _T:
    """Run *call* in a thread; a cancellation waits until it has ended."""
    work = asyncio.get_running_loop().run_in_executor(pool, call)
    return await wait_uninterrupted(work)


async def wait_uninterrupted(work: asyncio.Future[_T]) -> _T:
    """Wait for *work* in a thread; a cancellation waits until it has ended."""
    left: asyncio.CancelledError | None = None
    # However often it is asked to leave: a file is in use. Not shield(), which
    # reports an error of the work when its caller has left, since Python 3.14.
    while not work.done():
        try:
            await wait_until_done(work)
        except asyncio.CancelledError as asked:
            left = left or asked
    if left is None:
        return work.result()
    work.exception()  # asyncio would report one that nobody has seen
    raise left
