"""
Native Flux for users: one call, which makes a job and submits it.

Apart from the job request, which a batch uses without a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypedDict, TypeVar, Unpack

from ezlink_async._core.images import ImageLike
from ezlink_async.models import FluxRecord
from ezlink_async.services.base import JobRequest
from ezlink_async.services.flux.requests import Flux

H = TypeVar("H")
H_co = TypeVar("H_co", covariant=True)


class SubmittingFlux(Protocol[H_co]):
    """How :class:`FluxCalls` submits a job request."""

    async def __call__(self, request: JobRequest[FluxRecord], /) -> H_co:
        """Return the handle of the task once the server has accepted the job."""
        ...


class FluxKeywords(TypedDict, total=False):
    """The optional fields of a Flux job; see :class:`Flux`."""

    width: int | None
    height: int | None
    aspect_ratio: str | None
    seed: int | None
    input_image: ImageLike | None
    output_format: str | None
    safety_tolerance: int | None
    extra: Mapping[str, object]


class FluxCalls(Generic[H]):
    """Native Flux; get it as ``client.flux``."""

    def __init__(self, submit: SubmittingFlux[H]) -> None:
        self._submit = submit

    async def generate(
        self, model: str, prompt: str | None = None, **fields: Unpack[FluxKeywords]
    ) -> H:
        """
        Submit one job, and return its handle once the server has accepted it.

        The fields are those of :class:`Flux`. Nothing is charged at acceptance, and
        nothing for a failure; the picture is charged once it is there. Its link leads
        nowhere after some ten minutes, so save it at once.

        A wrong field is a :exc:`ConfigurationError` or an :exc:`ImageError`, and
        nothing is sent. Below a balance of 0.10 USD the server answers with
        :exc:`QuotaError`. **Content that breaks the guidelines costs a fee of 25,000
        units**: a :exc:`ContentRefusedError`, which is never sent again. Other
        refusals are an :exc:`ApiError`, an unknown outcome is a
        :exc:`SubmitUnknownError`; with an account token it is looked up. A
        cancellation before the upload ends sends no job; later the submit goes on,
        and the task runs and is paid. The answer may take five minutes. Source:
        ``ye4293/one-api`` (``controller/flux.go``).
        """
        return await self._submit(Flux(model, prompt, **fields))
