"""
Many swaps as one stream of outcomes: lazy intake, bounded memory.

The window is ``max_concurrency``: a target is taken only when fewer are in
progress or waiting to be read, so a slow reader stops the intake.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Self, cast

from ezlink_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    EndpointNotSupportedError,
    EzlinkError,
    PermissionDeniedError,
    QuotaError,
)
from ezlink_async.images import ImageLike
from ezlink_async.nursery import Nursery
from ezlink_async.tasks import SwapOutcome, TaskHandle

DOOMS_THE_REST = (
    AuthenticationError,
    PermissionDeniedError,
    QuotaError,
    EndpointNotSupportedError,
    ConfigurationError,
    ClientClosedError,
)
"""What would meet every other target too."""

Pair = tuple[ImageLike, ImageLike]
Targets = (
    Iterable[ImageLike]
    | AsyncIterable[ImageLike]
    | Iterable[Pair]
    | AsyncIterable[Pair]
)
Swap = Callable[[ImageLike, ImageLike], Awaitable[TaskHandle]]
_END = object()


class SwapStream(AsyncIterator[SwapOutcome]):
    """
    Outcomes in the order in which they come.

    Also an async context manager: leaving it stops the intake at once and
    drops what is not yet sent; accepted tasks stay in ``pending()``.
    """

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
        self._running: set[asyncio.Task[None]] = set()
        self._ready: collections.deque[SwapOutcome] = collections.deque()
        self._changed = asyncio.Event()
        self._intake: asyncio.Task[None] | None = None
        self._exhausted = False
        self._doom: EzlinkError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> SwapOutcome:
        """Return the next outcome; what dooms the rest is raised after the last."""
        if self._intake is None and not self._exhausted:
            self._intake = self._nursery.start(self._take_in())
        while not self._ready:
            if self._exhausted and not self._running:
                raise self._over()
            await self._next_change()
        outcome = self._ready.popleft()
        self._notify()
        return outcome

    async def wind_down(self) -> None:
        """Take nothing more, and wait for what runs; the client is closing."""
        self._exhausted = True
        self._doom = self._doom or ClientClosedError()
        if self._intake is not None:
            self._intake.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._notify()

    async def aclose(self) -> None:
        """Stop the intake, drop what is not sent yet, and wait until it is."""
        self._exhausted = True
        left = [*self._running, *([self._intake] if self._intake else [])]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        self._ready.clear()
        self._doom = None

    async def _take_in(self) -> None:
        try:
            await self._prepare()
            while True:
                while len(self._running) + len(self._ready) >= self._window:
                    await self._next_change()
                if self._doom is not None:
                    return
                pair = await anext(self._pairs, None)
                if pair is None:
                    return
                self._begin(*pair)
        except EzlinkError as error:
            self._doom = self._doom or error
        finally:
            self._exhausted = True
            self._notify()

    def _begin(self, source: ImageLike, target: ImageLike) -> None:
        task = self._nursery.start(self._one(source, target))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._notify()

    async def _one(self, source: ImageLike, target: ImageLike) -> None:
        handle: TaskHandle | None = None
        try:
            handle = await self._swap(source, target)
            outcome = SwapOutcome(source, target, handle, await handle)
        except EzlinkError as error:
            outcome = SwapOutcome(source, target, handle, error=error)
            if isinstance(error, DOOMS_THE_REST):
                self._doom = self._doom or error
        self._ready.append(outcome)

    def _over(self) -> BaseException:
        """Return how the iteration ends."""
        doom, self._doom = self._doom, None
        if doom is not None:
            return doom.for_awaiter()
        intake, self._intake = self._intake, None
        if intake is not None and not intake.cancelled():
            return intake.exception() or StopAsyncIteration()
        return StopAsyncIteration()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _next_change(self) -> None:
        await self._changed.wait()


def _check_targets(targets: object) -> None:
    if isinstance(targets, str | bytes) or not isinstance(
        targets, Iterable | AsyncIterable
    ):
        raise ConfigurationError(
            "targets is an iterable of pictures, such as Path('photos').glob('*.jpg')"
            f", not {type(targets).__name__}"
        )


class Pairs(AsyncIterator[Pair]):
    """The pairs to swap, taken one at a time from whatever was given."""

    def __init__(self, source: ImageLike | None, targets: Targets) -> None:
        _check_targets(targets)
        self._source = source
        self._async = aiter(targets) if isinstance(targets, AsyncIterable) else None
        self._plain = iter(targets) if isinstance(targets, Iterable) else None

    async def __anext__(self) -> Pair:
        item: object
        if self._async is not None:
            item = await anext(self._async)
        else:
            item = next(self._plain or iter(()), _END)
            if item is _END:
                raise StopAsyncIteration
        if self._source is not None:
            return self._source, cast("ImageLike", item)
        if not isinstance(item, tuple) or len(item) != 2:  # noqa: PLR2004 - a pair
            raise ConfigurationError(
                f"without a source, targets are (source, target) pairs, not {item!r}"
            )
        return cast("Pair", item)
