"""
Many jobs with a journal: nothing is paid twice, and nothing paid is lost.

Rules:

1. The jobs that earlier runs left unfinished are resumed first, and once, whether
   this run asks for them or not.
2. Each order ends as exactly one outcome; one that was not begun is ``skipped``.
3. Memory is bounded: a few orders are checked together, a limited number of jobs is
   in progress, and a slow reader stops the intake.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypedDict, Unpack

from ezlink_async._client.client import AsyncEzlink, session_of
from ezlink_async._client.session import Session
from ezlink_async._io.concurrency import cancel_and_wait, run_in_any_thread
from ezlink_async._io.part_files import remove_abandoned_parts
from ezlink_async.batch.job_runner import JobRunner
from ezlink_async.batch.journal.jobs import Problem, Reason
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import open_writer
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.outcomes import (
    INTERRUPTED,
    NOTHING_SENT,
    BatchOutcome,
    BatchSummary,
    describe_error,
)
from ezlink_async.batch.pairs.pictures import (
    IN_MEMORY,
    Picture,
    PictureLike,
    picture_of,
)
from ezlink_async.batch.pairs.reader import (
    AnyPath,
    OrderReader,
    Orders,
    Pairs,
    Targets,
    pairs_of,
)
from ezlink_async.batch.pipeline import Pipeline
from ezlink_async.batch.preflight import Preflight, check_source
from ezlink_async.batch.recorder import Clock, RunControl, Stage
from ezlink_async.batch.running_jobs import Waits
from ezlink_async.batch.spending import Budget, UsageAudit
from ezlink_async.batch.unfinished import UnfinishedJobs
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    ImageError,
)
from ezlink_async.services.midjourney import Mode

_SAVING = 2  # silences of a download that a halted run waits for
_AHEAD = 8  # jobs beyond those in progress: being read, prepared, or saved


class BatchRun(AsyncIterator[BatchOutcome]):
    """
    One run: enter it with ``async with``, and iterate over its outcomes.

    Leaving the block sends nothing more, and waits ``timeouts.close`` seconds for
    the answers to submits; the next run resumes the open jobs. An error that
    stops every job (a refused key, no quota, a wrong address, a source that cannot
    be used) is raised after the last outcome.
    """

    def __init__(
        self,
        ez: AsyncEzlink,
        orders: OrderReader,
        options: BatchOptions,
        source: Picture | None = None,
    ) -> None:
        self._ez = ez
        self._options = options
        self._source = source  # of all orders
        self._reader = orders
        self.summary: BatchSummary = BatchSummary()
        self._entered = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ConfigurationError("a run is entered once: make another one")
        session = self._session = session_of(self._ez)
        self._writer = await open_writer(self._options.journal_path)
        self._entered = True
        try:
            await self._set_up(session)
            self._task = session.background.start(self._run())
        except BaseException:
            await self._writer.close()
            raise
        return self

    async def _set_up(self, session: Session) -> None:
        options, writer = self._options, self._writer
        server = options.server_name(session.origin)
        self._run_id = await writer.execute(self._start_run)
        await self._remove_abandoned_parts()
        self._started = time.monotonic()
        self._audit = UsageAudit(session.usage)
        if not options.local:
            await self._audit.begin()
        server_time, now = await session.reconciler.server_time(), options.clock
        clock = Clock(now, None if server_time is None else server_time - now())
        self._control = RunControl(writer, Budget(options.budget), clock)
        self._unfinished = UnfinishedJobs(writer, session.reconciler, options, server)
        self._pipeline = Pipeline(
            control=self._control,
            runner=JobRunner(session, self._control, options),
            preflight=Preflight(options, server, self._run_id),
            unfinished=self._unfinished,
            reader=self._reader,
            background=session.background,
            limit=session.concurrency + _AHEAD,
            max_failures=options.max_failures,
        )
        await self._check_source()

    async def _check_source(self) -> None:
        """Send nothing if all orders have a source that cannot be used."""
        if self._source is None:
            return
        strip = self._options.strip_metadata
        try:
            await run_in_any_thread(
                partial(check_source, self._source, strip_metadata=strip)
            )
        except ImageError as fault:
            self._pipeline.doom = fault
            problem = Problem(describe_error(fault), Reason.UNUSABLE)
            self._control.halt(problem, submits_only=True)

    async def _remove_abandoned_parts(self) -> None:
        """Remove what a kill has left of results, and of the report."""
        folders = await self._writer.execute(Journal.output_folders)
        output = self._options.output
        await run_in_any_thread(
            lambda: [
                remove_abandoned_parts(output / folder) for folder in {Path(), *folders}
            ]
        )

    def _start_run(self, journal: Journal) -> int:
        if self._options.local:
            journal.forget_unfinished(LOCAL)
        return journal.start_run(self._options.clock())

    async def _run(self) -> None:
        try:
            await self._pipeline.run()
        finally:
            self._pipeline.outcomes.end()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        """Return the next outcome; the error that stops every job comes last."""
        if self._task is None:
            raise ConfigurationError("the run is not entered: use `async with`")
        outcome = None if self._closing else await self._pipeline.outcomes.next()
        if outcome is not None:
            self._count(outcome)
            return outcome
        if self._closing is None:
            await self.aclose()
            self._raise_error(self._task)
        raise StopAsyncIteration

    def _raise_error(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            raise ClientClosedError(
                "the client was closed while a batch was at work; the next run goes "
                "on with it"
            )
        task.result()  # or the error of the orders' own iterator
        if self.doom is not None:
            raise self.doom.for_awaiter()

    @property
    def doom(self) -> EzlinkError | None:
        """The error that stops every job, or a gap in the journal, if there is one."""
        return self._pipeline.doom or self._control.loss

    @property
    def accepted(self) -> int:
        """The number of jobs this run has submitted and been given ids for."""
        return self._control.accepted

    @property
    def in_progress(self) -> int:
        """The number of jobs being sent, at the server, or being saved."""
        return self.waits().jobs

    def waits(self) -> Waits:
        """Return what the run waits for once it is halted, and how long at most."""
        settings = self._session.transport.settings
        times, fixed = settings.timeouts, settings.poll.deadline
        saving = _SAVING * times.image
        answer = times.upload + times.submit
        if self._session.reconciler.can_search:
            answer += times.reconcile
        return self._pipeline.waits(
            {
                Stage.SENDING: answer + saving,
                Stage.RUNNING: saving,
                Stage.SAVING: saving,
            },
            lambda job: fixed or job.deadline,
        )

    @property
    def server_wait(self) -> str:
        """What ends a wait that the server causes, and when; empty without one."""
        return self._session.transport.server_waits.says

    @property
    def extra(self) -> int:
        """The number of outcomes beside those of the orders."""
        return self._unfinished.extra + self._pipeline.pressed

    def halt(self, why: str = NOTHING_SENT) -> None:
        """
        Send nothing more; *why* is the error of the orders that are left.

        Jobs the server has are waited for, but no task beyond its deadline. Submits
        whose answer is lost are searched for, but no outage of the account's pages is
        waited for.
        """
        self._session.reconciler.end_patience()
        self._control.leave(Problem(why, Reason.INTERRUPTED))

    def unread(self) -> Iterator[BatchOutcome]:
        """
        Yield the outcomes that were not read before the run was left.

        Best after the client is closed: by then the outcome of submits that were
        in progress is known.
        """
        for outcome in self._pipeline.unread():
            self._count(outcome)
            yield outcome

    async def aclose(self) -> None:
        """
        Send nothing more and leave, as leaving ``async with`` does.

        A cancellation waits until the journal is closed, which takes a bounded time.
        """
        if self._task is None:
            return
        if self._closing is None:
            self._closing = self._session.loop.create_task(self._close(self._task))
        try:
            await asyncio.wait([self._closing])
        except asyncio.CancelledError:
            await asyncio.wait([self._closing])
            raise
        self._closing.result()

    async def _close(self, task: asyncio.Task[None]) -> None:
        left_early = not task.done()
        # First of all: the iterator of the orders may take long to end.
        self._control.leave(INTERRUPTED)
        await cancel_and_wait([task])
        await self._pipeline.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._session.close_timeout):
                await self._control.wait_for_answers()
        self.summary.seconds = time.monotonic() - self._started
        try:
            if not left_early:
                self.summary.charges = await self._audit.end(self._control.accepted)
        finally:
            await self._end(resumable=left_early or self.summary.resumable > 0)

    async def _end(self, *, resumable: bool) -> None:
        """Close the journal, as soon as the outcome of every submit is known."""
        now, facts = self._options.clock(), {}
        if self._options.command is not None and resumable:
            facts["command"] = self._options.command
        if self.summary.charges is not None:
            charges = self.summary.charges
            facts["charged"] = str(charges)
            facts["charged_usd"] = repr(charges.dollars)
            facts["accepted"] = str(charges.accepted)
        self._writer.execute_soon(
            lambda journal: journal.end_run(self._run_id, now, facts)
        )
        if self._control.unanswered:
            with contextlib.suppress(ClientClosedError):
                self._session.background.start_soon(self._close_later())
                return
        await self._writer.close()

    async def _close_later(self) -> None:
        try:
            await self._control.wait_for_answers()
        finally:
            await self._writer.close()

    def _count(self, outcome: BatchOutcome) -> None:
        self.summary.add(outcome)
        self.summary.accepted = self._control.accepted


class BatchKeywords(TypedDict, total=False):
    """The options of :func:`run_batch` and :func:`run_jobs`, with their defaults."""

    journal: AnyPath | None
    """``.ezlink/journal.sqlite3`` in the folder of the results."""
    existing: Literal["skip", "replace"]
    """``"skip"``."""
    retry_failed: bool
    """Off."""
    resubmit_unknown: bool
    """Off: what may be paid is not sent again."""
    max_failures: int | None
    """``None``: no number of failures ends the run."""
    budget: int | None
    """``None``: no limit."""
    strip_metadata: bool
    """Off: pictures are sent as they are."""


def _options(output: AnyPath, keywords: BatchKeywords) -> BatchOptions:
    """Return checked options; others, such as those of a command, are a TypeError."""
    if unknown := keywords.keys() - BatchKeywords.__annotations__.keys():
        raise TypeError(f"a batch has no option {min(unknown)!r}")
    return BatchOptions(output=output, **keywords)


def run_batch(
    ez: AsyncEzlink,
    source: PictureLike | None,
    targets: Targets | Pairs,
    *,
    output: AnyPath,
    mode: Mode | str | None = None,
    **options: Unpack[BatchKeywords],
) -> BatchRun:
    """
    Return a run that swaps many pictures, and resumes an earlier run of the same call.

    *source* is a path, bytes, an :class:`Image` or a binary file object, which is
    read once and not closed. *targets* are pictures, and folders that are searched
    for them; a target in memory needs a name: ``Pair(target=..., name=...)``. Without
    a *source* they are pairs: ``(source, target)`` or the values of :mod:`pairs`,
    in a plain or an async iterable. The results are saved in the folder *output*,
    in subfolders like those of the targets. The *options* are those of
    :class:`BatchKeywords`: the *journal* is in ``.ezlink`` there unless it is named.

    Where a whole picture that is not this job's result exists already, the target
    is skipped, or with *existing* ``"replace"`` in place of ``"skip"`` swapped and
    replaced. *budget* is the most swaps this run pays for, *max_failures* how many
    end it.
    *retry_failed* submits again the jobs that the server failed at before,
    *resubmit_unknown* those that may have been paid already. *strip_metadata*
    sends pictures without position, names and thumbnails.

    The *source* is checked once. If it cannot be used nothing is sent, the jobs that
    earlier runs left unfinished are resumed all the same, and its
    :exc:`ImageError` is raised after the last outcome.

    Entering it raises :exc:`ConfigurationError` if another run is at work in the
    folder, or the folder cannot be used.
    """
    chosen = _options(output, options)
    face = None if source is None else picture_of(source, IN_MEMORY)
    pairs = pairs_of(face, targets, chosen.output)
    orders = OrderReader.of_pairs(pairs, Mode.parse(mode))
    return BatchRun(ez, orders, chosen, face)


def run_jobs(
    ez: AsyncEzlink,
    orders: Orders,
    *,
    output: AnyPath,
    **options: Unpack[BatchKeywords],
) -> BatchRun:
    """
    Return a run that does jobs of any kind, and resumes an earlier one of this call.

    *orders* are job requests, or values of :class:`Order` that name the place of
    their results and the buttons to press on them; in a plain or an async iterable,
    or read from a file by :func:`read_manifest`. The results are saved in the folder
    *output*: a picture as ``NAME.png``, several as ``NAME_1.png``, ``NAME_2.png``, a
    text as ``NAME.txt``, the result of a button as ``NAME+U1.png``. The same order
    in a later run is the same job, which is paid once.

    The other arguments are those of :func:`run_batch`; *budget* counts the jobs that
    are paid or may be, so that a free one is outside of it. Errors, outcomes and what
    leaving does are those of :func:`run_batch`, too.
    """
    return BatchRun(ez, OrderReader(orders), _options(output, options))
