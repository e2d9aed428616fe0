"""How many may be in progress, and when new ones may start."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import random
import statistics
from collections.abc import Awaitable, Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.submitting.gate import Admission, Gate
from ezlink_async._core.policies import RetryPolicy
from ezlink_async._io.concurrency import Semaphore
from tests.support import virtual_clock
from tests.support.loop import reap, turns
from tests.support.virtual_clock import dice

QUICK = RetryPolicy(first=0.001, longest=0.002)

SLOW = RetryPolicy(first=1000, longest=1000)


# The gate


Report = Callable[[Gate], Awaitable[None]]


async def shut(gate: Gate, hint: float | None = None) -> None:
    """Meet a busy server once."""
    async with gate.passage() as passage:
        passage.busy(hint)


async def test_an_open_gate_lets_everybody_through() -> None:
    """Before any busy answer nobody waits, however many there are."""
    gate = Gate(SLOW)
    async with gate.passage(), gate.passage(), gate.passage():
        assert gate.is_open


async def test_a_busy_answer_stops_everybody() -> None:
    """After a busy answer no other submit goes out during the pause."""
    gate = Gate(SLOW)
    await shut(gate)
    tasks = [asyncio.create_task(shut(gate)) for _ in range(3)]
    await turns(20)
    assert not gate.is_open
    assert not any(task.done() for task in tasks)
    await reap(*tasks)


async def test_after_the_pause_one_goes_first() -> None:
    """Exactly one submit is let through after a pause; the rest wait for it."""
    gate = Gate(QUICK)
    await shut(gate)
    inside, go_on = list[int](), asyncio.Event()
    came = asyncio.Event()

    async def submit(number: int) -> None:
        async with gate.passage() as passage:
            inside.append(number)
            came.set()
            await go_on.wait()
            passage.through()

    tasks = [asyncio.create_task(submit(number)) for number in range(4)]
    await came.wait()
    await turns(20)
    assert inside == [0]
    go_on.set()
    await asyncio.gather(*tasks)
    assert inside == [0, 1, 2, 3]
    assert gate.is_open


async def test_after_a_busy_answer_they_come_back_few_at_a_time() -> None:
    """What the server may have no room for is not sent all at once."""
    gate = Gate(QUICK)
    await shut(gate)
    under_way, most = 0, list[int]()

    async def submit() -> None:
        nonlocal under_way
        async with gate.passage() as passage:
            under_way += 1
            most.append(under_way)
            await turns()
            passage.accepted()
            under_way -= 1

    await asyncio.gather(*(submit() for _ in range(12)))
    assert most[0] == 1
    assert max(most[:3]) <= 2
    assert max(most) > 2


async def test_a_full_server_gets_no_more_until_a_task_has_ended() -> None:
    """What it refused, it has no room for; who waits goes when there is some."""
    gate = Gate(RetryPolicy(first=0.001, longest=1000))
    for _ in range(3):
        async with gate.passage() as passage:
            passage.accepted()
    await shut(gate)
    assert gate.limit == 3
    task = asyncio.create_task(shut(gate))
    await gate._change(gate._opens_at + 0.001)
    await turns()
    assert not task.done()
    gate.leave()
    async with asyncio.timeout(5):
        await task
    assert gate.limit == 2


async def test_success_raises_the_limit_slowly_and_then_faster() -> None:
    """A round of tasks adds one; without a busy answer each round adds more."""
    gate = Gate(QUICK)
    for _ in range(10):
        async with gate.passage() as passage:
            passage.accepted()
    await shut(gate)
    limits = [gate.limit]
    for _ in range(4):
        for _ in range(10):
            gate.leave()
            async with gate.passage() as passage:
                passage.accepted()
        limits.append(gate.limit)
    steps = [late - early for early, late in itertools.pairwise(limits)]
    assert 1.0 <= steps[0] < 2.0
    assert steps == sorted(steps)
    assert steps[-1] > 1.2 * steps[0]


async def test_a_dead_network_says_nothing_about_room() -> None:
    """It shuts the gate, and leaves the limit as it is."""
    gate = Gate(QUICK)
    async with gate.passage() as passage:
        passage.lost()
    assert not gate.is_open
    assert gate.limit == math.inf


async def test_a_gate_that_stays_shut_is_given_up() -> None:
    """After the policy's timeout a submit waits no longer."""
    gate = Gate(RetryPolicy(first=1000, longest=1000, timeout=0.001))
    await shut(gate)
    with pytest.raises(TimeoutError):
        async with gate.passage(asyncio.get_running_loop().time()):
            pass


def test_who_comes_when_the_time_is_up_does_not_wait() -> None:
    """One whose own wait is over is given up on the spot."""

    async def come_late() -> float:
        gate, loop = Gate(SLOW), asyncio.get_running_loop()
        start = loop.time()
        await shut(gate)
        await asyncio.sleep(SLOW.timeout)
        with pytest.raises(TimeoutError):
            async with gate.passage(start):
                pass
        return loop.time()

    assert virtual_clock.run(come_late()) == SLOW.timeout


async def test_while_others_get_in_nobody_gives_up() -> None:
    """A submit's time counts from when the gate was shut, not from its own start."""
    policy = RetryPolicy(first=0.001, longest=0.001, timeout=1000)
    gate = Gate(policy)
    start = asyncio.get_running_loop().time() - 2000
    await shut(gate)
    async with asyncio.timeout(5), gate.passage(start) as passage:
        passage.accepted()
    assert gate.is_open


async def test_a_turn_is_given_back_once() -> None:
    """However often it is over, one slot comes back, at the latest at the end."""
    slots = Semaphore(2)
    async with slots.slot() as slot:
        await slots.acquire()
        slot.release()
        slot.release()
        assert slots.taken == 1
    assert slots.taken == 1


async def test_busy_answers_of_one_burst_count_once() -> None:
    """Ten refusals of submits that were all under way are one strike."""
    gate = Gate(RetryPolicy(first=0.001, longest=1000))
    barrier = asyncio.Event()

    async def submit() -> None:
        async with gate.passage() as passage:
            await barrier.wait()
            passage.busy()

    tasks = [asyncio.create_task(submit()) for _ in range(20)]
    await turns()
    barrier.set()
    await asyncio.gather(*tasks)
    async with asyncio.timeout(5), gate.passage() as passage:
        passage.through()  # twenty strikes would be a pause of ten minutes
    assert gate.age == 1


async def test_pauses_grow_while_nothing_gets_in() -> None:
    """Each probe that fails makes the next pause longer, up to the longest."""
    gate = Gate(RetryPolicy(first=0.001, longest=0.008))
    loop = asyncio.get_running_loop()
    pauses = []
    for _ in range(5):
        await shut(gate)
        pauses.append(gate._opens_at - loop.time())
    floors = [0.001, 0.002, 0.004, 0.008, 0.008]
    assert all(pause > floor * 0.5 for pause, floor in zip(pauses, floors, strict=True))
    assert gate.age == 5


async def test_a_hint_is_waited_for() -> None:
    """Nobody comes before the time a server asked for."""
    gate = Gate(QUICK)
    await shut(gate, hint=500)
    task = asyncio.create_task(shut(gate))
    await turns(20)
    assert gate._opens_at > asyncio.get_running_loop().time() + 400
    assert not task.done()
    await reap(task)


async def test_somebody_tries_before_time_is_up() -> None:
    """However long a server asks to wait: it may be wrong, or free again."""
    gate = Gate(QUICK)
    async with gate.passage() as one, gate.passage() as late:
        one.busy(86_400.0)
        late.busy(86_400.0)
    now = asyncio.get_running_loop().time()
    assert now + 400 < gate._opens_at < now + QUICK.timeout


async def test_a_late_refusal_may_only_ask_for_a_longer_pause() -> None:
    """A busy answer to a submit from before the pause counts for its hint alone."""
    gate = Gate(QUICK)
    async with gate.passage() as old, gate.passage() as other:
        other.busy()
        before = gate._opens_at
        old.busy(500)
        assert gate._opens_at > before + 400
        old.busy(None)
        assert gate.age == 1


async def test_a_late_success_does_not_open_the_gate() -> None:
    """An acceptance from before the pause says nothing about now."""
    gate = Gate(SLOW)
    async with gate.passage() as old, gate.passage() as other:
        other.busy()
        old.through()
    assert not gate.is_open


async def test_a_late_acceptance_is_counted_and_raises_nothing() -> None:
    """A task that got in before the server was full takes room all the same."""
    gate = Gate(SLOW)
    async with gate.passage() as old, gate.passage() as other:
        other.busy()
        assert gate.limit == 1
        old.accepted()
    assert (gate.running, gate.limit, gate.is_open) == (1, 1, False)


async def test_a_cancelled_probe_lets_the_next_one_try() -> None:
    """The one that went first may be cancelled at any point; the gate goes on."""
    gate = Gate(QUICK)
    await shut(gate)
    inside = asyncio.Event()

    async def probe() -> None:
        async with gate.passage():
            inside.set()
            await asyncio.Event().wait()

    async def follow() -> None:
        async with gate.passage() as passage:
            passage.through()

    first = asyncio.create_task(probe())
    await inside.wait()
    second = asyncio.create_task(follow())
    await turns()
    assert not second.done()
    await reap(first)
    async with asyncio.timeout(5):
        await second
    assert gate.is_open


async def test_a_probe_that_learned_nothing_lets_the_next_one_try() -> None:
    """A probe that breaks off says neither yes nor no, and blocks nobody."""
    gate = Gate(QUICK)
    await shut(gate)
    with pytest.raises(KeyError):
        async with gate.passage():
            raise KeyError
    async with asyncio.timeout(5), gate.passage() as passage:
        passage.through()
    assert gate.is_open


class GateGame:
    """A gate, and submits that pass it and end in every way there is."""

    def __init__(self) -> None:
        self.gate = Gate(RetryPolicy(first=0.00001, longest=0.00002))
        self.ends: list[asyncio.Future[str]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _submit(self, end: asyncio.Future[str]) -> None:
        async with self.gate.passage() as passage:
            word = await end
            if word == "yes":
                passage.accepted()
            elif word == "no":
                passage.busy()

    async def start(self) -> None:
        """Begin a submit."""
        self.ends.append(asyncio.get_running_loop().create_future())
        self.tasks.append(asyncio.create_task(self._submit(self.ends[-1])))

    async def cancel(self) -> None:
        """Cancel somebody."""
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
        """End everything, and see that submits still pass."""
        await self.end("fail", most=len(self.ends))
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks, return_exceptions=True)
            for _ in range(self.gate.running):
                self.gate.leave()
            async with self.gate.passage() as passage:
                passage.accepted()
            async with self.gate.passage(), self.gate.passage():
                assert self.gate.is_open


@given(
    st.lists(
        st.sampled_from(["start", "cancel", "yes", "no", "fail", "turn"]), max_size=50
    )
)
def test_the_gate_never_locks(events: list[str]) -> None:
    """Whatever became of those before, a submit gets through in the end."""

    async def play() -> None:
        game = GateGame()
        for event in events:
            if event in {"yes", "no", "fail"}:
                await game.end(event)
            else:
                await getattr(game, event)()
        await game.over()

    asyncio.run(play())


# Both, before a server with little room


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
        """Return what comes to pass when the task has ended; None: no room."""
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
        # It is seen a little later, by the next look.
        seen = 1.2 * self._chance.random()
        asyncio.get_running_loop().call_later(seen, task.set_result, None)


@attrs.define
class Swaps:
    """So many jobs, *wanted* at once, through the gate to *upstream*."""

    upstream: Upstream
    wanted: int
    gate: Gate = attrs.field(factory=lambda: Gate(RetryPolicy()))
    most: int = 0
    in_progress: list[int] = attrs.field(factory=list)

    async def _submit(self) -> asyncio.Future[None]:
        start = asyncio.get_running_loop().time()
        while True:
            async with self.gate.passage(start) as passage:
                await asyncio.sleep(0.05)
                if task := self._told(passage, self.upstream.accept()):
                    return task

    def _told(
        self, passage: Admission, task: asyncio.Future[None] | None
    ) -> asyncio.Future[None] | None:
        if task is None:
            passage.busy()
        else:
            passage.accepted()
        return task

    async def _all(self, jobs: int) -> float:
        slots, uploads = Semaphore(self.wanted), Semaphore(8)

        async def job() -> None:
            async with slots.slot():
                async with uploads.slot():
                    task = await self._submit()
                self.most = max(self.most, slots.taken)
                self.in_progress.append(self.gate.running)
                await task
                self.gate.leave()

        await asyncio.gather(*(job() for _ in range(jobs)))
        return asyncio.get_running_loop().time()

    def run(self, jobs: int) -> float:
        """Do them all, and return the seconds that took."""
        random.seed(self.upstream.seed)
        return virtual_clock.run(self._all(jobs))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("runs", "queues", "jobs", "refused", "wall"),
    [(3, 10, 200, 0.5, 1.15), (3, 0, 200, 0.5, 1.3), (30, 10, 400, 0.2, 1.25)],
)
def test_a_server_with_little_room_is_kept_full(
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


def test_a_server_without_limits_is_not_limited() -> None:
    """As many are in progress as were asked for, and none is refused."""
    swaps = Swaps(Upstream(1000, 0), wanted=64)
    swaps.run(300)
    assert (swaps.upstream.refused, swaps.gate.limit) == (0, math.inf)
    assert max(swaps.in_progress) == swaps.most == 64


def test_when_the_server_gets_more_room_it_is_found() -> None:
    """From 5 at once to 50: after some hundred jobs, 40 and more are in progress."""

    def grow(upstream: Upstream) -> None:
        upstream.runs = 5 if upstream.done < 50 else 50

    swaps = Swaps(Upstream(5, 0, grows=grow), wanted=64)
    swaps.run(800)
    assert max(swaps.in_progress[:50]) <= 7  # an end is seen a little late
    assert next(n for n, now in enumerate(swaps.in_progress) if now >= 40) <= 400
    assert swaps.upstream.refused <= 0.2 * 800


def test_when_the_server_has_less_room_fewer_are_sent() -> None:
    """From 50 at once to 5: those above are refused, soon none but a probe."""

    def shrink(upstream: Upstream) -> None:
        upstream.runs = 50 if upstream.done < 200 else 5

    upstream = Upstream(50, 0, grows=shrink)
    swaps = Swaps(upstream, wanted=64)
    swaps.run(500)
    assert upstream.done == 500
    assert upstream.refused <= 0.4 * 500
    assert statistics.mean(swaps.in_progress[-100:]) <= 6


def test_one_task_that_lasts_does_not_hold_up_the_others() -> None:
    """When nothing moves for the longest pause, one goes above the limit to see."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        gate = Gate(RetryPolicy(timeout=60))
        async with gate.passage(0.0) as passage:
            passage.accepted()  # it lasts to the end of the test
        async with gate.passage(0.0) as passage:
            passage.busy()
        assert gate.limit == 1
        for _ in range(8):
            async with gate.passage(loop.time()) as passage:
                passage.accepted()
        return loop.time()

    assert virtual_clock.run(work()) <= 2 * RetryPolicy().longest
