"""How each swap of many stands, and how it ended."""

from __future__ import annotations

import attrs

from ezlink_async.errors import ClientClosedError, EzlinkError, SubmitUnknownError
from ezlink_async.images import Image, ImageLike
from ezlink_async.models import TaskRecord
from ezlink_async.protocol import FaceSwapJob
from ezlink_async.tasks import TaskHandle


@attrs.frozen
class SwapOutcome:
    """
    How one swap of a batch ended: exactly one of *record* and *error* is set.

    *handle* is there as soon as the server had accepted the job, so its id is
    known whatever came after.
    """

    source: ImageLike
    target: ImageLike
    handle: TaskHandle | None = None
    record: TaskRecord | None = None
    error: EzlinkError | None = None


def _not_sent() -> EzlinkError:
    return ClientClosedError("nothing was sent", retry_safe=True)


@attrs.define(eq=False)
class Taken:
    """
    One target that was taken in, and how it stands, at any time.

    It is the observer of its own submit: so the id is known even when it came
    after everybody had left.
    """

    source: ImageLike
    target: ImageLike
    handle: TaskHandle | None = None
    record: TaskRecord | None = None
    error: EzlinkError = attrs.field(factory=_not_sent)
    left: bool = False  # in mid-submit, whose end will be told by the submit

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Expect the worst until the answer is there."""
        del job, state
        self.error = SubmitUnknownError(
            "it was given up while the server had the job but had not answered: "
            "it may have been created and paid",
            request_id=request_id,
            target=self.target,
        )

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        self.error = ClientClosedError(
            f"nobody waited for the end of task {task_id}; it runs on",
            task_ids=(task_id,),
        )

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists."""
        self.error = error

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        self.error = error

    def failed(self, bug: Exception) -> None:
        """Take what is no error of ours, without losing what is known."""
        known = self.error
        self.error = EzlinkError(
            f"{type(bug).__name__}: {bug}",
            task_id=known.task_id,
            request_id=known.request_id,
            retry_safe=known.retry_safe,
            maybe_charged=known.maybe_charged,
        )
        self.error.__cause__ = bug

    @property
    def outcome(self) -> SwapOutcome:
        """How it ended, or how it stands."""
        error = None if self.record is not None else self.error
        return SwapOutcome(self.source, self.target, self.handle, self.record, error)

    @property
    def lost(self) -> str | None:
        """What to look for when nobody was told, if it was paid or may be."""
        handle, error = self.handle, self.error
        if self.left or (handle is not None and handle.asked):
            return None
        task_id = handle.task_id if handle is not None else error.task_id
        if task_id is not None:
            return f"task {task_id} (target {Image.of(self.target)!r})"
        if error.maybe_charged:
            return f"request {error.request_id} (target {Image.of(self.target)!r})"
        return None
