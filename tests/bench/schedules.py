"""
How many questions a schedule asks of a task, and how late it learns of the end.

A simulation without a clock: one task at a time, the mean task being 1 long. What a
schedule may know is what a client knows: the answers to its own looks.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from attrs import Factory, define, frozen

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
        """Return the per cent it tells at *age*, noisy and in steps of five."""
        share = min(1.0, age / self.seconds) ** self.slope
        return min(95, int(100 * share) // 5 * 5)


class Schedule(Protocol):
    """
    Decides when to look; the place where every kind of schedule plugs in.

    One object serves all tasks of a run, so that it can learn from those that ended.
    """

    def looks(self, progress: Callable[[float], float]) -> Iterator[float]:
        """
        Yield the ages at which to look at the next task, until it has ended.

        *progress* tells the per cent of an age that was yielded before, which is
        what the answer to that look said.
        """
        ...

    def ended(self, before: float, seen: float) -> None:
        """Learn that a task had not ended at age *before*, and had at *seen*."""
        ...


@frozen
class Waits:
    """A schedule that learns nothing: the same waits for every task."""

    waits: Callable[[], Iterator[float]]

    def looks(self, progress: Callable[[float], float]) -> Iterator[float]:  # noqa: ARG002 - others use it
        """Yield the sums of the waits."""
        return itertools.accumulate(self.waits())

    def ended(self, before: float, seen: float) -> None:
        """Learn nothing."""


@frozen
class Point:
    """What a schedule came to: requests for each task, latency over the mean task."""

    requests: float
    latency: float


@frozen
class Curve:
    """One schedule, tuned for each of :data:`REQUESTS`; or as it is, in one point."""

    name: str
    points: Sequence[Point]


def fixed(step: float) -> Schedule:
    """Look at one beat."""
    return Waits(lambda: itertools.repeat(step))


def backoff(factor: float) -> Callable[[float], Schedule]:
    """Wait *factor* times longer before each look, without end."""

    def tuned(first: float) -> Schedule:
        return Waits(lambda: (first * factor**looks for looks in itertools.count()))

    return tuned


def policy(scale: float) -> Schedule:
    """Grow as the client does while it has learned nothing: capped, jittered."""
    chosen = PollPolicy(first=2 * scale, shortest=scale, longest=10 * scale)
    return Waits(lambda: map(chosen.jittered, itertools.count()))


def knowing(first: float) -> Callable[[float], Schedule]:
    """Wait for what all but a share *first* of the tasks take, then look at a beat."""
    head = math.exp(-(_SIGMA**2) / 2 + _SIGMA * statistics.NormalDist().inv_cdf(first))

    def tuned(step: float) -> Schedule:
        return Waits(lambda: itertools.chain([head], itertools.repeat(step)))

    return tuned


@define
class Learned:
    """Looks as the client does at one task alone: by what it has learned so far."""

    policy: PollPolicy
    by_progress: bool
    durations: Durations = Factory(Durations)

    def looks(self, progress: Callable[[float], float]) -> Iterator[float]:
        """Yield ages by the progress of this task, or by how long others took."""
        age, pace = 0.0, None
        for looks in itertools.count():
            wait = pace.left() if pace else self.durations.wait(age)
            if wait is None:
                wait = self.policy.jittered(looks)
            age += max(self.policy.shortest, min(wait, self.policy.longest))
            yield age
            if self.by_progress:
                pace = (pace or START).then(age, progress(age))

    def ended(self, before: float, seen: float) -> None:
        """Learn a duration: it was somewhere between the two looks."""
        self.durations.add((before + seen) / 2)


def learned() -> dict[str, Schedule]:
    """Return the schedules that learn, by name, with the defaults for tasks of 8 s."""
    usual = PollPolicy(first=2 / 8, shortest=1 / 8, longest=10 / 8)
    return {
        "learned from durations": Learned(usual, by_progress=False),
        "learned, with noisy progress": Learned(usual, by_progress=True),
    }


def tasks(count: int = _TASKS) -> list[Task]:
    """Return tasks spread evenly over their distribution, in no order."""
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
    """Look at each of *served* until it has ended."""
    requests, late = 0, 0.0
    for task in served:
        before = 0.0
        for age in schedule.looks(task.progress):
            requests += 1
            if age >= task.seconds:
                late += age - task.seconds
                schedule.ended(before, age)
                break
            before = age
    return Point(requests / len(served), late / len(served))


def tuned(
    make: Callable[[float], Schedule], wanted: float, served: Sequence[Task]
) -> Point:
    """Scale a schedule until it asks *wanted* times of each task."""
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
    """Simulate everything there is."""
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
    found += [
        Curve(name, [simulate(schedule, served)])
        for name, schedule in learned().items()
    ]
    return found
