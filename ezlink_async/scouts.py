"""
When to look around a beat, and who goes ahead. Pure.

Some tasks look into a window before its end, at other times each: the first to
see a change calls the others, and the next window is so much narrower.
"""

from __future__ import annotations

from ezlink_async.beat import Window

_MOST = 6
_FINE = 0.1  # of the shortest step: a narrower window needs no more scouts
_GOLDEN = 0.618  # its multiples spread evenly, however many there are


class Scouts:
    """The looks at one beat after the other; *shortest* is the policy's."""

    def __init__(self, shortest: float) -> None:
        self._shortest = shortest
        self._window: Window | None = None
        self._sent = 0

    def due(
        self, window: Window, earliest: float, period: float, followed: int
    ) -> float:
        """Return when the next of so many *followed* tasks is to be looked at."""
        half = window.hi - period / 2
        if earliest <= half:
            return half  # between two beats nothing changes, if it is one
        if self._window is None or self._window.shared(window) <= 0.0:
            self._sent = 0
        self._window = window
        useful = window.width / (_FINE * self._shortest)
        if self._sent < min(_MOST, followed / 4 + 1, useful):
            self._sent += 1
            place = (self._sent * _GOLDEN - 0.118) % 1.0  # the middle comes first
            return max(window.lo + window.width * place, earliest)
        return max(window.hi, earliest)
