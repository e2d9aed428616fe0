"""
JPEG, PNG and WebP taken apart and put together, without decoding pixels.

No I/O. The engine reads the header before any decoder runs, so that a small file
that would unfold into gigabytes is refused at once.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import attrs

Kind = Literal["jpeg", "png", "webp"]

_ORIENTATION_TAG = 0x0112
_SCAN, _EXIF, _ICC = 0xDA, 0xE1, 0xE2  # JPEG markers
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CMYK = 4  # components
_GREY_TYPES = {0, 4}  # PNG colour types
_PNG_COLOUR = {b"iCCP", b"sRGB", b"gAMA", b"cHRM"}
_WEBP_ANIMATED, _WEBP_ALPHA = 0x02, 0x10


class PictureError(ValueError):
    """The engine cannot use the bytes as a picture; the text says why."""


@attrs.frozen
class Header:
    """
    Format, size, orientation and colour profile of a picture.

    *width* and *height* are as stored; *orientation* is the number of EXIF that says
    how to turn them. *profile* is the very segments or chunks that hold the colour
    profile; a grey one is left out, since results are in colour.
    """

    kind: Kind
    width: int
    height: int
    orientation: int = 1
    profile: bytes = b""
    alpha: bool = False
    lossless: bool = False


def read_header(data: bytes) -> Header:
    """
    Return the header of a JPEG, PNG or WebP file.

    :exc:`PictureError` for anything else, for a file that is cut off, for a
    CMYK JPEG and for moving pictures.
    """
    try:
        header = _READERS[kind_of(data)](data)
    except struct.error:
        raise PictureError("the picture is damaged: its header is cut off") from None
    if not header.width or not header.height:
        raise PictureError("the picture is damaged: it has no size")
    return header


def chunks(data: bytes, kind: Kind, start: int) -> Iterator[tuple[bytes, int, int]]:
    """
    Yield name, start and end of each chunk's content in a PNG or a WebP.

    The end may lie behind the end of *data* when the file is cut off.
    """
    order = ">I4s" if kind == "png" else "<4sI"
    position = start
    while position + 8 <= len(data):
        first, second = struct.unpack_from(order, data, position)
        length, name = (first, second) if kind == "png" else (second, first)
        begin = position + 8
        yield name, begin, begin + length
        # PNG closes a chunk with four bytes of checksum, RIFF pads it to even.
        position = begin + length + (4 if kind == "png" else length % 2)


def orientation_of(exif: bytes) -> int:
    """Return the orientation in a TIFF block, 1 to 8; 1 when the block has none."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, offset)
        for index in range(count):
            entry = struct.unpack_from(f"{order}HHIH", exif, offset + 2 + 12 * index)
            if entry[0] == _ORIENTATION_TAG:
                return entry[3] if 1 <= entry[3] <= 8 else 1  # noqa: PLR2004
    except struct.error:
        return 1  # a broken block is no reason to refuse the picture
    return 1


def kind_of(data: bytes) -> Kind:
    """Return the format by its first bytes; :exc:`PictureError` for another."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise PictureError("this is not a JPEG, PNG or WebP picture")


def jpeg_segment(marker: int, payload: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def png_chunk(name: bytes, payload: bytes) -> bytes:
    """Return a chunk of a PNG, its checksum included."""
    size, checksum = len(payload), zlib.crc32(name + payload)
    return struct.pack(">I", size) + name + payload + struct.pack(">I", checksum)


def riff_chunk(name: bytes, payload: bytes) -> bytes:
    """Return a chunk of a WebP, or the whole file, padded to an even length."""
    return name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each JPEG segment, the first scan last."""
    position = 2
    while True:
        lead, marker, length = struct.unpack_from(">BBH", data, position)
        if lead != 0xFF or not marker:  # noqa: PLR2004
            raise PictureError("the JPEG is damaged: a segment is missing")
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            position += 1
            continue
        yield marker, position + 4, position + 2 + length
        if marker == _SCAN:
            return
        position += 2 + length


def _read_jpeg(data: bytes) -> Header:
    width = height = 0
    components, orientation, profile, end = 3, 1, b"", 0
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            _, height, width, components = struct.unpack_from(">BHHB", data, start)
        elif marker == _EXIF and data.startswith(b"Exif\0\0", start):
            orientation = orientation_of(data[start + 6 : end])
        elif marker == _ICC and data.startswith(b"ICC_PROFILE\0", start):
            profile += data[start - 4 : end]
    if components == _CMYK:
        raise PictureError("CMYK JPEGs are not taken; save the picture as RGB")
    if data.find(b"\xff\xd9", end) < 0:
        raise PictureError("the JPEG is cut off")
    return Header(
        kind="jpeg",
        width=width,
        height=height,
        orientation=orientation,
        profile=profile if components > 1 else b"",
    )


def _read_png(data: bytes) -> Header:
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, profile, names = 1, b"", set()
    for name, start, end in chunks(data, "png", 8):
        names.add(name)
        if name == b"eXIf":
            orientation = orientation_of(data[start:end])
        elif name in _PNG_COLOUR:
            profile += data[start - 8 : end + 4]
    if b"acTL" in names:
        raise PictureError("moving PNGs are not taken; give a single picture")
    if b"IEND" not in names:
        raise PictureError("the PNG is cut off")
    return Header(
        kind="png",
        width=width,
        height=height,
        orientation=orientation,
        profile=b"" if colour in _GREY_TYPES else profile,
        lossless=True,
    )


def _read_webp(data: bytes) -> Header:
    if 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise PictureError("the WebP is cut off")
    header = Header(kind="webp", width=0, height=0)
    for name, start, end in chunks(data, "webp", 12):
        header = _with_chunk(header, name, data[start:end])
    return header


def _with_chunk(header: Header, name: bytes, content: bytes) -> Header:
    if name == b"EXIF":
        exif = content.removeprefix(b"Exif\0\0")
        return attrs.evolve(header, orientation=orientation_of(exif))
    if name == b"ICCP":
        return attrs.evolve(header, profile=content)
    if name not in _FRAME_READERS:
        return header
    frame = _FRAME_READERS[name](content)
    # A frame may claim to be larger than its canvas: the larger size counts.
    return attrs.evolve(
        header,
        width=max(header.width, frame.width),
        height=max(header.height, frame.height),
        alpha=header.alpha or frame.alpha,
        lossless=header.lossless or frame.lossless,
    )


def _read_canvas(content: bytes) -> Header:
    flags, wide, wide_high, high, high_high = struct.unpack_from("<I HB HB", content)
    if flags & _WEBP_ANIMATED:
        raise PictureError("moving WebPs are not taken; give a single picture")
    return Header(
        kind="webp",
        width=1 + wide + (wide_high << 16),
        height=1 + high + (high_high << 16),
        alpha=bool(flags & _WEBP_ALPHA),
    )


def _read_lossy(content: bytes) -> Header:
    width, height = struct.unpack_from("<HH", content, 6)
    return Header(kind="webp", width=width & 0x3FFF, height=height & 0x3FFF)


def _read_lossless(content: bytes) -> Header:
    (bits,) = struct.unpack_from("<I", content, 1)
    return Header(
        kind="webp",
        width=1 + (bits & 0x3FFF),
        height=1 + (bits >> 14 & 0x3FFF),
        alpha=bool(bits >> 28 & 1),
        lossless=True,
    )


_FRAME_READERS = {
    b"VP8X": _read_canvas,
    b"VP8 ": _read_lossy,
    b"VP8L": _read_lossless,
}
_READERS = {"jpeg": _read_jpeg, "png": _read_png, "webp": _read_webp}
