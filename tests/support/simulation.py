"""
The real poller against simulated servers, on a virtual clock.

Hours of polling take a moment, and are the same every time.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
from collections.abc import Callable, Coroutine, Iterator
from functools import partial

import attrs

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskRecord, TaskStatus
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


@attrs.frozen(kw_only=True)
class Hooks:
    """
    How the upstream calls hooks: up to *lag* seconds after each change of a task.

    Shares of all callbacks are *lost*, posted *doubled*, or *late* by up to 15 s.
    *forged* ones come once a second about each task, and say that it has ended.
    """

    lag: float = 0.5
    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    forged: bool = False


@attrs.define
class Server:
    """
    A server that runs *slots* tasks at once, each about *mean* seconds.

    With a *period* it shows the state at its latest refresh; each refresh comes up
    to *drift* seconds late. A *stuck* server never shows any change. With *hooks* the
    upstream calls back.
    """

    mean: float = 8.0
    period: float = 0.0
    drift: float = 0.0
    slots: int = 10_000
    progress: bool = False
    has_list: bool = True
    stuck: bool = False
    seed: int = 0
    hooks: Hooks | None = None
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

    def callbacks(self, task_id: str) -> Iterator[tuple[float, TaskStatus]]:
        """Yield when callbacks about a task come, and what they say."""
        task, hooks = self.tasks[task_id], self.hooks
        if hooks is None:
            return
        chance = dice(hash((self.seed, task.accepted)))
        running = (task.begins + task.ends) / 2
        for happens, word in (
            (task.accepted, TaskStatus.NOT_START),
            (task.begins, TaskStatus.SUBMITTED),
            (running, TaskStatus.IN_PROGRESS),
            (task.ends, TaskStatus.SUCCESS),
        ):
            late = 15 * chance.random() if chance.random() < hooks.late else 0.0
            if chance.random() >= hooks.lost:
                for _ in range(1 + (chance.random() < hooks.doubled)):
                    yield happens + hooks.lag * chance.random() + late, word
        if hooks.forged:
            for second in range(math.ceil(task.ends - task.accepted)):
                yield task.accepted + second, TaskStatus.SUCCESS

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

    def call_back(here: PollerHarness, task_id: str) -> None:
        if server.hooks is not None:
            poller, handle = here.poller, here.poller.find(MIDJOURNEY.name, task_id)
            assert handle is not None
            poller.of(MIDJOURNEY).expect_callbacks(handle, task_id)
            for when, word in server.callbacks(task_id):
                told = TaskRecord(task_id=task_id, status=word, state=task_id)
                here.loop.call_at(when, partial(poller.hear, told))

    async def work(here: PollerHarness) -> None:
        slots = asyncio.Semaphore(in_flight)

        async def job(task_id: str) -> None:
            async with slots:
                await asyncio.sleep(2 * TRAVEL)
                server.accept(task_id, here.loop.time())
                handle = here.follow(task_id)
                call_back(here, task_id)
                await handle
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
