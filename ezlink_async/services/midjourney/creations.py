"""
Imagine, shorten, blend and describe: the jobs that belong to no other task.

The server checks next to nothing before it charges: an empty blend is paid. So the
checks are here, and nothing is sent when one fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async._core.messages import clip
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import APART, PICTURES, LoadedImage
from ezlink_async.services.midjourney.jobs import MidjourneyJob
from ezlink_async.services.midjourney.prompts import (
    mode_of,
    warn_of_lookalikes,
    with_mode,
)
from ezlink_async.services.midjourney.requests import (
    LABEL,
    PRICES,
    MidjourneyRequest,
    check_choice,
    checked_prompt,
)
from ezlink_async.services.midjourney.submits import (
    Mode,
    as_mode,
    as_picture,
    json_body,
)

Bot = Literal["midjourney", "niji"]

Dimensions = Literal["portrait", "square", "landscape"]

_BOTS = {"midjourney": "MID_JOURNEY", "niji": "NIJI_JOURNEY"}

_DIMENSIONS = ("portrait", "square", "landscape")

_ONE_PICTURE = (str, bytes, bytearray, memoryview, os.PathLike, Image)

_FEWEST, _MOST = 2, 5  # pictures of a blend


def _prompt(prompt: str) -> str:
    return checked_prompt(prompt)


def _pictures(pictures: Iterable[ImageLike]) -> tuple[Image, ...]:
    one = isinstance(pictures, _ONE_PICTURE)
    if one or not isinstance(pictures, Iterable):
        raise ConfigurationError("images is a list of pictures, not one of them")
    return tuple(map(as_picture, pictures))


@attrs.frozen(kw_only=True)
class _Creation(MidjourneyRequest):
    """A job that belongs to no other task, so it has a mode and a bot of its own."""

    _mode_in_path: ClassVar[bool] = True

    mode: Mode | None = attrs.field(
        default=None, converter=as_mode, metadata={APART: True}
    )
    bot: Bot | None = None

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_choice(self.bot, "bot", _BOTS)

    @property
    def charged_mode(self) -> Mode | None:
        """The mode in which the server does the job."""
        return self.mode or Mode.FAST

    def _job(
        self,
        call: str,
        fields: Mapping[str, object],
        pictures: Mapping[str, LoadedImage | tuple[LoadedImage, ...]],
    ) -> MidjourneyJob:
        prefix = f"/mj-{self.mode.value}" if self.mode and self._mode_in_path else ""
        bot = {"botType": _BOTS[self.bot]} if self.bot else {}
        return MidjourneyJob(
            path=f"{prefix}/mj/submit/{call}",
            label=self.label,
            state=self.state,
            body=json_body({**fields, **bot, **self.fields()}, pictures),
        )


@attrs.frozen
class _Prompted(_Creation):
    """A job whose mode stands in its prompt, where the server looks for it."""

    _mode_in_path: ClassVar[bool] = False

    prompt: str = attrs.field(converter=_prompt)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        with_mode(self.prompt, self.mode)  # refuses two modes

    @property
    def label(self) -> str:
        """The beginning of the prompt."""
        return clip(self.prompt, LABEL)

    @property
    def charged_mode(self) -> Mode | None:
        """The mode of the prompt's flag, else the one that is asked for."""
        return mode_of(self.prompt) or self.mode or Mode.FAST

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return PRICES[self.charged_mode or Mode.FAST]

    def _sent_prompt(self) -> str:
        prompt = with_mode(self.prompt, self.mode)
        warn_of_lookalikes(prompt)
        return prompt


@attrs.frozen
class Imagine(_Prompted):
    """
    Make four pictures of *prompt*, which start from *images* if there are any.

    The prompt is not blank; each picture is JPEG, PNG or WebP of up to 10 MiB, and
    the body stays below 28 MB. Costs 18,000 units in fast mode, 40,000 in turbo,
    6,000 in relax. *mode* is written behind the prompt; a flag that is there
    already, and another one, is an error. *bot* is ``"midjourney"`` or ``"niji"``.
    """

    kind: ClassVar[str] = "imagine"

    images: tuple[Image, ...] = attrs.field(
        default=(), converter=_pictures, metadata={PICTURES: True}, kw_only=True
    )

    def job(self, pictures: tuple[LoadedImage, ...]) -> MidjourneyJob:
        """Return the job, with the inspected *pictures* in their order."""
        images = {"base64Array": pictures} if pictures else {}
        return self._job("imagine", {"prompt": self._sent_prompt()}, images)


@attrs.frozen
class Shorten(_Prompted):
    """
    Find the words of *prompt* that matter; the result is a text.

    The prompt is not blank. Costs what :class:`Imagine` costs, and *mode* is
    handled alike.
    """

    kind: ClassVar[str] = "shorten"

    def job(self, pictures: tuple[LoadedImage, ...]) -> MidjourneyJob:
        """Return the job; there are no *pictures*."""
        return self._job("shorten", {"prompt": self._sent_prompt()}, {})


@attrs.frozen
class Blend(_Creation):
    """
    Mix 2 to 5 *images* into four pictures.

    Each is JPEG, PNG or WebP of up to 10 MiB, and the body stays below 28 MB.
    *dimensions* are ``"portrait"``, ``"square"`` or ``"landscape"``. Costs 18,000
    units in each mode; the server would charge a blend of nothing, too.
    """

    kind: ClassVar[str] = "blend"

    images: tuple[Image, ...] = attrs.field(
        converter=_pictures, metadata={PICTURES: True}
    )
    dimensions: Dimensions | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        check_choice(self.dimensions, "dimensions", _DIMENSIONS)
        count = len(self.images)
        if not _FEWEST <= count <= _MOST:
            raise ConfigurationError(
                f"a blend has {_FEWEST} to {_MOST} pictures, not {count}"
            )

    @property
    def label(self) -> str:
        """The pictures: their paths, or the numbers of their bytes."""
        return ", ".join(map(repr, self.images))

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return 18_000

    def job(self, pictures: tuple[LoadedImage, ...]) -> MidjourneyJob:
        """Return the job, with the inspected *pictures* in their order."""
        size = {"dimensions": self.dimensions.upper()} if self.dimensions else {}
        return self._job("blend", size, {"base64Array": pictures})


@attrs.frozen
class Describe(_Creation):
    """
    Describe *image* in four prompts; the result is a text.

    The picture is JPEG, PNG or WebP of up to 10 MiB. Costs 9,000 units in each mode.
    """

    kind: ClassVar[str] = "describe"

    image: Image = attrs.field(converter=as_picture, metadata={PICTURES: True})

    @property
    def label(self) -> str:
        """The picture: its path, or the number of its bytes."""
        return repr(self.image)

    @property
    def price(self) -> int:
        """The server's default price in units, 500,000 to the dollar."""
        return 9_000

    def job(self, pictures: tuple[LoadedImage, ...]) -> MidjourneyJob:
        """Return the job with the inspected picture."""
        (image,) = pictures
        return self._job("describe", {}, {"base64": image})
