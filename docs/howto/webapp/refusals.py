"""What an error of the client means for a person, and for the status of an answer."""

from __future__ import annotations

from ezlink_async.errors import (
    AuthenticationError,
    BusyError,
    ClientClosedError,
    ContentRefusedError,
    DownloadError,
    EzlinkError,
    ImageError,
    PermissionDeniedError,
    QuotaError,
    RejectedError,
    SlotTimeoutError,
    TaskFailedError,
    TaskNotFoundError,
)

_SECONDS_OF_A_BUSY_SERVER = 5


class RefusedError(Exception):
    """
    A request that is refused, with a sentence for a person.

    With *retry_after*, in seconds, the same request is worth sending again.
    """

    def __init__(
        self, status: int, sentence: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after


def refusal_of(error: EzlinkError) -> RefusedError:
    """Return what to answer when a photo was not accepted because of *error*."""
    if isinstance(error, ImageError):
        return RefusedError(413 if error.limit else 422, _sentence(error.reason))
    if isinstance(error, SlotTimeoutError | BusyError | ClientClosedError):
        wait = error.retry_after if isinstance(error, BusyError) else None
        return RefusedError(
            503,
            "All places are taken at the moment.",
            retry_after=round(wait or _SECONDS_OF_A_BUSY_SERVER),
        )
    if isinstance(error, RejectedError | ContentRefusedError):
        return RefusedError(422, f"The swap server refused this photo: {error}")
    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return RefusedError(502, "The swap server refused the key of this application.")
    if isinstance(error, QuotaError):
        return RefusedError(502, "The account of this application is used up.")
    return RefusedError(
        502, "The swap server cannot be reached at the moment. Nothing was charged."
    )


def reason_of(error: EzlinkError) -> str:
    """Return why the task of an accepted photo has no result."""
    if isinstance(error, TaskFailedError):
        reason = error.record.fail_reason if error.record else ""
        free = " It costs nothing." if error.refunded else ""
        return f"{_sentence(reason or 'the swap failed')}{free}"
    if isinstance(error, TaskNotFoundError):
        return "The swap server does not know this photo any more."
    if isinstance(error, DownloadError):
        return "The swap server no longer has the result."
    return _sentence(str(error))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
