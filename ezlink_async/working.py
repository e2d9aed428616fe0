"""
The work of one run: earlier jobs first, then pairs in, outcomes out.

A bounded number of jobs is under way; whoever reads the outcomes slowly stops
the intake, never the saving.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Iterator

import attrs

from ezlink_async.bookkeeping import Bookkeeper, Desk
from ezlink_async.delivery import Delivery
from ezlink_async.earlier import Earlier
from ezlink_async.errors import (
    EzlinkError,
    SubmitUnknownError,
    TaskTimeoutError,
    TransportError,
)
from ezlink_async.intake import DOOMS_THE_REST
from ezlink_async.nursery import Nursery, see_off
from ezlink_async.pairs import Pair
from ezlink_async.results import BatchOutcome, named, skipped
from ezlink_async.resume import Step
from ezlink_async.screening import Job, Screened, Screening
from ezlink_async.supply import Supply

_log = logging.getLogger("ezlink_async")

_PAGE = 500
_NO_WAY_THERE = frozenset({"connect", "tls"})
_NOTHING_SENT = "Interrupted: nothing was sent"
_NOT_ANSWERED = (
    "the run was left while the server had the job but had not answered: it may "
    "have been created and paid"
)


@attrs.frozen(kw_only=True)
class Limits:
    """*window* jobs are under way at one time; *max_failures* end the intake."""

    window: int
    max_failures: int | None = None


@attrs.define(eq=False)
class _UnderWay:
    """A job, who keeps book of it, and how it ended, until that has been told."""

    job: Job
    book: Bookkeeper
    outcome: BatchOutcome | None = None
    told: bool = False


class Work:
    """
    The work of the run with this number in the journal.

    *doom* is what stands in the way of every job, if that is why it ended.
    """

    def __init__(
        self,
        desk: Desk,
        delivery: Delivery,
        screening: Screening,
        earlier: Earlier,
        limits: Limits,
    ) -> None:
        self._desk = desk
        self._delivery = delivery
        self._screening = screening
        self._earlier = earlier
        self._turn = asyncio.Lock()  # pairs are taken in one after the other
        self._limits = limits
        self._room = asyncio.Semaphore(limits.window)
        self._outcomes: asyncio.Queue[BatchOutcome | None] = asyncio.Queue(
            limits.window
        )
        self.doom: EzlinkError | None = None
        self._running: dict[asyncio.Task[None], _UnderWay] = {}
        self._screened: collections.deque[Screened] = collections.deque()
        self._late: list[Job] | None = []
        self._failures = 0

    @property
    def in_progress(self) -> int:
        """How many jobs the server has, or is being sent."""
        return self._delivery.in_progress

    async def next(self) -> BatchOutcome | None:
        """Return the next outcome, ``None`` after the last."""
        return await self._outcomes.get()

    async def through(self, supply: Supply, nursery: Nursery) -> None:
        """Do everything; the last outcome is followed by ``None``."""
        async for job in self._earlier.taken_up():
            await self._begin(job, nursery)
        looking = nursery.start(self._look_up(nursery))
        try:
            while pairs := await supply.next():
                began = time.monotonic()
                await self._take_in(pairs, nursery)
                supply.took(time.monotonic() - began)
            await asyncio.wait([looking])
            looking.result()
        finally:
            looking.cancel()
        await self._all_done()
        late, self._late = self._late or [], None
        for job in late:
            await self._begin(job, nursery)
        await self._all_done()
        for outcome in self._earlier.left():
            await self._outcomes.put(outcome)

    async def end(self) -> None:
        """Say that there is nothing more."""
        await self._outcomes.put(None)

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        self._left = list(self._running.values())
        await see_off(list(self._running))

    def unread(self, supply: Supply) -> Iterator[BatchOutcome]:
        """Yield the outcomes that nobody has read, after :meth:`stop`."""
        why = self._desk.halted or _NOTHING_SENT
        while not self._outcomes.empty():
            outcome = self._outcomes.get_nowait()
            if outcome is not None:
                yield outcome
        for each in self._left:
            if not each.told:
                yield each.outcome or left_behind(each.job, each.book, why)
        for screened in self._screened:
            yield screened.settled or skipped(screened.pair, why)
        while pairs := supply.rest(_PAGE):
            yield from (skipped(pair, why) for pair in pairs)

    async def _look_up(self, nursery: Nursery) -> None:
        """Go on with what was lost, as soon as it is found out about."""
        async for found in self._earlier.looked_up():
            if isinstance(found, Job):
                await self._begin(found, nursery)
            else:
                await self._take_in([found], nursery)

    async def _screen(self, pairs: list[Pair]) -> list[Screened]:
        if self._desk.halted is not None:
            return [Screened(pair) for pair in pairs]
        screening = self._screening
        looks = await asyncio.to_thread(screening.look, pairs)
        entries = await self._desk.commits.do(
            lambda journal: screening.enter(journal, looks)
        )
        return await asyncio.to_thread(screening.decide, looks, entries)

    async def _take_in(self, pairs: list[Pair], nursery: Nursery) -> None:
        """Look at a few pairs, and do what is to be done about each."""
        async with self._turn:
            self._screened.extend(await self._screen(pairs))
            while self._screened:
                await self._take_one(self._screened[0], nursery)
                self._screened.popleft()

    async def _take_one(self, screened: Screened, nursery: Nursery) -> None:
        """Begin what is to be done about a pair, or tell how it has ended."""
        if screened.job is not None and self._earlier.knows_better(screened.job):
            (screened,) = await self._screen([screened.pair])
        job, settled = screened.job, screened.settled
        if job is not None:
            if self._earlier.tells_of(job):
                return
            settled = settled or self._in_the_way(job)
        if settled is None and self._desk.halted is not None:
            settled = skipped(screened.pair, self._desk.halted)
        if settled is not None:
            self._note(job, settled)
            self._count(settled)
            await self._outcomes.put(settled)
        elif job is not None:
            await self._begin(job, nursery)

    def _note(self, job: Job | None, settled: BatchOutcome) -> None:
        """Have the journal know why nothing was done about a pair."""
        error, run = settled.error, self._screening.run
        if error is None:
            return
        if job is None:
            source, target = settled.source.absolute(), settled.target.absolute()
            self._desk.commits.note(
                lambda journal: journal.remark(run, source, target, error)
            )
        elif job.step is Step.SUBMIT:
            self._desk.commits.note(lambda journal: journal.noted(job.entry.id, error))

    def _in_the_way(self, job: Job) -> BatchOutcome | None:
        if any(job.entry.id == each.job.entry.id for each in self._running.values()):
            return job.outcome("skipped")  # it was named twice
        if self._earlier.comes_to(job.entry.key.place):
            says = f"FileExistsError: the result of an earlier job comes to {job.place}"
            return job.outcome("skipped", says)
        return None

    async def _begin(self, job: Job, nursery: Nursery) -> None:
        await self._room.acquire()
        under_way = _UnderWay(job, Bookkeeper(self._desk, job.entry.id))
        task = nursery.start(self._do(under_way))
        self._running[task] = under_way
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._room.release()
        if not task.cancelled() and (bug := task.exception()):
            _log.error("this is a bug in ezlink_async", exc_info=bug)

    async def _do(self, under_way: _UnderWay) -> None:
        job, book = under_way.job, under_way.book
        outcome = await self._delivery.through(job, book)
        if self._late is not None and isinstance(outcome.fault, TaskTimeoutError):
            entry = attrs.evolve(job.entry, task_id=outcome.task_id)
            self._late.append(attrs.evolve(job, entry=entry, step=Step.FOLLOW))
        else:
            under_way.outcome = self._weighed(outcome)
            self._count(outcome)
            await self._outcomes.put(under_way.outcome)
        under_way.told = True

    async def _all_done(self) -> None:
        while self._running:
            await asyncio.wait(self._running)

    def _count(self, outcome: BatchOutcome) -> None:
        """Stop the intake after too many failures of this run."""
        self._failures += outcome.fault is not None
        limit = self._limits.max_failures
        if limit is not None and self._failures >= limit:
            self._desk.halt(f"TooManyFailures: the intake stopped after {limit}")

    def _weighed(self, outcome: BatchOutcome) -> BatchOutcome:
        """Stop the intake when what was met stands in the way of every job."""
        fault = outcome.fault
        no_way = (
            isinstance(fault, TransportError)
            and fault.stage in _NO_WAY_THERE
            and not fault.maybe_charged
            and not self._desk.accepted
        )
        dooms = isinstance(fault, DOOMS_THE_REST) and outcome.task_id is None
        if fault is None or not (no_way or dooms):
            return outcome
        self.doom = self.doom or fault
        self._desk.halt(named(fault))
        return attrs.evolve(outcome, common=True)


def left_behind(job: Job, book: Bookkeeper, why: str) -> BatchOutcome:
    """Return how a job is left that was under way when the run was left."""
    task_id = book.task_id or job.entry.task_id
    if task_id is not None:
        says = "Interrupted: not brought home yet; the next run takes it up"
        outcome = attrs.evolve(job.outcome("failed", says), task_id=task_id)
        return attrs.evolve(outcome, resumable=True)
    if book.request_id is not None and book.refusal is None:
        error = book.unclear or SubmitUnknownError(_NOT_ANSWERED)
        return attrs.evolve(
            job.outcome("unknown", named(error)), request_id=book.request_id
        )
    return skipped(job.pair, why)
