"""
A video of any model, asked for in the words that all of them share.

What a provider calls them follows from the name of the model. A model that is not
known here takes its fields in *body*, which is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.base import PICTURES, LoadedImage
from ezlink_async.services.video.jobs import VideoJob
from ezlink_async.services.video.providers import (
    Doubao,
    Grok,
    Kling,
    MiniMax,
    Role,
    Runway,
    Veo,
    Wan,
    provider_of,
    refuse_false,
)
from ezlink_async.services.video.requests import (
    Body,
    Given,
    ProviderRequest,
    VideoRequest,
    as_body,
    as_picture,
    check_number,
    check_text,
    merged,
    present,
)

_NAMES: dict[type[ProviderRequest], dict[str, str]] = {
    Veo: {
        "image": "image",
        "last_image": "last_frame",
        "seconds": "seconds",
        "aspect": "aspect_ratio",
    },
    Kling: {
        "image": "image",
        "last_image": "image_tail",
        "seconds": "seconds",
        "aspect": "aspect_ratio",
    },
    MiniMax: {
        "image": "first_frame",
        "last_image": "last_frame",
        "seconds": "seconds",
    },
    Runway: {"image": "image", "seconds": "seconds", "aspect": "ratio"},
    Wan: {"image": "image", "seconds": "seconds"},
    Grok: {"image": "image", "seconds": "seconds"},
}
"""What each provider's request calls the words that all share."""

_PLAIN: dict[str, dict[str, str]] = {
    "sora": {"seconds": "seconds"},
    "gemini-omni": {"image": "image_url"},
    "luma": {"aspect": "aspect_ratio"},
    "v3.5": {"seconds": "duration", "aspect": "aspect_ratio"},
}
"""The same for models without a request of their own, by the begin of their names."""

_WORDS = ("image", "last_image", "seconds", "aspect")

_OF_OMNI = {"prompt", "image_url"}

Found = TypeVar("Found")


def _of(model: str, table: Mapping[str, Found]) -> Found | None:
    """Return what *table* has for *model*, by the begin of its name."""
    name = model.lower()
    found = (each for begin, each in table.items() if name.startswith(begin))
    return next(found, None)


@attrs.frozen
class Video(VideoRequest):
    """
    A video of any *model*; *body* is all that its provider takes beside it.

    *prompt*, *image*, *last_image*, *seconds* and *aspect* are the words that providers
    share: for ``veo*``, ``kling*``, ``doubao*``, MiniMax's models, ``gen3a_turbo``,
    ``wan*`` and ``grok-imagine-video*`` they become the provider's own, with the checks
    of :class:`Veo` and the others. *body* then has further fields. Pictures may be
    among its leaves: an :class:`Image` becomes a data URI, :class:`Base64` of one its
    base64 alone.
    """

    further: ClassVar[str] = "body"

    model: str
    body: Mapping[str, object] = attrs.field(
        factory=dict, converter=as_body, metadata={PICTURES: True}, hash=False
    )
    prompt: str | None = attrs.field(default=None, kw_only=True)
    image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata={PICTURES: True}, kw_only=True
    )
    last_image: ImageLike | None = attrs.field(
        default=None, converter=as_picture, metadata={PICTURES: True}, kw_only=True
    )
    seconds: float | None = attrs.field(default=None, kw_only=True)
    aspect: str | None = attrs.field(default=None, kw_only=True)

    def check(self) -> None:
        """Refuse what the provider's own request refuses, or the server misreads."""
        check_number(self.seconds, "seconds")
        check_text(self.aspect, "aspect")
        if self.own is None:
            whole = merged(self._plain(self._words()), self.body)
            _check_raw(self.model, whole)

    @property
    def own(self) -> ProviderRequest | None:
        """The same as the request of its provider; ``None`` for a body alone."""
        kind, words = provider_of(self.model), self._words()
        if kind is None or (self.prompt is None and not words):
            return None
        if kind is Doubao:
            return self._doubao(words)
        names = _NAMES[kind]
        fields = {self._named(word, names): value for word, value in words.items()}
        return kind(model=self.model, prompt=self.prompt, extra=self.body, **fields)  # type: ignore[call-arg]  # each has a prompt

    def _words(self) -> Body:
        """Return the words that are given, but for the prompt."""
        return present(**{word: getattr(self, word) for word in _WORDS})

    def _named(self, word: str, names: Mapping[str, str]) -> str:
        if word not in names:
            raise ConfigurationError(
                f"{self.model} has no {word.replace('_', ' ')} that is known here: say "
                "it as a further field, in the provider's words"
            )
        return names[word]

    def _doubao(self, words: Mapping[str, object]) -> Doubao:
        if "seconds" in words or "aspect" in words:
            raise ConfigurationError(
                "Doubao takes the length and the shape in the prompt: "
                "'a cat --dur 5 --ratio 16:9'"
            )
        given: tuple[tuple[Role, ImageLike | None], ...] = (
            ("first_frame", self.image),
            ("last_frame", self.last_image),
        )
        frames = [(role, each) for role, each in given if each is not None]
        return Doubao(
            self.prompt,
            model=self.model,
            images=[picture for _, picture in frames],
            roles=[role for role, _ in frames],
            extra=self.body,
        )

    def _plain(self, words: Mapping[str, object]) -> Body:
        """Return the words as fields of a body."""
        names = _of(self.model, _PLAIN) or {}
        body = present(prompt=self.prompt)
        for word, value in words.items():
            is_sora = names.get(word) == "seconds"
            body[self._named(word, names)] = f"{value:g}" if is_sora else value
        return body

    def wire(self, given: Given) -> Body:
        """Return the body but for what *body* has."""
        return self._plain({**self._words(), **given})

    def job(self, pictures: tuple[LoadedImage, ...]) -> VideoJob:
        """Return the job, with the inspected *pictures* in their order."""
        own = self.own
        return super().job(pictures) if own is None else own.job(pictures)


def _check_raw(model: str, body: Mapping[str, object]) -> None:
    """Refuse a body that the server would misread, or be paid for in vain."""
    for field in ("prompt", "image_url"):
        value = body.get(field)
        if value is not None and not isinstance(value, str | Image):
            raise ConfigurationError(f"{field} is a text, not {value!r:.200}")
    name = model.lower()
    if name.startswith("veo") and not body.get("instances"):
        raise ConfigurationError("a body of Veo without instances is paid for nothing")
    if name.startswith("gen3a") and "duration" not in body:
        raise ConfigurationError("say duration: without it Runway makes ten seconds")
    if name.startswith("sora") and not isinstance(body.get("seconds", ""), str):
        raise ConfigurationError("Sora takes seconds as a text: '4'")
    if name.startswith("gemini-omni") and (dropped := sorted(set(body) - _OF_OMNI)):
        raise ConfigurationError(
            f"the server drops {', '.join(dropped)} of Omni's body"
        )
    if provider_of(model) is MiniMax:
        refuse_false(body)
