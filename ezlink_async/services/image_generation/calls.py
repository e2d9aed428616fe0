"""
Pictures by Flux, Kling and Wan for users: one call, which makes a job and submits it.

Apart from the job request, which a batch uses without a client.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import ImagesRecord
from ezlink_async.services.base import JobRequest
from ezlink_async.services.image_generation.requests import AsyncImage

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class SubmittingImages(Protocol[H_co]):
    """How :class:`Images` submits a job request."""

    async def __call__(self, request: JobRequest[ImagesRecord], /) -> H_co:
        """Return the handle of the task once the server has accepted the job."""
        ...


class Images(Generic[H]):
    """Pictures by Flux, Kling and Wan; get it as ``client.images``."""

    def __init__(self, submit: SubmittingImages[H]) -> None:
        self._submit = submit

    async def generate_async(self, request: AsyncImage) -> H:
        """
        Submit one job, and return its handle once the server has accepted it.

        The pictures are paid at acceptance, also where the account has nothing left:
        its balance goes below zero. ``await handle`` waits for the record, and
        ``handle.save_all(place)`` saves every picture. Save those of Flux at once:
        their links lead nowhere after some ten minutes.

        A wrong field is a :exc:`ConfigurationError` or an :exc:`ImageError`, and
        nothing is sent. A refusal is an :exc:`ApiError`, an unknown outcome a
        :exc:`SubmitUnknownError`. A failed task is a :exc:`TaskFailedError`, whose
        ``refunded`` is true for Wan alone. A cancellation before the upload ends
        sends no job; later the submit goes on, and the task runs and is paid. The
        answer may take five minutes. Source: ``ye4293/one-api``
        (``relay/controller/image.go``).
        """
        if not isinstance(request, AsyncImage):
            raise ConfigurationError(f"this is no AsyncImage: {request!r:.200}")
        return await self._submit(request)
