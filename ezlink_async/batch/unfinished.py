"""
The jobs that earlier runs left unfinished, resumed once per run.

A task with an id is followed, a finished one is downloaded, even if no order of this
run asks for it. One that waits for input is left alone: only a modal goes on with it.
A submit whose outcome is not known is looked up where there is an account token; one
that stays unknown is reported at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import attrs

from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.reconciler import AnyReconciler
from ezlink_async.batch.journal.jobs import JobRecord, JobState, Reason, Step, next_step
from ezlink_async.batch.journal.writer import JournalWriter
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.orders import Order, request_key
from ezlink_async.batch.pairs.output_paths import path_key
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.batch.preflight import BatchJob
from ezlink_async.services.face_swap import FaceSwap
from ezlink_async.services.flux import Flux
from ezlink_async.services.midjourney import Blend, Describe, Imagine, Shorten
from ezlink_async.services.registry import FAMILIES
from ezlink_async.services.traces import Traces

_WITNESSES = tuple(each.kind for each in (FaceSwap, Imagine, Blend, Describe, Shorten))
"""The kinds of jobs that are surely charged, and stand in the account's log."""

_WITH_ROWS = (Flux.kind,)
"""The kinds of jobs with rows of their own on a page of the account."""


class UnfinishedJobs:
    """
    The open jobs of earlier runs at *server*.

    Their outcomes come from here, whether an order asks for them or not. *extra* is
    the number of outcomes beside those of the orders.
    """

    def __init__(
        self,
        writer: JournalWriter,
        reconciler: AnyReconciler,
        options: BatchOptions,
        server: str,
    ) -> None:
        self._writer = writer
        self._reconciler = reconciler
        self._options = options
        self._server = server
        self._resumed: set[int] = set()
        self._unasked: set[int] = set()  # no order has asked for them
        # Pictures in memory may share a name, so orders that look alike have several.
        self._ids: dict[tuple[str, tuple[Input, ...]], list[int]] = {}
        self._unclear: dict[int, BatchJob] = {}
        self._asked: dict[int, Order] = {}  # looked up, and asked for by an order
        self._output_paths: set[str] = set()
        self._looked_up: set[int] = set()

    @property
    def extra(self) -> int:
        """The number of outcomes beside those of the orders."""
        return len(self._unasked)

    async def resumable(self) -> AsyncIterator[BatchJob]:
        """Yield the jobs to follow or to download."""
        after = 0
        while records := await self._open_records(after):
            for record in records:
                after = record.id
                if self._is_sent_again(record) or record.reason is Reason.INPUT:
                    continue  # an order that asks for it sends it, or looks at it
                self._unasked.add(record.id)
                key = request_key(record.key.kind, record.key.request), record.inputs
                self._ids.setdefault(key, []).append(record.id)
                job = self._job(record)
                if job.step is Step.REPORT:
                    self._unclear[record.id] = job
                else:
                    self._resumed.add(record.id)
                    self._output_paths.add(path_key(record.key.output_path))
                    yield job

    async def _open_records(self, after: int) -> list[JobRecord]:
        return await self._writer.execute(
            lambda journal: journal.open_records(self._server, after)
        )

    def _is_sent_again(self, record: JobRecord) -> bool:
        """Return whether its result is gone for good, so its order sends it again."""
        step = next_step(record, self._options, intact=False)
        return step is Step.SUBMIT and record.state is JobState.SUCCEEDED

    def _job(self, record: JobRecord) -> BatchJob:
        order = Order(
            kind=record.key.kind,
            request=None,
            wanted_path=record.key.output_path,
            label=record.label,
            inputs=record.inputs,
        )
        # Only a job that an order asks for is sent again.
        plain = attrs.evolve(self._options, retry_failed=False, resubmit_unknown=False)
        step = next_step(record, plain, intact=False)
        return BatchJob(order, record, step, self._options.output)

    def reports(self, job: BatchJob) -> bool:
        """Return whether the outcome of an order's job comes from here."""
        this = job.record.id
        if self._reports_resumed(this):
            return True
        if this in self._unclear and self._reconciler.can_search:
            self._asked[this] = job.order
            self._unasked.discard(this)
            return True
        if self._unclear.pop(this, None):
            self._unasked.discard(this)
        return False

    def reports_order(self, order: Order) -> bool:
        """Return the same of an order that is not checked any more."""
        if not self._ids:
            return False
        ids = self._ids.get((order.request_key, order.stored), [])
        while ids:
            this = ids.pop(0)
            if this in self._unclear and this not in self._asked:
                self._asked[this] = order
                self._unasked.discard(this)
                return True
            if self._reports_resumed(this):
                return True
        return False

    def _reports_resumed(self, this: int) -> bool:
        if this not in self._resumed:
            return False
        self._resumed.discard(this)
        self._unasked.discard(this)
        return True

    def is_outdated(self, job: BatchJob) -> bool:
        """Return whether a job was looked up after its order was checked."""
        return job.step is Step.REPORT and job.record.id in self._looked_up

    def looks_up(self, job: BatchJob) -> bool:
        """Return whether *job* is being looked up for its order."""
        return job.record.id in self._asked

    def has_output_path(self, path: str) -> bool:
        """Return whether one of the results is saved at *path*."""
        return path_key(path) in self._output_paths

    async def look_up(self) -> AsyncIterator[BatchJob | Order]:
        """Look up the unknown submits; yield jobs to follow, and orders to send."""
        if not self._unclear or not self._reconciler.can_search:
            return
        jobs, server = list(self._unclear.values()), self._server
        known, witnesses, with_rows = await self._writer.execute(
            lambda journal: (
                journal.task_ids(server),
                journal.witnesses(server, _WITNESSES),
                journal.witnesses(server, _WITH_ROWS),
            )
        )
        findings = await self._reconciler.resume(
            [_lost(job.record) for job in jobs],
            known=known,
            witnesses=witnesses[::-1],
            with_rows=with_rows[::-1],
        )
        for job, finding in zip(jobs, findings, strict=True):
            found = await self._conclude(job, finding)
            if found is not None:
                yield found

    async def _conclude(
        self, job: BatchJob, finding: Finding
    ) -> BatchJob | Order | None:
        """Write *finding* to the journal, and return what to do about the job."""
        this, task_id = job.record.id, finding.task_id
        order = self._asked.pop(this, None)
        self._looked_up.add(this)
        if finding.fate is Fate.FOUND and task_id is not None:
            del self._unclear[this]
            if order is None:
                self._resumed.add(this)  # an order may still ask for it
            self._output_paths.add(path_key(job.record.key.output_path))
            await self._writer.execute(lambda journal: journal.accepted(this, task_id))
            record = attrs.evolve(job.record, task_id=task_id)
            then = () if order is None else order.then
            asked = attrs.evolve(job.order, then=then)
            return attrs.evolve(job, order=asked, record=record, step=Step.FOLLOW)
        if finding.fate is Fate.NOT_CREATED:
            del self._unclear[this]
            self._unasked.discard(this)
            await self._write_not_created(this, finding)
            return order
        error = f"SubmitUnknownError: {finding.reason}"
        await self._writer.execute(lambda journal: journal.unknown(this, error))
        if order is not None and self._options.resubmit_unknown:
            del self._unclear[this]
            return order
        record = attrs.evolve(job.record, error=error)
        self._unclear[this] = attrs.evolve(job, record=record)
        return None

    async def _write_not_created(self, job: int, finding: Finding) -> None:
        error = f"TransportError: it was never created: {finding.reason}"
        failed_at = None
        if finding.may_run:  # as if the answer of the submit had arrived
            error, failed_at = f"ServerError: {finding.reason}", self._options.clock()
        await self._writer.execute(
            lambda journal: journal.not_created(job, error, failed_at=failed_at)
        )

    def remaining(self) -> Iterator[BatchOutcome]:
        """Yield the outcomes of jobs that stayed unknown, each once."""
        for this, job in list(self._unclear.items()):
            yield job.outcome("unknown", job.problem)
            self._unclear.pop(this, None)


def _lost(record: JobRecord) -> Lost:
    family = FAMILIES.get(record.family)
    return Lost(
        state=record.state_tag,
        request_ids=record.request_ids,
        since=record.since,
        traces=Traces() if family is None else family.traces,
    )
