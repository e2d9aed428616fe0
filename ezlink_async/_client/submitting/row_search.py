"""
Finds a submit whose answer was lost by a count of rows, with the key alone.

Some jobs leave a row that a free question shows (:class:`RowCount`). It is asked
before the submit and after it: one row more is the acceptance, and no other row
proves anything. So of the submits that are found by the rows of one id, a client sends
one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from contextlib import AbstractAsyncContextManager

from ezlink_async._core.policies import PollPolicy
from ezlink_async._io.transport import Sleep, Transport
from ezlink_async.errors import EzlinkError
from ezlink_async.services.traces import RowCount

_COUNT_SECONDS = 5.0  # no submit waits longer for a count that may never be needed


class RowTurns:
    """Lets submits that are found by the rows of one id go one after the other."""

    def __init__(self) -> None:
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    def turn(self, rows: RowCount | None) -> AbstractAsyncContextManager[object]:
        """Return what is held from the first count to the outcome of a submit."""
        if rows is None:
            return contextlib.nullcontext()
        return self._locks.setdefault(rows.task_id, asyncio.Lock())


class RowSearch:
    """The search for one submit, which begins before the submit does."""

    def __init__(self, transport: Transport, rows: RowCount, sleep: Sleep) -> None:
        self._transport = transport
        self._rows = rows
        self._sleep = sleep
        self._before: int | None = None

    async def begin(self) -> None:
        """
        Count the rows before the submit, within 5 seconds.

        Without a count nothing is found later.
        """
        self._before = await self._count()

    async def is_accepted(self, policy: PollPolicy, seconds: float) -> bool:
        """Return whether one row more is seen, within so many *seconds*."""
        clock, polls = asyncio.get_running_loop().time, 0
        end = clock() + seconds
        while self._before is not None:
            found = await self._count()
            if found is not None and found > self._before:
                return True
            wait, polls = policy.jittered(polls), polls + 1
            if clock() + wait > end:
                break
            await self._sleep(wait)
        return False

    async def _count(self) -> int | None:
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                response = await self._transport.send(self._rows.request())
                return await self._transport.read(response, self._rows.count)
        except (EzlinkError, TimeoutError):
            return None
