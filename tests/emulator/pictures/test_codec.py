"""Picture files decoded for the engine, and its results encoded and marked."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.containers import verify_complete
from ezlink_async.emulator.pictures.containers import (
    PictureError,
    chunks,
    orientation_of,
    read_header,
)
from ezlink_async.emulator.pictures.containers import jpeg_segment as segment
from ezlink_async.emulator.pictures.containers import png_chunk as chunk
from ezlink_async.emulator.pictures.containers import riff_chunk as riff
from ezlink_async.emulator.pictures.synthetic_mark import COMMENT, SOURCE_TYPE

np = pytest.importorskip("numpy")
cv2 = pytest.importorskip("cv2")

from ezlink_async.emulator.pictures.codec import Pixels, decode, encode  # noqa: E402

pytestmark = pytest.mark.local

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"
PROFILE = b"\0" * 40 + b"not a real colour profile"


def scene(channels: int = 3) -> Pixels:
    """Draw a small picture in which no two corners look alike."""
    ramp = np.linspace(0, 255, 48 * 64 * channels).reshape(48, 64, channels)
    picture = ramp.astype(np.uint8)
    picture[:16, :16] = 200
    return picture


def written(suffix: str, picture: Pixels, *options: int) -> bytes:
    """Encode a picture as OpenCV does."""
    return cv2.imencode(suffix, picture, options)[1].tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    """Build a TIFF block with an orientation behind another entry."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = [(0x0100, 3, 1, 9, 0), (0x0112, 3, 1, orientation, 0)]
    body = b"".join(struct.pack(f"{order}HHIHH", *entry) for entry in entries)
    return magic + struct.pack(f"{order}IH", 8, len(entries)) + body + b"\0" * 4


def with_jpeg_segments(content: bytes, *segments: bytes) -> bytes:
    """Put segments behind the start of a JPEG."""
    return content[:2] + b"".join(segments) + content[2:]


def with_png_chunks(content: bytes, *extra: bytes) -> bytes:
    """Put chunks behind the header of a PNG."""
    return content[:33] + b"".join(extra) + content[33:]


def with_webp_chunks(content: bytes, flags: int, *extra: bytes) -> bytes:
    """Put chunks into a WebP, and a canvas before them."""
    canvas = struct.pack("<I", flags) + (63).to_bytes(3, "little")
    canvas += (47).to_bytes(3, "little")
    body = riff(b"VP8X", canvas) + b"".join(extra) + content[12:]
    return riff(b"RIFF", b"WEBP" + body)


def png(depth: int, colour: int, row: bytes, *extra: bytes) -> bytes:
    """Build a PNG, four pixels wide and two high, both rows alike."""
    header = struct.pack(">IIBBBBB", 4, 2, depth, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 2)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *extra,
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_decoding_applies_the_exif_orientation(orientation: int, order: str) -> None:
    """All eight orientations are turned as OpenCV itself turns them."""
    block = segment(0xE1, b"Exif\0\0" + exif(orientation, order))
    data = with_jpeg_segments(written(".jpg", scene()), block)
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    picture = decode(data)
    assert np.array_equal(picture.pixels, upright)
    again = decode(encode(picture))
    assert again.pixels.shape == upright.shape
    assert again.header.orientation == 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_decoding_turns_alpha_with_its_picture(orientation: int) -> None:
    """EXIF in a PNG or WebP turns colours and alpha alike."""
    block = exif(orientation)
    plain_png, plain_webp = written(".png", scene(4)), written(".webp", scene(4))
    turned = [
        with_png_chunks(plain_png, chunk(b"eXIf", block)),
        riff(b"RIFF", plain_webp[8:] + riff(b"EXIF", b"Exif\0\0" + block)),
    ]
    turns = {3: 2, 6: 3}[orientation]
    for data, plain in zip(turned, [plain_png, plain_webp], strict=True):
        before, after = decode(plain), decode(data)
        assert np.array_equal(after.pixels, np.rot90(before.pixels, turns))
        assert np.array_equal(after.alpha, np.rot90(before.alpha, turns))


@given(st.binary(max_size=80))
def test_broken_exif_block_gives_some_orientation(block: bytes) -> None:
    """Any bytes give an orientation from 1 to 8."""
    for start in (b"", b"II*\0", b"MM\0*", exif(6)[:12]):
        assert 1 <= orientation_of(start + block) <= 8


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_encoding_keeps_alpha(suffix: str) -> None:
    """A transparent picture has the same alpha after decoding and encoding."""
    picture = decode(written(suffix, scene(4), cv2.IMWRITE_WEBP_QUALITY, 101))
    again = decode(encode(picture))
    assert np.array_equal(picture.alpha, scene(4)[..., 3])
    assert np.array_equal(again.alpha, picture.alpha)
    assert again.header.kind == suffix[1:]


@pytest.mark.parametrize(
    "data",
    [
        written(".jpg", scene(1)),
        written(".png", scene(1)),
        png(1, 0, b"\xa0"),
        png(16, 0, bytes(range(8))),
    ],
)
def test_grey_becomes_colour(data: bytes) -> None:
    """A grey picture of any depth has three equal channels and no alpha."""
    picture = decode(data)
    assert picture.alpha is None
    assert (picture.pixels == picture.pixels[..., :1]).all()


def test_sixteen_bits_become_eight() -> None:
    """The upper half of each sample is kept, colours and alpha alike."""
    row = b"".join(struct.pack(">HHHH", 0x1234, 0x5678, 0x9ABC, 0xDEF0) for _ in "1234")
    picture = decode(png(16, 6, row))
    assert picture.pixels[0, 0].tolist() == [0x9A, 0x56, 0x12]
    assert picture.alpha is not None
    assert picture.alpha[0, 0] == 0xDE


def test_palette_is_resolved() -> None:
    """A PNG with a palette gives its colours and their transparency."""
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0]))
    plain = decode(png(8, 3, bytes([0, 1, 0, 1]), palette))
    clear = decode(
        png(8, 3, bytes([0, 1, 0, 1]), palette, chunk(b"tRNS", bytes([9, 128])))
    )
    assert plain.pixels[0, :2].tolist() == [[0, 0, 255], [0, 255, 0]]
    assert plain.alpha is None
    assert clear.alpha is not None
    assert clear.alpha[0, :2].tolist() == [9, 128]


@pytest.mark.parametrize(
    ("suffix", "quality"), [(".jpg", 90), (".png", 3), (".webp", 90), (".webp", 101)]
)
@pytest.mark.parametrize("channels", [3, 4])
def test_results_are_marked_as_synthetic(
    suffix: str, quality: int, channels: int
) -> None:
    """The format and size are the same, the mark is inside, and the file decodes."""
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_WEBP_QUALITY, quality)
    picture = decode(written(suffix, scene(channels), *options))
    result = encode(picture)
    assert SOURCE_TYPE.encode() in result
    assert COMMENT.encode() in result or suffix == ".webp"
    assert verify_complete(result) == f"image/{picture.header.kind}"
    again = decode(result)
    assert again.header.kind == picture.header.kind
    assert again.header.lossless == picture.header.lossless
    assert again.pixels.shape == picture.pixels.shape
    opened = cv2.imdecode(np.frombuffer(result, np.uint8), cv2.IMREAD_COLOR)
    assert opened.shape == picture.pixels.shape
    assert np.abs(opened.astype(int) - picture.pixels).mean() < 5
    if picture.header.lossless:
        assert np.array_equal(again.pixels, picture.pixels)


def test_mark_is_in_the_place_the_format_requires() -> None:
    """A JPEG keeps JFIF first; a WebP announces XMP in its canvas."""
    jpeg = encode(decode(written(".jpg", scene())))
    assert jpeg[6:11] == b"JFIF\0"
    assert jpeg[20:22] == b"\xff\xe1"
    assert jpeg[24:53] == b"http://ns.adobe.com/xap/1.0/\0"
    webp = encode(decode(written(".webp", scene(), cv2.IMWRITE_WEBP_QUALITY, 90)))
    names = [name for name, _, _ in chunks(webp, "webp", 12)]
    assert names == [b"VP8X", b"VP8 ", b"XMP "]
    assert webp[20] == 0x04
    png_names = [n for n, _, _ in chunks(encode(decode(png(8, 0, b"1234"))), "png", 8)]
    assert png_names == [b"IHDR", b"iTXt", b"tEXt", b"IDAT", b"IEND"]


def test_encoding_keeps_the_colour_profile() -> None:
    """The profile has the same bytes, behind each format's header."""
    jpeg_profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)
    jpeg = with_jpeg_segments(
        written(".jpg", scene()), segment(0xE2, b"MPF\0"), b"\xff", jpeg_profile
    )
    assert jpeg_profile in encode(decode(jpeg))
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    assert gamma in encode(decode(with_png_chunks(written(".png", scene()), gamma)))
    webp = with_webp_chunks(written(".webp", scene()), 0x20, riff(b"ICCP", PROFILE))
    result = encode(decode(webp))
    assert riff(b"ICCP", PROFILE) in result
    assert result[20] == 0x24


def test_grey_profile_is_left_out() -> None:
    """The result is in colour, and a profile for grey would garble it."""
    profile = segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE)
    jpeg = with_jpeg_segments(written(".jpg", scene(1)), profile)
    assert PROFILE not in encode(decode(jpeg))
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    assert not decode(png(8, 0, b"1234", gamma)).header.profile


def test_encoding_drops_private_metadata() -> None:
    """EXIF, which can hold a position and the old face as a thumbnail, is dropped."""
    block = segment(0xE1, b"Exif\0\0" + exif(1) + b"51.5N 0.1W")
    data = with_jpeg_segments(written(".jpg", scene()), block)
    assert b"51.5N" not in encode(decode(data))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">2s", b"\xff\xd8")
        + segment(0xC0, struct.pack(">BHHB", 8, 60000, 60000, 3))
        + segment(0xDA, b"")
        + b"\xff\xd9",
        png(8, 2, bytes(12)).replace(
            struct.pack(">II", 4, 2), struct.pack(">II", 90000, 90000), 1
        ),
        with_webp_chunks(b"\0" * 12, 0, riff(b"VP8 ", b"\0" * 6 + b"\xff\x3f\xff\x3f")),
        with_webp_chunks(b"\0" * 12, 0, riff(b"VP8L", b"\x2f\xff\xff\xff\x0f")),
    ],
)
def test_decompression_bomb_is_refused_by_its_header(data: bytes) -> None:
    """A small file that claims a giant picture is refused before it is decoded."""
    assert len(data) < 400
    with pytest.raises(PictureError, match="more than the 50000000"):
        decode(data)


def test_max_pixels_is_the_largest_accepted_size() -> None:
    """A picture of exactly the limit is decoded; one pixel more is refused."""
    data = written(".png", scene())
    assert decode(data, max_pixels=48 * 64).pixels.shape == (48, 64, 3)
    with pytest.raises(PictureError, match="64 x 48 pixels, more than the 3071"):
        decode(data, max_pixels=48 * 64 - 1)


def moving_png() -> bytes:
    """Build a PNG that claims to be animated."""
    return with_png_chunks(written(".png", scene()), chunk(b"acTL", b"\0" * 8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a JPEG, PNG or WebP"),
        (b"GIF89a and more", "not a JPEG, PNG or WebP"),
        (b"\xff\xd8\xff", "its header is cut off"),
        (b"\x89PNG\r\n\x1a\n", "its header is cut off"),
        (b"\xff\xd8\xff\xe0\x00\x02 no marker", "a segment is missing"),
        (written(".jpg", scene())[:-40], "the JPEG is cut off"),
        (written(".png", scene())[:-40], "the PNG is cut off"),
        (written(".webp", scene())[:-4], "the WebP is cut off"),
        (riff(b"RIFF", b"WEBP"), "it has no size"),
        (
            png(8, 0, b"1234").replace(
                struct.pack(">II", 4, 2), struct.pack(">II", 2_000_000, 1), 1
            ),
            "the PNG is damaged: it cannot be decoded",
        ),
        (moving_png(), "moving PNGs are not taken"),
        (with_webp_chunks(b"\0" * 12, 0x02), "moving WebPs are not taken"),
        (with_webp_chunks(b"\0" * 12, 0), "the WEBP is damaged: it cannot be decoded"),
        (
            b"\xff\xd8"
            + segment(0xC0, struct.pack(">BHHB", 8, 9, 9, 4))
            + segment(0xDA, b"")
            + b"\xff\xd9",
            "CMYK JPEGs are not taken",
        ),
    ],
)
def test_unusable_file_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    """The error is a ValueError, and its text is the reason."""
    with pytest.raises(PictureError, match=reason) as info:
        decode(data)
    assert isinstance(info.value, ValueError)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_header_or_a_picture_error(body: bytes) -> None:
    """The reader raises no other exception, for any bytes."""
    for start in (b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X"):
        try:
            header = read_header(start + body)
        except PictureError:
            continue
        assert header.width > 0
        assert header.height > 0
