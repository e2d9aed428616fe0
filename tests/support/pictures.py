"""Small pictures: complete ones of each format, and bytes that only look like one."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest

from ezlink_async._core.images import Image, InspectedImage
from tests.support.samples import samples


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def recorded_jpeg() -> bytes:
    """Return a baseline JPEG of 8 by 8 pixels, as a server sent it."""
    return samples()["image-ok"].response.body


def progressive() -> bytes:
    """
    Return a progressive JPEG with everything that misleads a simple reader.

    A thumbnail with an end marker of its own, fill bytes, a stuffed FF, a
    restart marker, tables between two scans, and bytes FF in a table.
    """
    thumbnail = b"\xff\xd8" + segment(0xDA, b"\0") + b"small" + b"\xff\xd9"
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xE0, b"JFIF\0"),
            segment(0xE1, b"Exif\0\0" + bytes(300) + thumbnail),
            b"\xff" + segment(0xC2, bytes(6)),
            segment(0xDA, bytes(6)) + b"first\xff\x00scan\xff\xd0again",
            segment(0xC4, bytes(300) + b"\xff\xd9\xff\xd9"),
            segment(0xDA, bytes(6)) + b"second\xff\xff\xd7scan",
            b"\xff\xd9",
        )
    )


def png() -> bytes:
    """Return a PNG of one grey pixel."""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
            chunk(b"tEXt", b"note\0IEND is only a word here"),
            chunk(b"IDAT", zlib.compress(b"\0\x80")),
            chunk(b"IEND", b""),
        )
    )


def webp() -> bytes:
    """Return a WebP of one pixel."""
    text = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
    return base64.b64decode(text)


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xda\x00\x04ab" + b"picture" + b"\xff\xd9"

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82"

GIF = b"GIF89a" + b"\0" * 40

BMP = b"BM" + b"\0" * 40
"""A picture of a format that cannot be verified."""

MIB = 1024 * 1024


def jpeg(length: int) -> bytes:
    """Return a complete JPEG of *length* bytes, none of its blocks like another."""
    stuffing = b"".join(b"%08x" % number for number in range(length // 8 + 1))
    return JPEG[:-9] + stuffing[: length - len(JPEG) + 7] + JPEG[-2:]


def prepared(content: bytes) -> InspectedImage:
    """Return bytes as an inspected picture."""
    return InspectedImage(Image(content=content), "image/jpeg", len(content))


def prepared_file(path: Path, content: bytes) -> InspectedImage:
    """Write *content* and return it as an inspected picture."""
    path.write_bytes(content)
    return InspectedImage(Image.from_path(path), "image/jpeg", len(content))


PICTURES = {
    "jpeg": ("image/jpeg", recorded_jpeg()),
    "progressive": ("image/jpeg", progressive()),
    "png": ("image/png", png()),
    "webp": ("image/webp", webp()),
}

WHOLE = pytest.mark.parametrize(
    ("media_type", "content"), PICTURES.values(), ids=PICTURES
)
