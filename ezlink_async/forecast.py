"""
When tasks end, learned from those that have.

Pure: times are seconds since the task was accepted.
"""

from __future__ import annotations

import bisect
import collections
import math

import attrs

_KEPT = 64  # durations: enough to know them, few enough to forget old habits
_ENOUGH = 8
_LOOKS_AT = (0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.97)  # of what has ended
_BEYOND = 0.1  # of its age is what an unusually long task is looked at again after
_SOON = 0.8  # of the shortest duration: nothing is over before
_FULL = 100.0


class Durations:
    """How long the latest tasks took, from acceptance to the end that was seen."""

    def __init__(self) -> None:
        self._latest: collections.deque[float] = collections.deque()
        self._sorted: list[float] = []
        self._looks: list[float] = []

    def add(self, seconds: float) -> None:
        """Learn from a task that took *seconds*."""
        self._latest.append(seconds)
        bisect.insort(self._sorted, seconds)
        if len(self._latest) > _KEPT:
            oldest = self._latest.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
        if len(self._sorted) >= _ENOUGH:
            last = len(self._sorted) - 1
            self._looks = [self._sorted[round(share * last)] for share in _LOOKS_AT]

    @property
    def mean(self) -> float:
        """Their mean in seconds; infinite while too little is known."""
        return sum(self._sorted) / len(self._sorted) if self._looks else math.inf

    @property
    def soonest(self) -> float:
        """Seconds before which no task is over; 0 while little is known."""
        return self._looks[0] * _SOON if self._looks else 0.0

    def wait(self, age: float) -> float | None:
        """
        Return the seconds until a task of *age* seconds is worth a look.

        ``None`` while too little is known. A look comes when another share of
        all tasks is usually over; one that outlives them all is looked at
        again after a part of its age.
        """
        if not self._looks:
            return None
        at = bisect.bisect_right(self._looks, age)
        if at == len(self._looks):
            return age * _BEYOND
        return self._looks[at] - age


@attrs.frozen
class Pace:
    """How far a task has come, at its latest look and at the one before."""

    age: float
    progress: float
    before: Pace | None = None

    def then(self, age: float, progress: float | None) -> Pace | None:
        """Return the pace with another look added; ``None`` without progress."""
        if progress is None or not 0.0 < progress < _FULL:
            return None
        earlier: Pace | None = attrs.evolve(self, before=None)
        if progress <= self.progress:
            earlier = self.before
            # It fell further than that: only the whole way is a stretch.
            if earlier is not None and progress <= earlier.progress:
                earlier = None
        return Pace(age, progress, earlier)

    def left(self) -> float:
        """
        Return the seconds that are probably left.

        By the latest stretch rather than by the whole: tasks speed up and
        slow down.
        """
        before = self.before or START
        stretch = (self.age - before.age) / (self.progress - before.progress)
        return (_FULL - self.progress) * stretch


START = Pace(0.0, 0.0)
