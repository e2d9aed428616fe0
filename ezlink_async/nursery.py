"""
Who owns the asyncio tasks of a client, and how they end.

Every task has a strong reference here until it is done. Closing cancels what
is left and waits for it, so that nothing outlives the client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

from ezlink_async.errors import ClientClosedError

_log = logging.getLogger("ezlink_async")

_T = TypeVar("_T")


class Nursery:
    """The tasks one client started, in one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.closed = False
        self._over = False

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

    async def close(self) -> None:
        """Cancel everything and wait until it has ended."""
        self.closed = True
        this = asyncio.current_task()
        while left := {task for task in self._tasks if task is not this}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
            self._tasks -= left
        self._over = True


def _cancelling() -> int:
    # Not just "is it zero": a caller may have swallowed a cancellation before.
    caller = asyncio.current_task()
    return caller.cancelling() if caller is not None else 0


def _report(task: asyncio.Task[object]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("this is a bug in ezlink_async", exc_info=error)
