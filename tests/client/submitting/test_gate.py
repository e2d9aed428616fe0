"""When the gate admits a submit, and what it learns about the server's room."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import random
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.submitting.gate import Admission, Gate
from ezlink_async._core.policies import RetryPolicy
from ezlink_async._io.concurrency import Semaphore
from tests.support import virtual_clock
from tests.support.loop import now, on_virtual_clock, reap, turns
from tests.support.virtual_clock import dice

QUICK = RetryPolicy(first=0.001, longest=0.002)

SLOW = RetryPolicy(first=1000, longest=1000)


@asynccontextmanager
async def admitted(gate: Gate, start: float = math.inf) -> AsyncIterator[Admission]:
    """Hold an admission."""
    admission = await gate.admit(start)
    try:
        yield admission
    finally:
        gate.release(admission)


async def meet_busy(gate: Gate, hint: float | None = None) -> None:
    """Send a submit that a busy server refuses."""
    async with admitted(gate) as admission:
        gate.close(admission, hint, full=True)


async def start_tasks(gate: Gate, count: int) -> None:
    """Have *count* submits accepted, one after the other."""
    for _ in range(count):
        async with admitted(gate) as admission:
            gate.task_started(admission)


async def test_open_gate_admits_every_submit() -> None:
    gate = Gate(SLOW)
    async with admitted(gate), admitted(gate), admitted(gate):
        assert gate.is_open


async def test_busy_answer_stops_every_other_submit() -> None:
    gate = Gate(SLOW)
    await meet_busy(gate)
    tasks = [asyncio.create_task(meet_busy(gate)) for _ in range(3)]
    await turns(20)
    assert not gate.is_open
    assert not any(task.done() for task in tasks)
    await reap(*tasks)


@on_virtual_clock
async def test_one_submit_probes_after_the_pause() -> None:
    """The others wait for its answer, and then follow in their order."""
    gate = Gate(QUICK)
    await meet_busy(gate)
    inside, answer = list[int](), asyncio.Event()

    async def submit(number: int) -> None:
        async with admitted(gate) as admission:
            inside.append(number)
            await answer.wait()
            gate.answered(admission)

    tasks = [asyncio.create_task(submit(number)) for number in range(4)]
    await asyncio.sleep(1)
    assert inside == [0]
    answer.set()
    await asyncio.gather(*tasks)
    assert inside == [0, 1, 2, 3]
    assert gate.is_open


@on_virtual_clock
async def test_submits_come_back_few_at_a_time_after_a_busy_answer() -> None:
    gate = Gate(QUICK)
    await meet_busy(gate)
    inside, most = 0, list[int]()

    async def submit() -> None:
        nonlocal inside
        async with admitted(gate) as admission:
            inside += 1
            most.append(inside)
            await turns()
            gate.task_started(admission)
            inside -= 1

    await asyncio.gather(*(submit() for _ in range(12)))
    assert most[0] == 1
    assert max(most[:3]) <= 2
    assert max(most) > 2


@on_virtual_clock
async def test_full_server_gets_no_submit_until_a_task_has_ended() -> None:
    """The number of tasks at a busy answer is the limit."""
    gate = Gate(RetryPolicy(first=1, longest=1000))
    await start_tasks(gate, 3)
    await meet_busy(gate)
    assert gate.limit == 3
    task = asyncio.create_task(meet_busy(gate))
    await asyncio.sleep(100)
    assert not task.done()
    gate.task_ended()
    await task
    assert now() == 100
    assert gate.limit == 2


@on_virtual_clock
async def test_accepted_tasks_raise_the_limit_slowly_and_then_faster() -> None:
    """A round of tasks adds one; without a busy answer each later round adds more."""
    gate = Gate(QUICK)
    await start_tasks(gate, 10)
    await meet_busy(gate)
    limits = [gate.limit]
    for _ in range(4):
        for _ in range(10):
            gate.task_ended()
            await start_tasks(gate, 1)
        limits.append(gate.limit)
    steps = [late - early for early, late in itertools.pairwise(limits)]
    assert 1.0 <= steps[0] < 2.0
    assert steps == sorted(steps)
    assert steps[-1] > 1.2 * steps[0]


async def test_dead_network_closes_the_gate_and_keeps_the_limit() -> None:
    gate = Gate(QUICK)
    async with admitted(gate) as admission:
        gate.close(admission, full=False)
    assert not gate.is_open
    assert gate.limit == math.inf


@on_virtual_clock
async def test_submit_gives_up_a_gate_that_stays_closed() -> None:
    """The policy's timeout bounds the wait."""
    gate = Gate(RetryPolicy(first=1000, longest=1000, timeout=5))
    await meet_busy(gate)
    with pytest.raises(TimeoutError):
        await gate.admit(now())
    assert now() == 5


@on_virtual_clock
async def test_submit_past_its_deadline_does_not_wait() -> None:
    gate, start = Gate(SLOW), now()
    await meet_busy(gate)
    await asyncio.sleep(SLOW.timeout)
    with pytest.raises(TimeoutError):
        await gate.admit(start)
    assert now() == SLOW.timeout


@on_virtual_clock
async def test_deadline_counts_from_when_the_gate_closed() -> None:
    """A submit that began long before does not give up while others get in."""
    gate = Gate(RetryPolicy(first=1, longest=1, timeout=1000))
    await meet_busy(gate)
    async with admitted(gate, now() - 2000) as admission:
        gate.task_started(admission)
    assert gate.is_open


async def test_upload_slot_comes_back_once() -> None:
    """It may be given back several times, and is at the latest at the end."""
    slots = Semaphore(2)
    async with slots.slot() as slot:
        await slots.acquire()
        slot.release()
        slot.release()
        assert slots.taken == 1
    assert slots.taken == 1


@on_virtual_clock
async def test_busy_answers_of_one_burst_count_once() -> None:
    """Twenty would make the next pause ten minutes long."""
    gate = Gate(RetryPolicy(first=1, longest=1000))
    barrier = asyncio.Event()

    async def submit() -> None:
        async with admitted(gate) as admission:
            await barrier.wait()
            gate.close(admission, full=True)

    tasks = [asyncio.create_task(submit()) for _ in range(20)]
    await turns()
    barrier.set()
    await asyncio.gather(*tasks)
    async with admitted(gate):
        assert 1 <= now() <= 1.5


@on_virtual_clock
async def test_pauses_grow_while_no_submit_gets_in() -> None:
    """Each failed probe doubles the next pause, up to the longest, with jitter."""
    gate = Gate(RetryPolicy(first=1, longest=8))
    await meet_busy(gate)
    for pause in (1, 2, 4, 8, 8):
        closed = now()
        await meet_busy(gate)
        assert pause <= now() - closed <= 1.5 * pause


@pytest.mark.parametrize("hint", [450, 86_400])
@on_virtual_clock
async def test_pause_lasts_as_long_as_the_server_asks(hint: float) -> None:
    """But one submit probes in time: the server may be wrong, or free again."""
    gate = Gate(QUICK)
    async with admitted(gate) as one, admitted(gate) as late:
        gate.close(one, hint, full=True)
        gate.close(late, hint, full=True)
    async with admitted(gate, 0.0):
        assert 450 <= now() < QUICK.timeout


@on_virtual_clock
async def test_late_busy_answer_only_lengthens_the_pause() -> None:
    """A busy answer to a submit from before the pause counts for its hint alone."""
    gate = Gate(RetryPolicy(first=1, longest=1000))
    async with admitted(gate) as old, admitted(gate) as other:
        gate.close(other, full=True)
        gate.close(old, 400, full=True)
        gate.close(old, full=True)
    closed = now()
    await meet_busy(gate)
    assert now() - closed == 400
    await meet_busy(gate)
    assert 402 <= now() - closed <= 403  # the second pause, not the fourth


async def test_late_answer_does_not_open_the_gate() -> None:
    """An answer to a submit from before the pause says nothing about now."""
    gate = Gate(SLOW)
    async with admitted(gate) as old, admitted(gate) as other:
        gate.close(other, full=True)
        gate.answered(old)
    assert not gate.is_open


async def test_late_acceptance_is_counted_and_raises_no_limit() -> None:
    """A task that got in before the server was full takes room all the same."""
    gate = Gate(SLOW)
    async with admitted(gate) as old, admitted(gate) as other:
        gate.close(other, full=True)
        assert gate.limit == 1
        gate.task_started(old)
    assert (gate.running, gate.limit, gate.is_open) == (1, 1, False)


@on_virtual_clock
async def test_next_submit_probes_when_the_probe_is_cancelled() -> None:
    gate = Gate(QUICK)
    await meet_busy(gate)

    async def probe() -> None:
        async with admitted(gate):
            await asyncio.Event().wait()

    async def follow() -> None:
        async with admitted(gate) as admission:
            gate.answered(admission)

    first = asyncio.create_task(probe())
    second = asyncio.create_task(follow())
    await asyncio.sleep(1)
    assert not second.done()
    await reap(first)
    await second
    assert gate.is_open


@on_virtual_clock
async def test_next_submit_probes_when_the_probe_fails_without_a_report() -> None:
    gate = Gate(QUICK)
    await meet_busy(gate)
    with pytest.raises(KeyError):
        async with admitted(gate):
            raise KeyError
    async with admitted(gate) as admission:
        gate.answered(admission)
    assert gate.is_open


class GateGame:
    """A gate, and submits that end in every possible way."""

    def __init__(self) -> None:
        self.gate = Gate(RetryPolicy(first=0.00001, longest=0.00002))
        self.ends: list[asyncio.Future[str]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _submit(self, end: asyncio.Future[str]) -> None:
        async with admitted(self.gate) as admission:
            word = await end
            if word == "yes":
                self.gate.task_started(admission)
            elif word == "no":
                self.gate.close(admission, full=True)

    async def start(self) -> None:
        """Begin a submit."""
        self.ends.append(asyncio.get_running_loop().create_future())
        self.tasks.append(asyncio.create_task(self._submit(self.ends[-1])))

    async def cancel(self) -> None:
        """Cancel the submit in the middle."""
        if self.tasks:
            self.tasks[len(self.tasks) // 2].cancel()

    async def end(self, word: str, most: int = 1) -> None:
        """End the oldest submits with *word*."""
        for end in [end for end in self.ends if not end.done()][:most]:
            end.set_result(word)

    async def turn(self) -> None:
        """Let the loop turn."""
        await asyncio.sleep(0)

    async def over(self) -> None:
        """End all submits, and check that new ones still get in."""
        await self.end("fail", most=len(self.ends))
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for _ in range(self.gate.running):
            self.gate.task_ended()
        await start_tasks(self.gate, 1)
        async with admitted(self.gate), admitted(self.gate):
            assert self.gate.is_open


@given(
    st.lists(
        st.sampled_from(["start", "cancel", "yes", "no", "fail", "turn"]), max_size=50
    )
)
def test_gate_never_locks(events: list[str]) -> None:
    """After any history a submit gets in at last."""

    async def play() -> None:
        game = GateGame()
        for event in events:
            if event in {"yes", "no", "fail"}:
                await game.end(event)
            else:
                await getattr(game, event)()
        await game.over()

    virtual_clock.run(play())


# The gate before a simulated server


@attrs.define
class Upstream:
    """A server that runs *runs* tasks, queues *queues*, and refuses the rest."""

    runs: int
    queues: int
    mean: float = 8.0
    seed: int = 1
    refused: int = 0
    most: int = 0
    done: int = 0
    running: int = 0
    grows: Callable[[Upstream], None] = lambda _: None
    _queue: collections.deque[asyncio.Future[None]] = attrs.field(
        factory=collections.deque, init=False
    )
    _chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = dice(self.seed)

    def accept(self) -> asyncio.Future[None] | None:
        """Return a future for the end of a new task; ``None`` when there is no room."""
        self.grows(self)
        if self.running >= self.runs and len(self._queue) >= self.queues:
            self.refused += 1
            return None
        task = asyncio.get_running_loop().create_future()
        self._queue.append(task)
        self._start()
        self.most = max(self.most, self.running + len(self._queue))
        return task

    def _start(self) -> None:
        while self._queue and self.running < self.runs:
            self.running += 1
            seconds = self.mean * math.exp(self._chance.gauss(0.0, 0.5) - 0.125)
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, self._end, self._queue.popleft())

    def _end(self, task: asyncio.Future[None]) -> None:
        self.running -= 1
        self.done += 1
        self._start()
        # The client sees the end a little later, by its next poll.
        seen = 1.2 * self._chance.random()
        asyncio.get_running_loop().call_later(seen, task.set_result, None)


@attrs.define
class Swaps:
    """Sends jobs through the gate to *upstream*, up to *wanted* at once."""

    upstream: Upstream
    wanted: int
    gate: Gate = attrs.field(factory=lambda: Gate(RetryPolicy()))
    most: int = 0
    in_progress: list[int] = attrs.field(factory=list)

    async def _submit(self) -> asyncio.Future[None]:
        start = asyncio.get_running_loop().time()
        while True:
            async with admitted(self.gate, start) as admission:
                await asyncio.sleep(0.05)
                if task := self.upstream.accept():
                    self.gate.task_started(admission)
                    return task
                self.gate.close(admission, full=True)

    async def _all(self, jobs: int) -> float:
        slots, uploads = Semaphore(self.wanted), Semaphore(8)

        async def job() -> None:
            async with slots.slot():
                async with uploads.slot():
                    task = await self._submit()
                self.most = max(self.most, slots.taken)
                self.in_progress.append(self.gate.running)
                await task
                self.gate.task_ended()

        await asyncio.gather(*(job() for _ in range(jobs)))
        return asyncio.get_running_loop().time()

    def run(self, jobs: int) -> float:
        """Run all jobs, and return the seconds that they took."""
        random.seed(self.upstream.seed)
        return virtual_clock.run(self._all(jobs))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("runs", "queues", "jobs", "refused", "wall"),
    [(3, 10, 200, 0.5, 1.15), (3, 0, 200, 0.5, 1.3), (30, 10, 400, 0.2, 1.25)],
)
def test_small_server_is_kept_full(
    runs: int, queues: int, jobs: int, refused: float, wall: float, seed: int
) -> None:
    """Every job gets in, few are refused, and the server is hardly ever idle."""
    upstream = Upstream(runs, queues, seed=seed)
    swaps = Swaps(upstream, wanted=64)
    seconds = swaps.run(jobs)
    assert upstream.done == jobs
    assert upstream.refused <= refused * jobs
    assert upstream.most <= runs + queues
    assert swaps.most <= 64
    assert seconds <= wall * jobs * upstream.mean / runs


def test_server_without_limits_runs_all_jobs_at_once() -> None:
    swaps = Swaps(Upstream(1000, 0), wanted=64)
    swaps.run(300)
    assert (swaps.upstream.refused, swaps.gate.limit) == (0, math.inf)
    assert max(swaps.in_progress) == swaps.most == 64


def test_more_room_at_the_server_is_used() -> None:
    """When 5 at once become 50, 40 and more are in progress after some hundred jobs."""

    def grow(upstream: Upstream) -> None:
        upstream.runs = 5 if upstream.done < 50 else 50

    swaps = Swaps(Upstream(5, 0, grows=grow), wanted=64)
    swaps.run(800)
    assert max(swaps.in_progress[:50]) <= 7  # an end is seen a little late
    assert next(n for n, now in enumerate(swaps.in_progress) if now >= 40) <= 400
    assert swaps.upstream.refused <= 0.2 * 800


def test_less_room_at_the_server_is_respected() -> None:
    """When 50 at once become 5, soon only probes are refused."""

    def shrink(upstream: Upstream) -> None:
        upstream.runs = 50 if upstream.done < 200 else 5

    upstream = Upstream(50, 0, grows=shrink)
    swaps = Swaps(upstream, wanted=64)
    swaps.run(500)
    assert upstream.done == 500
    assert upstream.refused <= 0.4 * 500
    assert statistics.mean(swaps.in_progress[-100:]) <= 6


@on_virtual_clock
async def test_long_task_does_not_hold_up_the_others() -> None:
    """When nothing changes for the longest pause, one submit goes above the limit."""
    gate = Gate(RetryPolicy(timeout=60))
    await start_tasks(gate, 1)  # it lasts to the end of the test
    await meet_busy(gate)
    assert gate.limit == 1
    for _ in range(8):
        async with admitted(gate, now()) as admission:
            gate.task_started(admission)
    assert now() <= 2 * RetryPolicy().longest
