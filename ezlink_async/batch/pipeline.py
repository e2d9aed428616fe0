"""
The work of one run: unfinished jobs first, then orders in, outcomes out.

A bounded number of jobs is in progress. A slow reader of the outcomes stops the
intake of orders, but never the saving of results.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs

from ezlink_async._core.log_lines import get_logger
from ezlink_async._io.concurrency import (
    BackgroundTasks,
    cancel_and_wait,
    run_in_any_thread,
)
from ezlink_async.batch.follow_ups import follow_ups
from ezlink_async.batch.job_runner import JobRunner
from ezlink_async.batch.journal.jobs import Problem, Reason, Step
from ezlink_async.batch.outcomes import (
    INTERRUPTED,
    BatchOutcome,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.reader import OrderReader
from ezlink_async.batch.preflight import BatchJob, CheckedOrder, Preflight
from ezlink_async.batch.recorder import JournalObserver, RunControl, Stage
from ezlink_async.batch.running_jobs import RunningJob, Waits
from ezlink_async.batch.unfinished import UnfinishedJobs
from ezlink_async.errors import EzlinkError, JournalError, TaskTimeoutError

_log = get_logger()


class OutcomeQueue:
    """A queue that holds at most *limit* outcomes; its end needs no room."""

    def __init__(self, limit: int) -> None:
        self._room = asyncio.Semaphore(limit)
        self._queue: asyncio.Queue[BatchOutcome | None] = asyncio.Queue()

    async def put(self, outcome: BatchOutcome) -> None:
        """Add *outcome*, as soon as there is room for it."""
        await self._room.acquire()
        self._queue.put_nowait(outcome)

    def end(self) -> None:
        """Mark the end: there are no more outcomes."""
        self._queue.put_nowait(None)

    async def next(self) -> BatchOutcome | None:
        """Return the next outcome, or ``None`` at the end, on each call."""
        outcome = await self._queue.get()
        if outcome is None:
            self.end()
        else:
            self._room.release()
        return outcome

    def unread(self) -> Iterator[BatchOutcome]:
        """Yield the outcomes that were not read."""
        while not self._queue.empty():
            outcome = self._queue.get_nowait()
            if outcome is not None:
                yield outcome


_PAGE = 500


@attrs.define(eq=False, kw_only=True, slots=False)
class Pipeline:
    """
    The work of a run, with at most *limit* jobs begun and not ended.

    *outcomes* is where they are read, *doom* the error that stops every job, *pressed*
    the number of buttons that became orders.
    """

    control: RunControl
    runner: JobRunner
    preflight: Preflight
    unfinished: UnfinishedJobs
    reader: OrderReader
    background: BackgroundTasks
    limit: int
    max_failures: int | None = None
    doom: EzlinkError | None = None

    def __attrs_post_init__(self) -> None:
        self.outcomes: OutcomeQueue = OutcomeQueue(self.limit)
        self._room = asyncio.Semaphore(self.limit)
        self._intake_lock = asyncio.Lock()  # orders are taken in one after the other
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: list[RunningJob] = []  # begun, and not reported
        self._unchecked: list[list[Order]] = []
        self._checked: collections.deque[CheckedOrder] = collections.deque()
        self._page: set[int] = set()  # the jobs of the orders checked last
        self._tried: set[int] = set()  # sent again only if the user asks for it
        self._timed_out: collections.deque[RunningJob] = collections.deque()
        self._is_last_round = False
        self._failures = 0
        self._due: list[Order] = []  # of buttons; to be taken in with their page
        self.pressed: int = 0

    async def run(self) -> None:
        """Do all the work; an error of the orders' iterator is raised after that."""
        fault: Exception | None = None
        try:
            await self._intake()
        except Exception as error:  # noqa: BLE001 - raised again below
            fault = error
        await self._wait_for_running()
        self._is_last_round = True
        while self._timed_out:
            await self._resume(self._timed_out.popleft())
        await self._wait_for_running()
        for outcome in self.unfinished.remaining():
            await self.outcomes.put(outcome)
        if fault is not None:
            raise fault

    async def _intake(self) -> None:
        async for job in self.unfinished.resumable():
            await self._begin(job)
        looking_up = self.background.start(self._look_up())
        try:
            while orders := await self.reader.next():
                began = time.monotonic()
                await self._take_in(orders)
                self.reader.took(time.monotonic() - began)
            await asyncio.wait([looking_up])
            looking_up.result()
        finally:
            looking_up.cancel()

    def waits(
        self, bounds: Mapping[Stage, float], deadline: Callable[[BatchJob], float]
    ) -> Waits:
        """Return what is waited for; see :meth:`Waits.of`."""
        return Waits.of(self._open, bounds, deadline)

    async def stop(self) -> None:
        """Cancel the running jobs, and wait until they have ended."""
        await cancel_and_wait(list(self._tasks))

    def unread(self) -> Iterator[BatchOutcome]:
        """Yield the outcomes that were not read, each once, after :meth:`stop`."""
        yield from self.outcomes.unread()
        while self._open:
            yield self._open.pop(0).left_over(self._why_left)
        while self._checked:
            yield self._checked.popleft().left_over(self._why_left)
        for order in self._orders_left():
            if not self.unfinished.reports_order(order):
                yield skipped(order, self._why_left)
        yield from self.unfinished.remaining()

    @property
    def _why_left(self) -> Problem:
        return self.control.halted or INTERRUPTED

    def _orders_left(self) -> Iterator[Order]:
        while self._unchecked:
            yield from self._unchecked.pop(0)
        while orders := self.reader.rest(_PAGE):
            yield from orders

    async def _look_up(self) -> None:
        """Continue with each unknown job as soon as its fate is known."""
        if self.control.leaving:
            return  # an outage of the account's pages would keep the run
        async for found in self.unfinished.look_up():
            if isinstance(found, BatchJob):
                await self._begin(found)
            else:
                await self._take_in([found])

    async def _check(self, orders: list[Order]) -> list[CheckedOrder]:
        if self.control.stopped:
            return [CheckedOrder(order) for order in orders]
        preflight = self.preflight
        inspections = await run_in_any_thread(partial(preflight.inspect, orders))
        try:
            jobs = await self.control.writer.execute(
                lambda journal: preflight.register(journal, inspections)
            )
        except JournalError as error:
            self.control.halt(Problem(describe_error(error), Reason.STORAGE))
            return [CheckedOrder(order) for order in orders]
        return await run_in_any_thread(partial(preflight.plan, inspections, jobs))

    async def _take_in(self, orders: list[Order]) -> None:
        """Check a few orders, and begin their jobs."""
        self._unchecked.append(orders)
        async with self._intake_lock:
            await self._take_page(orders)
        # What these need is done, so that their own buttons never come here.
        while self._due:
            due, self._due = self._due, []
            await self._take_in(due)

    async def _take_page(self, orders: list[Order]) -> None:
        checked = await self._check(orders)
        self._unchecked.remove(orders)
        self._checked.extend(checked)
        self._page.clear()
        while self._checked:
            await self._take_one(self._checked[0])

    async def _take_one(self, checked: CheckedOrder) -> None:
        """Begin the job of an order, or report how the order has ended."""
        if checked.job is not None and self.unfinished.is_outdated(checked.job):
            (checked,) = await self._check([checked.order])
            self._checked[0] = checked
        job = checked.job
        is_duplicate = job is not None and self._is_duplicate(job)
        if not is_duplicate and self._is_reported_elsewhere(checked):
            self._checked.popleft()
            await self._press_later(checked)
            return
        outcome = checked.outcome
        if job is not None and is_duplicate:
            outcome = job.outcome("skipped")
        elif job is not None:
            outcome = outcome or self._conflict(job)
        if job is not None and outcome is None and not self._is_too_late(job):
            self._checked.popleft()
            await self._begin(job)
        else:
            await self._end_one(checked, outcome)

    async def _end_one(
        self, checked: CheckedOrder, outcome: BatchOutcome | None
    ) -> None:
        """Report how an order has ended that this run does not begin."""
        job, is_twice = checked.job, False
        if outcome is not checked.outcome:
            is_twice = outcome is not None and outcome.error is None
        elif job is not None and job.step is Step.DONE:
            self._plan(job)
        outcome = outcome or checked.left_over(self._why_left)
        self._checked[0] = attrs.evolve(checked, outcome=outcome)
        self._write_why_not(checked, outcome)
        await self._report(outcome)
        self._checked.popleft()
        if is_twice:
            await self._press_later(checked)

    def _plan(self, job: BatchJob) -> None:
        """Plan the buttons of a job that is done."""
        if not job.order.then:
            return
        orders = follow_ups(job)
        self.pressed += len(orders)
        self._due += orders

    async def _press_later(self, checked: CheckedOrder) -> None:
        """Have the buttons of a job pressed that another order has begun."""
        job = checked.job
        if job is None or not job.order.then:
            return
        this = job.record.id
        same = (each for each in self._open if each.job.record.id == this)
        running = next((each for each in same if each.may_go_on), None)
        if running is not None:
            then = dict.fromkeys((*running.job.order.then, *job.order.then))
            order = attrs.evolve(running.job.order, then=tuple(then))
            running.job = attrs.evolve(running.job, order=order)
            return
        # It has ended since it was checked.
        (checked,) = await self._check([job.order])
        if checked.job is not None and checked.job.step is Step.DONE:
            self._plan(checked.job)

    def _press(self, running: RunningJob) -> None:
        """Plan the buttons of a job that has just been saved, and begin their jobs."""
        known = running.observer.task_record or running.job.record.record
        record = attrs.evolve(running.job.record, record=known)
        self._plan(attrs.evolve(running.job, record=record))
        due, self._due = self._due, []
        if due:
            task = self.background.start(self._take_in(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_too_late(self, job: BatchJob) -> bool:
        is_submit = job.step is Step.SUBMIT
        return self.control.stopped or (is_submit and self.control.halted is not None)

    def _is_reported_elsewhere(self, checked: CheckedOrder) -> bool:
        """Return whether the outcome is one of the unfinished jobs'."""
        if checked.job is not None:
            return self.unfinished.reports(checked.job)
        outcome = checked.outcome
        is_known = outcome is not None and not outcome.common
        return not is_known and self.unfinished.reports_order(checked.order)

    def _is_duplicate(self, job: BatchJob) -> bool:
        """Return whether another order of the page, or a look-up, has this job."""
        this = job.record.id
        if this in self._page or self.unfinished.looks_up(job):
            return True
        self._page.add(this)
        return False

    def _write_why_not(self, checked: CheckedOrder, outcome: BatchOutcome) -> None:
        """Write to the journal why nothing was done about an order."""
        if outcome.error is None:
            return
        run, writer = self.preflight.run, self.control.writer
        problem, job = Problem(outcome.error, outcome.reason), checked.job
        if job is None:
            order = checked.order
            writer.execute_soon(
                lambda journal: journal.add_remark(
                    run, order.kind, order.label, order.stored, problem
                )
            )
        elif job.step is Step.SUBMIT:
            this = job.record.id
            writer.execute_soon(lambda journal: journal.note_problem(this, problem))

    def _conflict(self, job: BatchJob) -> BatchOutcome | None:
        """Return the outcome if another job is the same, or has its output path."""
        this, is_submit = job.record.id, job.step is Step.SUBMIT
        is_open = any(each.job.record.id == this for each in self._open)
        if is_open or (is_submit and this in self._tried):
            return job.outcome("skipped")  # the order was given twice
        if self.unfinished.has_output_path(job.record.key.output_path):
            sentence = (
                f"FileExistsError: an earlier job saves its result as {job.output_path}"
            )
            return job.outcome("skipped", Problem(sentence, Reason.EXISTS))
        return None

    async def _begin(self, job: BatchJob) -> None:
        observer = JournalObserver(
            self.control,
            job.record.id,
            job.unclear,
            job.task_id,
            is_free=job.order.is_free,
        )
        running = RunningJob(job, observer)
        self._open.append(running)
        await self._start(running)

    async def _resume(self, running: RunningJob) -> None:
        """Follow a timed-out task once more, unless the user is leaving."""
        if running.outcome is not None and self.control.leaving:
            await self._report(running.outcome)
            self._open.remove(running)
        else:
            running.outcome = None
            await self._start(running)

    async def _start(self, running: RunningJob) -> None:
        await self._room.acquire()
        task = self.background.start(self._run(running))
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _run(self, running: RunningJob) -> None:
        job = running.job
        try:
            outcome = await self.runner.run(job, running.observer)
        except Exception as bug:  # noqa: BLE001 - each order has its outcome
            _log.error("this is a bug in ezlink_async", exc_info=bug)
            outcome = running.left_over(Problem(f"{type(bug).__name__}: {bug}"))
        running.outcome = outcome = self._halt_if_fatal(outcome)
        if outcome.status == "succeeded":
            self._press(running)
        if running.needs_request:
            self._tried.add(job.record.id)
        if isinstance(outcome.fault, TaskTimeoutError) and not self._is_last_round:
            record = attrs.evolve(job.record, task_id=outcome.task_id)
            running.job = attrs.evolve(running.job, record=record, step=Step.FOLLOW)
            self._timed_out.append(running)
            return
        await self._report(outcome)
        self._open.remove(running)

    async def _wait_for_running(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _report(self, outcome: BatchOutcome) -> None:
        """Hand out *outcome*; stop the intake after too many failures of this run."""
        self._failures += outcome.fault is not None
        limit = self.max_failures
        if limit is not None and self._failures >= limit:
            sentence = f"TooManyFailures: the intake stopped after {limit:,}"
            self.control.halt(Problem(sentence, Reason.FAILURES))
        await self.outcomes.put(outcome)

    def _halt_if_fatal(self, outcome: BatchOutcome) -> BatchOutcome:
        """Halt the run if the error of *outcome* stops every job."""
        fault = outcome.fault
        if fault is None or not self.control.is_fatal(fault, outcome.task_id):
            return outcome
        self.doom = self.doom or fault
        self.control.halt(Problem(describe_error(fault), Reason.FATAL))
        return attrs.evolve(outcome, common=True, reason=Reason.FATAL)
