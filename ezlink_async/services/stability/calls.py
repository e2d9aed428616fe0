"""Stability for users: each method checks its fields, and makes one submit."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar, Unpack, get_args, overload

import attrs

from ezlink_async._core.images import ImageLike
from ezlink_async.models import StabilityRecord
from ezlink_async.services.base import JobRequest
from ezlink_async.services.stability.endpoints import (
    Control,
    Edit,
    Endpoint,
    Generate,
    endpoint_of,
)
from ezlink_async.services.stability.fields import (
    ControlFields,
    EditFields,
    GenerateFields,
    UpscaleFields,
    VideoFields,
)
from ezlink_async.services.stability.submits import StabilityRequest


class Handle(Protocol):
    """What a submit returns: a task that is followed, and can be awaited."""

    def __await__(self) -> Generator[object, None, StabilityRecord]:
        """Wait for the end of the task."""
        ...

    async def save(self, path: str | Path) -> Path:
        """Save the only result."""
        ...


H = TypeVar("H", bound=Handle)
H_co = TypeVar("H_co", covariant=True)


class Submitting(Protocol[H_co]):
    """How :class:`Stability` submits a job request."""

    async def __call__(self, request: JobRequest[StabilityRecord], /) -> H_co:
        """Return the handle of the task once the server has accepted the job."""
        ...


@attrs.frozen(kw_only=True)
class StabilityImage:
    """
    A picture that came with the answer to its call.

    *media_type* is that of its content, ``None`` for a format that cannot be
    verified. *seed* makes the same picture again; *finish_reason* is ``"SUCCESS"``,
    or ``"CONTENT_FILTERED"`` for a picture that the provider has blurred. Both are
    as the server said them, ``None`` and empty where it said nothing.
    """

    content: bytes = attrs.field(repr=False)
    media_type: str | None
    seed: int | None
    finish_reason: str
    _handle: Handle = attrs.field(repr=False, eq=False)

    async def save(self, path: str | Path) -> Path:
        """
        Put the picture at *path*, whole or not at all, and return the path.

        It does as :meth:`TaskHandle.save`, and needs the client that made the call
        to be open.
        """
        return await self._handle.save(path)


class Stability(Generic[H]):
    """
    Stability's calls, for servers that still have them; get it as ``client.stability``.

    The public server removed them in January 2026: there each call is an
    :exc:`EndpointNotSupportedError`, and free.

    A picture is JPEG, PNG or WebP of up to 10 MiB. Texts have up to 10,000
    characters; *seed* is 0 to 4,294,967,294, and 0 is a seed by chance. A wrong
    argument is a :exc:`ConfigurationError` or an :exc:`ImageError`, and nothing is
    sent. The server charges a call when the provider answers it with status 200, at a
    price that its operator sets, and gives nothing back.

    :meth:`image_to_video` and the creative :meth:`upscale` make a task and return its
    handle. All others answer with the picture, within some 60 s: **where that answer is
    lost, so is the picture**, which may be paid: a :exc:`SubmitUnknownError`. It is
    never asked for again by itself. A cancellation before the upload ends sends
    nothing; later it loses the picture. A refusal is an :exc:`ApiError`.
    Source: ``ye4293/one-api`` (``relay/controller/sd.go``, until January 2026).
    """

    def __init__(self, submit: Submitting[H]) -> None:
        self._submit = submit

    async def image_to_video(
        self, image: ImageLike, **fields: Unpack[VideoFields]
    ) -> H:
        """
        Make a short video that begins with *image*.

        The provider takes pictures of 1024 x 576, 576 x 1024 and 768 x 768 pixels.
        *cfg_scale* (0 to 10) says how close the video stays to the picture,
        *motion_bucket_id* (1 to 255) how much moves. The result is an MP4; the server
        keeps it for 24 hours.
        """
        return await self._submit(
            _request(endpoint_of("image-to-video"), fields, image=image)
        )

    @overload
    async def upscale(
        self,
        image: ImageLike,
        prompt: str,
        *,
        how: Literal["creative"] = "creative",
        **fields: Unpack[UpscaleFields],
    ) -> H: ...

    @overload
    async def upscale(
        self,
        image: ImageLike,
        prompt: str,
        *,
        how: Literal["conservative"],
        **fields: Unpack[UpscaleFields],
    ) -> StabilityImage: ...

    async def upscale(
        self,
        image: ImageLike,
        prompt: str,
        *,
        how: Literal["creative", "conservative"] = "creative",
        **fields: Unpack[UpscaleFields],
    ) -> H | StabilityImage:
        """
        Make *image* larger, guided by *prompt*.

        *how* ``"creative"`` draws anew what is missing, takes minutes, and returns a
        handle; *creativity* is 0 to 0.35. ``"conservative"`` keeps the picture, and
        returns it; *creativity* is 0.2 to 0.5.
        """
        endpoint = endpoint_of(how, ("creative", "conservative"))
        request = _request(endpoint, fields, image=image, prompt=prompt)
        if endpoint.result is not None:
            return await self._submit(request)
        return await self._picture(request)

    async def edit(
        self, which: Edit, image: ImageLike, **fields: Unpack[EditFields]
    ) -> StabilityImage:
        """
        Change *image*, and return it.

        ``"erase"`` removes what *mask* shows white (or the image shows transparent),
        grown by *grow_mask* pixels, 0 to 20. ``"inpaint"`` draws *prompt* there;
        *grow_mask* is 0 to 100. ``"outpaint"`` adds pixels at *left*, *right*, *up*
        and *down*, each 0 to 2,000 and one of them above 0; *creativity* is 0 to 1.
        ``"search-and-replace"`` draws *prompt* in place of *search_prompt*.
        ``"remove-background"`` takes only *output_format*, png or webp.
        """
        endpoint = endpoint_of(which, get_args(Edit))
        return await self._picture(_request(endpoint, fields, image=image))

    async def generate(
        self, which: Generate, prompt: str, **fields: Unpack[GenerateFields]
    ) -> StabilityImage:
        """
        Make a picture of *prompt*.

        *which* is ``"ultra"``, ``"core"`` or ``"sd3"``. ``"core"`` takes a
        *style_preset*. ``"sd3"`` takes a *model*, and an *image* to begin with together
        with a *strength*, 0 to 1: how far the result may be from it.
        """
        endpoint = endpoint_of(which, get_args(Generate))
        return await self._picture(_request(endpoint, fields, prompt=prompt))

    async def control(
        self,
        which: Control,
        image: ImageLike,
        prompt: str,
        **fields: Unpack[ControlFields],
    ) -> StabilityImage:
        """
        Make a picture of *prompt* that follows *image*.

        ``"sketch"`` follows its lines and ``"structure"`` its shapes, as closely as
        *control_strength* says, 0 to 1. ``"style"`` follows its style, as closely as
        *fidelity* says, 0 to 1; no public server was seen to have it.
        """
        endpoint = endpoint_of(which, get_args(Control))
        return await self._picture(
            _request(endpoint, fields, image=image, prompt=prompt)
        )

    async def _picture(self, request: StabilityRequest) -> StabilityImage:
        handle = await self._submit(request)
        record = await handle  # which has ended with the answer
        return StabilityImage(
            content=record.content or b"",
            media_type=record.media_type,
            seed=record.seed,
            finish_reason=record.finish_reason,
            handle=handle,
        )


def _request(
    endpoint: Endpoint, fields: Mapping[str, object], **others: object
) -> StabilityRequest:
    return StabilityRequest.of(endpoint, {**others, **fields})
