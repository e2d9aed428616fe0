"""
The table of Stability's calls: path, pictures, fields, and whether a task is made.

All that differs between two calls stands here; everything else reads the table.
Source: the API's public pages and ``ye4293/one-api`` (``router/relay-router.go``) as
it was until January 2026. The page of ``style`` was published, and never routed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import attrs

from ezlink_async.errors import ConfigurationError
from ezlink_async.services.stability.fields import (
    LARGEST_SEED,
    AspectRatio,
    Field,
    NumberField,
    Sd3Model,
    StylePreset,
    TextField,
    WordField,
)

Edit = Literal[
    "erase", "inpaint", "outpaint", "search-and-replace", "remove-background"
]

Generate = Literal["ultra", "core", "sd3"]

Control = Literal["sketch", "structure", "style"]

Sent = Mapping[str, str]
"""The fields of one form, as they are sent."""

_SIDES = ("left", "right", "up", "down")


def _nothing(_sent: Sent, _pictures: frozenset[str]) -> Sent:
    return {}


@attrs.frozen(kw_only=True)
class Endpoint:
    """
    One paid call.

    *pictures* are the parts with a picture, *required* the fields and parts that no
    call may lack. *result* is the path behind which a task's result is, ``None`` for
    a call whose answer is the picture. *complete* checks fields that depend on each
    other, and returns those that the client adds.
    """

    name: str
    path: str
    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    result: str | None = None
    complete: Callable[[Sent, frozenset[str]], Sent] = _nothing

    def check_names(self, given: frozenset[str]) -> None:
        """Raise :exc:`ConfigurationError` for a field too many, or one too few."""
        known = (*self.pictures, *self.fields)
        if unknown := sorted(given - set(known)):
            raise ConfigurationError(
                f"{self.name!r} takes no {unknown[0]!r}; it takes {', '.join(known)}"
            )
        if missing := [name for name in self.required if name not in given]:
            raise ConfigurationError(f"{self.name!r} needs {' and '.join(missing)}")

    def sent(self, fields: Mapping[str, object], pictures: frozenset[str]) -> Sent:
        """Return the *fields* as they are sent, or :exc:`ConfigurationError`."""
        sent = {name: self.fields[name].sent(name, fields[name]) for name in fields}
        return {**sent, **self.complete(sent, pictures)}


def _some_side(sent: Sent, _pictures: frozenset[str]) -> Sent:
    if not any(int(sent.get(side, "0")) for side in _SIDES):
        raise ConfigurationError(
            "'outpaint' needs at least one of left, right, up and down above 0"
        )
    return {}


def _mode_of_sd3(sent: Sent, pictures: frozenset[str]) -> Sent:
    from_picture = "image" in pictures
    if from_picture is not ("strength" in sent):
        raise ConfigurationError("'sd3' takes image and strength together, or neither")
    if from_picture and "aspect_ratio" in sent:
        raise ConfigurationError(
            "'sd3' with an image has its shape: leave out aspect_ratio"
        )
    return {"mode": "image-to-image" if from_picture else "text-to-image"}


_PROMPT = TextField()
_SEED = NumberField(0, LARGEST_SEED)
_SHARE = NumberField(0, 1, whole=False)
_SIDE = NumberField(0, 2_000)
_FORMAT = WordField(("jpeg", "png", "webp"))
_RATIO = WordField(get_args(AspectRatio))

_USUAL: Mapping[str, Field] = {"seed": _SEED, "output_format": _FORMAT}
_PROMPTED: Mapping[str, Field] = {
    "prompt": _PROMPT,
    "negative_prompt": _PROMPT,
    **_USUAL,
}

_IMAGE = "/v2beta/stable-image"

_ONE = ("image",)
_ONE_WITH_PROMPT = ("image", "prompt")

IMAGE_TO_VIDEO = Endpoint(
    name="image-to-video",
    path="/v2beta/image-to-video",
    result="/v2beta/image-to-video/result",
    pictures=_ONE,
    required=_ONE,
    fields={
        "seed": _SEED,
        "cfg_scale": NumberField(0, 10, whole=False),
        "motion_bucket_id": NumberField(1, 255),
    },
)

CREATIVE = Endpoint(
    name="creative",
    path=f"{_IMAGE}/upscale/creative",
    result=f"{_IMAGE}/upscale/creative/result",
    pictures=_ONE,
    required=_ONE_WITH_PROMPT,
    fields={**_PROMPTED, "creativity": NumberField(0, 0.35, whole=False)},
)

_SYNCHRONOUS = (
    Endpoint(
        name="conservative",
        path=f"{_IMAGE}/upscale/conservative",
        pictures=_ONE,
        required=_ONE_WITH_PROMPT,
        fields={**_PROMPTED, "creativity": NumberField(0.2, 0.5, whole=False)},
    ),
    Endpoint(
        name="erase",
        path=f"{_IMAGE}/edit/erase",
        pictures=("image", "mask"),
        required=_ONE,
        fields={"grow_mask": NumberField(0, 20), **_USUAL},
    ),
    Endpoint(
        name="inpaint",
        path=f"{_IMAGE}/edit/inpaint",
        pictures=("image", "mask"),
        required=_ONE_WITH_PROMPT,
        fields={**_PROMPTED, "grow_mask": NumberField(0, 100)},
    ),
    Endpoint(
        name="outpaint",
        path=f"{_IMAGE}/edit/outpaint",
        pictures=_ONE,
        required=_ONE,
        fields={
            **dict.fromkeys(_SIDES, _SIDE),
            "creativity": _SHARE,
            "prompt": _PROMPT,
            **_USUAL,
        },
        complete=_some_side,
    ),
    Endpoint(
        name="search-and-replace",
        path=f"{_IMAGE}/edit/search-and-replace",
        pictures=_ONE,
        required=("image", "prompt", "search_prompt"),
        fields={
            **_PROMPTED,
            "search_prompt": _PROMPT,
            "grow_mask": NumberField(0, 20),
        },
    ),
    Endpoint(
        name="remove-background",
        path=f"{_IMAGE}/edit/remove-background",
        pictures=_ONE,
        required=_ONE,
        fields={"output_format": WordField(("png", "webp"))},
    ),
    Endpoint(
        name="ultra",
        path=f"{_IMAGE}/generate/ultra",
        required=("prompt",),
        fields={**_PROMPTED, "aspect_ratio": _RATIO},
    ),
    Endpoint(
        name="core",
        path=f"{_IMAGE}/generate/core",
        required=("prompt",),
        fields={
            **_PROMPTED,
            "aspect_ratio": _RATIO,
            "style_preset": WordField(get_args(StylePreset)),
        },
    ),
    Endpoint(
        name="sd3",
        path=f"{_IMAGE}/generate/sd3",
        pictures=_ONE,
        required=("prompt",),
        fields={
            **_PROMPTED,
            "aspect_ratio": _RATIO,
            "model": WordField(get_args(Sd3Model)),
            "strength": _SHARE,
            "output_format": WordField(("jpeg", "png")),
        },
        complete=_mode_of_sd3,
    ),
    Endpoint(
        name="sketch",
        path=f"{_IMAGE}/control/sketch",
        pictures=_ONE,
        required=_ONE_WITH_PROMPT,
        fields={**_PROMPTED, "control_strength": _SHARE},
    ),
    Endpoint(
        name="structure",
        path=f"{_IMAGE}/control/structure",
        pictures=_ONE,
        required=_ONE_WITH_PROMPT,
        fields={**_PROMPTED, "control_strength": _SHARE},
    ),
    Endpoint(
        name="style",
        path=f"{_IMAGE}/control/style",
        pictures=_ONE,
        required=_ONE_WITH_PROMPT,
        fields={**_PROMPTED, "fidelity": _SHARE, "aspect_ratio": _RATIO},
    ),
)

ENDPOINTS: Mapping[str, Endpoint] = {
    each.name: each for each in (IMAGE_TO_VIDEO, CREATIVE, *_SYNCHRONOUS)
}
"""Every paid call by its name."""


def endpoint_of(name: object, among: tuple[str, ...] = tuple(ENDPOINTS)) -> Endpoint:
    """Return the call *name* of those *among*, or :exc:`ConfigurationError`."""
    if isinstance(name, str) and name in among:
        return ENDPOINTS[name]
    listed = ", ".join(map(repr, among))
    raise ConfigurationError(f"Stability's call is one of {listed}, not {name!r:.60}")
