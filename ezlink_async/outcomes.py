"""How each swap of many stands, and how it ended."""

from __future__ import annotations

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async.errors import ClientClosedError, EzlinkError, SubmitUnknownError
from ezlink_async.models import TaskRecord
from ezlink_async.services.face_swap import FaceSwapJob
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
    left: bool = False  # in mid-submit, whose end will be told by the submit
    _request_id: str | None = None  # of what was sent, and not answered yet
    _task_id: str | None = None  # of what was accepted
    _error: EzlinkError | None = None  # that ended it

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Expect the worst until the answer is there."""
        del job, state
        self._request_id, self._error = request_id, None

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        self._task_id, self._error = task_id, None

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists."""
        self.ended(error)

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        self.ended(error)

    def ended(self, error: EzlinkError) -> None:
        """Note what ended it."""
        self._error = error

    @property
    def error(self) -> EzlinkError:
        """What it means that there is no record, made when it is asked for."""
        if self._error is None:
            self._error = self._standing()
        return self._error

    def _standing(self) -> EzlinkError:
        if self._task_id is not None:
            return ClientClosedError(
                f"nobody waited for the end of task {self._task_id}; it runs on",
                task_ids=(self._task_id,),
            )
        if self._request_id is not None:
            return SubmitUnknownError(
                "it was given up while the server had the job but had not answered: "
                "it may have been created and paid",
                request_id=self._request_id,
                target=self.target,
            )
        return ClientClosedError("nothing was sent", retry_safe=True)

    def failed(self, bug: Exception) -> None:
        """Take what is no error of ours, without losing what is known."""
        known = self.error
        error = EzlinkError(
            f"{type(bug).__name__}: {bug}",
            task_id=known.task_id,
            request_id=known.request_id,
            retry_safe=known.retry_safe,
            maybe_charged=known.maybe_charged,
        )
        error.__cause__ = bug
        self.ended(error)

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
