"""The jobs that a run has begun, and how long it waits for them once it is halted."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable, Mapping
from typing import Self

import attrs

from ezlink_async.batch.journal.jobs import Problem, Reason, Step
from ezlink_async.batch.options import LOCAL
from ezlink_async.batch.outcomes import BatchOutcome, skipped
from ezlink_async.batch.preflight import BatchJob
from ezlink_async.batch.recorder import JournalObserver, Stage
from ezlink_async.errors import TaskTimeoutError

_NOT_SAVED = Problem(
    "Interrupted: not saved yet; the next run goes on with it", Reason.RUNNING
)
_NOT_ANSWERED = (
    "SubmitUnknownError: the run was left while the server had the job but had not "
    "answered: it may have been created and paid"
)


@attrs.define(eq=False)
class RunningJob:
    """A job, its observer, and its outcome if it has ended."""

    job: BatchJob
    observer: JournalObserver
    outcome: BatchOutcome | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether it has not ended for good in this run."""
        ended = self.outcome
        return ended is None or isinstance(ended.fault, TaskTimeoutError)

    @property
    def needs_request(self) -> bool:
        """Whether its submit failed, so that only the user has it sent again."""
        ended = self.outcome
        if ended is None or self.job.step is not Step.SUBMIT:
            return False
        return ended.status != "succeeded" and not ended.resumable

    def left_over(self, problem: Problem) -> BatchOutcome:
        """Return its outcome, or the one it has if the run ends now."""
        job, observer = self.job, self.observer
        task_id = observer.task_id or job.task_id
        if self.outcome is not None:
            return self.outcome
        if job.record.key.server == LOCAL:
            return skipped(job.order, problem)  # its server ends with this process
        if task_id is not None:
            unwritten = observer.unwritten(task_id)
            return attrs.evolve(
                job.outcome("failed", unwritten or _NOT_SAVED),
                task_id=task_id,
                maybe_charged=unwritten is not None,
                resumable=unwritten is None,
            )
        if observer.request_id is None or observer.refusal is not None:
            return job.left_over(problem)
        outcome = job.outcome("unknown", Problem(observer.unclear or _NOT_ANSWERED))
        return attrs.evolve(outcome, request_id=observer.request_id)


@attrs.frozen(kw_only=True)
class Waits:
    """
    What a halted run still waits for, in numbers of jobs, and how long at most.

    *sending* are being sent or wait for the answer, *running* are at the server,
    *saving* are being downloaded; *seconds* is the longest that one of them takes.
    """

    sending: int = 0
    running: int = 0
    saving: int = 0
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        jobs: Iterable[RunningJob],
        bounds: Mapping[Stage, float],
        deadline: Callable[[BatchJob], float],
    ) -> Self:
        """
        Return what is waited for of *jobs*.

        *bounds* are the most seconds in each stage beside the time of the task,
        of which *deadline* is the most.
        """
        now = asyncio.get_running_loop().time()
        numbers: collections.Counter[Stage] = collections.Counter()
        longest = 0.0
        for each in jobs:
            stage = each.observer.stage
            if stage is None or each.outcome is not None:
                continue
            numbers[stage] += 1
            most = bounds[stage]
            if stage is not Stage.SAVING:
                most += deadline(each.job)
            if stage is Stage.RUNNING:
                most -= now - each.observer.followed_at
            longest = max(longest, most)
        return cls(
            sending=numbers[Stage.SENDING],
            running=numbers[Stage.RUNNING],
            saving=numbers[Stage.SAVING],
            seconds=longest,
        )

    @property
    def jobs(self) -> int:
        """The number of jobs that are waited for."""
        return self.sending + self.running + self.saving
