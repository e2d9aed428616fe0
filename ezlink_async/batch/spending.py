"""
What a run may cost, and what the server charged for it.

A key's usage page says what the key has spent so far. The difference between two
readings is what a run has cost, if nothing else used the key meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import attrs

from ezlink_async.errors import EzlinkError

_UNITS_PER_DOLLAR = 500_000
_READ_TIMEOUT = 10.0  # seconds: a run does not depend on this page


@attrs.frozen(kw_only=True)
class Charges:
    """
    What a run was charged, in US dollars.

    *accepted* is the number of jobs that were given an id. The two need not
    match: the server charges nothing for a job it had queued or had already, and
    charges for a submit whose answer was lost.
    """

    dollars: float
    accepted: int

    def __str__(self) -> str:
        jobs = "1 job" if self.accepted == 1 else f"{self.accepted:,} jobs"
        return f"charged to the key meanwhile: {self.dollars:.4g} USD; {jobs} accepted"


class UsageAudit:
    """
    Reads what the key has spent, before a run and after it.

    *usage* asks the server; it returns units of which 500,000 are a dollar.
    """

    def __init__(self, usage: Callable[[], Awaitable[int]]) -> None:
        self._usage = usage
        self._before: int | None = None

    async def begin(self) -> None:
        """Read what was spent before the run."""
        self._before = await self._read()

    async def end(self, accepted: int) -> Charges | None:
        """Read what was spent since; ``None`` if either reading is missing."""
        after = None if self._before is None else await self._read()
        if self._before is None or after is None:
            return None
        spent = max(0, after - self._before)  # a refund is no negative charge
        return Charges(dollars=spent / _UNITS_PER_DOLLAR, accepted=accepted)

    async def _read(self) -> int | None:
        with contextlib.suppress(EzlinkError, TimeoutError):
            async with asyncio.timeout(_READ_TIMEOUT):
                return await self._usage()
        return None


class Budget:
    """How many swaps a run may pay for; ``None`` is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spent = 0
        self._reserved = 0
        self._changed = asyncio.Event()

    async def reserve(self) -> bool:
        """
        Reserve one swap, and return whether the budget allowed it.

        Waits while the last one is reserved by a submit that may still be refused.
        """
        while self._limit is not None and self._spent + self._reserved >= self._limit:
            if not self._reserved:
                return False
            await self._changed.wait()
        self._reserved += 1
        return True

    def spend(self) -> None:
        """Count a reserved swap as paid, or perhaps paid."""
        self._spent += 1
        self.give_back()

    def give_back(self) -> None:
        """Release a reserved swap that was surely not paid."""
        self._reserved -= 1
        self._changed.set()
        self._changed = asyncio.Event()
