"""Photos drawn for a test, with all metadata that a camera writes."""

from __future__ import annotations

import io
import random
from typing import Final

import pytest

pytest.importorskip("PIL", reason="needs the images extra")

from PIL import ExifTags, ImageCms, ImageOps, PngImagePlugin, features
from PIL import Image as Pillow

__all__ = ["ImageCms", "ImageOps", "Pillow", "PngImagePlugin", "features"]

RED, GREEN, BLUE, GREY = (220, 20, 30), (20, 190, 40), (30, 40, 210), (120, 120, 120)
CORNERS: Final = (RED, GREEN, BLUE, GREY)
"""Left and right at the top, left and right at the bottom."""

LATITUDE = 123_456_789
"""A number of the GPS position; tests search for its bytes."""

SECRETS = (
    b"SECRET",
    b"GPS",
    LATITUDE.to_bytes(4, "big"),
    LATITUDE.to_bytes(4, "little"),
)
"""Bytes that a picture without metadata must not contain."""

# The orientation that a camera writes, and how it turns the pixels in the file.
STORED = {
    1: None,
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}


def photo(width: int = 96, height: int = 64) -> Pillow.Image:
    """Draw four quarters of the colours of :data:`CORNERS`."""
    tile = Pillow.new("RGB", (2, 2))
    tile.putdata(CORNERS)
    return tile.resize((width, height), Pillow.Resampling.NEAREST)


def noise(width: int, height: int) -> Pillow.Image:
    """Draw pixels that no encoder can make small; the same every time."""
    content = random.Random(0).randbytes(3 * width * height)  # noqa: S311 - no secret
    return Pillow.frombytes("RGB", (width, height), content)


def lying(orientation: int) -> Pillow.Image:
    """Return the photo as a camera that was held that way stores it."""
    step = STORED[orientation]
    return photo() if step is None else photo().transpose(step)


def exif(orientation: int = 1) -> bytes:
    """Return an Exif with position, serial number and maker notes."""
    telling = Pillow.Exif()
    if orientation != 1:
        telling[ExifTags.Base.Orientation] = orientation
    telling[ExifTags.Base.Artist] = "SECRET artist"
    telling[ExifTags.Base.Make] = "GPS of SECRET"
    telling.get_ifd(ExifTags.IFD.Exif).update(
        {0xA431: "SECRET serial", 0x927C: b"SECRET maker note"}
    )
    telling.get_ifd(ExifTags.IFD.GPSInfo).update(
        {1: "N", 2: (47.0, 22.0, LATITUDE / 1_000_000), 18: "SECRET datum"}
    )
    return telling.tobytes()


def encoded(picture: Pillow.Image, name: str, **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    if name == "HEIC":
        pytest.importorskip("pillow_heif").from_pillow(picture).save(stream, **options)
        return stream.getvalue()
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    picture.save(stream, name, **options)
    return stream.getvalue()


def decoded(content: bytes) -> Pillow.Image:
    """Open the bytes of a picture of any format."""
    return Pillow.open(io.BytesIO(content))


def pixels(content: bytes) -> tuple[str, tuple[int, int], bytes]:
    """Return mode, size and pixels of a picture, to compare exactly."""
    picture = decoded(content)
    return picture.mode, picture.size, picture.tobytes()


def corners(picture: Pillow.Image) -> list[tuple[int, ...]]:
    """Return the colours of the four quarters, in the order of :data:`CORNERS`."""
    size, nearest = (2, 2), Pillow.Resampling.NEAREST
    content = picture.convert("RGB").resize(size, nearest).tobytes()
    return [tuple(content[start : start + 3]) for start in range(0, 12, 3)]


def near(
    found: list[tuple[int, ...]],
    wanted: tuple[tuple[int, ...], ...] = CORNERS,
    most: int = 12,
) -> bool:
    """Return whether colours are the wanted ones, within the loss of coding."""
    pairs = zip(found, wanted, strict=True)
    return all(
        abs(a - b) <= most
        for one, other in pairs
        for a, b in zip(one, other, strict=True)
    )
