"""Outcomes on their way to whoever reads them, who may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ezlink_async.results import BatchOutcome


class Outbox:
    """A queue with room for so many outcomes; its end needs none."""

    def __init__(self, room: int) -> None:
        self._room = asyncio.Semaphore(room)
        self._queue: asyncio.Queue[BatchOutcome | None] = asyncio.Queue()

    async def put(self, outcome: BatchOutcome) -> None:
        """Have *outcome* read, as soon as there is room for it."""
        await self._room.acquire()
        self._queue.put_nowait(outcome)

    def end(self) -> None:
        """Say that there is nothing more."""
        self._queue.put_nowait(None)

    async def next(self) -> BatchOutcome | None:
        """Return the next outcome, ``None`` after the last and ever after."""
        outcome = await self._queue.get()
        if outcome is None:
            self.end()
        else:
            self._room.release()
        return outcome

    def rest(self) -> Iterator[BatchOutcome]:
        """Yield what nobody has read."""
        while not self._queue.empty():
            outcome = self._queue.get_nowait()
            if outcome is not None:
                yield outcome
