"""One submit on its way: how far it is, who keeps book of it, who still waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import attrs

from ezlink_async._client.handle import TaskHandle
from ezlink_async._core.images import Image, ImageLike
from ezlink_async._io.upload import Upload
from ezlink_async.errors import ClientClosedError, EzlinkError, SubmitUnknownError
from ezlink_async.services.base import Accepted
from ezlink_async.services.face_swap import FaceSwapJob

_log = logging.getLogger("ezlink_async")

_Fault = TypeVar("_Fault", bound=Exception)


class SubmitObserver(Protocol):
    """
    Who keeps book of one job: the journal of a batch.

    For each attempt *before_submit*, then exactly one of the others, before
    anything waits, and also when the caller is gone. After an attempt that is
    unknown no later one is told as refused. With an account token a lost answer
    is looked up first, so it may come minutes later; then every job has a
    *state* of its own, the same for all its attempts.

    What *before_submit* raises stops the submit. What the others raise goes
    into the log, with the id, and the caller gets what it would have got: by
    then the job may be paid.
    """

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Note that the job is about to be sent; the slot is held."""
        ...

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        ...

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists."""
        ...

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        ...


class NoObserver:
    """Keeps no book."""

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Do nothing."""

    def accepted(self, task_id: str) -> None:
        """Do nothing."""

    def refused(self, error: EzlinkError) -> None:
        """Do nothing."""

    def unknown(self, error: EzlinkError) -> None:
        """Do nothing."""


@attrs.define(eq=False)
class PendingSubmit:
    """One submit on its way, as its caller and the closing client see it."""

    load: Callable[[], Awaitable[FaceSwapJob]]
    target: ImageLike
    observer: SubmitObserver
    upload: Upload | None = None
    uploaded: Callable[[], object] = lambda: None
    """Called when a picture is on its way, and another upload may begin."""
    request_id: str = ""
    state: str | None = None
    lost: list[str] = attrs.field(factory=list)
    """The request ids of earlier attempts whose outcome is unknown."""
    begun: float = 0.0
    """When the first attempt began that may have made a task; the loop's time."""
    sent: float | None = None
    """When the body of the latest attempt had left whole."""
    looked_for: bool = False  # its answer is lost, and its task looked for
    left: bool = False  # nobody waits for it any more
    closing: bool = False

    @property
    def committed(self) -> bool:
        """Whether the body has left whole and what became of it is awaited."""
        sent = self.upload is not None and self.upload.complete
        return sent or self.looked_for

    @property
    def label(self) -> str:
        """What to call the target in a log: never its bytes."""
        return repr(Image.of(self.target))

    def begin(self, request_id: str, state: str | None) -> None:
        """Begin another attempt."""
        self.request_id, self.state = request_id, state
        self.upload = self.sent = None
        self.looked_for = False
        if not self.lost:
            self.begun = asyncio.get_running_loop().time()

    def watch(self, upload: Upload) -> None:
        """Take note of the attempt that begins now."""
        self.upload = upload
        upload.on_flushed(self.uploaded)
        upload.on_complete(self._note_sent)

    def _note_sent(self) -> None:
        self.sent = asyncio.get_running_loop().time()

    def with_earlier_attempts(self, fault: _Fault) -> _Fault | SubmitUnknownError:
        """
        Return what *fault*, which ended it, means for the job.

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
                f"what came after it: {fault}",
                request_id=self.lost[-1],
                target=self.target,
            )
            error.__cause__ = fault
        error.request_ids = tuple(dict.fromkeys((*self.lost, *error.request_ids)))
        return error

    def cancel(self, task: asyncio.Task[TaskHandle]) -> None:
        """Stop it unless it is committed."""
        if self.committed:
            return
        if self.upload is not None:
            self.upload.abort()
        task.cancel()


def tell(ticket: PendingSubmit, outcome: Accepted | EzlinkError) -> None:
    """Tell the observer which of the three an attempt's *outcome* is."""
    told = (
        outcome
        if isinstance(outcome, Accepted)
        else ticket.with_earlier_attempts(outcome)
    )
    try:
        if isinstance(told, Accepted):
            ticket.observer.accepted(told.task_id)
        elif told.maybe_charged:
            ticket.observer.unknown(told)
        else:
            ticket.observer.refused(told)
    except Exception:  # noqa: BLE001 - whatever it is, what was paid must not be lost
        _log.exception(
            "the observer of %s failed when it was told: %s (task %s, request %s)",
            ticket.label,
            told,
            told.task_id,
            ticket.request_id,
        )


def cut_off(ticket: PendingSubmit) -> EzlinkError:
    """Return what it means that a submit was stopped where it stands."""
    if ticket.committed:
        return ticket.with_earlier_attempts(
            SubmitUnknownError(
                "the client was closed while the server had the job but had not "
                "answered: it may have been created and paid",
                request_id=ticket.request_id,
                target=ticket.target,
            )
        )
    return ticket.with_earlier_attempts(
        ClientClosedError(
            "the submit was cut off before the job was whole: none was created",
            retry_safe=True,
        )
    )


def left_behind(task: asyncio.Task[TaskHandle], ticket: PendingSubmit) -> None:
    """Say in the log what became of a submit nobody waits for any more."""
    error = None if task.cancelled() else task.exception()
    if error is None and not task.cancelled():
        handle = task.result()
        _log.warning(
            "task %s (target %s) was accepted after its caller had left; "
            "pending() has its handle",
            handle.task_id,
            ticket.label,
        )
    elif isinstance(error, EzlinkError) and (error.maybe_charged or error.task_id):
        _log.warning(
            "nobody waits for the submit of %s any more: %s (task %s, request %s)",
            ticket.label,
            error,
            error.task_id,
            error.request_id,
        )
