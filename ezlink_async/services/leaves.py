"""
The pictures of a field: a picture, a tuple of them, or a body with them as leaves.

An address that begins with ``https://`` may stand in place of a picture. It is sent
as it is, and counts as none: the server, or a provider behind it, opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeGuard

import attrs

from ezlink_async._core.images import Image, ImageLike


def _as_image(picture: ImageLike) -> Image:
    return Image.of(picture)


@attrs.frozen
class Base64:
    """A picture that is sent as its base64 alone, without the head of a data URI."""

    image: Image = attrs.field(converter=_as_image)


Change = Callable[[ImageLike], object]
"""What stands in place of a picture."""


def is_address(value: object) -> TypeGuard[str]:
    """Return whether *value* is an address that a server may open."""
    return isinstance(value, str) and value.startswith("https://")


def _as_it_is(value: object) -> object:
    return value


def mapped(
    value: object, change: Change, bare: Callable[[object], object] = _as_it_is
) -> object:
    """
    Return the *value* of a field with ``change(picture)`` in place of each picture.

    ``bare(change(picture))`` stands in place of a :class:`Base64`. In a mapping only
    an :class:`Image` and a :class:`Base64` are pictures: a text there is a text.
    """
    if isinstance(value, Mapping):
        return _leaf(value, change, bare)
    if isinstance(value, tuple):
        return tuple(mapped(each, change, bare) for each in value)
    if value is None or is_address(value):
        return value
    if isinstance(value, Base64):
        return bare(change(value.image))
    return change(value)  # type: ignore[arg-type]  # a field has nothing else


def _leaf(value: object, change: Change, bare: Callable[[object], object]) -> object:
    if isinstance(value, Base64):
        return bare(change(value.image))
    if isinstance(value, Image):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _leaf(each, change, bare) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_leaf(each, change, bare) for each in value]
    return value


def pictures_in(value: object) -> tuple[ImageLike, ...]:
    """Return the pictures of the *value* of a field, in their order."""
    found = list[ImageLike]()
    mapped(value, found.append)
    return tuple(found)


def text_length(value: object) -> int:
    """Return how many characters the texts of the *value* of a field have together."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(text_length, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(text_length, value))
    return 0
