"""
When to look around a beat, and who goes ahead. Pure.

Some tasks look into a window before its end, at other times each: the first to
see a change calls the others, and the next window is so much narrower. But who
looks just before the beat may not look again right behind it: that is what a
scout costs, and why there are few in a narrow window.
"""

from __future__ import annotations

import math

from ezlink_async.beat import Window

_MOST = 16


class Scouts:
    """The looks at one beat after the other; *shortest* is the policy's."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._window: Window | None = None
        self._wanted = 0
        self._sent = 0

    def due(
        self, window: Window, earliest: float, period: float, followed: int
    ) -> float:
        """Return when the next of so many *followed* tasks is to be looked at."""
        half = window.hi - period / 2
        if earliest <= half:
            return half  # between two beats nothing changes, if it is one
        if self._window is None or self._window.shared(window) <= 0.0:
            self._wanted, self._sent = self._worth(window, followed), 0
        self._window = window
        if self._sent < self._wanted:
            self._sent += 1
            place = self._sent / (self._wanted + 1)
            return max(window.lo + window.width * place, earliest)
        return max(window.hi, earliest)

    def _worth(self, window: Window, followed: int) -> int:
        """
        Return how many scouts delay all together the least.

        Of *n*, half come before the beat and lose *shortest* each; the others
        wait a part *n* + 1 of the window.
        """
        best = math.sqrt(followed * window.width / self._shortest) - 0.5
        return min(_MOST, max(0, round(best)))
