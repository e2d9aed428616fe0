"""
What a run may cost, and what it did: held against what is accounted for.

All a key can tell is what it has spent so far. Read before and after, that is
what a run has cost, if nobody else used the key meanwhile. The number of swaps
in it is known once the price is: so the first submit goes out alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable

import attrs

from ezlink_async.errors import EzlinkError

UNITS_A_DOLLAR = 500_000

_LOOKS = (0.0, 0.1, 0.3)
"""Seconds before each look for the first charge: it shows some ms after the answer."""


@attrs.frozen(kw_only=True)
class Charges:
    """
    What a run was charged: in US dollars, and as a number of swaps.

    *swaps* is ``None`` where no clean price was seen. *accepted* is the number
    of jobs that were given an id; the server charges nothing for those it had
    queued or had already, so it may be more.
    """

    dollars: float
    swaps: int | None
    accepted: int

    @property
    def unaccounted(self) -> int:
        """How many more swaps were charged than jobs are known of."""
        return max(0, (self.swaps or 0) - self.accepted)

    def __str__(self) -> str:
        many = "" if self.swaps is None else f"{_counted(self.swaps, 'swap')}, "
        says = f"charged by the server: {many}{self.dollars:.4g} USD"
        if self.unaccounted:
            return (
                f"{says}; {self.unaccounted} more than jobs are known of, unless "
                "somebody else used the key"
            )
        return f"{says}; {_counted(self.accepted, 'job')} accounted for"


def _counted(many: int, what: str) -> str:
    return f"{many} {what}" if many == 1 else f"{many} {what}s"


_PATIENCE = 10.0  # seconds for one look: it is no more than nice to know
_ALONE = 30.0  # seconds that others wait for the first: its answer may never come


class _Stage(enum.Enum):
    NOBODY = enum.auto()
    ONE = enum.auto()
    ACCEPTED = enum.auto()
    OVER = enum.auto()


class UsageAudit:
    """
    Reads what the key has spent.

    Nothing is read before :meth:`begin`, nor after a page that cannot be read.
    Others wait for the first submit for as long as *alone*, in seconds.
    """

    def __init__(
        self,
        usage: Callable[[], Awaitable[int]],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        alone: float = _ALONE,
    ) -> None:
        self._usage = usage
        self._sleep = sleep
        self._alone = alone
        self._before: int | None = None
        self._price = 0
        self._stage = _Stage.OVER
        self._one: object = None
        self._turn = asyncio.Lock()
        self._told = asyncio.Event()

    async def begin(self) -> None:
        """Read what was spent before."""
        self._before = await self._read()
        if self._before is not None:
            self._stage = _Stage.NOBODY

    async def wait(self, who: object) -> None:
        """Let one submit go out alone, and learn the price from it."""
        if self._stage is _Stage.OVER:
            return
        async with self._turn:
            await self._first_is_told()
            if self._stage is _Stage.ACCEPTED:
                await self._learn()
            self._let_out(who)

    def _let_out(self, who: object) -> None:
        if self._stage is _Stage.NOBODY:
            self._stage, self._one = _Stage.ONE, who

    async def _first_is_told(self) -> None:
        try:
            async with asyncio.timeout(self._alone):
                while self._stage is _Stage.ONE:
                    await self._told.wait()
        except TimeoutError:
            self._stage, self._one = _Stage.OVER, None

    def accepted(self, who: object) -> None:
        """Note that a submit was accepted."""
        self._tell(who, _Stage.ACCEPTED)

    def refused(self, who: object) -> None:
        """Note that it surely was not: another one is the first."""
        self._tell(who, _Stage.NOBODY)

    def unknown(self, who: object) -> None:
        """Note that nobody knows: so no price is clean."""
        self._tell(who, _Stage.OVER)

    async def end(self, accepted: int) -> Charges | None:
        """Read what was spent since; ``None`` when it cannot be told."""
        if self._stage is _Stage.ACCEPTED:
            await self._learn()
        after = None if self._before is None else await self._read()
        if self._before is None or after is None:
            return None
        spent = max(0, after - self._before)
        swaps = None
        if self._price and spent % self._price == 0:
            swaps = spent // self._price
        elif not spent:
            swaps = 0
        return Charges(dollars=spent / UNITS_A_DOLLAR, swaps=swaps, accepted=accepted)

    def _tell(self, who: object, stage: _Stage) -> None:
        if self._one is who and self._stage is _Stage.ONE:
            self._stage, self._one = stage, None
            self._told.set()
            self._told = asyncio.Event()

    async def _learn(self) -> None:
        self._stage = _Stage.OVER
        for pause in _LOOKS:
            await self._sleep(pause)
            now = await self._read()
            if now is None or self._before is None:
                return
            if now > self._before:
                self._price = now - self._before
                return

    async def _read(self) -> int | None:
        with contextlib.suppress(EzlinkError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                return await self._usage()
        return None


class Budget:
    """How many swaps a run may pay for; ``None`` is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spent = 0
        self._taken = 0
        self._changed = asyncio.Event()

    async def take(self) -> bool:
        """Take room for one swap; wait while the last may still come back."""
        if self._limit is None:
            return True
        while self._spent + self._taken >= self._limit:
            if not self._taken:
                return False
            await self._changed.wait()
        self._taken += 1
        return True

    def spend(self) -> None:
        """Note that what was taken is paid, or may be."""
        self._taken -= 1
        self._spent += 1
        self._notify()

    def give_back(self) -> None:
        """Note that what was taken was surely not paid."""
        self._taken -= 1
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
