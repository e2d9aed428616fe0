"""Takes pairs from whatever was given, a few at a time, without blocking the loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from typing import cast

from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import Pair, one_to_many
from ezlink_async.batch.pairs.output_paths import output_path_for
from ezlink_async.errors import ConfigurationError

_FIRST, _MOST = 4, 256
_QUICK, _SLOW = 0.02, 0.1  # seconds

AnyPath = str | os.PathLike[str]
Targets = AnyPath | Iterable[AnyPath] | AsyncIterable[AnyPath]
Pairs = (
    Iterable[Pair | tuple[AnyPath, AnyPath]]
    | AsyncIterable[Pair | tuple[AnyPath, AnyPath]]
)


class PairReader:
    """
    The pairs of a batch.

    A plain iterable is read in a thread, since folders may lie on slow disks:
    by so many at a time that a step takes neither long nor no time at all.
    """

    def __init__(self, pairs: Pairs) -> None:
        if not isinstance(pairs, Iterable | AsyncIterable):
            raise ConfigurationError(
                f"pairs are an iterable of (source, target), not {pairs!r}"
            )
        self._async = aiter(pairs) if isinstance(pairs, AsyncIterable) else None
        self._plain = iter(pairs) if isinstance(pairs, Iterable) else iter(())
        self._many = _FIRST
        self._late: Exception | None = None  # raised after what came before it
        self._looking = threading.Lock()  # a thread may outlast who waited for it
        self._found: list[Pair] = []

    async def next(self) -> list[Pair]:
        """Return the next few; none at the end."""
        if self._async is not None:
            try:
                return [_pair(await anext(self._async))]
            except StopAsyncIteration:
                return []
        await asyncio.to_thread(self._look, self._many)
        found, self._found = self._found, []
        return found

    def _look(self, most: int) -> None:
        """Find some; they stay here if nobody waits for them any more."""
        with self._looking:
            self._found = self._some(most)

    def rest(self, most: int | None = None) -> list[Pair]:
        """Return what a plain iterable still has, at most *most*; blocks."""
        with self._looking:
            found, self._found = self._found, []
            return found or self._some(most)

    def _some(self, most: int | None) -> list[Pair]:
        if self._late is not None:
            late, self._late = self._late, None
            raise late
        found: list[Pair] = []
        try:
            for each in itertools.islice(self._plain, most):
                found.append(_pair(each))  # noqa: PERF401 - those before a fault
        except Exception as fault:
            self._plain = iter(())
            if not found:
                raise
            self._late = fault
        return found

    def took(self, seconds: float) -> None:
        """Learn from how long the last few took in all."""
        if seconds < _QUICK:
            self._many = min(2 * self._many, _MOST)
        elif seconds > _SLOW:
            self._many = max(self._many // 2, 1)


def _pair(given: object) -> Pair:
    if isinstance(given, Pair):
        return given
    if isinstance(given, tuple) and len(given) == 2:  # noqa: PLR2004 - a pair
        try:
            source, target = map(Path, cast("tuple[str, str]", given))
        except TypeError:
            pass
        else:
            return Pair(source, target, output_path_for(Path(target.name)))
    raise ConfigurationError(f"a pair is (source, target), two paths, not {given!r}")


def pairs_of(source: object, targets: object, output: Path) -> Pairs:
    """Return the pairs that a caller means; see :func:`batch.run_batch`."""
    if source is None:
        return cast("Pairs", targets)
    face = _path(source)
    search = Search(left_out=LeftOut(), sources=[face], output=output)
    if isinstance(targets, str | os.PathLike):
        targets = [targets]
    if isinstance(targets, AsyncIterable):
        return _with_source(face, targets, search)
    if not isinstance(targets, Iterable):
        raise ConfigurationError(f"targets are paths, not {targets!r}")
    return one_to_many(face, map(_path, targets), search)


async def _with_source(
    source: Path, targets: AsyncIterable[object], search: Search
) -> AsyncIterator[Pair]:
    async for target in targets:
        found = PairReader(one_to_many(source, [_path(target)], search))
        while pairs := await found.next():
            for pair in pairs:
                yield pair


def _path(given: object) -> Path:
    if isinstance(given, str | os.PathLike):
        with contextlib.suppress(TypeError):  # a path of bytes
            return Path(given)
    raise ConfigurationError(f"a picture is named by a path, not {given!r}")
