"""
Every exception of the package, sorted by what the caller has to change.

All derive from :class:`EzlinkError`. Each carries what the caller needs to go
on: the task's id, the request's id, whether the job was surely not created.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, TypedDict, Unpack

if TYPE_CHECKING:
    from ezlink_async.models import Record

_HEAD = 200  # bytes of an unreadable answer that are kept

_MOST = 1900  # characters of a message

_END = 300  # characters of a message's end, where it says what to change


def _shortened(message: str) -> str:
    """Return *message* without its middle if a value in it makes it too long."""
    if len(message) <= _MOST:
        return message
    left_out = len(message) - _MOST
    begin = message[: _MOST - _END]
    return f"{begin} [{left_out} characters left out] {message[-_END:]}"


class _Facts(TypedDict, total=False):
    """The keyword arguments that every error takes."""

    task_id: str | None
    request_id: str | None
    retry_safe: bool
    maybe_charged: bool


class EzlinkError(Exception):
    """
    The root: catch it to catch every error this package raises.

    *retry_safe* means that the job surely was not created, so sending it again
    cannot pay twice. *maybe_charged* means that it may have been paid for: the
    outcome of a submit is unknown, or the job was accepted and is not given back
    (a download that fails, a task that takes too long). The *task_id* is that of the
    job, or, where the outcome of a follow-up is unknown, that of the task it was for.
    Both are false where the error says nothing about a submit.
    A message has at most 2,000 characters; of a longer one the middle is left out.
    """

    _never_sent: ClassVar[bool] = False

    def __init__(self, message: str = "", **facts: Unpack[_Facts]) -> None:
        super().__init__(_shortened(message))
        self.task_id: str | None = facts.get("task_id")
        self.request_id: str | None = facts.get("request_id")
        self.retry_safe: bool = facts.get("retry_safe", self._never_sent)
        self.maybe_charged: bool = facts.get("maybe_charged", False)

    def for_awaiter(self) -> Self:
        """Return a copy, so that awaiters do not share one traceback."""
        own = copy.copy(self)
        own.__cause__ = self.__cause__
        return own


class ConfigurationError(EzlinkError, ValueError):
    """A setting or an argument is wrong; nothing was sent."""

    _never_sent = True


class JournalError(EzlinkError):
    """The journal of a batch cannot be written, so nothing new is sent."""

    _never_sent = True


class ImageError(EzlinkError, ValueError):
    """
    A picture cannot be used; nothing was sent, or the upload was cut off.

    *path* names the file, when there is one; *reason* says in one sentence what
    is wrong; *limit* is the limit that was exceeded, ``None`` for other reasons.
    """

    _never_sent = True

    def __init__(
        self,
        reason: str = "",
        *,
        path: str | PathLike[str] | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path
        self.limit = limit


class ClientClosedError(EzlinkError):
    """
    The client was closed during this call, or before it.

    The tasks *task_ids* are still running on the server: resume each with
    :meth:`AsyncEzlink.task`.
    """

    def __init__(
        self,
        message: str = "the client is closed",
        *,
        task_ids: Iterable[str] = (),
        retry_safe: bool = False,
    ) -> None:
        ids = tuple(task_ids)
        super().__init__(
            message, task_id=ids[0] if len(ids) == 1 else None, retry_safe=retry_safe
        )
        self.task_ids = ids


class SlotTimeoutError(EzlinkError, TimeoutError):
    """No slot became free within ``slot_timeout``; nothing was sent."""

    _never_sent = True


class TransportError(EzlinkError):
    """
    No HTTP answer came, or not all of it.

    *stage* says how far the request got: ``connect`` (no connection), ``tls``
    (the connection is not trusted, or not TLS), ``upload`` (the body was not
    sent whole), ``answer`` (the connection was lost after that) or ``silence``
    (no answer in time). With ``retry_safe`` the server cannot have acted on it.
    """

    def __init__(
        self, message: str = "", *, stage: str = "answer", **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.stage = stage


class ApiError(EzlinkError):
    """
    The server answered with an error.

    *status* is the HTTP status, *code* the number in the body where there is
    one, *description* the server's own words with blanks collapsed.
    *retry_after* is the shortest wait before another try, in seconds, where
    the answer asks for one.
    """

    retry_after: float | None = None

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        code: int | None = None,
        description: str = "",
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.status = status
        self.code = code
        self.description = description


class AuthenticationError(ApiError):
    """The key is missing, unknown, expired or disabled (401)."""


class PermissionDeniedError(ApiError):
    """The account may not do this, or is banned (403)."""


class QuotaError(ApiError):
    """The balance of the account or the quota of the key is used up."""


class BusyError(ApiError):
    """The server has no room now: 429, or its queue is full."""


class RejectedError(ApiError):
    """The server refused this job; sending it again unchanged does not help."""


class ContentRefusedError(RejectedError):
    """
    The server refused the content of this job, and charged a *fee* for it.

    The fee is in units, 500,000 to the US dollar. No task exists.
    """

    fee: int = 0


class EndpointNotSupportedError(ApiError):
    """The address does not serve this call; the message names the URL."""


class ServerError(ApiError):
    """The server failed."""


class SubmitUnknownError(EzlinkError):
    """
    The outcome of a submit is not known: the job may exist and may be paid.

    *request_id* is the ``X-Request-ID`` that was sent, *request_ids* those of
    all attempts with an unknown outcome, *target* the picture of the swap.
    *charged* is ``None`` unless the account's log was asked.
    """

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str | None = None,
        target: object = None,
        charged: bool | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id, maybe_charged=True)
        self.request_ids: tuple[str, ...] = (request_id,) if request_id else ()
        self.target = target
        self.charged = charged


class ProtocolError(EzlinkError):
    """An answer that cannot be read; *head* holds its first 200 bytes."""

    def __init__(
        self,
        message: str = "",
        *,
        head: bytes = b"",
        status: int = 0,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.head: bytes = bytes(head[:_HEAD])
        self.status = status


class DownloadError(EzlinkError):
    """
    The result could not be downloaded, or is not a complete picture.

    *path* names the file that keeps a result whose format cannot be verified;
    *status* is that of the server's last answer, ``None`` without an answer. *gone*
    means that the link leads nowhere (403, 404, 410), or that a result which came
    with the record was not kept with it: another try brings nothing, a fresh record
    may. *saved* are the files of the task's other results, which are there.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        path: str | PathLike[str] | None = None,
        gone: bool = False,
        saved: Iterable[Path] = (),
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.status = status
        self.path = path
        self.gone = gone
        self.saved: tuple[Path, ...] = tuple(saved)


class TaskError(EzlinkError):
    """A task did not succeed; *record* is its latest snapshot."""

    def __init__(
        self,
        message: str = "",
        *,
        record: Record | None = None,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.record = record


class TaskFailedError(TaskError):
    """
    The server says FAILURE, or SUCCESS without a result.

    *refunded* says whether the server is known to give back what the task cost;
    ``None`` where that is not known.
    """

    def __init__(
        self,
        message: str = "",
        *,
        record: Record | None = None,
        refunded: bool | None = None,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, record=record, **facts)
        self.refunded = refunded


class ModalNeededError(TaskError):
    """
    The task waits for a person's input, and goes on with none.

    Send it with ``client.midjourney.modal(error.task_id, prompt=...)``, which is
    charged. *record* has the prompt that the server suggests, where there is one.
    """


class TextLostError(TaskError):
    """
    A task that makes a text ended well, and the server lost the text.

    It is paid, and another look brings no text.
    """


class TaskCancelledError(TaskError):
    """The task was cancelled on the server."""


class TaskNotFoundError(TaskError):
    """The server does not know this id, or it belongs to another account."""


class TaskTimeoutError(TaskError, TimeoutError):
    """
    The deadline passed before the task ended.

    The task may still finish: resume it with :meth:`AsyncEzlink.task`. Where its key
    was used up, the cause is the :exc:`QuotaError` of the latest poll.
    """


class WebhookError(EzlinkError):
    """
    A callback that was received is dropped.

    *answer* is the status to answer it with: 404 for each fault alike.
    """

    answer: ClassVar[int] = 404


class WebhookTokenError(WebhookError):
    """The token is not one of this application, or that of another task."""


class WebhookSizeError(WebhookError):
    """The body is larger than 1 MiB, or came too slowly."""


class WebhookSyntaxError(WebhookError):
    """The body is no JSON, or more than is read."""


class WebhookTaskError(WebhookError):
    """The body is JSON, and no task."""


class WebhookDuplicateError(WebhookError):
    """
    The same was said of the task before: a replay, or the upstream's second post.

    It is answered like the first one.
    """

    answer: ClassVar[int] = 204


FATAL_ERRORS = (
    AuthenticationError,
    PermissionDeniedError,
    QuotaError,
    EndpointNotSupportedError,
    ClientClosedError,
)
# Not for users: the errors that every other job of the same client would get too. A
# ConfigurationError is about one job: settings are checked before the first is sent.
