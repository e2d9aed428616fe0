"""
Finds a submit whose answer was lost by a count of rows, with the key alone.

Some jobs leave a row that a free question shows (:class:`RowCount`). It is asked
before the submit and after it: one row more is the acceptance, and no other row
proves anything.
"""

from __future__ import annotations

import asyncio

from ezlink_async._core.policies import PollPolicy
from ezlink_async._io.transport import Sleep, Transport
from ezlink_async.errors import EzlinkError
from ezlink_async.services.base import RowCount


class RowSearch:
    """The search for one submit, which begins before the submit does."""

    def __init__(self, transport: Transport, rows: RowCount, sleep: Sleep) -> None:
        self._transport = transport
        self._rows = rows
        self._sleep = sleep
        self._before: int | None = None

    async def begin(self) -> None:
        """Count the rows before the submit; without a count nothing is found later."""
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
            response = await self._transport.send(self._rows.request())
            return await self._transport.read(response, self._rows.count)
        except EzlinkError:
            return None
