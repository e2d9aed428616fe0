"""Turns of the event loop, tasks that are ended, and tests on a virtual clock."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import ParamSpec

from tests.support import virtual_clock

_P = ParamSpec("_P")


async def turns(count: int = 5) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def reap(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def on_virtual_clock(
    test: Callable[_P, Coroutine[object, object, None]],
) -> Callable[_P, None]:
    """Run an async test on a loop whose clock jumps over every wait."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        virtual_clock.run(test(*args, **kwargs))

    return run


def now() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()
