"""
What is behind a stream of swaps: takes targets in, and knows of each how it stands.

The window is ``max_concurrency``: a target is taken only when fewer are in
progress or waiting to be read, so a slow reader stops the intake. Nothing here
holds the stream: when nobody does, it is let go, and takes nothing more.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from ezlink_async._core.images import ImageLike
from ezlink_async._io.concurrency import Nursery, see_off
from ezlink_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    EndpointNotSupportedError,
    EzlinkError,
    PermissionDeniedError,
    QuotaError,
)
from ezlink_async.outcomes import SwapOutcome, Taken
from ezlink_async.tasks import TaskHandle

_log = logging.getLogger("ezlink_async")

DOOMS_THE_REST = (
    AuthenticationError,
    PermissionDeniedError,
    QuotaError,
    EndpointNotSupportedError,
    ConfigurationError,
    ClientClosedError,
)
"""What would meet every other target too."""

_LAST_WORDS = 0.25  # seconds that a closing client gives to outcomes at the door

Pair = tuple[ImageLike, ImageLike]


Swap = Callable[[ImageLike, ImageLike, Taken], Awaitable[TaskHandle]]


class Intake:
    """Takes *pairs* in, has each swapped, and keeps the outcomes to be read."""

    def __init__(
        self,
        pairs: AsyncIterator[Pair],
        swap: Swap,
        nursery: Nursery,
        window: int,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._pairs = pairs
        self._swap = swap
        self._window = window
        self._nursery = nursery
        self._prepare = ready
        self._running: dict[Taken, asyncio.Task[None]] = {}
        self._ready: collections.deque[Taken] = collections.deque()
        self._dropped: list[Taken] = []
        self._changed = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._over = False
        self._end: BaseException | None = None
        self._readers = 0
        self._listening = False
        self._told = False

    async def next(self) -> SwapOutcome:
        """Return the next outcome; what ended the intake is raised after the last."""
        if self._taking is None and not self._over:
            self._taking = self._nursery.start(self._take_in())
        self._readers += 1
        try:
            while not self._ready:
                if self._over and not self._running:
                    raise self._ending()
                await self._changed.wait()
        finally:
            self._readers -= 1
        taken = self._ready.popleft()
        self._notify()
        return taken.outcome

    def dropped(self) -> tuple[SwapOutcome, ...]:
        """Return what nobody read, as it stands now; it is not logged any more."""
        self._told = True
        return tuple(taken.outcome for taken in self._dropped)

    async def close(self) -> None:
        """Take nothing more, drop what is not sent yet, and wait until it is."""
        await self._see_off(self._drop())

    def let_go(self) -> None:
        """Do the same without waiting: nobody holds the stream any more."""
        self._listening = False
        with contextlib.suppress(ClientClosedError):
            self._nursery.leave_alone(self._see_off(self._drop()))
        self.tell_lost()

    async def wind_down(self) -> None:
        """Take nothing more, and see the outcomes in: the client is closing."""
        if self._running or not self._over:
            self._stop(ClientClosedError())
        self._listening = self._readers > 0
        if self._running:
            # Not longer: it may be one of these that closes the client.
            await asyncio.wait(self._running.values(), timeout=_LAST_WORDS)
        for taken in tuple(self._running):
            self._through(taken)

    def tell_lost(self) -> None:
        """Log, once, which tasks nobody was told of, nor is waiting to be."""
        unread = [taken.lost for taken in (*self._dropped, *self._ready)]
        lost = [words for words in unread if words]
        if lost and not self._told and not self._listening:
            self._told = True
            _log.warning(
                "nobody has read %d outcomes of swap_faces that are paid, or may be; "
                "client.task(id) takes a task up again: %s",
                len(lost),
                ", ".join(lost),
            )

    async def _take_in(self) -> None:
        try:
            await self._prepare()
            while not self._over:
                if len(self._running) + len(self._ready) >= self._window:
                    await self._changed.wait()
                    continue
                pair = await anext(self._pairs, None)
                if pair is None:
                    return
                if not self._over:  # it may have come when all was lost already
                    self._begin(*pair)
        except BaseException as error:
            # A cancellation nobody asked for is the iterable's own, like any error
            # of it: no sign of its end, and told where the outcomes are read.
            if not _asked_for(error):
                self._stop(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._over = True
            self._notify()

    def _begin(self, source: ImageLike, target: ImageLike) -> None:
        taken = Taken(source, target)
        self._running[taken] = self._nursery.start(self._one(taken))

    async def _one(self, taken: Taken) -> None:
        try:
            await asyncio.sleep(0)  # an eager task would be through before it is known
            taken.handle = await self._swap(taken.source, taken.target, taken)
            taken.record = await taken.handle.ended()
        except EzlinkError as error:
            taken.ended(error)
            if isinstance(error, DOOMS_THE_REST):
                self._stop(error)
                self._interrupt()
        except Exception as bug:  # noqa: BLE001 - each target has an outcome
            taken.failed(bug)
        finally:
            self._through(taken)

    def _through(self, taken: Taken) -> None:
        """Have the outcome read, unless it was dropped."""
        if self._running.pop(taken, None) is not None:
            self._ready.append(taken)
            self._notify()

    def _stop(self, end: BaseException) -> None:
        """Take nothing more; *end* is raised after what runs, if it is the first."""
        self._over = True
        self._end = end if self._end is None else self._end
        self._notify()

    def _interrupt(self) -> None:
        """Do not wait for a target that may never come, and is not wanted."""
        if self._taking is not None and self._taking not in self._nursery.spared:
            self._taking.cancel()

    def _drop(self) -> list[asyncio.Task[None]]:
        """Give up what was not read, and return what is to be seen off."""
        left = list(self._running.values())
        if self._taking is not None and self._taking not in self._nursery.spared:
            left.append(self._taking)
        for taken in self._running:
            taken.left = taken.handle is None
        self._dropped += [*self._ready, *self._running]
        self._running.clear()
        self._ready.clear()
        self._over, self._end = True, StopAsyncIteration()
        self._notify()
        return left

    async def _see_off(self, left: list[asyncio.Task[None]]) -> None:
        # What will not end was named in the log, and need not be waited for again.
        self._nursery.spared |= await see_off(left)

    def _ending(self) -> BaseException:
        """Return how the iteration ends."""
        end, self._end = self._end, StopAsyncIteration()
        if isinstance(end, EzlinkError):
            return end.for_awaiter()  # it is the error of an outcome, too
        return end or StopAsyncIteration()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _asked_for(error: BaseException) -> bool:
    this = asyncio.current_task()
    asked = this is not None and this.cancelling() > 0
    return asked and isinstance(error, asyncio.CancelledError)
