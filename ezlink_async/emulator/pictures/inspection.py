"""
What a picture is: its format, size, main colour, and its bright parts as a mask.

Pixels are decoded by OpenCV when the extra ``local`` is installed. Without it only
PNG files are decoded, here, as far as small pictures and masks need it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from operator import itemgetter

from attrs import frozen

from ezlink_async.emulator.pictures import containers
from ezlink_async.emulator.pictures.containers import PictureError, read_header
from ezlink_async.emulator.pictures.sketch import Colour

_SAMPLES = 64  # in a row, and in a column, that decide about the main colour
_ROUGH = 32  # colours that differ by less count as one
_BRIGHT = 128
_MOST_PIXELS = 4_194_304  # that are decoded without OpenCV
_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG colour types
_PALETTE_TYPE = 3
_COLOURS = 3

_NAMES: dict[str, Colour] = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "orange": (250, 140, 20),
    "yellow": (240, 230, 40),
    "green": (40, 170, 50),
    "cyan": (30, 200, 220),
    "blue": (40, 60, 210),
    "purple": (130, 40, 170),
    "pink": (250, 150, 190),
    "brown": (120, 75, 40),
}


@frozen(eq=False)
class Pixels:
    """A decoded picture: red, green and blue, a byte each, row behind row."""

    width: int
    height: int
    data: bytes

    def at(self, x: int, y: int) -> Colour:
        """Return the colour of one pixel."""
        start = _COLOURS * (y * self.width + x)
        red, green, blue = self.data[start : start + _COLOURS]
        return red, green, blue


def decode_pixels(content: bytes) -> Pixels:
    """Return the pixels of a picture; PictureError when it cannot be decoded."""
    try:
        from ezlink_async.emulator.pictures.codec import decode
    except ImportError:
        return decode_png(content)
    array = decode(content).pixels
    height, width = array.shape[:2]
    return Pixels(width, height, array[..., ::-1].tobytes())


def main_colour(pixels: Pixels) -> Colour:
    """Return the mean of the most frequent colours, from 64 x 64 samples."""
    groups: dict[Colour, list[Colour]] = {}
    for row in range(_SAMPLES):
        y = row * pixels.height // _SAMPLES
        for column in range(_SAMPLES):
            colour = pixels.at(column * pixels.width // _SAMPLES, y)
            red, green, blue = (part // _ROUGH for part in colour)
            groups.setdefault((red, green, blue), []).append(colour)
    most = max(groups.values(), key=len)
    red, green, blue = (
        sum(map(itemgetter(band), most)) // len(most) for band in range(_COLOURS)
    )
    return red, green, blue


def colour_name(colour: Colour) -> str:
    """Return the nearest of twelve names."""

    def distance(name: str) -> int:
        pairs = zip(colour, _NAMES[name], strict=True)
        return sum((one - other) ** 2 for one, other in pairs)

    return min(_NAMES, key=distance)


def describe(content: bytes) -> tuple[str, ...]:
    """Return four facts about a picture; PictureError when it is none."""
    header = read_header(content)
    kind = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP"}[header.kind]
    shape = "a square" if header.width == header.height else "an upright"
    shape = "a wide" if header.width > header.height else shape
    try:
        colour = main_colour(decode_pixels(content))
    except PictureError as unknown:
        name, code = "unknown", str(unknown)
    else:
        name, code = colour_name(colour), "#{:02x}{:02x}{:02x}".format(*colour)
    return (
        f"a {kind} picture of {header.width} x {header.height} pixels",
        f"mostly {name} ({code})",
        f"{shape} picture, mostly {name}",
        f"{len(content)} bytes of {kind}, {header.width} x {header.height}",
    )


def read_mask(content: bytes, width: int, height: int) -> list[bytes]:
    """
    Return a mask of that size: 255 where the picture is bright, 0 elsewhere.

    A picture of another size is stretched. PictureError when it cannot be decoded.
    """
    pixels = decode_pixels(content)
    columns = [x * pixels.width // width for x in range(width)]
    rows: dict[int, bytes] = {}
    found = []
    for y in range(height):
        line = y * pixels.height // height
        if line not in rows:
            start = _COLOURS * line * pixels.width
            row = pixels.data[start : start + _COLOURS * pixels.width]
            # green stands for brightness, which is the same in a black and white mask
            bright = row[1::_COLOURS].translate(_TWO_LEVELS)
            rows[line] = bytes(bright[x] for x in columns)
        found.append(rows[line])
    return found


_TWO_LEVELS = bytes(255 if level >= _BRIGHT else 0 for level in range(256))


# PNG without OpenCV


def decode_png(content: bytes) -> Pixels:
    """Return the pixels of a PNG of 8 bits; PictureError for anything else."""
    header = read_header(content)
    if header.kind != "png":
        raise PictureError("only PNG is decoded without the extra local")
    depth, colour_type, _, _, interlaced = struct.unpack_from(">5B", content, 24)
    if depth != 8 or interlaced or colour_type not in _BANDS:  # noqa: PLR2004
        raise PictureError("only plain PNGs of 8 bits are decoded without local")
    if header.width * header.height > _MOST_PIXELS:
        raise PictureError("a large PNG is not decoded without the extra local")
    parts: dict[bytes, bytes] = {}
    for name, start, end in containers.chunks(content, "png", 8):
        parts[name] = parts.get(name, b"") + content[start:end]
    bands = _BANDS[colour_type]
    try:
        packed = zlib.decompress(parts.get(b"IDAT", b""))
        rows = _unfiltered(packed, header.width * bands, bands)
    except (zlib.error, KeyError):
        raise PictureError("the PNG is damaged: it cannot be decoded") from None
    palette = parts.get(b"PLTE", b"") if colour_type == _PALETTE_TYPE else b""
    data = b"".join(_coloured(row, bands, palette) for row in rows)
    if len(data) != _COLOURS * header.width * header.height:
        raise PictureError("the PNG is damaged: rows are missing")
    return Pixels(header.width, header.height, data)


def _unfiltered(packed: bytes, stride: int, bands: int) -> list[bytes]:
    above, rows = bytearray(stride), []
    for start in range(0, len(packed), stride + 1):
        line = bytearray(packed[start + 1 : start + 1 + stride])
        _FILTERS[packed[start]](line, above, bands)
        above = line
        rows.append(bytes(line))
    return rows


def _sub(line: bytearray, _above: bytearray, bands: int) -> None:
    for place in range(bands, len(line)):
        line[place] = line[place] + line[place - bands] & 255


def _up(line: bytearray, above: bytearray, _bands: int) -> None:
    for place, upper in enumerate(above[: len(line)]):
        line[place] = line[place] + upper & 255


def _average(line: bytearray, above: bytearray, bands: int) -> None:
    for place, upper in enumerate(above[: len(line)]):
        left = line[place - bands] if place >= bands else 0
        line[place] = line[place] + (left + upper) // 2 & 255


def _paeth(line: bytearray, above: bytearray, bands: int) -> None:
    for place, upper in enumerate(above[: len(line)]):
        left = line[place - bands] if place >= bands else 0
        corner = above[place - bands] if place >= bands else 0
        guess = left + upper - corner
        nearest = min((left, upper, corner), key=lambda part: abs(guess - part))
        line[place] = line[place] + nearest & 255


# By the number that begins each row of a PNG.
_FILTERS: dict[int, Callable[[bytearray, bytearray, int], None]] = {
    0: lambda _line, _above, _bands: None,
    1: _sub,
    2: _up,
    3: _average,
    4: _paeth,
}


def _coloured(row: bytes, bands: int, palette: bytes) -> bytes:
    if palette:
        planes = [
            row.translate(palette[band::3].ljust(256, b"\0")) for band in range(3)
        ]
    elif bands < _COLOURS:
        planes = [row[::bands]] * _COLOURS
    else:
        planes = [row[band::bands] for band in range(_COLOURS)]
    mixed = bytearray(_COLOURS * len(planes[0]))
    for band, plane in enumerate(planes):
        mixed[band::_COLOURS] = plane
    return bytes(mixed)
