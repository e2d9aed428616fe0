"""An event loop whose clock jumps to the next thing that happens, and its dice."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import TypeVar

_T = TypeVar("_T")


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: what would be a wait moves the clock instead."""

    loop: VirtualLoop

    def select(  # type: ignore[explicit-any]
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; a wait without an end is a deadlock."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits, and for nothing")
        if not ready and timeout is not None:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs hours in a moment; without sockets, threads or children."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return seconds since the loop was made."""
        return self.now


def run(work: Coroutine[object, object, _T]) -> _T:
    """Run *work* on a loop with a clock of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def dice(seed: int) -> random.Random:
    """Return chance that is the same every time."""
    return random.Random(seed)  # noqa: S311 - a simulation, no secret
