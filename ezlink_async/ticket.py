"""One submit on its way: how far it is, who keeps book of it, who still waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs

from ezlink_async.errors import ClientClosedError, EzlinkError, SubmitUnknownError
from ezlink_async.images import Image, ImageLike
from ezlink_async.protocol import FaceSwapJob, Submission
from ezlink_async.tasks import TaskHandle
from ezlink_async.upload import Upload

_log = logging.getLogger("ezlink_async")


class Observer(Protocol):
    """
    Who keeps book of one job: the journal of a batch.

    For each attempt *before_submit*, then exactly one of the others, before
    anything waits, and also when the caller is gone.
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
class Ticket:
    """One submit on its way, as its caller and the closing client see it."""

    load: Callable[[], Awaitable[FaceSwapJob]]
    target: ImageLike
    observer: Observer
    upload: Upload | None = None
    uploaded: Callable[[], None] | None = None
    """Called when a body has left, and its answer is all that is missing."""
    request_id: str | None = None
    left: bool = False  # nobody waits for it any more
    closing: bool = False

    @property
    def committed(self) -> bool:
        """Whether the body has left whole and its answer is still awaited."""
        return self.upload is not None and self.upload.complete

    @property
    def label(self) -> str:
        """What to call the target in a log: never its bytes."""
        return repr(Image.of(self.target))

    def watch(self, upload: Upload) -> None:
        """Take note of the attempt that begins now."""
        self.upload = upload
        if self.uploaded is not None:
            upload.when_complete(self.uploaded)

    def call_off(self, task: asyncio.Task[TaskHandle]) -> None:
        """Stop it unless it is committed."""
        if self.committed:
            return
        if self.upload is not None:
            self.upload.abort()
        task.cancel()


def tell(observer: Observer, outcome: Submission | EzlinkError) -> None:
    """Tell *observer* which of the three an attempt's *outcome* is."""
    if isinstance(outcome, Submission):
        observer.accepted(outcome.task_id)
    elif outcome.maybe_charged:
        observer.unknown(outcome)
    else:
        observer.refused(outcome)


def cut_off(ticket: Ticket) -> EzlinkError:
    """Return what it means that a submit was stopped where it stands."""
    if ticket.committed:
        return SubmitUnknownError(
            "the client was closed while the server had the job but had not "
            "answered: it may have been created and paid",
            request_id=ticket.request_id,
            target=ticket.target,
        )
    return ClientClosedError(
        "the submit was cut off before the job was whole: none was created",
        retry_safe=True,
    )


def left_behind(task: asyncio.Task[TaskHandle], ticket: Ticket) -> None:
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
