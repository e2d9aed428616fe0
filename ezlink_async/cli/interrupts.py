"""Ctrl-C and the like: the first signal stops a command, the second ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self, cast

INTERRUPTED = 130
"""The exit code of a command that a signal has ended."""

# A terminal that is closed sends SIGHUP; SIGBREAK is Windows' Ctrl-Break.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interrupts:
    """
    Handles signals while entered, from within an asyncio task.

    The first signal calls *stop*, the second cancels that task, and later ones
    are ignored: the client bounds how long leaving takes. *count* is the number
    of signals so far. A SIGHUP that ``nohup`` had ignored stays ignored.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._previous: dict[int, object] = {}
        self.count: int = 0

    def __enter__(self) -> Self:
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        loop = asyncio.get_running_loop()

        # Windows has no `loop.add_signal_handler`.
        def handle(_: int, __: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._count_one)

        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number and not _is_detached(number):
                self._previous[number] = signal.signal(number, handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # signal() gave it

    def leave(self) -> None:
        """Cancel the task in which this was entered."""
        self._task.cancel()

    def _count_one(self) -> None:
        self.count += 1
        if self.count == 1:
            self._stop()
        elif self.count == 2:  # noqa: PLR2004 - the second
            self.leave()


def _is_detached(number: int) -> bool:
    """Return whether ``nohup`` or the like had SIGHUP ignored."""
    is_hangup = number == getattr(signal, "SIGHUP", None)
    return is_hangup and signal.getsignal(number) is signal.SIG_IGN
