"""
What the job requests of all providers of video have in common.

The server checks next to nothing before it charges, and hands most of a body on. So a
request checks itself, and refuses what the server would drop or misread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

import attrs

from ezlink_async._core import long_texts
from ezlink_async._core.images import EncodedImage, Image, ImageLike, InspectedImage
from ezlink_async._core.messages import Base64Text, clip, json_body
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import VideoRecord
from ezlink_async.services.balance_bars import BalanceBar
from ezlink_async.services.base import (
    PICTURES,
    JobRequest,
    LoadedImage,
    TaskFamily,
)
from ezlink_async.services.leaves import is_address, mapped
from ezlink_async.services.video.jobs import VideoJob
from ezlink_async.services.video.tasks import VIDEO, VIDEO_DOUBAO, bar_of

Body = dict[str, object]
"""An object of JSON, with pictures among its leaves."""

Given = Mapping[str, object]
"""The fields of a request that hold pictures, with these ready to be sent."""

_LABEL = 60

_LONGEST_MODEL = 200

_DOUBAO = "doubao"


def as_picture(picture: ImageLike | None) -> ImageLike | None:
    """Return a picture of a field, or the address that stands in its place."""
    return picture if picture is None or is_address(picture) else Image.of(picture)


def as_pictures(pictures: Iterable[ImageLike]) -> tuple[ImageLike, ...]:
    """Return the pictures of a field, some of which may be addresses."""
    if isinstance(pictures, str | bytes | Image) or not isinstance(pictures, Iterable):
        raise ConfigurationError("this is a list of pictures, not one of them")
    return tuple(found for each in pictures if (found := as_picture(each)) is not None)


def as_body(body: object) -> Body:
    """Return a copy of a body; :exc:`ConfigurationError` for what is no JSON."""
    if not isinstance(body, Mapping) or not all(isinstance(key, str) for key in body):
        raise ConfigurationError(f"this is no object of JSON: {body!r:.200}")
    try:
        long_texts.copy(mapped(body, lambda _: "", str))
    except (TypeError, ValueError, RecursionError) as fault:
        raise ConfigurationError(f"this cannot be sent as JSON: {fault}") from None
    return dict(body)


def check_text(value: object, name: str) -> None:
    """Refuse a *value* that is neither text nor absent, or holds a NUL."""
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise ConfigurationError(f"{name} is a text, not {value!r:.200}")


def check_number(value: object, name: str, least: float = 0.0) -> None:
    """Refuse a *value* that is neither a finite number above *least* nor absent."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and least < value < math.inf):  # type: ignore[operator]
        raise ConfigurationError(f"{name} is a number above {least:g}, not {value!r}")


def merged(body: Body, more: Mapping[str, object], path: str = "") -> Body:
    """
    Return *body* with *more* in it, objects in objects.

    :exc:`ConfigurationError` for a value that *body* has already.
    """
    whole = dict(body)
    for name, value in more.items():
        known = whole.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            whole[name] = merged(known, value, f"{path}{name}.")
        elif name in whole:
            raise ConfigurationError(f"{path}{name} is given twice")
        else:
            whole[name] = value
    return whole


def present(**fields: object) -> Body:
    """Return the *fields* that are not absent."""
    return {name: value for name, value in fields.items() if value not in (None, ())}


def bare(picture: object) -> object:
    """Return the base64 alone of a picture that is ready to be sent."""
    if isinstance(picture, InspectedImage | EncodedImage):
        return Base64Text(picture)
    return picture


def in_object(picture: object, name: str = "url") -> Body | None:
    """Return an object that holds *picture* under *name*; ``None`` without one."""
    return None if picture is None else {name: picture}


@attrs.frozen(kw_only=True)
class VideoRequest(JobRequest[VideoRecord]):
    """A job request of :meth:`Videos.generate`; *model* is the server's name of it."""

    kind: ClassVar[str] = "video"

    further: ClassVar[str] = "extra"

    model: str

    def __attrs_post_init__(self) -> None:
        check_text(self.model, "model")
        name = self.model
        if not name.strip() or name != name.strip() or len(name) > _LONGEST_MODEL:
            raise ConfigurationError(f"model is the name of one, not {name!r:.300}")
        check_text(self._prompt, "prompt")
        if "model" in getattr(self, self.further):
            raise ConfigurationError("the model is given by its own field")
        self.check()

    @property
    def _prompt(self) -> str | None:
        return getattr(self, "prompt", None)

    def check(self) -> None:
        """Refuse what the provider, or the server, would misread."""

    @property
    def family(self) -> TaskFamily[VideoRecord]:
        """The family of the task; those of Doubao are followed without a key."""
        return VIDEO_DOUBAO if self.model.lower().startswith(_DOUBAO) else VIDEO

    @property
    def bar(self) -> BalanceBar:
        """The balance below which the server refuses it, by its model."""
        return bar_of(self.model)

    @property
    def label(self) -> str:
        """The beginning of the prompt, or the model."""
        return clip(self._prompt or self.model, _LABEL)

    def wire(self, given: Given) -> Body:
        """Return the body but for what is further; *given* has the pictures."""
        raise NotImplementedError

    def job(self, pictures: tuple[LoadedImage, ...]) -> VideoJob:
        """Return the job, with the inspected *pictures* in their order."""
        left = iter(pictures)
        body = self.whole(
            {
                name: mapped(value, lambda _: next(left), bare)
                for name, value in self._picture_fields()
            }
        )
        return VideoJob(
            family=self.family,
            model=self.model,
            label=self.label,
            body=json_body(body),
        )

    def whole(self, given: Given) -> Body:
        """Return the whole body; :exc:`ConfigurationError` for a field given twice."""
        fields = dict(given)
        more = fields.pop(self.further)
        body = merged(self.wire(fields), more if isinstance(more, dict) else {})
        return {"model": self.model, **body}

    def need_prompt(self) -> None:
        """Refuse a prompt that says nothing, where no picture says more."""
        if not (self._prompt or "").strip():
            raise ConfigurationError("say what to show: the prompt is empty")


@attrs.frozen(kw_only=True)
class ProviderRequest(VideoRequest):
    """
    A job request in the words of one provider.

    *extra* are further fields of the body, as the provider documents them, perhaps
    with pictures in it; an object in it is joined with that of the other fields.
    """

    extra: Mapping[str, object] = attrs.field(
        factory=dict, converter=as_body, metadata={PICTURES: True}, hash=False
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.whole(dict(self._picture_fields()))
