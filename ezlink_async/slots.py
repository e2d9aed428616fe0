"""How many may do something at once."""

from __future__ import annotations

import asyncio
import collections
from typing import Self

from ezlink_async.errors import SlotTimeoutError


class Slots:
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

    def turn(self) -> Turn:
        """Return what holds a slot from entering it, until it is left or over."""
        return Turn(self)

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


class Turn:
    """A slot that may be given back before its holder is through."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._over = False

    async def __aenter__(self) -> Self:
        await self._slots.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.over()

    def over(self) -> None:
        """Give it back; the second time does nothing."""
        if not self._over:
            self._over = True
            self._slots.release()
