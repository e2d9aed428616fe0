"""
The real poller against simulated servers, on a virtual clock.

Hours of polling take a moment, and are the same every time. The bounds say what a
schedule may cost in requests, and how late it may learn that a task has ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import statistics
from collections.abc import Callable, Coroutine, Iterator

import attrs
import pytest

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE as DEADLINE
from ezlink_async._core.policies import PollPolicy
from ezlink_async.errors import TaskTimeoutError
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support import virtual_clock
from tests.support.scripted_transport import (
    BASE,
    Answer,
    PollerHarness,
    ScriptedTransport,
    reply,
    row,
)
from tests.support.virtual_clock import dice

POLICY = PollPolicy()
TRAVEL = 0.01  # seconds, each way
NAIVE = 2.0 / 2  # seconds: the mean delay of a loop that polls every 2 s


@attrs.frozen
class Task:
    """A task as the upstream service has it."""

    accepted: float
    begins: float
    ends: float


@attrs.define
class Server:
    """
    A server that runs *slots* tasks at once, each about *mean* seconds.

    With a *period* it shows the state at its latest refresh; each refresh comes up
    to *drift* seconds late. A *stuck* server never shows any change.
    """

    mean: float = 8.0
    period: float = 0.0
    drift: float = 0.0
    slots: int = 10_000
    progress: bool = False
    has_list: bool = True
    stuck: bool = False
    seed: int = 0
    lists: list[int] = attrs.field(factory=list, init=False)
    fetches: int = attrs.field(default=0, init=False)
    polls: dict[str, list[float]] = attrs.field(factory=dict, init=False)
    tasks: dict[str, Task] = attrs.field(factory=dict, init=False)
    _refreshes: list[float] = attrs.field(factory=list, init=False)
    _free: list[float] = attrs.field(factory=list, init=False)
    _chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = dice(self.seed)
        self._refreshes.append(self._chance.random() * self.period)

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
        """Yield the refreshes, latest first, from the first after *until* on."""
        while self._refreshes[-1] <= until:
            late = self.drift * self._chance.random()
            self._refreshes.append(self._refreshes[-1] + self.period + late)
        return reversed(self._refreshes)

    def visible(self, task_id: str) -> float:
        """Return when the server first shows that a task has ended."""
        end = self.tasks[task_id].ends
        if not self.period:
            return end
        return min(refresh for refresh in self.refreshes(end) if refresh >= end)

    def _row(self, task_id: str, now: float) -> dict[str, object]:
        task, shown = self.tasks[task_id], now
        if self.period:
            past = (refresh for refresh in self.refreshes(now) if refresh <= now)
            shown = next(past, -1.0)
        if self.stuck or shown < task.accepted:
            return row(task_id, "")
        if shown < task.begins:
            return row(task_id, "NOT_START", progress="")
        if shown >= task.ends:
            return row(task_id, "SUCCESS")
        share = (shown - task.begins) / (task.ends - task.begins)
        progress = f"{5 * math.floor(20 * share)}%" if self.progress else "0%"
        return row(task_id, "IN_PROGRESS", progress=progress)

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
            self.polls.setdefault(task_id, []).append(sent)
        rows = [self._row(task_id, loop.time()) for task_id in ids]
        await asyncio.sleep(TRAVEL)
        return reply(rows if listed else rows[0])

    @property
    def requests(self) -> int:
        """The number of status requests that came."""
        return len(self.lists) + self.fetches


def poll_with(
    answer: Answer, work: Callable[[PollerHarness], Coroutine[object, object, None]]
) -> None:
    """Run *work* beside a poller whose requests get *answer*, on a virtual clock."""

    async def run() -> None:
        here = PollerHarness(ScriptedTransport(answer), POLICY)
        here.poller.start()
        await work(here)
        await here.background.close()

    virtual_clock.run(run())


@attrs.frozen
class Simulation:
    """
    What a run came to: requests for each job, delays behind the server.

    *believed* is at how many ends the client believed in a refresh cycle.
    """

    requests: float
    delays: list[float]
    believed: int

    @property
    def delay(self) -> float:
        """The mean delay."""
        return statistics.mean(self.delays)


def simulate(server: Server, jobs: int, in_flight: int) -> Simulation:
    """Let *server* do so many jobs, with so many in progress at once."""
    random.seed(server.seed)
    delays, beliefs = list[float](), list[bool]()

    async def work(here: PollerHarness) -> None:
        slots = asyncio.Semaphore(in_flight)

        async def job(task_id: str) -> None:
            async with slots:
                await asyncio.sleep(2 * TRAVEL)
                server.accept(task_id, here.loop.time())
                await here.follow(task_id)
            delays.append(here.loop.time() - server.visible(task_id))
            beliefs.append(here.poller.of(MIDJOURNEY).schedule.cycle.period is not None)

        await asyncio.gather(*(job(str(number)) for number in range(jobs)))

    poll_with(server.answer, work)
    return Simulation(server.requests / jobs, delays, sum(beliefs))


def simulate_all(
    server: Server, jobs: int, in_flight: int, seeds: int = 10
) -> list[Simulation]:
    """Simulate *server* with each of so many seeds."""
    return [
        simulate(attrs.evolve(server, seed=seed), jobs, in_flight)
        for seed in range(seeds)
    ]


def mean_requests(simulations: list[Simulation]) -> float:
    """Return the mean number of requests for each job."""
    return statistics.mean(one.requests for one in simulations)


def mean_delay(simulations: list[Simulation]) -> float:
    """Return the mean delay behind the server."""
    return statistics.mean(one.delay for one in simulations)


SERVERS = {
    "live": Server(),
    "progress": Server(progress=True),
    "refresh": Server(period=10.0),
    "drift": Server(period=10.0, drift=0.5),
    "long": Server(period=10.0, mean=60.0),
    "queue": Server(slots=4),
    "queue and refresh": Server(slots=4, period=10.0),
    "no list": Server(has_list=False),
    "no list, refresh": Server(has_list=False, period=10.0),
}


@pytest.mark.parametrize("in_flight", [1, 4, 32])
@pytest.mark.parametrize("name", SERVERS)
def test_polls_of_one_task_are_at_least_shortest_apart(
    name: str, in_flight: int
) -> None:
    server = attrs.evolve(SERVERS[name])
    simulate(server, 100 if in_flight > 1 else 20, in_flight)
    steps = [
        late - early
        for polls in server.polls.values()
        for early, late in itertools.pairwise(polls)
    ]
    assert min(steps) >= POLICY.shortest - 1e-6


@pytest.mark.parametrize("name", ["live", "progress", "refresh", "drift"])
def test_many_in_flight_cost_less_than_a_request_each(name: str) -> None:
    simulation = simulate(attrs.evolve(SERVERS[name]), 200, 32)
    assert simulation.requests <= 1.0
    assert simulation.delay < NAIVE


@pytest.mark.parametrize("progress", [True, False])
def test_live_server_delays_ends_by_8_percent_of_a_task(*, progress: bool) -> None:
    simulation = simulate(Server(progress=progress), 200, 32)
    assert simulation.delay <= 0.08 * 8.0


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
def test_polls_follow_the_refresh_cycle(
    in_flight: int, drift: float, requests: float, delay: float
) -> None:
    """Ends are seen right after a refresh; the time to learn the cycle is included."""
    server = Server(period=10.0, drift=drift)
    simulations = simulate_all(server, 12 * in_flight, in_flight)
    assert mean_requests(simulations) <= requests
    assert mean_delay(simulations) <= delay * NAIVE


def test_cycle_is_kept_when_a_refresh_brings_no_change() -> None:
    """Of eight tasks of a minute one ends at a refresh, or none: that is no miss."""
    simulations = simulate_all(Server(period=10.0, mean=60.0), 60, 8)
    assert statistics.median(one.delay for one in simulations) <= NAIVE
    assert mean_requests(simulations) <= 8.0


def test_batch_of_two_hundred_learns_the_cycle_early() -> None:
    """A batch of nine refreshes pays for two of them, and costs few requests."""
    simulations = simulate_all(Server(period=10.0), 200, 32)
    assert mean_delay(simulations) <= 0.22 * NAIVE
    assert mean_requests(simulations) <= 0.5


@pytest.mark.parametrize(
    ("name", "in_flight", "most"),
    [("live", 1, 2), ("live", 3, 1), ("live", 32, 0), ("progress", 8, 0)],
)
def test_live_servers_are_hardly_ever_believed_to_have_a_cycle(
    name: str, in_flight: int, most: int
) -> None:
    """Of twenty servers that show everything at once, at most so many."""
    simulations = simulate_all(SERVERS[name], 12 * in_flight + 20, in_flight, seeds=20)
    assert sum(one.believed > 0 for one in simulations) <= most


def test_queue_of_tasks_costs_two_requests_each() -> None:
    simulation = simulate(Server(slots=4), 200, 32)
    assert simulation.requests <= 2.0
    assert simulation.delay < NAIVE


def test_thousand_tasks_in_a_queue_cost_less_than_a_request_each() -> None:
    server = Server(slots=32, mean=2.0)
    assert simulate(server, 1000, 1000).requests <= 0.6
    polls = map(len, server.polls.values())
    assert statistics.mean(polls) <= 40  # in half a minute of waiting


def test_one_task_at_a_time_costs_few_requests() -> None:
    assert simulate(Server(), 30, 1).requests <= 6.0
    assert simulate(Server(progress=True), 30, 1).requests <= 3.0


@pytest.mark.parametrize(("due", "lists"), [(2, []), (3, [3]), (250, [100, 100, 50])])
def test_three_due_tasks_or_more_are_polled_by_list(due: int, lists: list[int]) -> None:
    server = Server(slots=1000, mean=1e9)

    async def work(here: PollerHarness) -> None:
        for number in range(due):
            server.accept(str(number), 0.0)
            here.follow(str(number), own=False)
        await asyncio.sleep(0.5)

    poll_with(server.answer, work)
    assert (server.lists, server.fetches) == (lists, 0 if lists else due)


def test_list_requests_are_filled_up() -> None:
    server = Server()
    simulate(server, 200, 32)
    assert statistics.mean(server.lists) > 16


def test_server_without_lists_is_polled_by_id() -> None:
    server = Server(has_list=False)
    simulation = simulate(server, 100, 32)
    assert (server.lists, len(simulation.delays)) == ([], 100)
    assert simulation.requests <= 6.0


async def _time_out(here: PollerHarness, task_id: str) -> None:
    with pytest.raises(TaskTimeoutError):
        await here.follow(task_id)


def test_steps_of_a_single_task_grow_to_the_longest() -> None:
    """Without a change to learn from, at most half of each step is jitter."""
    server = Server(stuck=True)

    async def work(here: PollerHarness) -> None:
        server.accept("7", 0.0)
        await _time_out(here, "7")

    random.seed(1)
    poll_with(server.answer, work)
    polls = [0.0, *server.polls["7"]]
    steps = [late - early for early, late in itertools.pairwise(polls)]
    slack = 3 * TRAVEL + POLICY.shortest / 64
    for number, step in enumerate(steps[:-1]):
        assert POLICY.step(number) / 2 <= step <= POLICY.step(number) + slack
    assert len(steps) < 900 / 5


@pytest.mark.parametrize("in_flight", [2, 300])
def test_stuck_server_is_not_flooded(in_flight: int) -> None:
    """Every task ends at its deadline, after a last poll shortly before."""
    server, lives = Server(stuck=True), list[float]()

    async def work(here: PollerHarness) -> None:
        async def follow(number: int) -> None:
            await asyncio.sleep(number * 0.1)
            start = here.loop.time()
            server.accept(str(number), start)
            await _time_out(here, str(number))
            lives.append(here.loop.time() - start)

        await asyncio.gather(*(follow(number) for number in range(in_flight)))

    random.seed(1)
    poll_with(server.answer, work)
    assert lives == [pytest.approx(DEADLINE, abs=0.01)] * in_flight
    assert server.requests / DEADLINE <= 4.0  # each second
    assert max(server.polls["0"]) == pytest.approx(DEADLINE, abs=2.0)


LATEST = POLICY.longest + POLICY.shortest + 1.0
"""Seconds behind the server by which every end must be seen."""


@attrs.define
class Pausing(Server):
    """A server whose refresh stands still once, for *pause* seconds from *at* on."""

    at: float = 300.0
    pause: float = 120.0

    def refreshes(self, until: float) -> Iterator[float]:
        """Yield the refreshes, none of them in the pause."""
        while self._refreshes[-1] <= until:
            refresh = self._refreshes[-1] + self.period
            stands = self.at <= refresh < self.at + self.pause
            self._refreshes.append(self.at + self.pause if stands else refresh)
        return reversed(self._refreshes)


@pytest.mark.parametrize("in_flight", [1, 3, 8])
@pytest.mark.parametrize("pause", [7.0, 63.7, 120.0])
@pytest.mark.parametrize("mean", [8.0, 60.0, 300.0])
def test_pausing_refresh_delays_no_end_by_more_than_a_longest_step(
    mean: float, pause: float, in_flight: int
) -> None:
    server = Pausing(mean=mean, period=10.0, pause=pause)
    assert max(simulate(server, 15 * in_flight, in_flight).delays) <= LATEST


@attrs.define
class Changing(Server):
    """A server whose tasks are short after the first *many*."""

    many: int = 40

    def accept(self, task_id: str, now: float) -> None:
        """Put a task in the queue."""
        if len(self.tasks) == self.many:
            self.mean = 8.0
        super().accept(task_id, now)


def test_short_task_after_long_ones_is_not_seen_late() -> None:
    server = Changing(mean=200.0, period=10.0)
    assert max(simulate(server, 60, 8).delays) <= LATEST


@pytest.mark.parametrize(("status", "hint"), [(502, ""), (429, "60"), (429, "9999")])
@pytest.mark.parametrize("tasks", [1, 20])
def test_failing_polls_are_few_also_near_the_deadline(
    tasks: int, status: int, hint: str
) -> None:
    seen: list[float] = []

    async def fail(_: HttpRequest) -> HttpResponse:
        seen.append(asyncio.get_running_loop().time())
        await asyncio.sleep(TRAVEL)
        return HttpResponse(status, {"retry-after": hint} if hint else {}, b"", BASE)

    async def work(here: PollerHarness) -> None:
        await asyncio.gather(*(_time_out(here, str(one)) for one in range(tasks)))

    random.seed(1)
    poll_with(fail, work)
    assert len(seen) <= 150 * tasks
    assert sum(time > DEADLINE - 2 for time in seen) <= 2 * tasks
    if hint:  # Retry-After is kept, but not to the end of the task
        assert len(seen) <= 30 * tasks
