"""
The real poller against made-up servers, on a clock of its own.

Hours of polling in a moment, the same every time: what a schedule costs in
requests, and how late it learns of an end.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
from collections.abc import Iterator

import attrs
import pytest

from ezlink_async.errors import TaskTimeoutError
from ezlink_async.messages import HttpRequest, HttpResponse
from ezlink_async.pacing import PollPolicy
from ezlink_async.queueing import HEAD_OF_LINE
from tests import virtual
from tests.scripted import BASE, ScriptedTransport, World, reply, row
from tests.virtual import dice

POLICY = PollPolicy()
TRAVEL = 0.01  # seconds, each way
NAIVE = 2.0  # seconds between two looks of a plain loop


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
    _tasks: dict[str, Task] = attrs.field(factory=dict, init=False)
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
        self._tasks[task_id] = Task(now, begins, ends)

    def refreshes(self, until: float) -> Iterator[float]:
        """Yield the latest beats up to the first after *until*."""
        while self._beats[-1] <= until:
            late = self.drift * self._chance.random()
            self._beats.append(self._beats[-1] + self.beat + late)
        return reversed(self._beats)

    def visible(self, task_id: str) -> float:
        """Return when anybody could have seen that a task has ended."""
        end = self._tasks[task_id].ends
        if not self.beat:
            return end
        return min(beat for beat in self.refreshes(end) if beat >= end)

    def _row(self, task_id: str, now: float) -> dict[str, object]:
        task, shown = self._tasks[task_id], now
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
    """What became of a run: requests for each job, delays behind the server."""

    requests: float
    delays: list[float]

    @property
    def delay(self) -> float:
        """The mean delay."""
        return statistics.mean(self.delays)


def simulate(
    server: Server, jobs: int, in_flight: int, policy: PollPolicy = POLICY
) -> Outcome:
    """Let *server* do so many jobs, with so many in progress at once."""
    random.seed(server.seed)
    delays: list[float] = []

    async def work() -> None:
        world = World(ScriptedTransport(server.answer), policy)
        world.nursery.leave_alone(world.poller.run())
        slots = asyncio.Semaphore(in_flight)

        async def job(task_id: str) -> None:
            async with slots:
                await asyncio.sleep(2 * TRAVEL)
                server.accept(task_id, world.loop.time())
                await world.follow(task_id)
            delays.append(world.loop.time() - server.visible(task_id))

        await asyncio.gather(*(job(str(number)) for number in range(jobs)))
        await world.nursery.close()

    virtual.run(work())
    return Outcome(server.requests / jobs, delays)


def closest(server: Server) -> float:
    """Return the shortest time between two looks at one task."""
    return min(
        late - early
        for looks in server.looks.values()
        for early, late in zip(looks, looks[1:], strict=False)
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
