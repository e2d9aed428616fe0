"""Videos for users: one call, which submits a job request."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import VideoRecord
from ezlink_async.services.base import JobRequest
from ezlink_async.services.video.requests import VideoRequest

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class Submitting(Protocol[H_co]):
    """How :class:`Videos` submits a job request."""

    async def __call__(self, request: JobRequest[VideoRecord], /) -> H_co:
        """Return the handle of the task once the server has accepted the job."""
        ...


class Videos(Generic[H]):
    """
    Videos of every provider behind the server; get it as ``client.video``.

    ``save_all()`` of a handle saves several videos, ``save()`` a single one.
    """

    def __init__(self, submit: Submitting[H]) -> None:
        self._submit = submit

    async def generate(self, request: VideoRequest) -> H:
        """
        Submit *request*, such as ``Kling("a cat", model="kling-v1", seconds=5)``.

        Returns its handle once the server has accepted it, which may take minutes;
        ``await handle`` waits for the record, an hour at most by default.

        It is charged at acceptance, Omni at the end, and Doubao is corrected at the end
        by its tokens. What it costs is the operator's to set; the server refuses a
        balance below 0.20 US dollars, for Veo below 6.00. A task that fails is
        given back to the account, but not to the key's own quota, and Runway's not at
        all; ``error.refunded`` says which.

        A wrong request is a :exc:`ConfigurationError` or an :exc:`ImageError` when it
        is made, and nothing is sent. A refusal is an :exc:`ApiError`, an unknown
        outcome a :exc:`SubmitUnknownError`: the account's pages never show that a video
        was not created, so such a job is not sent again. A cancellation before the
        upload ends sends no job; later the submit goes on, and the task runs and
        is paid. There is no call that stops a task.
        Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``).
        """
        if not isinstance(request, VideoRequest):
            raise ConfigurationError(
                f"give a request such as Kling(...) or Video(...), not {request!r:.200}"
            )
        return await self._submit(request)
