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

from ezlink_async._io.concurrency import BackgroundTasks, cancel_and_wait
from ezlink_async.batch.job_runner import JobRunner
from ezlink_async.batch.journal.jobs import Step
from ezlink_async.batch.outcomes import (
    NOTHING_SENT,
    BatchOutcome,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.reader import PairReader
from ezlink_async.batch.preflight import Job, Preflight, Screened
from ezlink_async.batch.recorder import JournalObserver, RunControl
from ezlink_async.batch.unfinished import UnfinishedJobs
from ezlink_async.errors import EzlinkError, JournalError, TaskTimeoutError


class OutcomeQueue:
    """A queue with room for so many outcomes; its end needs none."""

    def __init__(self, room: int) -> None:
        self._room = asyncio.Semaphore(room)
        self._queue: asyncio.Queue[BatchOutcome | None] = asyncio.Queue()

    async def put(self, outcome: BatchOutcome) -> None:
        """Have *outcome* read, as soon as there is room for it."""
        await self._room.acquire()
        self._queue.put_nowait(outcome)

    def end(self) -> None:
        """Say that there is nothing more."""
        self._queue.put_nowait(None)

    async def next(self) -> BatchOutcome | None:
        """Return the next outcome, ``None`` after the last and ever after."""
        outcome = await self._queue.get()
        if outcome is None:
            self.end()
        else:
            self._room.release()
        return outcome

    def rest(self) -> Iterator[BatchOutcome]:
        """Yield what nobody has read."""
        while not self._queue.empty():
            outcome = self._queue.get_nowait()
            if outcome is not None:
                yield outcome


_NOT_ANSWERED = (
    "the run was left while the server had the job but had not answered: it may "
    "have been created and paid"
)


@attrs.define(eq=False)
class RunningJob:
    """A job, who keeps book of it, and how it ended, if it has."""

    job: Job
    book: JournalObserver
    outcome: BatchOutcome | None = None

    @property
    def came_to_nothing(self) -> bool:
        """Whether it was sent, and is sent again only where that is asked for."""
        ended = self.outcome
        if ended is None or self.job.step is not Step.SUBMIT:
            return False
        return ended.status != "succeeded" and not ended.resumable

    def left_behind(self, why: str) -> BatchOutcome:
        """Return how it ended, or stands when the run is left."""
        job, book = self.job, self.book
        task_id = book.task_id or job.task_id
        if self.outcome is not None:
            return self.outcome
        if task_id is not None:
            says = "Interrupted: not brought home yet; the next run takes it up"
            outcome = attrs.evolve(job.outcome("failed", says), task_id=task_id)
            return attrs.evolve(outcome, resumable=True)
        if book.request_id is None or book.refusal is not None:
            return job.left_over(why)
        says = book.unclear or f"SubmitUnknownError: {_NOT_ANSWERED}"
        return attrs.evolve(job.outcome("unknown", says), request_id=book.request_id)


_log = logging.getLogger("ezlink_async")

_PAGE = 500


@attrs.frozen(kw_only=True)
class Limits:
    """*window* jobs are under way at one time; *max_failures* end the intake."""

    window: int
    max_failures: int | None = None


class Pipeline:
    """The work of a run; *doom* is what stands in the way of every job, if any."""

    def __init__(
        self,
        desk: RunControl,
        delivery: JobRunner,
        screening: Preflight,
        earlier: UnfinishedJobs,
        limits: Limits,
    ) -> None:
        self._desk = desk
        self._delivery = delivery
        self._screening = screening
        self._earlier = earlier
        self._turn = asyncio.Lock()  # pairs are taken in one after the other
        self._limits = limits
        self._room = asyncio.Semaphore(limits.window)
        self.outbox = OutcomeQueue(limits.window)
        self.doom: EzlinkError | None = None
        self._running: dict[asyncio.Task[None], RunningJob] = {}
        self._waiting: list[RunningJob] = []  # for room
        self._coming: list[list[Pair]] = []  # to be looked at
        self._screened: collections.deque[Screened] = collections.deque()
        self._page: set[int] = set()  # the jobs of the pairs looked at last
        self._tried: set[int] = set()  # the jobs that came to nothing in this run
        self._late: collections.deque[RunningJob] = collections.deque()
        self._late_turn = False
        self._left: collections.deque[RunningJob] = collections.deque()
        self._failures = 0

    @property
    def in_progress(self) -> int:
        """How many jobs the server has, or is being sent."""
        return self._delivery.in_progress

    async def through(self, supply: PairReader, background: BackgroundTasks) -> None:
        """Do everything; what the pairs' iterator raises is raised after that."""
        fault: Exception | None = None
        try:
            await self._intake(supply, background)
        except Exception as error:  # noqa: BLE001 - raised again below
            fault = error
        await self._all_done()
        self._late_turn = True
        while self._late:
            await self._again(self._late[0], background)
        await self._all_done()
        for outcome in self._earlier.left():
            await self.outbox.put(outcome)
        if fault is not None:
            raise fault

    async def _intake(self, supply: PairReader, background: BackgroundTasks) -> None:
        async for job in self._earlier.taken_up():
            await self._begin(job, background)
        looking = background.start(self._look_up(background))
        try:
            while pairs := await supply.next():
                began = time.monotonic()
                await self._take_in(pairs, background)
                supply.took(time.monotonic() - began)
            await asyncio.wait([looking])
            looking.result()
        finally:
            looking.cancel()

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        await cancel_and_wait(list(self._running))
        self._left += [*self._running.values(), *self._waiting, *self._late]

    def unread(self, supply: PairReader) -> Iterator[BatchOutcome]:
        """Yield the outcomes that nobody has read, each once, after :meth:`stop`."""
        why = self._desk.halted or NOTHING_SENT
        yield from self.outbox.rest()
        while self._left:
            yield self._left.popleft().left_behind(why)
        while self._screened:
            yield self._screened.popleft().left_over(why)
        for pair in self._not_looked_at(supply):
            if not self._earlier.tells_of_pair(pair):
                yield skipped(pair, why)
        yield from self._earlier.left()

    def _not_looked_at(self, supply: PairReader) -> Iterator[Pair]:
        while self._coming:
            yield from self._coming.pop(0)
        while pairs := supply.rest(_PAGE):
            yield from pairs

    async def _look_up(self, background: BackgroundTasks) -> None:
        """Go on with what was lost, as soon as it is found out about."""
        async for found in self._earlier.looked_up():
            if isinstance(found, Job):
                await self._begin(found, background)
            else:
                await self._take_in([found], background)

    async def _screen(self, pairs: list[Pair]) -> list[Screened]:
        if self._desk.stopped:
            return [Screened(pair) for pair in pairs]
        screening = self._screening
        looks = await asyncio.to_thread(screening.look, pairs)
        try:
            entries = await self._desk.commits.do(
                lambda journal: screening.enter(journal, looks)
            )
        except JournalError as error:
            self._desk.halt(describe_error(error))
            return [Screened(pair) for pair in pairs]
        return await asyncio.to_thread(screening.decide, looks, entries)

    async def _take_in(self, pairs: list[Pair], background: BackgroundTasks) -> None:
        """Look at a few pairs, and do what is to be done about each."""
        self._coming.append(pairs)
        async with self._turn:
            screened = await self._screen(pairs)
            self._coming.remove(pairs)
            self._screened.extend(screened)
            self._page.clear()
            while self._screened:
                await self._take_one(self._screened[0], background)

    async def _take_one(self, screened: Screened, background: BackgroundTasks) -> None:
        """Begin what is to be done about a pair, or tell how it has ended."""
        if screened.job is not None and self._earlier.knows_better(screened.job):
            (screened,) = await self._screen([screened.pair])
            self._screened[0] = screened
        job, settled = screened.job, screened.settled
        if job is not None and self._is_twice(job):
            settled = job.outcome("skipped")
        elif self._is_told_of(screened):
            self._screened.popleft()
            return
        elif job is not None:
            settled = settled or self._in_the_way(job)
        if job is not None and settled is None and not self._is_too_late(job):
            self._screened.popleft()
            await self._begin(job, background)
            return
        settled = settled or screened.left_over(self._desk.halted or NOTHING_SENT)
        self._screened[0] = attrs.evolve(screened, settled=settled)
        self._note(job, settled)
        self._count(settled)
        await self.outbox.put(settled)
        self._screened.popleft()

    def _is_too_late(self, job: Job) -> bool:
        sends = job.step is Step.SUBMIT
        return self._desk.stopped or (sends and self._desk.halted is not None)

    def _is_told_of(self, screened: Screened) -> bool:
        """Return whether the outcome comes with those of earlier runs."""
        if screened.job is not None:
            return self._earlier.tells_of(screened.job)
        seen = screened.settled is not None
        return not seen and self._earlier.tells_of_pair(screened.pair)

    def _is_twice(self, job: Job) -> bool:
        """Return whether what the journal said of *job* is told of another pair."""
        this = job.entry.id
        if this in self._page or self._earlier.looks_for(job):
            return True
        self._page.add(this)
        return False

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
        this, sends = job.entry.id, job.step is Step.SUBMIT
        running = (each.job.entry.id for each in self._running.values())
        if (sends and this in self._tried) or this in running:
            return job.outcome("skipped")  # it was named twice
        if self._earlier.comes_to(job.entry.key.place):
            says = f"FileExistsError: the result of an earlier job comes to {job.place}"
            return job.outcome("skipped", says)
        return None

    async def _begin(self, job: Job, background: BackgroundTasks) -> None:
        book = JournalObserver(self._desk, job.entry.id, job.unclear)
        await self._start(RunningJob(job, book), background)

    async def _again(self, late: RunningJob, background: BackgroundTasks) -> None:
        """Take a task up once more, unless the user wants to be gone."""
        if late.outcome is not None and self._desk.leaving:
            self._count(late.outcome)
            await self.outbox.put(late.outcome)
            self._late.popleft()
        else:
            late.outcome = None
            self._late.popleft()
            await self._start(late, background)

    async def _start(self, under_way: RunningJob, background: BackgroundTasks) -> None:
        self._waiting.append(under_way)
        await self._room.acquire()
        task = background.start(self._do(under_way))
        self._waiting.remove(under_way)
        self._running[task] = under_way
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        under_way = self._running.pop(task)
        if task.cancelled():
            self._left.append(under_way)
        self._room.release()

    async def _do(self, under_way: RunningJob) -> None:
        job = under_way.job
        try:
            outcome = await self._delivery.through(job, under_way.book)
        except Exception as bug:  # noqa: BLE001 - each pair has its outcome
            _log.error("this is a bug in ezlink_async", exc_info=bug)
            outcome = under_way.left_behind(f"{type(bug).__name__}: {bug}")
        under_way.outcome = self._weighed(outcome)
        if under_way.came_to_nothing:
            self._tried.add(job.entry.id)  # once in a run, whatever was asked for
        if isinstance(outcome.fault, TaskTimeoutError) and not self._late_turn:
            entry = attrs.evolve(job.entry, task_id=outcome.task_id)
            under_way.job = attrs.evolve(job, entry=entry, step=Step.FOLLOW)
            self._late.append(under_way)
            return
        self._count(outcome)
        await self.outbox.put(under_way.outcome)

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
        if fault is None or not self._desk.dooms(fault, outcome.task_id):
            return outcome
        self.doom = self.doom or fault
        self._desk.halt(describe_error(fault))
        return attrs.evolve(outcome, common=True)
