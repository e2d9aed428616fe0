"""
The jobs behind the front: slots, a queue, and the refresh cycle of the relay.

Pure: the caller passes the time, and there is no timer. Everything that happens
between two calls is computed at the second one, exactly. Durations depend on the
seed and the job's number alone, so that each client meets the same ones.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque

from attrs import Factory, define

from tests.bench.plans import Plan

_SIGMA = 0.5
_SLOPE = 0.35  # how much the pace of the reported progress differs between jobs
_STEP = 5  # per cent


@define(eq=False)
class Job:
    """One job; its times are seconds of the caller's clock."""

    number: int
    seconds: float
    slope: float
    accepted: float
    begun: float = math.inf

    @property
    def finished(self) -> float:
        """The instant at which it is done."""
        return self.begun + self.seconds

    def progress(self, at: float) -> int:
        """Return the reported progress: per cent, in steps, at most 95."""
        share = ((at - self.begun) / self.seconds) ** self.slope
        return min(100 - _STEP, int(100 * share) // _STEP * _STEP)


def _random(plan: Plan, number: int, prefix: str = "") -> random.Random:
    return random.Random(f"{prefix}{plan.seed}/{number}")  # noqa: S311 - a model


def seconds_of(plan: Plan, number: int) -> float:
    """Return how long the job of this *number* takes."""
    mu = math.log(plan.mean) - _SIGMA**2 / 2
    return _random(plan, number).lognormvariate(mu, _SIGMA)


def ideal(plan: Plan, count: int) -> float:
    """Return when *count* jobs are done if all are submitted at the start."""
    free = [0.0] * plan.slots
    for number in range(count):
        heapq.heappushpop(free, free[0] + seconds_of(plan, number))
    return max(free)


@define(eq=False)
class Machine:
    """Runs jobs in the order in which they were submitted."""

    plan: Plan
    jobs: list[Job] = Factory(list)
    _waiting: deque[Job] = Factory(deque)
    _running: list[tuple[float, int]] = Factory(list)

    def advance(self, now: float) -> None:
        """End and begin all jobs that do so until *now*."""
        while self._running and self._running[0][0] <= now:
            finished, _ = heapq.heappop(self._running)
            if self._waiting:
                self._begin(self._waiting.popleft(), finished)

    def _begin(self, job: Job, at: float) -> None:
        job.begun = at
        heapq.heappush(self._running, (job.finished, job.number))

    def submit(self, now: float) -> tuple[Job, int] | None:
        """Return a new job and how many wait before it; None when the queue is full."""
        self.advance(now)
        busy, ahead = len(self._running) >= self.plan.slots, len(self._waiting)
        if busy and ahead >= self.plan.queue:
            return None
        number = len(self.jobs)
        slope = _random(self.plan, number, "slope ").lognormvariate(0, _SLOPE)
        job = Job(number, seconds_of(self.plan, number), slope, now)
        self.jobs.append(job)
        if busy:
            self._waiting.append(job)
        else:
            self._begin(job, now)
        return job, ahead

    def shown_at(self, now: float) -> float:
        """Return the instant whose state the rows show at *now*: the last refresh."""
        cycle = self.plan.refresh
        return now if not cycle else math.floor(now / cycle) * cycle

    def visible(self, job: Job) -> float:
        """Return the first instant at which a row shows that *job* is done."""
        cycle = self.plan.refresh
        return job.finished if not cycle else math.ceil(job.finished / cycle) * cycle
