"""
How often a schedule polls a task, and how late it learns that the task has ended.

A simulation without a clock: one task at a time, the mean task being 1 long. A
schedule knows what a client knows: the answers to its own polls.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

from attrs import frozen

from ezlink_async import PollPolicy
from ezlink_async._client.polling.durations import START, Durations

REQUESTS = (1.5, 2, 3, 4, 5, 8)
"""The columns: status requests for each task, on average."""

_TASKS = 2000
_SIGMA = 0.5
_SLOPE = 0.35
_TRIES = 24
_FIRSTS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)


@frozen
class Task:
    """A task as the server has it."""

    seconds: float
    slope: float

    def progress(self, age: float) -> float:
        """Return the progress reported at *age*: per cent, noisy, in steps of five."""
        share = min(1.0, age / self.seconds) ** self.slope
        return min(95, int(100 * share) // 5 * 5)


Schedule = Callable[[Callable[[float], float]], Generator[float, None, None]]
"""
Yields the ages at which to poll one task, until it is closed because it has ended.

The argument returns the progress at an age that was yielded: the answer to that
poll. One schedule serves all tasks of a run, so it can learn from those that ended.
"""


@frozen
class Point:
    """The cost of a schedule: requests for each task, latency over the mean task."""

    requests: float
    latency: float


@frozen
class Curve:
    """One schedule, tuned for each of :data:`REQUESTS`; or as it is, in one point."""

    name: str
    points: Sequence[Point]


def _waits(make: Callable[[], Iterator[float]]) -> Schedule:
    """Return a schedule with the same waits for every task."""

    def ages(_: Callable[[float], float]) -> Generator[float, None, None]:
        yield from itertools.accumulate(make())

    return ages


def fixed(step: float) -> Schedule:
    """Poll at a fixed interval."""
    return _waits(lambda: itertools.repeat(step))


def backoff(factor: float) -> Callable[[float], Schedule]:
    """Wait *factor* times longer before each poll, without end."""

    def tuned(first: float) -> Schedule:
        return _waits(lambda: (first * factor**polls for polls in itertools.count()))

    return tuned


def policy(scale: float) -> Schedule:
    """Grow as the client does while it has learned nothing: capped, jittered."""
    chosen = PollPolicy(first=2 * scale, shortest=scale, longest=10 * scale)
    return _waits(lambda: map(chosen.jittered, itertools.count()))


def knowing(first: float) -> Callable[[float], Schedule]:
    """Wait until a share *first* of all tasks has ended, then poll at an interval."""
    head = math.exp(-(_SIGMA**2) / 2 + _SIGMA * statistics.NormalDist().inv_cdf(first))

    def tuned(step: float) -> Schedule:
        return _waits(lambda: itertools.chain([head], itertools.repeat(step)))

    return tuned


def learned(*, by_progress: bool) -> Schedule:
    """Poll as the client polls one task alone, with the defaults for tasks of 8 s."""
    usual = PollPolicy(first=2 / 8, shortest=1 / 8, longest=10 / 8)
    durations = Durations()

    def ages(progress: Callable[[float], float]) -> Generator[float, None, None]:
        before, age, pace = 0.0, 0.0, None
        try:
            for polls in itertools.count():
                wait = pace.left() if pace else durations.wait(age)
                if wait is None:
                    wait = usual.jittered(polls)
                before = age
                age += max(usual.shortest, min(wait, usual.longest))
                yield age
                if by_progress:
                    pace = (pace or START).then(age, progress(age))
        finally:  # the task ended somewhere between the two latest polls
            durations.add((before + age) / 2)

    return ages


def tasks(count: int = _TASKS) -> list[Task]:
    """Return tasks spread evenly over their distribution, in random order."""
    normal, chance = statistics.NormalDist(), random.Random(4)  # noqa: S311 - a model
    steps = [normal.inv_cdf((number + 0.5) / count) for number in range(count)]
    chance.shuffle(steps)
    return [
        Task(
            math.exp(_SIGMA * step - _SIGMA**2 / 2),
            chance.lognormvariate(0, _SLOPE),
        )
        for step in steps
    ]


def simulate(schedule: Schedule, served: Sequence[Task]) -> Point:
    """Poll each of *served* until it has ended."""
    requests, late = 0, 0.0
    for task in served:
        with closing(schedule(task.progress)) as ages:
            for age in ages:
                requests += 1
                if age >= task.seconds:
                    late += age - task.seconds
                    break
    return Point(requests / len(served), late / len(served))


def tuned(
    make: Callable[[float], Schedule], wanted: float, served: Sequence[Task]
) -> Point:
    """Scale a schedule until it polls each task *wanted* times on average."""
    low, high = 1e-3, 10.0
    point = simulate(make(high), served)
    for _ in range(_TRIES):
        middle = math.sqrt(low * high)
        point = simulate(make(middle), served)
        if point.requests > wanted:
            low = middle
        else:
            high = middle
    return point


def _best_knowing(wanted: float, served: Sequence[Task]) -> Point:
    points = [tuned(knowing(first), wanted, served) for first in _FIRSTS]
    near = [point for point in points if abs(point.requests - wanted) < wanted / 50]
    return min(near or points, key=lambda point: point.latency)


def curves(served: Sequence[Task] | None = None) -> list[Curve]:
    """Simulate every schedule."""
    served = served or tasks()
    makers = {
        "fixed interval": fixed,
        "backoff x1.5, uncapped": backoff(1.5),
        "backoff x2, uncapped": backoff(2),
        "`PollPolicy` as it grows": policy,
    }
    found = [
        Curve(name, [tuned(make, wanted, served) for wanted in REQUESTS])
        for name, make in makers.items()
    ]
    best = [_best_knowing(wanted, served) for wanted in REQUESTS]
    found.append(Curve("wait, then fixed (durations known)", best))
    alone = {
        "learned from durations": learned(by_progress=False),
        "learned, with noisy progress": learned(by_progress=True),
    }
    for name, schedule in alone.items():
        found.append(Curve(name, [simulate(schedule, served)]))
    return found
