"""
Background tasks, a fair semaphore, and work in threads.

Each task of a client is referenced here until it is done. Closing the client
cancels the tasks that are left and waits for them. Some of them run code of the
user: a task that ignores its cancellation, or that closes the client it runs
in, must not keep the client from closing.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from concurrent.futures import Future as ConcurrentFuture
from typing import Self, TypeVar

from ezlink_async._core.log_lines import get_logger
from ezlink_async.errors import ClientClosedError, ConfigurationError, SlotTimeoutError

_log = get_logger()

_T = TypeVar("_T")

PATIENCE = (0.25, 0.75, 2.0, 2.0)
"""Seconds to wait after each cancellation of a task; then the task is abandoned."""


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[_T]], patience: Iterable[float] = PATIENCE
) -> set[asyncio.Task[_T]]:
    """
    Cancel *tasks* and wait for them. Return those that ignored every cancellation.

    The calling task is left out.
    """
    this = asyncio.current_task()
    left = {task for task in tasks if task is not this}
    for seconds in patience:
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=seconds)
    for task in left:
        _log.warning("task ignored cancellation and was abandoned: %r", task)
    return left


class BackgroundTasks:
    """The tasks that one client started, in one event loop."""

    def __init__(self, patience: Iterable[float] = PATIENCE) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._patience = tuple(patience)
        self._refuses = False
        self.closed: bool = False
        self.exempt: set[asyncio.Task[object]] = set()
        """Tasks of this client that closing neither cancels nor waits for."""

    def start(self, work: Coroutine[object, object, _T]) -> asyncio.Task[_T]:
        """
        Run *work* in a task of its own.

        :exc:`ClientClosedError` after :meth:`close`. While it closes, new tasks
        still start, and are cancelled with the others.
        """
        if self._refuses:
            work.close()
            raise ClientClosedError
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start_soon(self, work: Coroutine[object, object, object]) -> None:
        """Start *work* in the background. An exception is logged."""
        self.start(work).add_done_callback(_log_exception)

    async def run(
        self,
        work: Coroutine[object, object, _T],
        closed: Callable[[], ClientClosedError] = ClientClosedError,
    ) -> _T:
        """
        Run *work* for the caller; cancelling the caller cancels *work*.

        If the client closes meanwhile, the exception of *closed* is raised.
        """
        before = _cancellations()
        task = self.start(work)
        try:
            return await task
        except asyncio.CancelledError:
            if self.closed and _cancellations() == before:
                raise closed() from None
            raise

    def exempt_current(self) -> bool:
        """Exempt the calling task from :meth:`close`; false for a foreign task."""
        own = self._tasks & {asyncio.current_task()}
        self.exempt |= own
        return bool(own)

    async def close(self) -> None:
        """Cancel all tasks, and wait until each has ended or was abandoned."""
        self.closed = True
        self.exempt_current()
        while left := self._tasks - self.exempt:
            self.exempt |= await cancel_and_wait(left, self._patience)
            self._tasks -= left - self.exempt
        self._refuses = True


def _cancellations() -> int:
    # Compared, not tested for zero: the caller may have swallowed one earlier.
    caller = asyncio.current_task()
    return caller.cancelling() if caller is not None else 0


def _log_exception(task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("this is a bug in ezlink_async", exc_info=error)


class Semaphore:
    """A semaphore that hands out its slots in the order of the requests."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken: int = 0
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self, timeout: float | None = None) -> None:
        """
        Take a slot, or raise :exc:`SlotTimeoutError` after *timeout* seconds.

        A cancelled wait takes no slot.
        """
        if self.try_acquire():
            return
        granted = asyncio.get_running_loop().create_future()
        self._queue.append(granted)
        try:
            async with asyncio.timeout(timeout):
                await granted
        except BaseException as error:
            self._withdraw(granted)
            if isinstance(error, TimeoutError):
                raise SlotTimeoutError(
                    f"all {self.limit} slots were taken for {timeout:g} s; "
                    "nothing was sent"
                ) from None
            raise

    def try_acquire(self) -> bool:
        """Take a slot if one is free and not waited for; return whether it did."""
        free = self.taken < self.limit and not self._queue
        self.taken += free
        return free

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._queue)

    @property
    def is_wanted(self) -> bool:
        """Whether anything waits for a slot."""
        return any(not granted.done() for granted in self._queue)

    def release(self) -> None:
        """Return a slot; the next waiter owns it before this method returns."""
        self.taken -= 1
        while self._queue and self.taken < self.limit:
            granted = self._queue.popleft()
            if not granted.done():  # a waiter that was cancelled has cancelled it
                self.taken += 1
                granted.set_result(None)

    def slot(self) -> Slot:
        """Return an async context manager that holds a slot."""
        return Slot(self)

    def _withdraw(self, granted: asyncio.Future[None]) -> None:
        if granted.done() and not granted.cancelled():
            self.release()  # the slot was granted while its waiter was cancelled
        elif granted in self._queue:
            self._queue.remove(granted)


class Slot:
    """A slot held by a ``with`` block, which may return it before its end."""

    def __init__(self, semaphore: Semaphore) -> None:
        self._semaphore = semaphore
        self._released = False

    async def __aenter__(self) -> Self:
        await self._semaphore.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Return the slot; a second call does nothing."""
        if not self._released:
            self._released = True
            self._semaphore.release()

    def trade(self, other: Semaphore) -> None:
        """Hold a slot of *other* instead, if it has one and this one is waited for."""
        if self._semaphore.is_wanted and other.try_acquire():
            self.release()
            self._semaphore, self._released = other, False


INLINE_BYTES = 256 * 1024
"""Work on at most this many bytes runs on the loop: a thread would cost more."""


class OutOfThreadsError(ConfigurationError):
    """The system starts no more threads."""

    def __init__(self) -> None:
        super().__init__(
            "no thread can be started: the limit of processes or of memory is "
            "reached; raise it (ulimit -u, ulimit -v), or end other programs"
        )


def is_out_of_threads(fault: RuntimeError) -> bool:
    """Return whether *fault* means that the system starts no more threads."""
    return "start new thread" in str(fault)


def start_in_thread(
    call: Callable[[], _T], pool: Executor | None = None
) -> asyncio.Future[_T]:
    """
    Run *call* in a thread of *pool*, or of the loop's default pool.

    :exc:`OutOfThreadsError` if there is no thread for it; it is never called then.
    """
    outcome: ConcurrentFuture[_T] = ConcurrentFuture()

    def work() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            outcome.set_exception(error)

    loop = asyncio.get_running_loop()
    try:
        if pool is None:
            _ = loop.run_in_executor(None, work)
        else:
            pool.submit(work)
    except RuntimeError as fault:
        # A pool queues the work before it starts a thread for it. So one of its
        # other threads may have begun it, or would find it later.
        if outcome.cancel():  # pragma: no branch - another thread may be that quick
            if is_out_of_threads(fault):
                raise OutOfThreadsError from fault
            raise
    return asyncio.wrap_future(outcome)


async def run_in_thread_if_large(
    length: int, call: Callable[[], _T], pool: Executor | None = None
) -> _T:
    """
    Run *call* in a thread of *pool* if *length* exceeds 256 KiB, else on the loop.

    If the caller is cancelled, the thread goes on and its result is dropped.
    """
    if length <= INLINE_BYTES:
        return call()
    return await run_in_any_thread(call, pool)


async def run_in_any_thread(call: Callable[[], _T], pool: Executor | None = None) -> _T:
    """
    Run *call* in a thread of *pool*, or on the loop if the system starts no more.

    If the caller is cancelled, the thread goes on and its result is dropped.
    """
    try:
        work = start_in_thread(call, pool)
    except OutOfThreadsError:
        return call()  # a pause of the loop is better than a lost answer
    return await work


async def wait_until_done(work: asyncio.Future[_T]) -> None:
    """Wait for *work*, however it ends; cancelling the wait leaves *work* alone."""
    # Not asyncio.wait(), which is made for many and costs three times as much.
    if work.done():
        return
    done = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not done.done():
            done.set_result(None)

    work.add_done_callback(wake)
    try:
        await done
    finally:
        work.remove_done_callback(wake)


async def run_in_thread(call: Callable[[], _T], pool: Executor | None = None) -> _T:
    """
    Run *call* in a thread of *pool*, or of the loop's default pool.

    If the caller is cancelled, wait for the thread, then raise
    :exc:`asyncio.CancelledError`: the file is still in use.
    :exc:`OutOfThreadsError` if there is no thread for it.
    """
    return await wait_uninterrupted(start_in_thread(call, pool))


async def wait_uninterrupted(work: asyncio.Future[_T]) -> _T:
    """Return the result of *work*; a cancellation is raised after *work* has ended."""
    cancelled: asyncio.CancelledError | None = None
    # Repeated cancellations wait, too. Not shield(): since Python 3.14 it logs an
    # exception of the work when its caller was cancelled.
    while not work.done():
        try:
            await wait_until_done(work)
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is None:
        return work.result()
    work.exception()  # retrieve the exception, or asyncio logs that it never was
    raise cancelled
