"""
The real poller against made-up servers, on a clock of its own.

Hours of polling in a moment, the same every time: what a schedule costs in
requests, and how late it learns of an end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import statistics
from collections.abc import Iterator

import attrs
import pytest

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async.errors import TaskTimeoutError
from tests.support import virtual_clock
from tests.support.scripted_transport import (
    BASE,
    PollerHarness,
    ScriptedTransport,
    reply,
    row,
)
from tests.support.virtual_clock import dice

POLICY = PollPolicy()
TRAVEL = 0.01  # seconds, each way
NAIVE = 2.0 / 2  # seconds: how late a loop with looks 2 s apart is on average


@attrs.frozen
class Task:
    """A task as the upstream has it."""

    accepted: float
    begins: float
    ends: float


@attrs.define
class Server:
    """
    A server that runs *slots* tasks at once, each about *mean* seconds.

    With a *beat* it shows what was the case at its latest refresh, of which
    each comes up to *drift* late. A *stuck* one never shows any change.
    """

    mean: float = 8.0
    beat: float = 0.0
    drift: float = 0.0
    slots: int = 10_000
    progress: bool = False
    has_list: bool = True
    stuck: bool = False
    seed: int = 0
    lists: list[int] = attrs.field(factory=list)
    fetches: int = 0
    looks: dict[str, list[float]] = attrs.field(factory=dict)
    tasks: dict[str, Task] = attrs.field(factory=dict, init=False)
    _beats: list[float] = attrs.field(factory=list, init=False)
    _free: list[float] = attrs.field(factory=list, init=False)
    _chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = dice(self.seed)
        self._beats.append(self._chance.random() * self.beat)

    def accept(self, task_id: str, now: float) -> None:
        """Put a task in the queue."""
        spread = self._chance.gauss(0.0, 0.5)
        begins = now
        if len(self._free) == self.slots:
            begins = max(now, self._free.pop(0))
        ends = begins + self.mean * math.exp(spread - 0.125)
        self._free = sorted([*self._free, ends])
        self.tasks[task_id] = Task(now, begins, ends)

    def refreshes(self, until: float) -> Iterator[float]:
        """Yield the latest beats up to the first after *until*."""
        while self._beats[-1] <= until:
            late = self.drift * self._chance.random()
            self._beats.append(self._beats[-1] + self.beat + late)
        return reversed(self._beats)

    def visible(self, task_id: str) -> float:
        """Return when anybody could have seen that a task has ended."""
        end = self.tasks[task_id].ends
        if not self.beat:
            return end
        return min(beat for beat in self.refreshes(end) if beat >= end)

    def _row(self, task_id: str, now: float) -> dict[str, object]:
        task, shown = self.tasks[task_id], now
        if self.beat:
            shown = next((beat for beat in self.refreshes(now) if beat <= now), -1.0)
        if self.stuck or shown < task.accepted:
            return row(task_id, "")
        if shown < task.begins:
            return row(task_id, "NOT_START", progress="")
        if shown >= task.ends:
            return row(task_id, "SUCCESS")
        share = (shown - task.begins) / (task.ends - task.begins)
        told = f"{5 * math.floor(20 * share)}%" if self.progress else "0%"
        return row(task_id, "IN_PROGRESS", progress=told)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request, after some time on the way."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        await asyncio.sleep(TRAVEL)
        listed = request.method == "POST"
        if listed and not self.has_list:
            return HttpResponse(404, {}, b"<html>", BASE)
        if listed:
            body = request.body[0]
            assert isinstance(body, bytes)
            ids = [str(task_id) for task_id in json.loads(body)["ids"]]
            self.lists.append(len(ids))
        else:
            ids = [request.path.split("/")[3]]
            self.fetches += 1
        for task_id in ids:
            self.looks.setdefault(task_id, []).append(sent)
        rows = [self._row(task_id, loop.time()) for task_id in ids]
        await asyncio.sleep(TRAVEL)
        return reply(rows if listed else rows[0])

    @property
    def requests(self) -> int:
        """Return how many status requests came."""
        return len(self.lists) + self.fetches


@attrs.frozen
class Outcome:
    """
    What became of a run: requests for each job, delays behind the server.

    *believed* is at how many ends the client thought that there is a beat.
    """

    requests: float
    delays: list[float]
    believed: int

    @property
    def delay(self) -> float:
        """The mean delay."""
        return statistics.mean(self.delays)


def simulate(
    server: Server, jobs: int, in_flight: int, policy: PollPolicy = POLICY
) -> Outcome:
    """Let *server* do so many jobs, with so many in progress at once."""
    random.seed(server.seed)
    delays, beliefs = list[float](), list[bool]()

    async def work() -> None:
        poller_harness = PollerHarness(ScriptedTransport(server.answer), policy)
        poller_harness.background.start_soon(poller_harness.poller.run())
        slots = asyncio.Semaphore(in_flight)
        beat = poller_harness.poller._agenda._beat

        async def job(task_id: str) -> None:
            async with slots:
                await asyncio.sleep(2 * TRAVEL)
                server.accept(task_id, poller_harness.loop.time())
                await poller_harness.follow(task_id)
            delays.append(poller_harness.loop.time() - server.visible(task_id))
            beliefs.append(beat.period is not None)

        await asyncio.gather(*(job(str(number)) for number in range(jobs)))
        await poller_harness.background.close()

    virtual_clock.run(work())
    return Outcome(server.requests / jobs, delays, sum(beliefs))


def closest(server: Server) -> float:
    """Return the shortest time between two looks at one task."""
    return min(
        late - early
        for looks in server.looks.values()
        for early, late in itertools.pairwise(looks)
    )


SERVERS = {
    "live": Server(),
    "progress": Server(progress=True),
    "beat": Server(beat=10.0),
    "drift": Server(beat=10.0, drift=0.5),
    "long": Server(beat=10.0, mean=60.0),
    "queue": Server(slots=4),
    "queue and beat": Server(slots=4, beat=10.0),
    "no list": Server(has_list=False),
    "no list, beat": Server(has_list=False, beat=10.0),
}


@pytest.mark.parametrize("in_flight", [1, 4, 32])
@pytest.mark.parametrize("name", SERVERS)
def test_no_task_is_looked_at_too_often(name: str, in_flight: int) -> None:
    """Whatever is learned, two looks at one task are *shortest* apart."""
    server = attrs.evolve(SERVERS[name], lists=[], looks={})
    simulate(server, 100 if in_flight > 1 else 20, in_flight)
    assert closest(server) >= POLICY.shortest - 1e-6


@pytest.mark.parametrize("name", ["live", "progress", "beat", "drift"])
def test_many_in_flight_cost_less_than_a_request_each(name: str) -> None:
    """With 32 in flight a request shows many tasks: none costs one of its own."""
    server = attrs.evolve(SERVERS[name], lists=[], looks={})
    outcome = simulate(server, 200, 32)
    assert outcome.requests <= 1.0
    assert outcome.delay < NAIVE


@pytest.mark.parametrize("progress", [True, False])
def test_a_live_server_is_seen_at_once(*, progress: bool) -> None:
    """With 32 in flight an end is seen after 8 % of a task's length at most."""
    outcome = simulate(Server(progress=progress), 200, 32)
    assert outcome.delay <= 0.08 * 8.0


@pytest.mark.parametrize(
    ("in_flight", "drift", "requests", "delay"),
    [
        (32, 0.0, 0.5, 0.2),
        (32, 0.3, 0.5, 0.28),
        (8, 0.0, 1.2, 0.3),
        (8, 0.3, 1.2, 0.38),
        (3, 0.0, 2.4, 0.6),
    ],
)
def test_a_beat_is_met(
    in_flight: int, drift: float, requests: float, delay: float
) -> None:
    """What is due is looked at right behind a refresh, the time to learn included."""
    outcomes = [
        simulate(Server(beat=10.0, drift=drift, seed=seed), 12 * in_flight, in_flight)
        for seed in range(10)
    ]
    assert statistics.mean(one.requests for one in outcomes) <= requests
    assert statistics.mean(one.delay for one in outcomes) <= delay * NAIVE


def test_a_beat_at_which_little_changes_is_not_lost() -> None:
    """Of eight tasks of a minute one ends at a beat, or none: that is no miss."""
    outcomes = [
        simulate(Server(beat=10.0, mean=60.0, seed=seed), 60, 8) for seed in range(10)
    ]
    assert statistics.median(one.delay for one in outcomes) <= NAIVE
    assert statistics.mean(one.requests for one in outcomes) <= 8.0


def test_of_two_hundred_photos_the_first_beats_are_soon_learned() -> None:
    """A batch that sees nine beats pays for two of them, and asks little."""
    outcomes = [simulate(Server(beat=10.0, seed=seed), 200, 32) for seed in range(10)]
    assert statistics.mean(one.delay for one in outcomes) <= 0.22 * NAIVE
    assert statistics.mean(one.requests for one in outcomes) <= 0.5


@pytest.mark.parametrize(
    ("name", "in_flight", "most"),
    [("live", 1, 2), ("live", 3, 1), ("live", 32, 0), ("progress", 8, 0)],
)
def test_a_beat_that_is_not_there_is_hardly_ever_met(
    name: str, in_flight: int, most: int
) -> None:
    """Of twenty servers that show all at once, so many are misjudged."""
    misjudged = 0
    for seed in range(20):
        server = attrs.evolve(SERVERS[name], lists=[], looks={}, seed=seed)
        outcome = simulate(server, 12 * in_flight + 20, in_flight)
        misjudged += outcome.believed > 0
    assert misjudged <= most


def test_a_queue_before_the_tasks_costs_two_requests_each() -> None:
    """Where most of what is in flight waits, each end is still seen in time."""
    outcome = simulate(Server(slots=4), 200, 32)
    assert outcome.requests <= 2.0
    assert outcome.delay < NAIVE


def test_one_task_at_a_time_costs_few_requests() -> None:
    """Alone, by how long the others took, it is looked at about five times."""
    assert simulate(Server(), 30, 1).requests <= 6.0
    assert simulate(Server(progress=True), 30, 1).requests <= 3.0


@pytest.mark.parametrize(("due", "lists"), [(2, []), (3, [3]), (250, [100, 100, 50])])
def test_three_that_are_due_are_asked_for_together(due: int, lists: list[int]) -> None:
    """Two are asked for by id; from three on by list, a hundred at a time."""
    server = Server(slots=1000, mean=1e9)

    async def work() -> None:
        poller_harness = PollerHarness(ScriptedTransport(server.answer), POLICY)
        for number in range(due):
            server.accept(str(number), 0.0)
            poller_harness.follow(
                str(number), own=False
            )  # taken up: looked at right away
        poller_harness.background.start_soon(poller_harness.poller.run())
        await asyncio.sleep(0.5)
        await poller_harness.background.close()

    virtual_clock.run(work())
    assert (server.lists, server.fetches) == (lists, 0 if lists else due)


def test_what_is_not_due_rides_along() -> None:
    """A list request that is sent for some asks for whatever may be asked for."""
    server = Server()
    simulate(server, 200, 32)
    assert statistics.mean(server.lists) > 16


def test_without_a_list_call_each_is_asked_for_by_its_id() -> None:
    """A server that has none is asked for a list once, and never again."""
    server = Server(has_list=False)
    outcome = simulate(server, 100, 32)
    assert (server.lists, len(outcome.delays)) == ([], 100)
    assert outcome.requests <= 6.0


def test_of_a_deep_queue_only_the_head_is_looked_at() -> None:
    """A thousand that wait cost no more than the hundred that may start."""
    server = Server(slots=32, mean=2.0)
    outcome = simulate(server, 1000, 1000)
    assert outcome.requests <= 0.6
    looks = [server.looks[task_id] for task_id in server.tasks]  # as they came in
    assert statistics.mean(map(len, looks)) <= 40  # in half a minute of waiting
    early = [sum(at < POLICY.longest for at in ats) for ats in looks[300:]]
    assert sum(early) <= 100  # one sample


def test_alone_and_without_a_sign_the_steps_grow_to_the_longest() -> None:
    """Nothing known, nothing seen: growing steps, no more than half of it jitter."""
    policy, server = PollPolicy(), Server(stuck=True)

    async def work() -> None:
        poller_harness = PollerHarness(ScriptedTransport(server.answer), policy)
        poller_harness.background.start_soon(poller_harness.poller.run())
        server.accept("7", 0.0)
        with pytest.raises(TaskTimeoutError):
            await poller_harness.follow("7")
        await poller_harness.background.close()

    random.seed(1)
    virtual_clock.run(work())
    looks = [0.0, *server.looks["7"]]
    steps = [late - early for early, late in itertools.pairwise(looks)]
    slack = 3 * TRAVEL + policy.shortest / 64
    for number, step in enumerate(steps[:-1]):
        assert policy.step(number) / 2 <= step <= policy.step(number) + slack
    assert len(steps) < 900 / 5


@pytest.mark.parametrize("in_flight", [2, 300])
def test_a_server_that_is_stuck_is_not_flooded(in_flight: int) -> None:
    """Nothing ever changes: every task ends at its deadline, on time."""
    server, ends = Server(stuck=True), list[float]()

    async def work() -> None:
        poller_harness = PollerHarness(ScriptedTransport(server.answer), POLICY)
        poller_harness.background.start_soon(poller_harness.poller.run())

        async def follow(number: int) -> None:
            await asyncio.sleep(number * 0.1)
            server.accept(str(number), poller_harness.loop.time())
            start = poller_harness.loop.time()
            with pytest.raises(TaskTimeoutError):
                await poller_harness.follow(str(number))
            ends.append(poller_harness.loop.time() - start)

        await asyncio.gather(*(follow(number) for number in range(in_flight)))
        await poller_harness.background.close()

    random.seed(1)
    virtual_clock.run(work())
    assert ends == [pytest.approx(POLICY.deadline, abs=0.01)] * in_flight
    assert server.requests / POLICY.deadline <= 4.0  # each second
    assert max(server.looks["0"]) == pytest.approx(POLICY.deadline, abs=2.0)


LATEST = POLICY.longest + POLICY.shortest + 1.0
"""Seconds behind the server after which nothing excuses a schedule."""


@attrs.define
class Pausing(Server):
    """A server whose refresh stands still once, for *pause* seconds from *at* on."""

    at: float = 300.0
    pause: float = 120.0

    def refreshes(self, until: float) -> Iterator[float]:
        """Yield the latest beats, none of them in the pause."""
        while self._beats[-1] <= until:
            beat = self._beats[-1] + self.beat
            stands = self.at <= beat < self.at + self.pause
            self._beats.append(self.at + self.pause if stands else beat)
        return reversed(self._beats)


@pytest.mark.parametrize("in_flight", [1, 3, 8])
@pytest.mark.parametrize("pause", [7.0, 63.7, 120.0])
@pytest.mark.parametrize("mean", [8.0, 60.0, 300.0])
def test_however_a_beat_goes_wrong_no_end_is_seen_late_for_long(
    mean: float, pause: float, in_flight: int
) -> None:
    """What is learned may save requests; it never costs more than a longest step."""
    server = Pausing(mean=mean, beat=10.0, pause=pause)
    outcome = simulate(server, 15 * in_flight, in_flight)
    assert max(outcome.delays) <= LATEST


@attrs.define
class Changing(Server):
    """A server whose tasks are short after the first *many*."""

    many: int = 40

    def accept(self, task_id: str, now: float) -> None:
        """Put a task in the queue."""
        if len(self.tasks) == self.many:
            self.mean = 8.0
        super().accept(task_id, now)


def test_after_long_tasks_a_short_one_is_not_missed() -> None:
    """That others took minutes is no reason to look away for minutes."""
    outcome = simulate(Changing(mean=200.0, beat=10.0), 60, 8)
    assert max(outcome.delays) <= LATEST


def _refusing(status: int, hint: str, seen: list[float]) -> ScriptedTransport:
    async def answer(_: HttpRequest) -> HttpResponse:
        seen.append(asyncio.get_running_loop().time())
        await asyncio.sleep(TRAVEL)
        return HttpResponse(status, {"retry-after": hint} if hint else {}, b"", BASE)

    return ScriptedTransport(answer)


@pytest.mark.parametrize(("status", "hint"), [(502, ""), (429, "60"), (429, "9999")])
@pytest.mark.parametrize("tasks", [1, 20])
def test_looks_that_fail_are_no_storm(tasks: int, status: int, hint: str) -> None:
    """Not at the deadline either: each task is asked about a few times at most."""
    seen: list[float] = []

    async def work() -> None:
        poller_harness = PollerHarness(_refusing(status, hint, seen), POLICY)
        poller_harness.background.start_soon(poller_harness.poller.run())
        handles = [poller_harness.follow(str(number)) for number in range(tasks)]
        for handle in handles:
            with pytest.raises(TaskTimeoutError):
                await handle
        await poller_harness.background.close()

    random.seed(1)
    virtual_clock.run(work())
    assert len(seen) <= 150 * tasks
    assert sum(time > POLICY.deadline - 2 for time in seen) <= 2 * tasks
    if hint:  # and a server's wish is kept, but not to the end of the task
        assert 10 * tasks <= len(seen) + 10 * tasks <= 40 * tasks
