"""The job request of native Flux: its checks and its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import attrs

from ezlink_async._core.images import Image, ImageLike
from ezlink_async._core.messages import Base64Text, clip, json_body
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import FluxRecord
from ezlink_async.services.balance_bars import BalanceBar
from ezlink_async.services.base import PICTURES, JobRequest, LoadedImage, TaskFamily
from ezlink_async.services.flux.jobs import FluxJob
from ezlink_async.services.flux.tasks import BAR, FLUX
from ezlink_async.services.values import checked_count, checked_fields, checked_text

_LABEL = 60  # characters of a prompt in a label

_MODEL = re.compile(r"[A-Za-z0-9._-]+")

_QUERY = "get_result"  # stands where models do

_PRICES = {"flux-2-pro": 15_000}

_PRICE = 20_000  # of flux-pro-1.1, where none was seen

_FROM_SERVER = frozenset({"model", "webhook_url", "webhook_secret"})


def _model(model: object) -> str:
    is_name = isinstance(model, str) and _MODEL.fullmatch(model)
    if not is_name or model == _QUERY or not str(model).strip("."):
        raise ConfigurationError(
            f"the model {model!r:.80} is no name of letters, digits, '.', '_' and '-', "
            "such as 'flux-2-pro'"
        )
    return str(model)


def _picture(picture: ImageLike | None) -> Image | None:
    return None if picture is None else Image.of(picture)


def _text(_: object, field: attrs.Attribute[str | None], value: object) -> None:
    checked_text(value, field.name)


def _pixels(_: object, field: attrs.Attribute[int | None], value: object) -> None:
    checked_count(value, field.name)


def _number(_: object, field: attrs.Attribute[int | None], value: object) -> None:
    checked_count(value, field.name, least=0)


@attrs.frozen
class Flux(JobRequest[FluxRecord]):
    """
    Make a picture of *prompt* by *model*, such as ``flux-2-pro``.

    *width* and *height* are pixels, *aspect_ratio* is a text such as ``"16:9"``; which
    of them a model takes is the provider's matter (docs.bfl.ai), as is the range of
    *safety_tolerance*, from 0. *input_image* is a JPEG, PNG or WebP of up to 10 MiB to
    start from. *output_format* is ``"jpeg"`` or ``"png"``. *extra* are further fields
    as the provider names them; further pictures are addresses or base64 there, such as
    ``{"input_image_2": "https://..."}``.

    Nothing is charged at acceptance; the picture is charged once it is there, 15,000
    units for flux-2-pro and up to a megapixel, 500,000 to the dollar.
    """

    kind: ClassVar[str] = "flux"
    further: ClassVar[str] = "extra"

    model: str = attrs.field(converter=_model)
    prompt: str | None = attrs.field(default=None, validator=_text)
    width: int | None = attrs.field(default=None, validator=_pixels, kw_only=True)
    height: int | None = attrs.field(default=None, validator=_pixels, kw_only=True)
    aspect_ratio: str | None = attrs.field(default=None, validator=_text, kw_only=True)
    seed: int | None = attrs.field(default=None, validator=_number, kw_only=True)
    input_image: Image | None = attrs.field(
        default=None, converter=_picture, metadata={PICTURES: True}, kw_only=True
    )
    output_format: str | None = attrs.field(default=None, validator=_text, kw_only=True)
    safety_tolerance: int | None = attrs.field(
        default=None, validator=_number, kw_only=True
    )
    extra: Mapping[str, object] = attrs.field(factory=dict, hash=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        known = {field.name for field in attrs.fields(Flux)} | _FROM_SERVER
        object.__setattr__(self, "extra", checked_fields(self.extra, "extra", known))

    @property
    def family(self) -> TaskFamily[FluxRecord]:
        """A submit becomes a native Flux task."""
        return FLUX

    @property
    def label(self) -> str:
        """The beginning of the prompt, or the model."""
        return self.model if self.prompt is None else clip(self.prompt, _LABEL)

    @property
    def price(self) -> int:
        """The price of a picture in units; that of flux-pro-1.1 for other models."""
        return _PRICES.get(self.model, _PRICE)

    @property
    def bar(self) -> BalanceBar:
        """The balance below which the server refuses it, even if it costs less."""
        return BAR

    def job(self, pictures: tuple[LoadedImage, ...]) -> FluxJob:
        """Return the job with the inspected picture, if there is one."""
        fields: dict[str, object] = {
            "prompt": self.prompt,
            "width": self.width,
            "height": self.height,
            "aspect_ratio": self.aspect_ratio,
            "seed": self.seed,
            "input_image": next(map(Base64Text, pictures), None),
            "output_format": self.output_format,
            "safety_tolerance": self.safety_tolerance,
        }
        sent = {name: value for name, value in fields.items() if value is not None}
        return FluxJob(
            model=self.model, label=self.label, body=json_body({**sent, **self.extra})
        )
