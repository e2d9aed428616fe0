"""
How close together looks are while no beat is known. Pure.

One request shows many tasks, so at the start, and for so long as there may be a
beat, it is sent as often as the policy lets it: of two beats that were seen that
exactly the third is known.
"""

from __future__ import annotations

import math

from ezlink_async._core.policies import PollPolicy
from ezlink_async.forecast import Durations

LIST_FROM = 3
"""How many must be due before one list request is cheaper."""

CHUNK = 100
"""How many ids go into one list request."""

_PER_TASK = 0.8  # list requests for each task, at most and in the long run
_PARTS = 2  # of all tasks, looked at in turns: where both look, a beat is narrower
_MANY = 8  # tasks: with fewer, looks in vain cost each of them too much
_WATCH = 3  # times the longest step is what a watch for a beat may take


class Spacing:
    """The requests for all tasks of one client; *durations* are what it learned."""

    def __init__(self, policy: PollPolicy, durations: Durations) -> None:
        self._policy = policy
        self._durations = durations
        self._until: float | None = None
        self._parted = False
        self.watching = False
        """Whether every task is looked at as often as it may be."""

    def gap(self, active: int) -> float:
        """Return how far apart list requests for so many *active* tasks must be."""
        if active < LIST_FROM:
            return 0.0
        if self._parted and not self.watching:
            return self._policy.shortest  # once, and all look together again
        return min(self._policy.shortest / _PARTS, self.share(active))

    def share(self, active: int) -> float:
        """Return how far apart requests are when there is one for each task."""
        return self._durations.mean / (_PER_TASK * active)

    def watch(self, active: int, now: float, *, hopeful: bool) -> None:
        """Go on watching only while there is hope, enough tasks, and time."""
        if self._until is None and active >= _MANY:
            self._until = now + _WATCH * self._policy.longest
        in_time = self._until is not None and now < self._until
        self.watching = hopeful and in_time and active >= _MANY

    def room(self, listed: int, active: int) -> int:
        """Return how many may ride along with those that are *listed* anyway."""
        room, self._parted = -listed % CHUNK, self.watching
        if self.watching:
            room = min(room, max(0, math.ceil(active / _PARTS) - listed))
        return room
