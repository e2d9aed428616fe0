"""
How long tasks take, learned from those that have ended.

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
_BEYOND = 0.1  # of its age, for a task that outlives all others
_SOON = 0.8  # of a short duration: no task ends before
_SHORT = 0.05
_FULL = 100.0


class Durations:
    """How long the latest 64 tasks took, from acceptance to their observed end."""

    def __init__(self) -> None:
        self._latest: collections.deque[float] = collections.deque()
        self._sorted: list[float] = []
        self._first: float | None = None
        self._step = 0.0
        self.mean = math.inf
        """Their mean in seconds; infinite before the fifth task."""
        self.soonest = 0.0
        """Seconds before which no task ends; 0 before the fifth task."""

    def add(self, seconds: float) -> None:
        """Learn from a task that took *seconds*."""
        self._latest.append(seconds)
        bisect.insort(self._sorted, seconds)
        if len(self._latest) > _KEPT:
            oldest = self._latest.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
        if len(self._sorted) >= _ENOUGH:
            self._first = self._quantile(_EARLY)
            self._step = _STEP * (self._quantile(_MOST) - self._quantile(_QUARTER))
            self.mean = sum(self._sorted) / len(self._sorted)
            self.soonest = _SOON * self._quantile(_SHORT)

    def _quantile(self, share: float) -> float:
        """Return how long it took until *share* of the tasks had ended."""
        return self._sorted[round(share * (len(self._sorted) - 1))]

    def wait(self, age: float, most: float = math.inf) -> float | None:
        """
        Return the seconds until a task of *age* seconds is worth a poll.

        ``None`` before the fifth task. The first poll comes when some tasks have
        usually ended, the others in even steps of up to *most* seconds, which are
        short where durations differ little. The steps of a task that outlives all
        the others grow.
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
    """The progress of a task at its latest poll, and at an earlier one."""

    age: float
    progress: float
    before: ProgressRate | None = None

    def then(self, age: float, progress: float | None) -> ProgressRate | None:
        """Return the rate with another poll added; ``None`` without progress."""
        if progress is None or not 0.0 < progress < _FULL:
            return None
        earlier: ProgressRate | None = ProgressRate(self.age, self.progress)
        if progress <= self.progress:
            earlier = self.before
            # Progress fell further than that: the task's whole life is the stretch.
            if earlier is not None and progress <= earlier.progress:
                earlier = None
        return ProgressRate(age, progress, earlier)

    def left(self) -> float:
        """
        Return the seconds that are probably left.

        The latest stretch counts, not the task's whole life: tasks speed up and
        slow down.
        """
        before = self.before or START
        stretch = (self.age - before.age) / (self.progress - before.progress)
        return (_FULL - self.progress) * stretch


START = ProgressRate(0.0, 0.0)
