"""
Stand-in pictures, drawn from the hash of what was asked for.

A sketch is a PNG with a fixed palette of 216 colours, so pictures are cut and put
together row by row without any package for pictures: 1,024 x 1,024 pixels take less
than 50 ms. Each sketch says inside that it is one. The same request always gives the
same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from operator import itemgetter
from typing import Literal

from attrs import frozen

from ezlink_async.emulator.pictures import containers, lettering

Colour = tuple[int, int, int]
Side = Literal["left", "right", "up", "down"]

SIDE = 1024
"""Width and height of a new grid, in pixels."""

NOTICE = "SKETCH, NOT A GENERATED PICTURE"
"""The last line of each caption."""

_LEVELS = 6  # of red, green and blue in the palette
_STEP = 51  # between two levels
_BLACK, _WHITE = 0, _LEVELS**3 - 1
_CELLS = 8  # in a row of a pattern, and in a column
_MARK = b"ezlink sketch"
_IHDR = ">IIBBBBB"
_LARGEST = 2048  # pixels; a larger sketch is not enlarged again


@frozen(eq=False)
class Sketch:
    """A picture of palette numbers: one byte a pixel, one ``bytes`` a row."""

    rows: tuple[bytes, ...]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return len(self.rows[0])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return len(self.rows)

    @property
    def digest(self) -> str:
        """SHA-256 of the pixels, in hexadecimal."""
        return hashlib.sha256(b"".join(self.rows)).hexdigest()

    def to_png(self) -> bytes:
        """Return the file."""
        header = struct.pack(_IHDR, self.width, self.height, 8, 3, 0, 0, 0)
        pixels = b"".join(b"\0" + row for row in self.rows)
        return b"".join(
            (
                b"\x89PNG\r\n\x1a\n",
                containers.png_chunk(b"IHDR", header),
                containers.png_chunk(b"tEXt", b"Comment\0" + _MARK),
                containers.png_chunk(b"PLTE", _PALETTE),
                containers.png_chunk(b"IDAT", zlib.compress(pixels, 1)),
                containers.png_chunk(b"IEND", b""),
            )
        )


def read_sketch(png: bytes) -> Sketch:
    """Return the sketch in the bytes of :meth:`Sketch.to_png`, else ValueError."""
    parts = {
        name: png[start:end] for name, start, end in containers.chunks(png, "png", 8)
    }
    if not parts.get(b"tEXt", b"").endswith(_MARK):
        raise ValueError("this picture is no sketch")
    width = struct.unpack(_IHDR, parts[b"IHDR"])[0]
    pixels = zlib.decompress(parts[b"IDAT"])
    starts = range(1, len(pixels), width + 1)
    return Sketch(tuple(pixels[start : start + width] for start in starts))


def _palette() -> bytes:
    levels = range(0, 256, _STEP)
    return bytes(
        part
        for red in levels
        for green in levels
        for blue in levels
        for part in (red, green, blue)
    )


_PALETTE = _palette()


def nearest(colour: Colour) -> int:
    """Return the number of the palette's colour that is nearest."""
    red, green, blue = (round(part / _STEP) for part in colour)
    return (red * _LEVELS + green) * _LEVELS + blue


# New pictures


def grid(prompt: str, seed: str = "") -> Sketch:
    """Return four tiles, whose patterns and colours follow from prompt and *seed*."""
    half = SIDE // 2
    return _joined([single(f"{seed}{tile}", prompt, half, half) for tile in "1234"])


def single(seed: str, prompt: str, width: int, height: int) -> Sketch:
    """Return one pattern, symmetrical like a face, above a caption."""
    text = f"{seed}\n{prompt}".encode("utf-8", "surrogatepass")
    numbers = hashlib.sha256(text).digest()
    colours = [1 + number % (_WHITE - 1) for number in numbers[:3]]
    bands = []
    for line in range(_CELLS):
        left = [colours[number % 3] for number in numbers[4 * line :][:4]]
        bands.append(_stretched([*left, *left[::-1]], width))
    rows = [bands[y * _CELLS // height] for y in range(height)]
    return Sketch(tuple(_captioned(rows, prompt)))


def stripes(colours: Sequence[Colour], title: str) -> Sketch:
    """Return four tiles of upright stripes; each begins with another colour."""
    half = SIDE // 2
    numbers = [nearest(colour) for colour in colours]
    tiles = []
    for first in range(4):
        turned = list(islice(cycle(numbers), first, first + len(numbers)))
        row = _stretched(turned, half)
        tiles.append(Sketch(tuple(_captioned([row] * half, title))))
    return _joined(tiles)


def _joined(tiles: Sequence[Sketch]) -> Sketch:
    upper, lower = tiles[:2], tiles[2:]
    return Sketch(
        tuple(
            left + right
            for one, other in (upper, lower)
            for left, right in zip(one.rows, other.rows, strict=True)
        )
    )


def _stretched(numbers: Sequence[int], width: int) -> bytes:
    count = len(numbers)
    ends = [(place + 1) * width // count for place in range(count)]
    starts = [0, *ends]
    return b"".join(
        bytes([number]) * (end - start)
        for number, start, end in zip(numbers, starts, ends, strict=False)
    )


def _captioned(rows: list[bytes], text: str) -> list[bytes]:
    """Return *rows*, the lowest of which hold two lines of *text* and the notice."""
    caption = _caption(text, len(rows[0]))
    return rows[: len(rows) - len(caption)] + caption


def _caption(text: str, width: int) -> list[bytes]:
    scale = max(1, width // (2 * SIDE // 8))
    blank = bytes([_BLACK]) * width
    most = (width - 4 * scale) // (lettering.ADVANCE * scale)
    rows = [blank] * scale
    for line in (text[:most], text[most : 2 * most], NOTICE[:most]):
        drawn = lettering.draw_line(line, ink=_WHITE, paper=_BLACK, scale=scale)
        rows += [(blank[: 2 * scale] + row + blank)[:width] for row in drawn]
        rows += [blank] * (2 * scale)
    return rows


# Pictures made of others


def tile_of(sketch: Sketch, number: int) -> Sketch:
    """Return tile 1 to 4 of a grid; another number is a ValueError."""
    if number not in range(1, 5):
        raise ValueError(f"a grid has no tile {number}")
    wide, high = sketch.width // 2, sketch.height // 2
    left, top = wide * ((number - 1) % 2), high * ((number - 1) // 2)
    rows = sketch.rows[top : top + high]
    return Sketch(tuple(row[left : left + wide] for row in rows))


def enlarged(sketch: Sketch) -> Sketch:
    """Return each pixel as two by two; a very large sketch as it is."""
    if max(sketch.width, sketch.height) >= _LARGEST:
        return sketch
    doubled = _each_row(sketch.rows, _doubled)
    return Sketch(tuple(row for row in doubled for _ in range(2)))


def framed(sketch: Sketch, factor: float, prompt: str) -> Sketch:
    """Return the sketch smaller by *factor*, in the middle of a new pattern."""
    frame = single(sketch.digest, prompt, sketch.width, sketch.height)
    wide, high = int(sketch.width / factor), int(sketch.height / factor)
    left, top = (sketch.width - wide) // 2, (sketch.height - high) // 2
    pick = itemgetter(*(int(x * factor) for x in range(wide)))
    kept = [sketch.rows[int(y * factor)] for y in range(high)]
    inner = _each_row(kept, lambda row: bytes(pick(row)))
    rows = list(frame.rows)
    for y, row in enumerate(inner, top):
        rows[y] = rows[y][:left] + row + rows[y][left + wide :]
    return Sketch(tuple(rows))


def shifted(sketch: Sketch, side: Side, prompt: str) -> Sketch:
    """Return the sketch moved by a third, with a new pattern at *side*."""
    new = single(sketch.digest, prompt, sketch.width, sketch.height)
    third = (sketch.width if side in {"left", "right"} else sketch.height) // 3
    old = sketch.rows
    moved: dict[Side, Callable[[], Iterable[bytes]]] = {
        "left": lambda: (
            fresh[:third] + row[:-third]
            for fresh, row in zip(new.rows, old, strict=True)
        ),
        "right": lambda: (
            row[third:] + fresh[-third:]
            for fresh, row in zip(new.rows, old, strict=True)
        ),
        "up": lambda: (*new.rows[:third], *old[:-third]),
        "down": lambda: (*old[third:], *new.rows[-third:]),
    }
    return Sketch(tuple(_captioned(list(moved[side]()), prompt)))


def replaced(sketch: Sketch, mask: Sequence[bytes], prompt: str) -> Sketch:
    """
    Return a new pattern where *mask* is 255, and the old pixels where it is 0.

    The mask has the size of the sketch, one byte a pixel.
    """
    new = single(sketch.digest, prompt, sketch.width, sketch.height)
    full = int.from_bytes(b"\xff" * sketch.width)
    rows = []
    for old, fresh, hidden in zip(sketch.rows, new.rows, mask, strict=True):
        bits = int.from_bytes(hidden)
        mixed = int.from_bytes(fresh) & bits | int.from_bytes(old) & (full ^ bits)
        rows.append(mixed.to_bytes(sketch.width))
    return Sketch(tuple(rows))


def _doubled(row: bytes) -> bytes:
    wide = bytearray(2 * len(row))
    wide[::2] = wide[1::2] = row
    return bytes(wide)


def _each_row(rows: Iterable[bytes], change: Callable[[bytes], bytes]) -> list[bytes]:
    """Change each row; rows of a pattern repeat, and equal ones are changed once."""
    known: dict[bytes, bytes] = {}
    changed = []
    for row in rows:
        if row not in known:
            known[row] = change(row)
        changed.append(known[row])
    return changed
