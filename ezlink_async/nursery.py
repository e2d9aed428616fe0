"""
Who owns the asyncio tasks of a client, and how they end.

Every task has a strong reference here until it is done. Closing cancels what
is left and waits for it, so that nothing outlives the client. Some of them run
what a user wrote: code that swallows a cancellation, or that closes the client
it runs in, must not keep the client from closing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

from ezlink_async.errors import ClientClosedError

_log = logging.getLogger("ezlink_async")

_T = TypeVar("_T")

PATIENCE = (0.25, 0.75, 2.0, 2.0)
"""Seconds until what was cancelled is cancelled again, and then left."""


async def see_off(
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


class Nursery:
    """The tasks one client started, in one event loop."""

    def __init__(self, patience: Iterable[float] = PATIENCE) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._patience = tuple(patience)
        self._over = False
        self.closed = False
        self.spared: set[asyncio.Task[object]] = set()
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

    def leave_alone(self, work: Coroutine[object, object, object]) -> None:
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

    def spare(self) -> bool:
        """Let the task that calls this end by itself, if it is one of ours."""
        this = asyncio.current_task()
        if this is None or this not in self._tasks:
            return False
        self.spared.add(this)
        return True

    async def close(self) -> None:
        """Cancel everything and wait until it has ended, or will not."""
        self.closed = True
        self.spare()
        while left := self._tasks - self.spared:
            self.spared |= await see_off(left, self._patience)
            self._tasks -= left - self.spared
        self._over = True


def _cancelling() -> int:
    # Not just "is it zero": a caller may have swallowed a cancellation before.
    caller = asyncio.current_task()
    return caller.cancelling() if caller is not None else 0


def _report(task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("this is a bug in ezlink_async", exc_info=error)
