"""
The emulator's time: the wall clock, and a push forward for tests.

Kept in whole nanoseconds, so that advancing by the length of a sleep ends it.
"""

import asyncio
import contextlib
import time

__all__ = ["Clock"]

_NANOSECONDS = 1_000_000_000


class Clock:
    """
    Time as the server sees it.

    With ``ticking=False`` it stands still until somebody calls
    :meth:`advance`. It belongs to one event loop and is advanced from there.
    """

    def __init__(self, *, ticking: bool = True) -> None:
        self._ticking = ticking
        self._started = time.time_ns()
        self._pushed = 0
        self._moved = asyncio.Event()

    def nanoseconds(self) -> int:
        """Return nanoseconds since 1970."""
        base = time.time_ns() if self._ticking else self._started
        return base + self._pushed

    def milliseconds(self) -> int:
        """Return milliseconds since 1970, the unit of every time on the wire."""
        return self.nanoseconds() // 1_000_000

    def advance(self, seconds: float) -> None:
        """Push the time forward, ending every sleep that falls due."""
        self._pushed += round(seconds * _NANOSECONDS)
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
