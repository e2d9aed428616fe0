"""One submit in progress: how far it is, who observes it, what its outcome means."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.submitting.row_search import RowSearch
from ezlink_async._core.log_lines import get_logger
from ezlink_async.errors import ClientClosedError, EzlinkError, SubmitUnknownError
from ezlink_async.services.base import Accepted, AnyRecord, Job

_log = get_logger()

_Fault = TypeVar("_Fault", bound=Exception)


class SubmitObserver(Protocol):
    """
    Is called at each step of one submit; the journal of a batch is one.

    For each attempt *before_submit* is called, then exactly one of the others,
    before anything waits, and also when the caller has been cancelled. After an
    unknown attempt no later one is reported as refused. With an account token a
    lost answer is looked up first, so its report may come minutes later; then
    every job has a *state* of its own, the same for all its attempts.

    An exception from *before_submit* stops the submit. An exception from the
    others is logged with the id, and the caller gets its result all the same: by
    then the job may be paid.
    """

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Record that the job is about to be sent; the slot is held."""

    def accepted(self, task_id: str) -> None:
        """Record the id."""

    def refused(self, error: EzlinkError) -> None:
        """Record that no job exists."""

    def unknown(self, error: EzlinkError) -> None:
        """Record that a job may exist and may be paid."""


class UploadProgress(Protocol):
    """What a submit follows of the upload of its attempt."""

    @property
    def complete(self) -> bool:
        """Whether the whole body has left."""
        ...

    def on_flushed(self, call: Callable[[], object]) -> None:
        """Call *call* once the pictures have left."""
        ...

    def on_complete(self, call: Callable[[], object]) -> None:
        """Call *call* once the whole body has left."""
        ...

    def abort(self) -> None:
        """Abort the upload if its last part has not left."""
        ...


@attrs.define(eq=False)
class PendingSubmit:
    """One submit in progress, as its caller and the closing client see it."""

    load: Callable[[], Awaitable[Job[AnyRecord]]]
    target: object
    """What a submit with an unknown outcome names."""
    observer: SubmitObserver | None = None
    deadline: float | None = None
    """Seconds from acceptance to the task's deadline; ``None``: the family's."""
    received: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)
    """Releases what was received for this job alone, once its submit has ended."""
    made_no_job: Callable[[], object] = lambda: None
    """Called when it has ended, and may be sent again without paying twice."""
    job: Job[AnyRecord] = attrs.field(init=False)
    """The job, once it is loaded."""
    upload: UploadProgress | None = None
    uploaded: Callable[[], object] = lambda: None
    """Called when the pictures have left, and another upload may begin."""
    request_id: str = ""
    lost: list[str] = attrs.field(factory=list)
    """The request ids of earlier attempts whose outcome is unknown."""
    search: RowSearch | None = None
    """The search by which a lost answer may be found with the key alone."""
    refusals: int = 0
    """How many attempts were refused."""
    begun: float = 0.0
    """When the first attempt began that may have made a task; the loop's time."""
    sent: float | None = None
    """When the whole body of the latest attempt had left."""
    reconciling: bool = False
    """Whether the answer is lost, and the account's pages are searched."""
    abandoned: bool = False
    """Whether the caller was cancelled."""
    closing: bool = False
    """Whether the client is closing."""
    _attempt_begun: float = attrs.field(default=0.0, init=False)

    @property
    def committed(self) -> bool:
        """Whether the whole body has left, so the outcome must be awaited."""
        complete = self.upload is not None and self.upload.complete
        return complete or self.reconciling

    def begin(self, request_id: str) -> None:
        """Begin another attempt."""
        self.request_id = request_id
        self.upload = self.sent = None
        self._attempt_begun = asyncio.get_running_loop().time()
        if not self.lost:
            self.begun = self._attempt_begun

    def follow_upload(self, upload: UploadProgress) -> None:
        """Follow the upload of the attempt that begins now."""
        self.upload = upload
        upload.on_flushed(self.uploaded)
        upload.on_complete(self._note_sent)

    def _note_sent(self) -> None:
        self.sent = asyncio.get_running_loop().time()
        _log.info(
            "submitted %s in %.1f s (request %s)",
            self.job.label,
            self.sent - self._attempt_begun,
            self.request_id,
        )

    def with_earlier_attempts(self, fault: _Fault) -> _Fault | SubmitUnknownError:
        """
        Return what *fault*, which ended the submit, means for the job.

        A refusal does not undo an earlier attempt that may have been paid.
        """
        if not self.lost:
            return fault
        error: SubmitUnknownError
        if isinstance(fault, SubmitUnknownError):
            error = fault
        else:
            error = SubmitUnknownError(
                f"request {self.lost[-1]} may have created and paid the job; "
                f"a later attempt ended so: {fault}",
                request_id=self.lost[-1],
                target=self.target,
            )
            error.__cause__ = fault
        error.request_ids = tuple(dict.fromkeys((*self.lost, *error.request_ids)))
        return error

    def ended(self, fault: Exception) -> Exception:
        """Note that *fault* ended the submit, and return it."""
        if isinstance(fault, EzlinkError) and fault.retry_safe:
            self.made_no_job()
        return fault

    def cancel(self, task: asyncio.Task[FollowedHandle[AnyRecord]]) -> None:
        """Stop the submit, which runs in *task*, unless it is committed."""
        if self.committed:
            return
        if self.upload is not None:
            self.upload.abort()
        task.cancel()

    def interruption(self) -> EzlinkError:
        """Return the error for a submit that is stopped where it stands."""
        error: EzlinkError = ClientClosedError(
            "the submit was stopped before the whole job had left: no job was created",
            retry_safe=True,
        )
        if self.committed:
            error = SubmitUnknownError(
                "the client was closed while the server had the job but had not "
                "answered: it may have been created and paid",
                request_id=self.request_id,
                target=self.target,
            )
        return self.with_earlier_attempts(error)

    def crashed(self, bug: Exception) -> EzlinkError:
        """Return the error of a *bug* in the job itself, before or after its upload."""
        says = f"the job cannot be sent, or its answer be read: {bug!r}"
        error = EzlinkError(says, retry_safe=True)
        if self.committed:
            error = SubmitUnknownError(says, request_id=self.request_id)
        error.__cause__ = bug
        return error

    def report(self, outcome: Accepted | EzlinkError) -> None:
        """Log an acceptance, and report the *outcome* of an attempt to the observer."""
        if isinstance(outcome, Accepted):
            _log.info(
                "task %s accepted after %.1f s: %s (request %s)",
                outcome.task_id,
                asyncio.get_running_loop().time() - self._attempt_begun,
                self.job.label,
                self.request_id,
            )
        if self.observer is None:
            return
        if not isinstance(outcome, Accepted):
            outcome = self.with_earlier_attempts(outcome)
        try:
            if isinstance(outcome, Accepted):
                self.observer.accepted(outcome.task_id)
            elif outcome.maybe_charged:
                self.observer.unknown(outcome)
            else:
                self.observer.refused(outcome)
        except Exception:  # noqa: BLE001 - no bug of an observer may lose a paid job
            _log.exception(
                "the observer of %s failed to record: %s (task %s, request %s)",
                self.job.label,
                outcome,
                outcome.task_id,
                self.request_id,
            )

    def log_orphan(self, task: asyncio.Task[FollowedHandle[AnyRecord]]) -> None:
        """Log the result of *task*, whose caller was cancelled."""
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            _log.warning(
                "task %s (target %s) was accepted after its caller was cancelled; "
                "pending() has its handle",
                task.result().task_id,
                self.job.label,
            )
        elif isinstance(error, EzlinkError) and (error.maybe_charged or error.task_id):
            _log.warning(
                "the submit of %s ended after its caller was cancelled: %s "
                "(task %s, request %s)",
                self.job.label,
                error,
                error.task_id,
                error.request_id,
            )
