"""Whether a server answers about many tasks at once."""

from __future__ import annotations

import math

_NO_SUCH_CALL = frozenset({404, 405, 501})

_LONGEST_PAUSE = 64  # times the longest step of the policy


class ListSupport:
    """
    Whether the tasks of one family may be polled by list, and from when on.

    A single refusal may come from a proxy in passing, or mean one id among many:
    so lists are tried again after *pause* seconds, twice as long each time.
    """

    def __init__(self, pause: float, *, is_there: bool) -> None:
        self._pause = pause
        self._refusals = 0
        self._from = 0.0 if is_there else math.inf

    def is_served(self, now: float) -> bool:
        """Whether tasks may be polled by list now."""
        return now >= self._from

    def refuse(self, now: float, status: int) -> None:
        """Go without lists for a while, or for good when there is no such call."""
        if status in _NO_SUCH_CALL:
            self._from = math.inf
        elif self.is_served(now):  # of several refused at once, one counts
            self._from = now + self._pause * min(2**self._refusals, _LONGEST_PAUSE)
            self._refusals += 1

    def accept(self) -> None:
        """Forget earlier refusals."""
        self._refusals = 0
