"""Ctrl-C and its like: the first asks to wind down, the second to leave."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self, cast

INTERRUPTED = 130

# A terminal that is closed sends SIGHUP; SIGBREAK is Windows' Ctrl-Break.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interrupts:
    """
    Catches the signals while inside.

    The first calls *wind_down*, the second cancels the asyncio task this was
    entered in. Any more change nothing: leaving is bounded by the client.
    """

    def __init__(self, wind_down: Callable[[], None]) -> None:
        self._wind_down = wind_down
        self._before: dict[int, object] = {}
        self.count = 0

    def __enter__(self) -> Self:
        # Whoever enters this is running in one.
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        loop = asyncio.get_running_loop()

        # `loop.add_signal_handler` does not exist on Windows; this does.
        def caught(_: int, __: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._next)

        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number and not _is_detached(number):
                self._before[number] = signal.signal(number, caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what it gave us

    def leave(self) -> None:
        """Cancel what this was entered in."""
        self._task.cancel()

    def _next(self) -> None:
        self.count += 1
        if self.count == 1:
            self._wind_down()
        elif self.count == 2:  # noqa: PLR2004 - the second
            self.leave()


def _is_detached(number: int) -> bool:
    """Return whether ``nohup`` or the like had the closing terminal ignored."""
    hangs_up = number == getattr(signal, "SIGHUP", None)
    return hangs_up and signal.getsignal(number) is signal.SIG_IGN
