"""A job of a batch while it is under way, and how it stands when it is left."""

from __future__ import annotations

import attrs

from ezlink_async.bookkeeping import Bookkeeper
from ezlink_async.results import BatchOutcome
from ezlink_async.resume import Step
from ezlink_async.screening import Job

_NOT_ANSWERED = (
    "the run was left while the server had the job but had not answered: it may "
    "have been created and paid"
)


@attrs.define(eq=False)
class UnderWay:
    """A job, who keeps book of it, and how it ended, if it has."""

    job: Job
    book: Bookkeeper
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
