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
_ENOUGH = 5
_EARLY, _QUARTER, _MOST = 0.15, 0.25, 0.75  # shares of all tasks
_STEP = 0.25  # of the span in which the middle half of them ends
_LEAST = 0.03  # of its age: tasks that all take the same are no metronome
_BEYOND = 0.1  # of its age is what an unusually long task is looked at again after
_SOON = 0.8  # of a short duration: nothing is over before
_SHORT = 0.05
_FULL = 100.0


class Durations:
    """How long the latest tasks took, from acceptance to the end that was seen."""

    def __init__(self) -> None:
        self._latest: collections.deque[float] = collections.deque()
        self._sorted: list[float] = []
        self._first: float | None = None
        self._step = 0.0
        self.mean = math.inf
        """Their mean in seconds; infinite while too little is known."""
        self.soonest = 0.0
        """Seconds before which no task is over; 0 while too little is known."""

    def add(self, seconds: float) -> None:
        """Learn from a task that took *seconds*."""
        self._latest.append(seconds)
        bisect.insort(self._sorted, seconds)
        if len(self._latest) > _KEPT:
            oldest = self._latest.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
        if len(self._sorted) >= _ENOUGH:
            self._first = self._share(_EARLY)
            self._step = _STEP * (self._share(_MOST) - self._share(_QUARTER))
            self.mean = sum(self._sorted) / len(self._sorted)
            self.soonest = _SOON * self._share(_SHORT)

    def _share(self, share: float) -> float:
        """Return how long it took until *share* of them had ended."""
        return self._sorted[round(share * (len(self._sorted) - 1))]

    def ends(self, tasks: int, seconds: float) -> float:
        """Return how many of so many *tasks* end in so many *seconds*."""
        return tasks * seconds / self.mean

    def wait(self, age: float, most: float = math.inf) -> float | None:
        """
        Return the seconds until a task of *age* seconds is worth a look.

        ``None`` while too little is known. The first look comes when some have
        usually ended, the others in even steps, *most* at the most: short ones
        where durations differ little. One that outlives all the others has
        steps that grow.
        """
        if self._first is None:
            return None
        if age < self._first:
            return self._first - age
        outlives = age >= self._sorted[-1]
        step = max(self._step, age * (_BEYOND if outlives else _LEAST))
        return min(step, most)


@attrs.frozen
class ProgressRate:
    """How far a task has come, at its latest look and at the one before."""

    age: float
    progress: float
    before: ProgressRate | None = None

    def then(self, age: float, progress: float | None) -> ProgressRate | None:
        """Return the pace with another look added; ``None`` without progress."""
        if progress is None or not 0.0 < progress < _FULL:
            return None
        earlier: ProgressRate | None = attrs.evolve(self, before=None)
        if progress <= self.progress:
            earlier = self.before
            # It fell further than that: only the whole way is a stretch.
            if earlier is not None and progress <= earlier.progress:
                earlier = None
        return ProgressRate(age, progress, earlier)

    def left(self) -> float:
        """
        Return the seconds that are probably left.

        By the latest stretch rather than by the whole: tasks speed up and
        slow down.
        """
        before = self.before or START
        stretch = (self.age - before.age) / (self.progress - before.progress)
        return (_FULL - self.progress) * stretch


START = ProgressRate(0.0, 0.0)
