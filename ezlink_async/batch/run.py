"""
Many swaps with a journal: nothing is paid twice, and nothing paid is lost.

Rules:

1. What earlier runs left open is taken up first, and once, whether it is asked
   for or not.
2. Each pair ends as exactly one outcome; what was not taken in is ``skipped``.
3. Memory does not grow: a few pairs are looked at together, a bounded number is
   in progress, and a slow reader stops the intake.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal, Self

from ezlink_async._client.client import AsyncEzlink
from ezlink_async._client.session import Session
from ezlink_async._io.concurrency import cancel_and_wait
from ezlink_async.batch.job_runner import JobRunner
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import open_commits
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.outcomes import NOTHING_SENT, BatchOutcome, BatchSummary
from ezlink_async.batch.pairs.reader import (
    AnyPath,
    PairReader,
    Pairs,
    Targets,
    pairs_of,
)
from ezlink_async.batch.pipeline import Limits, Pipeline
from ezlink_async.batch.preflight import Preflight
from ezlink_async.batch.recorder import Clock, RunControl
from ezlink_async.batch.spending import Budget, UsageAudit
from ezlink_async.batch.unfinished import UnfinishedJobs
from ezlink_async.errors import ClientClosedError, ConfigurationError, EzlinkError
from ezlink_async.services.midjourney import Mode

_AHEAD = 8  # jobs beyond those in progress: read, prepared, or being saved


class BatchRun(AsyncIterator[BatchOutcome]):
    """
    One run: ``async with`` it, and iterate over its outcomes as they come.

    Leaving it sends nothing more, and waits ``timeouts.close`` seconds for
    answers to what has left; whatever is open is taken up by the next run.
    What dooms every job (a refused key, no quota, a wrong address) is raised
    after the last outcome.
    """

    def __init__(self, ez: AsyncEzlink, pairs: Pairs, options: BatchOptions) -> None:
        self._ez = ez
        self._options = options
        self._supply = PairReader(pairs)
        self.summary = BatchSummary()
        self._entered = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise ConfigurationError("a run is entered once: make another one")
        session = self._session = self._ez._inside()  # noqa: SLF001 - one package
        self._commits = await open_commits(self._options.journal_path)
        self._entered = True
        try:
            await self._set_up(session)
            self._task = session.background.start(self._through())
        except BaseException:
            await self._commits.close()
            raise
        return self

    async def _set_up(self, session: Session) -> None:
        options = self._options
        rules = options.rules(session.origin)
        self._run = await self._commits.do(self._begin)
        self._started = time.monotonic()
        self._desk = RunControl(
            self._commits,
            Budget(options.budget),
            await self._audit(),
            await self._clock(),
        )
        self._earlier = UnfinishedJobs(self._commits, session.reconciler, rules)
        self._work = Pipeline(
            self._desk,
            JobRunner(self._ez, session, self._desk, options.manner),
            Preflight(rules, self._run),
            self._earlier,
            Limits(
                window=session.submitter.slots.limit + _AHEAD,
                max_failures=options.max_failures,
            ),
        )

    async def _audit(self) -> UsageAudit:
        """Return what reads what the key has spent, where nothing better does."""
        audit = UsageAudit(self._session.usage)
        if not self._options.local and not self._session.reconciler.can_search:
            await audit.begin()
        return audit

    async def _clock(self) -> Clock:
        now, server = self._options.clock, self._session.reconciler.server_time()
        theirs = await server
        return Clock(now, None if theirs is None else theirs - now())

    def _begin(self, journal: Journal) -> int:
        if self._options.local:
            journal.forget_unfinished(LOCAL)
        return journal.start_run(self._options.clock())

    async def _through(self) -> None:
        try:
            await self._work.through(self._supply, self._session.background)
        finally:
            self._work.outbox.end()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchOutcome:
        """Return the next outcome; what dooms every job is raised after the last."""
        if self._task is None:
            raise ConfigurationError("the run is not entered: use `async with`")
        outcome = None if self._closing else await self._work.outbox.next()
        if outcome is not None:
            self._count(outcome)
            return outcome
        if self._closing is None:
            await self.aclose()
            self._raise_what_ended_it(self._task)
        raise StopAsyncIteration

    def _raise_what_ended_it(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            raise ClientClosedError(
                "the client was closed while a batch was at work; the next run goes "
                "on with it"
            )
        task.result()  # what the pairs' own iterator raised
        if self.doom is not None:
            raise self.doom.for_awaiter()

    @property
    def doom(self) -> EzlinkError | None:
        """What stood in the way of every job."""
        return self._work.doom

    @property
    def accepted(self) -> int:
        """How many swaps this run has submitted and been given ids for."""
        return self._desk.accepted

    @property
    def in_progress(self) -> int:
        """How many jobs the server has, or is being sent."""
        return self._work.in_progress

    @property
    def extra(self) -> int:
        """How many outcomes there are beside those of the pairs."""
        return self._earlier.extra

    def halt(self, why: str) -> None:
        """
        Send nothing more; *why* is the error of what is left over.

        What the server has is waited for, but no task beyond its deadline.
        """
        self._desk.leave(why)

    def unread(self) -> Iterator[BatchOutcome]:
        """
        Yield the outcomes that were not read before the run was left.

        Best after the client is closed: by then it is known what became of
        submits that were under way.
        """
        for outcome in self._work.unread(self._supply):
            self._count(outcome)
            yield outcome

    async def aclose(self) -> None:
        """
        Send nothing more and leave, as leaving ``async with`` does.

        A cancellation waits: all of it is bounded, and the journal is closed.
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
        left = not task.done()
        self._desk.leave(NOTHING_SENT)
        await cancel_and_wait([task])
        await self._work.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._session.transport.settings.timeouts.close):
                await self._desk.quiet()
        self.summary.seconds = time.monotonic() - self._started
        try:
            if not left:
                charges = await self._desk.audit.end(self._desk.accepted)
                self.summary.charges = charges
        finally:
            await self._end(resumable=left or self.summary.resumable > 0)

    async def _end(self, *, resumable: bool) -> None:
        """Close the journal, as soon as all that was sent has been told of."""
        now, facts = self._options.clock(), {}
        if self._options.command is not None and resumable:
            facts["command"] = self._options.command
        if self.summary.charges is not None:
            facts["charged"] = str(self.summary.charges)
        self._commits.note(lambda journal: journal.end_run(self._run, now, facts))
        if self._desk.outstanding:
            with contextlib.suppress(ClientClosedError):
                self._session.background.start_soon(self._close_late())
                return
        await self._commits.close()

    async def _close_late(self) -> None:
        try:
            await self._desk.quiet()
        finally:
            await self._commits.close()

    def _count(self, outcome: BatchOutcome) -> None:
        self.summary.add(outcome)
        self.summary.accepted = self._desk.accepted


def run_batch(
    ez: AsyncEzlink,
    source: AnyPath | None,
    targets: Targets | Pairs,
    *,
    output: AnyPath,
    journal: AnyPath | None = None,
    mode: Mode | str | None = None,
    existing: Literal["skip", "replace"] = "skip",
    retry_failed: bool = False,
    resubmit_unknown: bool = False,
    max_failures: int | None = None,
    budget: int | None = None,
    strip_metadata: bool = False,
) -> BatchRun:
    """
    Swap many, with a journal, so that the same call goes on where one has ended.

    *targets* are pictures, and folders that are searched for them. Without a
    *source* they are pairs: ``(source, target)`` or what :mod:`pairs` yields,
    in a plain or an async iterable. The results go into the folder *output*,
    in the shape of the folders they come from; the *journal* is in
    ``.ezlink`` there unless it is named.

    Where a whole picture is there already that is not this job's, the target
    is skipped, or with *existing* ``"replace"`` swapped and replaced. *budget*
    is the most swaps this run pays for, *max_failures* how many end it.
    *retry_failed* submits again what the server called a failure before,
    *resubmit_unknown* what may have been paid already. *strip_metadata* sends
    no position, no names, no thumbnails along.

    Raises :exc:`ConfigurationError` on entering when another run is at work in
    the folder, or it cannot be used.
    """
    options = BatchOptions(
        output=Path(output),
        journal=None if journal is None else Path(journal),
        mode=Mode.parse(mode),
        existing=existing,
        retry_failed=retry_failed,
        resubmit_unknown=resubmit_unknown,
        max_failures=max_failures,
        budget=budget,
        strip_metadata=strip_metadata,
    )
    return BatchRun(ez, pairs_of(source, targets, options.output), options)
