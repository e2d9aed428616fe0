"""An event loop whose clock jumps to the next event, and seeded chance."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import TypeVar

_T = TypeVar("_T")


class _JumpingSelector(selectors.SelectSelector):
    """Moves the clock of *loop* on instead of waiting."""

    loop: VirtualLoop

    def select(  # type: ignore[explicit-any]
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the ready keys; a wait without a timeout is a deadlock."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("deadlock: every task waits, and no timer is set")
        if not ready and timeout is not None:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs hours in a moment; for code without sockets, threads or processes."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self.now


def run(work: Coroutine[object, object, _T]) -> _T:
    """Run *work* on a loop with a virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def dice(seed: int) -> random.Random:
    """Return random numbers that are the same every time."""
    return random.Random(seed)  # noqa: S311 - a simulation, no secret
