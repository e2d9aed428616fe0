"""
The face swap: its options, and the job that is sent.

Source: the public page ``api-205930916``. No address, no key, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import (
    APART,
    PICTURES,
    Accepted,
    Job,
    JobRequest,
    LoadedImage,
    TaskFamily,
)
from ezlink_async.services.midjourney.submits import (
    Mode,
    SubmitOptions,
    as_mode,
    inspected,
    json_body,
    read_submission,
)
from ezlink_async.services.midjourney.tasks import MIDJOURNEY

PRICE = 9_000
"""
What a swap costs, in units: 500,000 to the US dollar.

The default of the server (``ye4293/one-api``); an operator may set another price.
"""


@attrs.frozen(kw_only=True)
class SwapOptions(SubmitOptions):
    """The optional fields of a swap, checked; absent ones are not sent."""

    mode: Mode | None = attrs.field(
        default=None, converter=as_mode, metadata={APART: True}
    )


@attrs.frozen(kw_only=True)
class FaceSwapJob(Job[TaskRecord]):
    """One swap, ready to be sent."""

    source: LoadedImage
    target: LoadedImage
    options: SwapOptions

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """A swap becomes a task behind ``/mj/task/``."""
        return MIDJOURNEY

    @property
    def lane(self) -> str:
        """Swaps have an upstream, and so a queue, of their own."""
        return FaceSwap.kind

    @property
    def state(self) -> str | None:
        """The state of the options."""
        return self.options.state

    @property
    def label(self) -> str:
        """The target: its path, or the number of its bytes."""
        return repr(inspected(self.target).image)

    def request(self) -> HttpRequest:
        """Describe the submit; without its last two bytes the body is no JSON."""
        prefix = f"/mj-{self.options.mode.value}" if self.options.mode else ""
        pictures = {"sourceBase64": self.source, "targetBase64": self.target}
        body = json_body(self.options.fields(), pictures)
        return HttpRequest("POST", f"{prefix}/mj/insight-face/swap", body)

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer to the submit, or raise the error it stands for."""
        return read_submission(response)


def _as_given(picture: ImageLike) -> ImageLike:
    """Return *picture* as it is, if it may be sent; a copy of bytes that may change."""
    given: object = picture
    image = Image.of(picture)
    return image if isinstance(given, bytearray | memoryview) else picture


def _shown(picture: ImageLike) -> str:
    """Return *picture* for a person to read, without its bytes."""
    return repr(Image.of(picture))


@attrs.frozen
class FaceSwap(SwapOptions, JobRequest[TaskRecord]):
    """
    Put the face of *source* into *target*: JPEG, PNG or WebP, up to 10 MiB each.

    *state* comes back in the records, *notify_hook* is called by the server's
    upstream, *mode* chooses the queue, and *account_filter* is sent as it is.
    A swap costs 9,000 units by default in each mode. *options* say what a batch
    does to the pictures before they are sent; they only count for the identity.
    :exc:`ConfigurationError` or :exc:`ImageError` for a field that cannot be sent.
    """

    kind: ClassVar[str] = "swap"
    shared: ClassVar[int] = 1
    distinct: ClassVar[bool] = True

    source: ImageLike = attrs.field(
        converter=_as_given, repr=_shown, metadata={PICTURES: True}
    )
    target: ImageLike = attrs.field(
        converter=_as_given, repr=_shown, metadata={PICTURES: True}
    )
    options: Mapping[str, object] = attrs.field(factory=dict, kw_only=True, hash=False)

    @property
    def family(self) -> TaskFamily[TaskRecord]:
        """A swap becomes a task behind ``/mj/task/``."""
        return MIDJOURNEY

    @property
    def label(self) -> str:
        """The target: its path, or the number of its bytes."""
        return repr(Image.of(self.target))

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return PRICE

    def job(self, pictures: tuple[LoadedImage, ...]) -> FaceSwapJob:
        """Return the job with the inspected source and target."""
        source, target = pictures
        options = SwapOptions(
            state=self.state,
            notify_hook=self.notify_hook,
            account_filter=self.account_filter,
            mode=self.mode,
        )
        return FaceSwapJob(source=source, target=target, options=options)

    def identity(self, digests: Sequence[str]) -> str:
        """
        Return all that changes the result, as journals have always kept it.

        The options stay in their order, so that this text equals what the journals
        of earlier versions hold.
        """
        source, target = digests
        said = {"options": dict(self.options), "source": source, "target": target}
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False)
