"""
Decodes pictures for thumbnails, in bounded memory.

The size of a picture is read before its pixels. A JPEG is decoded at a part of its
size, and every other picture is made smaller strip by strip. A result comes from a
server, so its decoding is also bounded in bytes: a file of some kilobytes may hold
more pixels than a machine has memory.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Resampling
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ezlink_async._core.images import HEAD_BYTES, foreign_format, sniff

# Pillow opens more formats, and starts programs for some of them; a file with the
# name of a photo may be any of them.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF")

_RESULT_DECODERS = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}

_MOST_PIXELS = 120_000_000
_MOST_RESULT_BYTES = 64 * 1024 * 1024  # of the file: decoders read parts of it whole
_MOST_DECODED_BYTES = 160_000_000  # of one result, with all that its decoder needs

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}  # in memory; other modes take 4
_WEBP_BYTES = 16  # for each pixel, in several copies of the picture
_SAMPLE_BYTES = 2  # for each colour of each pixel of a JPEG with several scans
_MOST_SCANNED = 2_000_000_000  # pixels of all scans together: decoded in seconds

_STRIP_PIXELS = 500_000
_GAP = 1.5  # strips are made no smaller than this many times the wanted size

_BLOCK = 1024 * 1024  # bytes
_PREFIX = 16  # bytes by which Pillow's plugins know their format
_SCAN = 0xDA
_WITHOUT_LENGTH = range(0xD0, 0xDA)  # markers of JPEG


class NotShownError(Exception):
    """A picture that is not decoded, though it may be whole; the text says why."""


class Decoder:
    """Decodes pictures to at most *edge* pixels a side. Thread-safe."""

    def __init__(self, edge: int) -> None:
        self._edge = edge
        with contextlib.suppress(ImportError):  # it is in the `images` extra
            from pillow_heif import register_heif_opener

            register_heif_opener()
        PillowImage.init()
        # One thread for all results: each thread that frees much memory keeps some.
        self._results = ThreadPoolExecutor(1, "ezlink-results")

    def close(self) -> None:
        """End the thread."""
        self._results.shutdown()

    def decode(self, path: Path) -> PillowImage.Image:
        """
        Return a picture of the user's, upright and in RGB.

        Raises :exc:`NotShownError` if it has too many pixels, and at a broken picture
        whatever its decoder raises.
        """
        with path.open("rb") as stream, _open(stream) as picture:
            _check_pixels(picture)
            return self._reduced(picture)

    def decode_result(self, path: Path) -> PillowImage.Image:
        """Return a server's picture; one is decoded at a time, in bounded memory."""
        return self._results.submit(self._decode_result, path).result()

    def _decode_result(self, path: Path) -> PillowImage.Image:
        with path.open("rb") as stream:
            _check_length(os.fstat(stream.fileno()).st_size)
            with _open_result(stream) as picture:
                _check_pixels(picture)
                self._check_memory(picture, stream)
                return self._reduced(picture)

    def _draft(self, picture: PillowImage.Image) -> None:
        """Have a JPEG decoded at a half, a quarter or an eighth of its size."""
        picture.draft("RGB", within(self._edge, picture.size))

    def _check_memory(self, picture: PillowImage.Image, stream: IO[bytes]) -> None:
        width, height = picture.size
        needed = 0
        if isinstance(picture, JpegImageFile):
            if not _has_one_scan(picture, stream):
                _check_scans(width * height, stream)
                needed = width * height * picture.layers * _SAMPLE_BYTES
            self._draft(picture)
        pixel = _PIXEL_BYTES.get(picture.mode, 4)
        if picture.format == "WEBP":
            pixel = _WEBP_BYTES
        needed += picture.width * picture.height * pixel
        if needed > _MOST_DECODED_BYTES:
            raise NotShownError(
                f"A {picture.format} of {width} x {height} pixels takes "
                f"{needed // 1_000_000} MB of memory, more than is used to show a "
                "result here; open the file itself."
            )

    def _reduced(self, picture: PillowImage.Image) -> PillowImage.Image:
        self._draft(picture)
        profile = picture.info.get("icc_profile") if picture.mode == "RGB" else None
        size = within(self._edge, picture.size)
        large = _in_strips(picture, size).resize(size, Resampling.HAMMING)
        large.info = picture.info
        # Metadata may be broken where the picture is not.
        with contextlib.suppress(Exception):
            large = ImageOps.exif_transpose(large)
        large.info = {"icc_profile": profile} if profile else {}
        return large


def within(edge: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return *size* scaled to fit into a square; it is never enlarged."""
    scale = min(1.0, edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _open(stream: IO[bytes]) -> PillowImage.Image:
    """Open a picture without decoding it."""
    # Not `Image.open`, whose limit of pixels warns, and is the program's to set.
    prefix = stream.read(_PREFIX)
    for name in _FORMATS:
        factory, accepts = PillowImage.OPEN.get(name, (None, None))
        if factory is not None and accepts is not None and accepts(prefix) is True:
            stream.seek(0)
            return _opened(factory, stream)
    raise UnidentifiedImageError


def _open_result(stream: IO[bytes]) -> PillowImage.Image:
    """Open a result, which is a JPEG, PNG or WebP if it could be verified."""
    head = stream.read(HEAD_BYTES)
    media_type = sniff(head)
    if media_type is None:
        if name := foreign_format(head):
            raise NotShownError(f"A {name} is not shown here; open the file itself.")
        raise UnidentifiedImageError
    stream.seek(0)
    return _opened(_RESULT_DECODERS[media_type], stream)


def _opened(
    factory: Callable[[IO[bytes], str], PillowImage.Image], stream: IO[bytes]
) -> PillowImage.Image:
    try:
        return factory(stream, "")
    except (SyntaxError, IndexError, TypeError, ValueError, struct.error) as fault:
        raise UnidentifiedImageError from fault


def _check_length(length: int) -> None:
    if length > _MOST_RESULT_BYTES:
        raise NotShownError(
            f"It has {length // 1_000_000} MB, more than is read to show a result "
            "here; open the file itself."
        )


def _check_pixels(picture: PillowImage.Image) -> None:
    pixels = picture.width * picture.height
    if pixels > _MOST_PIXELS:
        raise NotShownError(
            f"It has {pixels // 1_000_000:,} megapixels, and up to "
            f"{_MOST_PIXELS // 1_000_000} are shown here; open the file itself."
        )


def _has_one_scan(picture: JpegImageFile, stream: IO[bytes]) -> bool:
    """
    Return whether the first scan surely has all colours, and all of each.

    The decoder writes such a JPEG line by line. With several scans it keeps the
    coefficients of the whole picture, at its full size.
    """
    if picture.info.get("progressive"):
        return False
    position = stream.tell()
    stream.seek(2)
    try:
        while True:
            mark, marker, *length = stream.read(4)
            if mark != 0xFF or marker < 0xC0 or marker in _WITHOUT_LENGTH:  # noqa: PLR2004 - of the format
                return False
            if marker == _SCAN:
                return stream.read(1)[0] == picture.layers
            stream.seek(int.from_bytes(length) - 2, os.SEEK_CUR)
    except (ValueError, IndexError, OSError):  # the file ended
        return False
    finally:
        stream.seek(position)


def _check_scans(pixels: int, stream: IO[bytes]) -> None:
    """Refuse a JPEG whose scans, of 30 bytes each, would be decoded for hours."""
    position = stream.tell()
    stream.seek(0)
    scans, last = 0, b""
    # Among coded pixels there is no such marker; few segments hold its two bytes.
    while block := stream.read(_BLOCK):
        scans += (last + block).count(bytes((0xFF, _SCAN)))
        last = block[-1:]
    stream.seek(position)
    if scans * pixels > _MOST_SCANNED:
        raise NotShownError(
            f"It is coded in {scans:,} layers, which take long to decode; open the "
            "file itself."
        )


def _in_strips(picture: PillowImage.Image, size: tuple[int, int]) -> PillowImage.Image:
    """Return it in RGB, on white, and made smaller, but no less than *size* twice."""
    # A strip at a time: conversions of the whole picture would be several copies.
    factor = max(1, int(min(picture.width / size[0], picture.height / size[1]) / _GAP))
    rows = max(1, _STRIP_PIXELS // picture.width // factor) * factor
    picture.load()
    reduced = PillowImage.new(
        "RGB", (-(-picture.width // factor), -(-picture.height // factor))
    )
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        strip = _plain(picture.crop((0, top, picture.width, bottom)))
        reduced.paste(strip.reduce(factor), (0, top // factor))
    return reduced


def _plain(picture: PillowImage.Image) -> PillowImage.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    paper = PillowImage.new("RGBA", layer.size, "white")
    return PillowImage.alpha_composite(paper, layer).convert("RGB")
