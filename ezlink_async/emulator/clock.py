"""
The emulator's clock: the wall clock, which tests may move forward or stop.

Time is kept in whole nanoseconds, so that advancing by the length of a sleep ends it.
Short for a module: everything else of the emulator depends on it, and it on nothing.
"""

import asyncio
import contextlib
import time

_NANOSECONDS = 1_000_000_000


class Clock:
    """
    The server's time.

    With ``ticking=False`` only :meth:`advance` moves it. A clock belongs to one event
    loop, which alone may advance it.
    """

    def __init__(self, *, ticking: bool = True) -> None:
        self._ticking = ticking
        self._started = time.time_ns()
        self._advanced = 0
        self._moved = asyncio.Event()

    def nanoseconds(self) -> int:
        """Return nanoseconds since 1970."""
        base = time.time_ns() if self._ticking else self._started
        return base + self._advanced

    def milliseconds(self) -> int:
        """Return milliseconds since 1970, the unit of every time on the wire."""
        return self.nanoseconds() // 1_000_000

    def advance(self, seconds: float) -> None:
        """Move the time forward by *seconds*, ending every sleep that is then due."""
        self._advanced += round(seconds * _NANOSECONDS)
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until *seconds* of this clock have passed."""
        due = self.nanoseconds() + round(seconds * _NANOSECONDS)
        while (left := due - self.nanoseconds()) > 0:
            limit = left / _NANOSECONDS if self._ticking else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._moved.wait()
