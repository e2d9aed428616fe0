"""What a schedule may cost in requests, and how late it may learn of an end."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
from collections.abc import Iterator

import attrs
import pytest

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE as DEADLINE
from ezlink_async.errors import TaskTimeoutError
from tests.support.scripted_transport import BASE, PollerHarness
from tests.support.simulation import (
    NAIVE,
    POLICY,
    SERVERS,
    TRAVEL,
    Server,
    mean_delay,
    mean_requests,
    poll_with,
    simulate,
    simulate_all,
)


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
