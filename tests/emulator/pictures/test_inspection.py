"""What a picture is: facts, main colour, mask; and PNGs decoded without OpenCV."""

from __future__ import annotations

import struct
import sys
import zlib

import pytest

from ezlink_async.emulator.pictures import inspection
from ezlink_async.emulator.pictures.containers import PictureError, png_chunk
from ezlink_async.emulator.pictures.inspection import decode_png

_RED, _BLUE = b"\xdc\x1e\x1e", b"\x28\x3c\xd2"
# Two pixels by two rows: three reds and a blue.
_ROWS = [_RED + _RED, _RED + _BLUE]
_RGB = b"".join(_ROWS)


def _png(
    packed: bytes,
    *,
    colour_type: int = 2,
    depth: int = 8,
    interlaced: int = 0,
    size: tuple[int, int] = (2, 2),
    palette: bytes = b"",
) -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed), (b"IEND", b"")]
    parts = [png_chunk(name, part) for name, part in chunks if part or name == b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _filtered(kind: int, rows: list[bytes], bands: int = 3) -> bytes:
    """Return *rows* as a PNG stores them under one filter."""
    stored, above = b"", bytes(len(rows[0]))
    for row in rows:
        left = bytes(bands) + row[:-bands]
        corner = bytes(bands) + above[:-bands]
        guesses = {
            0: [0] * len(row),
            1: list(left),
            2: list(above),
            3: [(a + b) // 2 for a, b in zip(left, above, strict=True)],
            4: list(map(_paeth, left, above, corner)),
        }[kind]
        pairs = zip(row, guesses, strict=True)
        stored += bytes([kind]) + bytes((a - b) % 256 for a, b in pairs)
        above = row
    return zlib.compress(stored)


def _paeth(left: int, above: int, corner: int) -> int:
    """Return the guess as the PNG specification words it."""
    guess = left + above - corner
    distances = [abs(guess - one) for one in (left, above, corner)]
    if distances[0] <= distances[1] and distances[0] <= distances[2]:
        return left
    return above if distances[1] <= distances[2] else corner


@pytest.fixture
def without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezlink_async.emulator.pictures.codec", None)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
def test_png_is_decoded_under_each_filter(kind: int) -> None:
    rows = [bytes((37 * x * y + 11 * x) % 256 for x in range(15)) for y in range(1, 6)]

    pixels = decode_png(_png(_filtered(kind, rows), size=(5, 5)))

    assert pixels.data == b"".join(rows)


@pytest.mark.parametrize(
    ("colour_type", "rows", "palette"),
    [
        (2, _ROWS, b""),
        (6, [_RED + b"\x00" + _RED + b"\xff", _RED + b"\x07" + _BLUE + b"\xff"], b""),
        (3, [b"\x00\x00", b"\x00\x01"], _RED + _BLUE),
    ],
)
def test_png_is_decoded_in_each_kind_of_colour(
    colour_type: int, rows: list[bytes], palette: bytes
) -> None:
    stored = zlib.compress(b"".join(b"\0" + row for row in rows))

    pixels = decode_png(_png(stored, colour_type=colour_type, palette=palette))

    assert pixels.data == _RGB


@pytest.mark.parametrize("colour_type", [0, 4])
def test_grey_png_has_three_equal_bands(colour_type: int) -> None:
    alpha = b"\x33" if colour_type == 4 else b""
    rows = [b"\x01" + alpha + b"\x02" + alpha, b"\x03" + alpha + b"\x04" + alpha]
    stored = zlib.compress(b"".join(b"\0" + row for row in rows))

    pixels = decode_png(_png(stored, colour_type=colour_type))

    assert pixels.data == b"\1\1\1\2\2\2\3\3\3\4\4\4"


_WHOLE = zlib.compress(b"\0" + _ROWS[0] + b"\0" + _ROWS[1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xd8\xff\xd9", "damaged"),
        (_png(_WHOLE, depth=16), "8 bits"),
        (_png(_WHOLE, interlaced=1), "8 bits"),
        (_png(_WHOLE, colour_type=5), "8 bits"),
        (_png(_WHOLE, size=(3000, 3000)), "large"),
        (_png(b"no zlib"), "cannot be decoded"),
        (_png(zlib.compress(b"\x09" + _ROWS[0])), "cannot be decoded"),
        (_png(zlib.compress(b"\0" + _ROWS[0])), "rows are missing"),
    ],
)
def test_picture_that_is_no_plain_png_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(PictureError, match=words):
        decode_png(content)


@pytest.mark.usefixtures("without_opencv")
def test_jpeg_is_not_decoded_without_opencv() -> None:
    """Its facts are still known, but for the colour."""
    start = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 30, 40) + b"\x01\x01\x11\x00"
    jpeg = b"\xff\xd8\xff" + start[1:] + b"\xff\xda\x00\x02" + b"\xff\xd9"

    with pytest.raises(PictureError, match="only PNG"):
        inspection.decode_pixels(jpeg)
    facts = inspection.describe(jpeg)
    assert facts[0] == "a JPEG picture of 40 x 30 pixels"
    assert "unknown" in facts[1]


@pytest.mark.usefixtures("without_opencv")
def test_facts_name_format_size_and_main_colour() -> None:
    """The colour is the mean of the most frequent ones."""
    content = _png(_WHOLE)

    assert inspection.describe(content) == (
        "a PNG picture of 2 x 2 pixels",
        "mostly red (#dc1e1e)",
        "a square picture, mostly red",
        f"{len(content)} bytes of PNG, 2 x 2",
    )


@pytest.mark.usefixtures("without_opencv")
@pytest.mark.parametrize(("size", "word"), [((4, 1), "a wide"), ((1, 4), "an upright")])
def test_facts_name_the_shape(size: tuple[int, int], word: str) -> None:
    row = b"\0" + _BLUE * size[0]

    facts = inspection.describe(_png(zlib.compress(row * size[1]), size=size))

    assert facts[2] == f"{word} picture, mostly blue"


@pytest.mark.local
def test_opencv_and_the_own_decoder_agree() -> None:
    pytest.importorskip("cv2")

    assert inspection.decode_pixels(_png(_WHOLE)).data == _RGB


@pytest.mark.usefixtures("without_opencv")
def test_mask_is_stretched_and_has_two_levels() -> None:
    stored = zlib.compress(b"\0\x7f\x80\0\xff\0")

    mask = inspection.read_mask(_png(stored, colour_type=0), 4, 4)

    assert mask == [b"\0\0\xff\xff"] * 2 + [b"\xff\xff\0\0"] * 2
