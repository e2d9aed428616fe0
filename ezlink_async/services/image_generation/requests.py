"""
The job request of ``/v1/async/images``: its checks, its body for each provider.

The server checks next to nothing before it charges. It multiplies the price by ``n``
for every provider, and takes four for Wan where ``n`` is missing.
Bodies are those of the providers: ``input`` and ``parameters`` for Wan, one flat object
for Flux (docs.bfl.ai) and Kling, whose pictures are base64 without a data URI.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar

import attrs

from ezlink_async._core.images import EncodedImage, Image, ImageLike, InspectedImage
from ezlink_async._core.messages import Base64Text, clip, json_body
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import ImagesRecord
from ezlink_async.services.base import PICTURES, JobRequest, LoadedImage, TaskFamily
from ezlink_async.services.image_generation.jobs import ImagesJob
from ezlink_async.services.image_generation.tasks import FAMILIES, Provider
from ezlink_async.services.values import checked_fields, checked_text

_LABEL = 60  # characters of a prompt in a label

_MOST = 10  # pictures of one job

_ONE_PICTURE = (str, bytes, bytearray, memoryview, os.PathLike, Image)

_PRICES = {Provider.FLUX: 20_000, Provider.KLING: 50_000, Provider.WAN: 100_000}

_MOST_IMAGES = {Provider.FLUX: 8, Provider.KLING: 1, Provider.WAN: 10}


def _pictures(pictures: Iterable[ImageLike]) -> tuple[Image, ...]:
    if isinstance(pictures, _ONE_PICTURE) or not isinstance(pictures, Iterable):
        raise ConfigurationError("images is a list of pictures, not one of them")
    return tuple(map(Image.of, pictures))


def _model(model: object) -> str:
    provider_of(model)
    return str(model)


def provider_of(model: object) -> Provider:
    """Return who serves *model*; :exc:`ConfigurationError` for another name."""
    if isinstance(model, str) and "\0" not in model:
        for provider in Provider:
            if model.startswith(provider.value):
                return provider
    raise ConfigurationError(
        f"the model {model!r:.80} is none of flux..., kling..., wan...; native Flux "
        "models are those of `client.flux`"
    )


@attrs.frozen
class AsyncImage(JobRequest[ImagesRecord]):
    """
    Make *n* pictures of *prompt* by *model*: ``flux...``, ``kling...`` or ``wan...``.

    *images* are pictures to start from: up to 8 for Flux, one for Kling, up to 10 for
    Wan; each is JPEG, PNG or WebP of up to 10 MiB. *n* is 1 to 10, and 1 for Flux; each
    picture is paid. *body* are further fields as the provider names them, such as
    ``{"width": 1024}`` for Flux, ``{"aspect_ratio": "16:9"}`` for Kling or
    ``{"parameters": {"size": "1024*1024"}}`` for Wan.

    Costs are taken at acceptance, even from an account that has nothing left: 20,000
    units for a picture of flux-pro-1.1, 50,000 of Kling, 100,000 of wan2.5-i2i;
    500,000 are a dollar. A failure is given back for Wan alone.
    """

    kind: ClassVar[str] = "image"
    further: ClassVar[str] = "body"

    model: str = attrs.field(converter=_model)
    prompt: str | None = None
    n: int = attrs.field(default=1, kw_only=True)
    images: tuple[Image, ...] = attrs.field(
        default=(), converter=_pictures, metadata={PICTURES: True}, kw_only=True
    )
    body: Mapping[str, object] = attrs.field(factory=dict, hash=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        checked_text(self.prompt, "prompt")
        self._check_n()
        most, count = _MOST_IMAGES[self.provider], len(self.images)
        if count > most:
            raise ConfigurationError(
                f"{self.model} starts from at most {most} pictures, not {count}"
            )
        object.__setattr__(self, "body", self._checked_body())

    def _check_n(self) -> None:
        if type(self.n) is not int or not 1 <= self.n <= _MOST:
            raise ConfigurationError(f"n is 1 to {_MOST}, not {self.n!r:.80}")
        if self.provider is Provider.FLUX and self.n > 1:
            raise ConfigurationError(
                "a Flux job makes one picture, and the server charges for n: make "
                "several jobs"
            )

    def _checked_body(self) -> Mapping[str, object]:
        body = checked_fields(self.body, "body", {"model", "prompt", "n", "model_name"})
        for name, own in (("input", {"prompt", "images"}), ("parameters", {"n"})):
            if name in body and self.provider is Provider.WAN:
                body[name] = checked_fields(body[name], f"body[{name!r}]", own)
        clashing = sorted(self._picture_names() & body.keys())
        if clashing:
            raise ConfigurationError(
                f"images and the further field {clashing[0]!r} are the same picture"
            )
        return body

    def _picture_names(self) -> set[str]:
        if self.provider is Provider.WAN:
            return set()
        return set(self._flat_pictures(range(len(self.images))))

    def _flat_pictures(self, pictures: Iterable[object]) -> dict[str, object]:
        """Return each of *pictures* under the name of its field, for Flux and Kling."""
        name = "image" if self.provider is Provider.KLING else "input_image"
        return {
            f"{name}_{number}" if number > 1 else name: picture
            for number, picture in enumerate(pictures, 1)
        }

    @property
    def provider(self) -> Provider:
        """Who makes the pictures."""
        return provider_of(self.model)

    @property
    def family(self) -> TaskFamily[ImagesRecord]:
        """A submit becomes a task behind ``/v1/async/images/result``."""
        return FAMILIES[self.provider]

    @property
    def label(self) -> str:
        """The beginning of the prompt, or the model."""
        return self.model if self.prompt is None else clip(self.prompt, _LABEL)

    @property
    def price(self) -> int:
        """The price of the provider's model above for *n* pictures, in units."""
        return self.n * _PRICES[self.provider]

    def job(self, pictures: tuple[LoadedImage, ...]) -> ImagesJob:
        """Return the job, with the inspected *pictures* in their order."""
        fill = self._of_wan if self.provider is Provider.WAN else self._flat
        return ImagesJob(
            model=self.model,
            provider=self.provider,
            label=self.label,
            body=json_body(fill(pictures)),
        )

    def _flat(self, pictures: tuple[LoadedImage, ...]) -> dict[str, object]:
        prompt = {} if self.prompt is None else {"prompt": self.prompt}
        count = {"n": self.n} if self.provider is Provider.KLING else {}
        found = self._flat_pictures(map(Base64Text, pictures))
        return {"model": self.model, **prompt, **count, **self.body, **found}

    def _of_wan(self, pictures: tuple[LoadedImage, ...]) -> dict[str, object]:
        given: dict[str, object] = dict(self.body)
        source, parameters = given.pop("input", {}), given.pop("parameters", {})
        prompt = {} if self.prompt is None else {"prompt": self.prompt}
        images: dict[str, list[InspectedImage | EncodedImage]]
        images = {"images": list(pictures)} if pictures else {}
        return {
            "model": self.model,
            **given,
            "input": {**prompt, **images, **_as_mapping(source)},
            "parameters": {"n": self.n, **_as_mapping(parameters)},
        }


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
