"""Many swaps as one stream of outcomes, and the targets it takes."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Self, cast

from ezlink_async._core.images import ImageLike
from ezlink_async.errors import ConfigurationError
from ezlink_async.intake import Intake, Pair
from ezlink_async.outcomes import SwapOutcome

Targets = (
    Iterable[ImageLike]
    | AsyncIterable[ImageLike]
    | Iterable[Pair]
    | AsyncIterable[Pair]
)
_END = object()


class SwapStream(AsyncIterator[SwapOutcome]):
    """
    Outcomes in the order in which they come.

    Also an async context manager: leaving it stops the intake at once and
    drops what is not yet sent; accepted tasks stay in ``pending()``. A stream
    that nobody holds any more is left like that too.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _let_go, loop, intake).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> SwapOutcome:
        """Return the next outcome; what dooms the rest is raised after the last."""
        return await self._intake.next()

    async def aclose(self) -> None:
        """Stop the intake, drop what is not sent yet, and wait until it is."""
        await self._intake.close()

    def dropped(self) -> tuple[SwapOutcome, ...]:
        """
        Return the outcomes that were not read before the stream was closed.

        Each as it stands now: an accepted task has its id in the error, which
        is a :exc:`ClientClosedError`; so has one whose acceptance came later.
        Whoever asks is told: otherwise the log names what was paid.
        """
        return self._intake.dropped()


def _let_go(loop: asyncio.AbstractEventLoop, intake: Intake) -> None:
    # The last reference may go anywhere: in another thread, or after the loop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(intake.let_go)


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
