"""Reads orders from an iterable, a few at a time, without blocking the event loop."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Self, cast

from ezlink_async._io.concurrency import run_in_any_thread
from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import Pair, one_to_many
from ezlink_async.batch.pairs.orders import AnyRequest, Order
from ezlink_async.batch.pairs.pictures import (
    IN_MEMORY,
    InMemory,
    Picture,
    PictureLike,
    picture_of,
)
from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.services.midjourney import Mode

_FIRST, _MOST = 4, 256
_QUICK, _SLOW = 0.05, 0.2  # seconds

AnyPath = str | os.PathLike[str]
Targets = AnyPath | Iterable[AnyPath | Pair] | AsyncIterable[AnyPath | Pair]
Orders = Iterable[Order | AnyRequest] | AsyncIterable[Order | AnyRequest]
Pairs = (
    Iterable[Pair | tuple[PictureLike, AnyPath]]
    | AsyncIterable[Pair | tuple[PictureLike, AnyPath]]
)

Given = Orders | Pairs


class OrderReader:
    """
    Reads the orders of a batch; *as_order* makes them of what it is given.

    A plain iterable is read in a thread, since folders may be on slow disks. The
    number of orders a step adapts to the time that the steps take.
    """

    def __init__(
        self,
        given: Given,
        as_order: Callable[[object], Order] | None = None,
        says: str = "orders are an iterable of orders",
    ) -> None:
        if not isinstance(given, Iterable | AsyncIterable):
            raise ConfigurationError(f"{says}, not {given!r:.200}")
        self._as_order = as_order or _as_order
        self._async = aiter(given) if isinstance(given, AsyncIterable) else None
        self._plain = iter(given) if isinstance(given, Iterable) else iter(())
        self._count = _FIRST
        self._late: Exception | None = None  # raised after the orders before it
        self._lock = threading.Lock()  # a thread may outlast its waiter
        self._found: list[Order] = []

    @classmethod
    def of_pairs(cls, pairs: Pairs, mode: Mode | None = None) -> Self:
        """Read the orders of *pairs*, in the queue of this *mode*."""
        says = "pairs are an iterable of (source, target)"
        return cls(pairs, lambda given: _pair(given).order(mode), says)

    async def next(self) -> list[Order]:
        """Return the next few orders; none at the end."""
        if self._async is not None:
            try:
                return [self._as_order(await anext(self._async))]
            except StopAsyncIteration:
                return []
        await run_in_any_thread(lambda: self._read(self._count))
        found, self._found = self._found, []
        return found

    def _read(self, most: int) -> None:
        """Read some orders; :meth:`rest` has them if the waiter was cancelled."""
        with self._lock:
            self._found = self._take(most)

    def rest(self, most: int | None = None) -> list[Order]:
        """Return at most *most* of the orders left in a plain iterable; blocks."""
        with self._lock:
            found, self._found = self._found, []
            return found or self._take(most)

    def _take(self, most: int | None) -> list[Order]:
        if self._late is not None:
            late, self._late = self._late, None
            raise late
        found: list[Order] = []
        try:
            for each in itertools.islice(self._plain, most):
                found.append(self._as_order(each))
                if len(found) >= _FIRST and found[-1].is_in_memory:
                    break  # many would fill the memory
        except Exception as fault:
            self._plain = iter(())
            if not found:
                raise
            self._late = fault
        return found

    def took(self, seconds: float) -> None:
        """Adapt the number of orders to the *seconds* that the last step took."""
        if seconds < _QUICK:
            self._count = min(2 * self._count, _MOST)
        elif seconds > _SLOW:
            self._count = max(self._count // 2, 1)


def _as_order(given: object) -> Order:
    return given if isinstance(given, Order) else Order.of(cast("AnyRequest", given))


def _pair(given: object) -> Pair:
    if isinstance(given, tuple) and len(given) == 2:  # noqa: PLR2004 - a pair
        source, target = given
        if source is not None:
            return _new_pair(source, target)
    if not isinstance(given, Pair):
        raise ConfigurationError(
            "a pair is (source, target), two pictures, or a Pair, not "
            f"{type(given).__name__}: {given!r:.200}"
        )
    if not given.has_source:
        raise ConfigurationError(f"the pair of {given.target} has no source")
    return given


def _new_pair(source: object, target: object) -> Pair:
    """Return the pair; text that is no path is a problem of this pair alone."""
    face, wrong_face = _stand_in(source)
    photo, problem = _stand_in(target)
    if wrong_face is not None and problem is None:
        problem = f"its source {source!s:.100} cannot be used: {wrong_face}"
    return Pair(face, photo, problem=problem)


def _stand_in(given: object) -> tuple[PictureLike, str | None]:
    """Return *given*, or for text that is no path a name, and why it is none."""
    if isinstance(given, str | os.PathLike):
        try:
            picture_of(given, IN_MEMORY)
        except ImageError as fault:
            # As text it may be long, and as a path it would name another file.
            return InMemory(b"", Path(f"{given!s:.100}")), fault.reason
    return cast("PictureLike", given), None


def pairs_of(source: object, targets: object, output: Path) -> Pairs:
    """Return the pairs for the arguments of :func:`batch.run_batch`."""
    if source is None:
        return cast("Pairs", targets)
    face = picture_of(source, IN_MEMORY)
    sources = [face] if isinstance(face, Path) else []
    search = Search(left_out=LeftOut(), sources=sources, output=output)
    if isinstance(targets, str | os.PathLike | Pair):
        targets = [targets]
    if isinstance(targets, AsyncIterable):
        return _async_pairs(face, targets, search)
    if isinstance(targets, bytes) or not isinstance(targets, Iterable):
        raise ConfigurationError(
            f"targets are paths, or pairs with names, not {type(targets).__name__}"
        )
    each = (_pairs_with(face, target, search) for target in targets)
    return itertools.chain.from_iterable(each)


async def _async_pairs(
    source: Picture, targets: AsyncIterable[object], search: Search
) -> AsyncIterator[Pair]:
    async for target in targets:
        pairs = _pairs_with(source, target, search)
        while few := await run_in_any_thread(partial(_few, pairs)):
            for pair in few:
                yield pair


def _few(pairs: Iterator[Pair]) -> list[Pair]:
    return list(itertools.islice(pairs, _FIRST))


def _pairs_with(source: Picture, target: object, search: Search) -> Iterator[Pair]:
    """Yield the pairs of one target, which may be a folder."""
    if isinstance(target, Pair):
        yield target.with_source(source)
        return
    pair = _new_pair(source, target)
    if isinstance(pair.target_picture, InMemory):
        yield pair
    else:
        yield from one_to_many(source, [pair.target_picture], search)
