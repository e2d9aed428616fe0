"""
The fields of Stability's forms: which values each takes, and what is sent of them.

Names, bounds and words are those of the API's public pages of August 2024
(``https://6lsfyizlhl.apifox.cn``) and of the form that ``ye4293/one-api`` checked
(``relay/channel/stability/model.go``).
"""

from __future__ import annotations

from typing import Literal, TypedDict

import attrs

from ezlink_async._core.images import ImageLike
from ezlink_async.errors import ConfigurationError

OutputFormat = Literal["jpeg", "png", "webp"]

AspectRatio = Literal["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"]

StylePreset = Literal[
    "3d-model",
    "analog-film",
    "anime",
    "cinematic",
    "comic-book",
    "digital-art",
    "enhance",
    "fantasy-art",
    "isometric",
    "line-art",
    "low-poly",
    "modeling-compound",
    "neon-punk",
    "origami",
    "photographic",
    "pixel-art",
    "tile-texture",
]

Sd3Model = Literal["sd3-large", "sd3-large-turbo", "sd3-medium"]

LARGEST_SEED = 4_294_967_294


@attrs.frozen
class TextField:
    """A text that says something, of at most *most* characters."""

    most: int = 10_000

    def sent(self, name: str, value: object) -> str:
        """Return *value* as it is sent, or raise :exc:`ConfigurationError`."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ConfigurationError(
                f"{name} is a text that says something, not {value!r:.60}"
            )
        if len(value) > self.most:
            raise ConfigurationError(f"{name} has at most {self.most:,} characters")
        return value


@attrs.frozen
class NumberField:
    """A number from *least* to *most*, *whole* or not."""

    least: float
    most: float
    whole: bool = True

    def sent(self, name: str, value: object) -> str:
        """Return *value* as it is sent, or raise :exc:`ConfigurationError`."""
        kinds = int if self.whole else int | float
        if isinstance(value, kinds) and not isinstance(value, bool):
            number: float = value
            if self.least <= number <= self.most:  # NaN is not
                return str(value)
        what = "a whole number" if self.whole else "a number"
        raise ConfigurationError(
            f"{name} is {what} from {self.least:g} to {self.most:.10g}, "
            f"not {value!r:.60}"
        )


@attrs.frozen
class WordField:
    """One of some *words*."""

    words: tuple[str, ...]

    def sent(self, name: str, value: object) -> str:
        """Return *value* as it is sent, or raise :exc:`ConfigurationError`."""
        if isinstance(value, str) and value in self.words:
            return value
        listed = ", ".join(map(repr, self.words))
        raise ConfigurationError(f"{name} is one of {listed}, not {value!r:.60}")


Field = TextField | NumberField | WordField


class VideoFields(TypedDict, total=False):
    """The optional fields of :meth:`Stability.image_to_video`."""

    seed: int
    cfg_scale: float
    motion_bucket_id: int


class UpscaleFields(TypedDict, total=False):
    """The optional fields of :meth:`Stability.upscale`."""

    negative_prompt: str
    seed: int
    creativity: float
    output_format: OutputFormat


class EditFields(TypedDict, total=False):
    """The fields of :meth:`Stability.edit`; each edit takes some of them."""

    prompt: str
    search_prompt: str
    negative_prompt: str
    mask: ImageLike
    grow_mask: int
    left: int
    right: int
    up: int
    down: int
    creativity: float
    seed: int
    output_format: OutputFormat


class GenerateFields(TypedDict, total=False):
    """The optional fields of :meth:`Stability.generate`; each call takes some."""

    negative_prompt: str
    aspect_ratio: AspectRatio
    style_preset: StylePreset
    model: Sd3Model
    image: ImageLike
    strength: float
    seed: int
    output_format: OutputFormat


class ControlFields(TypedDict, total=False):
    """The optional fields of :meth:`Stability.control`; each call takes some."""

    negative_prompt: str
    control_strength: float
    fidelity: float
    aspect_ratio: AspectRatio
    seed: int
    output_format: OutputFormat
