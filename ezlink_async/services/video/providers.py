"""
Videos of the providers for which the server has a trap, one job request each.

Prices are the server's defaults, in units: 500,000 to the US dollar; operators may
have others. Each is charged at acceptance. What is not checked here is handed on,
and paid for even if the provider makes nothing of it.

Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``, ``relay/channel/``),
the code of the server, and the providers' public pages for what they call each field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from ezlink_async._core.images import EncodedImage, ImageLike, InspectedImage
from ezlink_async._core.messages import Base64Text
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import PICTURES
from ezlink_async.services.leaves import is_address
from ezlink_async.services.video.requests import (
    Body,
    Given,
    ProviderRequest,
    as_picture,
    as_pictures,
    bare,
    check_number,
    check_text,
    in_object,
    present,
)

_MOST_VEO = 4  # videos of one job of Veo


def _with_type(picture: object) -> Body | None:
    """Return a picture as Vertex takes it: its base64, and its media type beside it."""
    if not isinstance(picture, InspectedImage | EncodedImage):
        return None
    known = picture.inspected if isinstance(picture, EncodedImage) else picture
    return {
        "bytesBase64Encoded": Base64Text(picture),
        "mimeType": known.media_type,
    }


def _no_addresses(pictures: tuple[object, ...], name: str) -> None:
    if any(map(is_address, pictures)):
        raise ConfigurationError(
            f"{name} takes no addresses: download the picture first, for instance with "
            "`await client.fetch_image(url)`"
        )


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:g}"


def _number(seconds: float | None) -> float | int | None:
    whole = seconds is not None and seconds == int(seconds)
    return int(seconds) if whole and seconds is not None else seconds


_PICTURE = {PICTURES: True}


@attrs.frozen(kw_only=True)
class _OneProvider(ProviderRequest):
    """A request that refuses the models of other providers, which misread its body."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        asked = provider_of(self.model)
        if asked is not None and not isinstance(self, asked):
            raise ConfigurationError(
                f"{self.model} is a model of {asked.__name__}, not of "
                f"{type(self).__name__}"
            )


@attrs.frozen
class Veo(_OneProvider):
    """
    One to four videos of Google's Veo, ``veo*``.

    *image* and *last_frame* are where a video begins and ends, *reference_images* show
    what is to be in it; each is JPEG, PNG or WebP of up to 10 MiB, and no address.
    *count* videos become one task with as many results; some of them being filtered
    fails all. The server refuses a balance below 6.00 USD.
    """

    prompt: str | None = None
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    last_frame: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    reference_images: tuple[ImageLike, ...] = attrs.field(
        default=(), converter=as_pictures, metadata=_PICTURE, kw_only=True
    )
    aspect_ratio: str | None = attrs.field(default=None, kw_only=True)
    seconds: float | None = attrs.field(default=None, kw_only=True)
    audio: bool | None = attrs.field(default=None, kw_only=True)
    negative_prompt: str | None = attrs.field(default=None, kw_only=True)
    resolution: str | None = attrs.field(default=None, kw_only=True)
    count: int = attrs.field(default=1, kw_only=True)
    seed: int | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse a request that shows nothing, or more videos than one task has."""
        if self.image is None:
            self.need_prompt()
        _no_addresses((self.image, self.last_frame, *self.reference_images), "Veo")
        check_number(self.seconds, "seconds")
        if type(self.count) is not int or not 1 <= self.count <= _MOST_VEO:
            raise ConfigurationError(f"count is 1 to {_MOST_VEO}, not {self.count!r}")

    def wire(self, given: Given) -> Body:
        """Return the body; one without instances would be paid for nothing."""
        pictures = given.get("reference_images")
        many = pictures if isinstance(pictures, tuple) else ()
        instance = present(
            prompt=self.prompt,
            image=_with_type(given.get("image")),
            lastFrame=_with_type(given.get("last_frame")),
            referenceImages=tuple(
                {"image": _with_type(each), "referenceType": "asset"} for each in many
            ),
        )
        parameters = present(
            aspectRatio=self.aspect_ratio,
            durationSeconds=_number(self.seconds),
            generateAudio=self.audio,
            negativePrompt=self.negative_prompt,
            resolution=self.resolution,
            sampleCount=self.count,
            seed=self.seed,
        )
        return {"instances": [instance], "parameters": parameters}


@attrs.frozen
class Kling(_OneProvider):
    """
    A video of Kling, ``kling*``; 70,000 units for five seconds of kling-v1.

    *image* and *image_tail* are where it begins and ends, or *images* show what is to
    be in it: these choose the provider's call, so give either. Each is JPEG, PNG or
    WebP of up to 10 MiB, or an ``https://`` address. *mode* is ``"std"`` or ``"pro"``.
    """

    prompt: str | None = None
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    image_tail: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    images: tuple[ImageLike, ...] = attrs.field(
        default=(), converter=as_pictures, metadata=_PICTURE, kw_only=True
    )
    mode: str | None = attrs.field(default=None, kw_only=True)
    seconds: float | None = attrs.field(default=None, kw_only=True)
    aspect_ratio: str | None = attrs.field(default=None, kw_only=True)
    negative_prompt: str | None = attrs.field(default=None, kw_only=True)
    cfg_scale: float | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse pictures that choose two calls at once, and a request of nothing."""
        single = self.image is not None or self.image_tail is not None
        if single and self.images:
            raise ConfigurationError(
                "give image and image_tail, or images: they choose different calls"
            )
        if not single:
            self.need_prompt()
        check_number(self.seconds, "seconds")

    def wire(self, given: Given) -> Body:
        """Return the body; Kling takes the seconds as text."""
        pictures = given.get("images")
        many = pictures if isinstance(pictures, tuple) else ()
        return present(
            prompt=self.prompt,
            image=bare(given.get("image")),
            image_tail=bare(given.get("image_tail")),
            image_list=tuple({"image": bare(each)} for each in many),
            mode=self.mode,
            duration=_text(self.seconds),
            aspect_ratio=self.aspect_ratio,
            negative_prompt=self.negative_prompt,
            cfg_scale=self.cfg_scale,
        )


Role = Literal["first_frame", "last_frame", "reference_image"]

_ROLES = ("first_frame", "last_frame", "reference_image")


def _roles(roles: Iterable[Role]) -> tuple[Role, ...]:
    return tuple(roles)


@attrs.frozen
class Doubao(_OneProvider):
    """
    A video of Doubao, ``doubao*``; 98,000 units, corrected by its tokens at the end.

    *roles* say what each of *images* is: ``"first_frame"``, ``"last_frame"`` or
    ``"reference_image"``; without them the first is where the video begins. A picture
    is JPEG, PNG or WebP of up to 10 MiB, or an ``https://`` address. Length and shape
    stand in the prompt: ``"a cat --dur 5 --ratio 16:9"``. The server drops all other
    fields, so *extra* is ``callback_url`` or nothing.

    The task belongs to the family ``"video-doubao"``: it is followed without the key,
    and its price is settled once.
    """

    prompt: str | None = None
    images: tuple[ImageLike, ...] = attrs.field(
        default=(), converter=as_pictures, metadata=_PICTURE, kw_only=True
    )
    roles: tuple[Role, ...] = attrs.field(default=(), converter=_roles, kw_only=True)

    def check(self) -> None:
        """Refuse roles that belong to no picture, and what the server drops."""
        if not self.images:
            self.need_prompt()
        wrong = [role for role in self.roles if role not in _ROLES]
        if wrong:
            words = ", ".join(map(repr, _ROLES))
            raise ConfigurationError(f"a role is one of {words}, not {wrong[0]!r}")
        if self.roles and len(self.roles) != len(self.images):
            raise ConfigurationError(
                f"{len(self.images)} images have {len(self.roles)} roles: give each one"
            )
        if dropped := sorted(set(self.extra) - {"callback_url"}):
            raise ConfigurationError(
                f"the server drops {', '.join(dropped)}: Doubao's options stand in the "
                "prompt, as in 'a cat --dur 5 --ratio 16:9'"
            )

    def wire(self, given: Given) -> Body:
        """Return the body: all that the server keeps of it is its content."""
        content: list[Body] = []
        if self.prompt:
            content.append({"type": "text", "text": self.prompt})
        pictures = given.get("images")
        many = pictures if isinstance(pictures, tuple) else ()
        for number, picture in enumerate(many):
            part: Body = {"type": "image_url", "image_url": in_object(picture)}
            if self.roles:
                part["role"] = self.roles[number]
            content.append(part)
        return {"content": content}


@attrs.frozen
class MiniMax(_OneProvider):
    """
    A video of MiniMax, such as ``T2V-01``, ``I2V-01`` or ``minimax*``; 50,000 units.

    *first_frame* and *last_frame* are where it begins and ends: JPEG, PNG or WebP of up
    to 10 MiB, or an ``https://`` address. *prompt_optimizer* is ``None``, which MiniMax
    takes for true: the server drops a false one, so it is refused here.
    """

    prompt: str | None = None
    first_frame: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    last_frame: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    seconds: float = attrs.field(default=6, kw_only=True)
    resolution: str = attrs.field(default="768P", kw_only=True)
    prompt_optimizer: bool | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse what the server drops, and a request of nothing."""
        if self.first_frame is None and self.last_frame is None:
            self.need_prompt()
        check_number(self.seconds, "seconds")
        check_text(self.resolution, "resolution")
        refuse_false({"prompt_optimizer": self.prompt_optimizer, **self.extra})

    def wire(self, given: Given) -> Body:
        """Return the body, with the length and the size that the server would add."""
        return present(
            prompt=self.prompt,
            first_frame_image=given.get("first_frame"),
            last_frame_image=given.get("last_frame"),
            duration=_number(self.seconds),
            resolution=self.resolution,
            prompt_optimizer=self.prompt_optimizer,
        )


def refuse_false(body: Mapping[str, object]) -> None:
    """Refuse a false field of MiniMax, which the server drops."""
    for name, value in body.items():
        if value is False:
            raise ConfigurationError(
                f"{name} cannot be turned off: the server drops a false one, and "
                "MiniMax takes its own default, which is true"
            )


@attrs.frozen
class Runway(_OneProvider):
    """
    A video of Runway, ``gen3a_turbo``; 125,000 units for five seconds, twice for ten.

    It begins with *image*: JPEG, PNG or WebP of up to 10 MiB, or an ``https://``
    address. *ratio* is in pixels, such as ``"1280:768"``. *seconds* are always sent:
    the server's default of ten would double the price. A failed task is not given back.
    """

    prompt: str | None = None
    model: str = attrs.field(default="gen3a_turbo", kw_only=True)
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    seconds: float = attrs.field(default=5, kw_only=True)
    ratio: str | None = attrs.field(default=None, kw_only=True)
    seed: int | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse a request without the picture, or the length that its price needs."""
        if self.image is None:
            raise ConfigurationError("Runway's video begins with a picture: give image")
        if self.seconds is None:
            raise ConfigurationError("say seconds: without them Runway makes ten")
        check_number(self.seconds, "seconds")

    def wire(self, given: Given) -> Body:
        """Return the body, always with the length."""
        return present(
            promptImage=given.get("image"),
            promptText=self.prompt,
            duration=_number(self.seconds),
            ratio=self.ratio,
            seed=self.seed,
        )


@attrs.frozen
class Wan(_OneProvider):
    """
    A video of Alibaba's Wan, ``wan*``; 50,000 units for five seconds.

    It may begin with *image*: JPEG, PNG or WebP of up to 10 MiB, or an ``https://``
    address. *size* is in pixels, such as ``"1280*720"``, *resolution* such as
    ``"720P"``. *extra* are further fields of the body: ``{"parameters": {"seed": 7}}``.
    """

    prompt: str | None = None
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    seconds: float | None = attrs.field(default=None, kw_only=True)
    size: str | None = attrs.field(default=None, kw_only=True)
    resolution: str | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse a request of nothing."""
        if self.image is None:
            self.need_prompt()
        check_number(self.seconds, "seconds")

    def wire(self, given: Given) -> Body:
        """Return the body: what to show in one object, and how in another."""
        parameters = present(
            duration=_number(self.seconds), size=self.size, resolution=self.resolution
        )
        return present(
            input=present(prompt=self.prompt, img_url=given.get("image")),
            parameters=parameters or None,
        )


@attrs.frozen
class Grok(_OneProvider):
    """
    A video of xAI, ``grok-imagine-video*``; 125,000 units for five seconds.

    It may begin with *image*: JPEG, PNG or WebP of up to 10 MiB, or an ``https://``
    address. With *video_url* an existing video is edited, which keeps its length, or,
    by a model whose name ends with ``-extensions``, continued for *seconds*.
    """

    prompt: str | None = None
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata=_PICTURE, kw_only=True
    )
    video_url: str | None = attrs.field(default=None, kw_only=True)
    seconds: float | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse a video and a picture at once, and the length of an edit."""
        extends = self.model.endswith("-extensions")
        if self.video_url is not None and not is_address(self.video_url):
            raise ConfigurationError("video_url is an https:// address")
        if self.video_url is not None and self.image is not None:
            raise ConfigurationError("give image or video_url, not both")
        if extends and self.video_url is None:
            raise ConfigurationError(f"{self.model} continues a video: give video_url")
        if self.video_url is not None and self.seconds is not None and not extends:
            raise ConfigurationError("an edit keeps the video's length: no seconds")
        if self.image is None:
            self.need_prompt()
        check_number(self.seconds, "seconds")

    def wire(self, given: Given) -> Body:
        """Return the body; the address of a video makes it an edit."""
        return present(
            prompt=self.prompt,
            image=in_object(given.get("image")),
            video=in_object(self.video_url),
            duration=_number(self.seconds),
        )


_CLASSES: dict[str, type[ProviderRequest]] = {
    "veo": Veo,
    "kling": Kling,
    "doubao": Doubao,
    "minimax": MiniMax,
    "video-01": MiniMax,
    "t2v-01": MiniMax,
    "i2v-01": MiniMax,
    "s2v-01": MiniMax,
    "gen3a": Runway,
    "wan": Wan,
    "grok-imagine-video": Grok,
}


def provider_of(model: str) -> type[ProviderRequest] | None:
    """Return the request of the provider that the server asks for *model*."""
    name = model.lower()
    found = (each for begin, each in _CLASSES.items() if name.startswith(begin))
    return next(found, None)
