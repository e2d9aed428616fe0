"""Metadata: all of it goes, and no pixel with it."""

from __future__ import annotations

import contextlib
import mmap
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core import containers, images
from ezlink_async.errors import ImageError
from tests.core.test_images import FOREIGN
from tests.support.photographs import (
    SECRETS,
    STORED,
    ImageCms,
    ImageOps,
    Pillow,
    PngImagePlugin,
    corners,
    decoded,
    encoded,
    exif,
    lying,
    near,
    noise,
    photo,
    pixels,
)
from tests.support.pictures import (
    PICTURES,
    WHOLE,
    png,
    progressive,
    recorded_jpeg,
    webp,
)
from tests.support.samples import samples


@WHOLE
def test_a_whole_picture_is_called_whole(media_type: str, content: bytes) -> None:
    """Each real picture passes, whatever traps are in it."""
    assert containers.verify_complete(content) == media_type


@WHOLE
def test_e40_a_cut_picture_is_never_called_whole(
    media_type: str, content: bytes
) -> None:
    """Cut anywhere before its end, a picture is an error: never a result."""
    del media_type
    for length in range(len(content)):
        with pytest.raises(ImageError):
            containers.verify_complete(content[:length])


@given(st.sampled_from(sorted(PICTURES)), st.binary(max_size=50))
def test_bytes_behind_the_end_are_allowed(name: str, tail: bytes) -> None:
    """Phones append data to a picture; it stays whole."""
    media_type, content = PICTURES[name]
    assert containers.verify_complete(content + tail) == media_type


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", png()[:8], b"RIFF", webp()[:12], b"GIF8"]),
    st.binary(max_size=100),
)
def test_any_bytes_are_judged(head: bytes, tail: bytes) -> None:
    """Arbitrary bytes are a picture, not verifiable, or an ImageError."""
    try:
        assert containers.verify_complete(head + tail) in {*images.SUFFIXES, None}
    except ImageError as error:
        reason = error.reason
        assert any(word in reason for word in ("cut off", "no picture", "empty"))


@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_damage_is_judged_too(name: str, data: st.DataObject) -> None:
    """One wrong byte anywhere ends in a verdict, not in another exception."""
    content = bytearray(PICTURES[name][1])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        containers.verify_complete(bytes(content))


@pytest.mark.parametrize("content", [content for _, content in FOREIGN])
def test_a_format_that_cannot_be_verified_is_kept_apart(content: bytes) -> None:
    """Neither whole nor cut off: the caller keeps it under another name."""
    assert containers.verify_complete(content) is None


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff\xd9" + bytes(9),
        b"\xff\xd8\xff\xe0\0\x04ab" + b"\xff\xd9" + bytes(9),
        b"\xff\xd8\xff\xe0\0\x04ab" + b"no marker here",
        b"\xff\xd8\xff\xe0\0\x04ab" + b"\0\xda\0\x04ab picture \xff\xd9",
        b"\xff\xd8\xff\0\0\x04ab" + b"\xff\xda\0\x04ab picture \xff\xd9",
        b"\xff\xd8\xff\xff\xff\xff",
        webp()[:4] + bytes(4) + webp()[8:],
        b"RIFF\x04\0\0\0WEBP",
    ],
)
def test_an_end_without_a_picture_is_not_whole(content: bytes) -> None:
    """An end marker before any scan, and a container of nothing, prove nothing."""
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(content)


def test_an_end_marker_inside_a_table_is_no_end() -> None:
    """A picture that is cut in a table which holds these two bytes is cut off."""
    content = progressive()
    for end in range(len(content) - 1, 2, -1):
        if content[:end].endswith(b"\xff\xd9"):
            with pytest.raises(ImageError, match="is cut off"):
                containers.verify_complete(content[:end])


@pytest.mark.parametrize("filling", [b"\xff\x00", b"\x00", b"\xff\xd0", b"\xff"])
def test_a_long_picture_is_walked_in_pieces(filling: bytes) -> None:
    """Wherever its end is, and whatever comes before and behind it."""
    head = recorded_jpeg()[: recorded_jpeg().index(b"\xff\xda") + 2] + b"\0\2"
    scan = filling * (2 * 1024 * 1024 // len(filling))
    assert containers.verify_complete(head + scan + b"\xff\xd9") == "image/jpeg"
    assert (
        containers.verify_complete(head + scan + b"\xff\xd9 and a phone's own")
        == "image/jpeg"
    )
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(head + scan)


SCAN = b"\xff\xd8\xff\xda\x00\x02"

MANY = containers.MOST_PARTS + 1

PIECE = 256 * 1024


@pytest.mark.parametrize("shift", range(-4, 5))
@pytest.mark.parametrize("filling", [b"\x01", b"\xff\x00", b"\xff"])
def test_an_end_is_found_wherever_it_lies(filling: bytes, shift: int) -> None:
    """Large pictures are searched in pieces; an end across two of them counts."""
    length = 2 * PIECE + shift
    body = (filling * length)[:length].removesuffix(b"\xff")
    assert containers.verify_complete(SCAN + body + b"\xff\xd9") == "image/jpeg"
    with pytest.raises(ImageError, match="cut off"):
        containers.verify_complete(SCAN + body + b"\xff")


def test_fill_bytes_may_be_many() -> None:
    """Any number of them may stand before a marker, and none makes a picture."""
    fill = b"\xff" * (10 * images.MAX_BYTES)
    assert (
        containers.verify_complete(SCAN[:2] + fill + SCAN[2:] + b"\xff\xd9")
        == "image/jpeg"
    )
    with pytest.raises(ImageError, match="cut off"):
        containers.verify_complete(SCAN[:2] + fill)


@pytest.mark.parametrize(
    "content",
    [
        SCAN[:2] + b"\xff\xe0\x00\x02" * MANY + SCAN[2:] + b"\xff\xd9",
        SCAN + b"\xff\xc4\x00\x02" * MANY + b"\xff\xd9 and more",
        png()[:8] + bytes(12) * MANY + png()[8:],
    ],
    ids=["segments", "scans", "chunks"],
)
def test_a_picture_of_nothing_but_parts_is_none(content: bytes) -> None:
    """What is made to be looked at for ever is refused after a while."""
    with pytest.raises(ImageError, match="cut off"):
        containers.verify_complete(content)


def test_a_cut_picture_is_named_by_its_format() -> None:
    """The sentence says what was cut off."""
    with pytest.raises(ImageError, match="the WEBP is cut off"):
        containers.verify_complete(webp()[:-1])


def test_a_mapped_file_is_judged_alike() -> None:
    """A picture that is not read into memory gets the same verdict."""
    for media_type, content in PICTURES.values():
        with mmap.mmap(-1, len(content)) as mapped:
            mapped.write(content)
            assert containers.verify_complete(mapped) == media_type


def test_e41_the_content_type_is_not_asked() -> None:
    """A picture sent as a stream of octets is a picture."""
    response = samples()["image-octet"].response
    assert response.headers["content-type"] == "application/octet-stream"
    assert containers.verify_complete(response.body) == "image/jpeg"


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

XMP = b"<x:xmpmeta>SECRET</x:xmpmeta>"


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of these chunks."""
    parts = (
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def telling(name: str, orientation: int = 1) -> bytes:
    """Return a picture with everything a camera can write into its format."""
    options: dict[str, object] = {"exif": exif(orientation), "icc_profile": PROFILE}
    if name == "PNG":
        note = PngImagePlugin.PngInfo()
        note.add_text("Comment", "SECRET")
        note.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=False)
        note.add_text("Author", "SECRET", zip=True)
        return encoded(lying(orientation), name, pnginfo=note, **options)
    if name == "JPEG":
        options["comment"] = b"SECRET"
    return encoded(lying(orientation), name, xmp=XMP, **options)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_metadata_goes_and_no_pixel_changes(name: str, orientation: int) -> None:
    """Position, serial number and notes are gone, and nothing that shows is."""
    content = telling(name, orientation)
    assert sum(secret in content for secret in SECRETS) >= 3
    stripped = containers.strip_metadata(content)
    assert not [secret for secret in SECRETS if secret in stripped]
    assert b"xmp" not in stripped.lower()
    assert pixels(stripped) == pixels(content)
    picture = decoded(stripped)
    assert picture.info["icc_profile"] == PROFILE
    assert dict(picture.getexif()) == ({} if orientation == 1 else {274: orientation})
    assert near(corners(ImageOps.exif_transpose(picture)))
    assert containers.strip_metadata(stripped) == stripped
    assert containers.verify_complete(stripped) == containers.verify_complete(content)


@pytest.mark.parametrize(
    "content", [recorded_jpeg(), png(), webp()], ids=["jpeg", "png", "webp"]
)
def test_a_picture_stays_valid(content: bytes) -> None:
    """Small pictures of other makers are whole afterwards, and not longer."""
    stripped = containers.strip_metadata(content)
    assert containers.verify_complete(stripped)
    assert len(stripped) <= len(content)
    assert pixels(stripped) == pixels(content)


def test_thumbnails_notes_and_films_leave_a_jpeg() -> None:
    """Nothing is left of the places where phones put second pictures."""
    content = encoded(photo(), "JPEG")
    thumbnail = encoded(photo(8, 8), "JPEG", comment=b"SECRET")
    jfif = b"JFIF\0\x01\x02\0\0\1\0\1" + b"\1\1" + b"SEC"
    more = (
        segment(0xE0, jfif)
        + segment(0xE0, b"JFXX\0\x10" + thumbnail)
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        + segment(0xE2, b"MPF\0SECRET")
        + b"\xff\xff"  # bytes to fill up
        + segment(0xED, b"Photoshop 3.0\0SECRET")
        + segment(0xFE, b"SECRET")
    )
    film = thumbnail + b"MotionPhoto_Data SECRET"
    told = content[:2] + more[:-1] + more[-1:] + content[20:] + film
    stripped = containers.strip_metadata(told)
    assert stripped == content[:2] + segment(0xE0, jfif[:12] + b"\0\0") + content[20:]
    assert pixels(stripped) == pixels(content)


def test_what_stands_between_two_scans_leaves_too() -> None:
    """A comment in the middle of a progressive JPEG is found; tables stay."""
    content = encoded(noise(64, 64), "JPEG", progressive=True)
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    told = content[:second] + segment(0xFE, b"SECRET") + content[second:]
    assert containers.strip_metadata(told) == content
    traps = containers.strip_metadata(progressive())
    assert traps.count(b"\xff\xda") == 2
    assert b"again" in traps
    assert b"second\xff\xff\xd7scan\xff\xd9" in traps
    assert b"small" not in traps
    assert containers.verify_complete(traps) == "image/jpeg"


def test_the_colours_of_cmyk_stay() -> None:
    """The segment that says what the numbers mean is kept, without its tail."""
    content = encoded(photo().convert("CMYK"), "JPEG")
    short = segment(0xEE, b"Adobe\0d\0\0\0\0\0")
    assert short in content
    told = content.replace(short, segment(0xEE, b"Adobe\0d\0\0\0\0\0SECRET"))
    assert containers.strip_metadata(told) == content


def test_only_the_first_exif_of_a_jpeg_turns_it() -> None:
    """So does a decoder: a second Exif does not turn the picture again."""
    content = encoded(photo(), "JPEG")
    both = segment(0xE1, exif(6)) + segment(0xE1, exif(3))
    stripped = containers.strip_metadata(content[:2] + both + content[2:])
    assert decoded(stripped).getexif()[274] == 6
    assert stripped.count(b"Exif") == 1


def test_what_shows_a_png_stays() -> None:
    """Palette, transparency and every frame of an animation are needed."""
    palette = encoded(photo().quantize(8), "PNG", transparency=1)
    assert containers.strip_metadata(palette) == palette
    frames = [noise(16, 16), photo(16, 16)]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert containers.strip_metadata(moving) == moving
    end = chunk(b"IEND", b"")
    told = moving.removesuffix(end) + chunk(b"caBX", b"SECRET") + end + b"SECRET"
    assert containers.strip_metadata(told) == moving


def test_what_shows_a_webp_stays() -> None:
    """So do transparency and frames; a simple file has no head to correct."""
    clear = photo().convert("RGBA")
    clear.putalpha(100)
    frames = {"save_all": True, "append_images": [noise(16, 16)]}
    for content in (
        encoded(clear, "WEBP", quality=80),
        encoded(clear, "WEBP", lossless=True),
        encoded(photo(16, 16), "WEBP", **frames),
        encoded(photo(), "WEBP"),
    ):
        assert containers.strip_metadata(content) == content
        assert containers.strip_metadata(content + b"SECRET") == content


def test_a_simple_webp_has_no_place_for_an_orientation() -> None:
    """Decoders do not look for Exif in it either, so it goes."""
    content = webp()
    told = riff((content[12:16], content[20:]), (b"EXIF", exif(6)))
    assert containers.strip_metadata(told) == content


def test_an_odd_chunk_at_the_end_needs_no_padding() -> None:
    """Some writers leave the last byte out: it is put there."""
    head = riff((b"VP8L", b"\x2f" + bytes(6)))
    bare = head[:4] + struct.pack("<I", len(head) - 9) + head[8:-1]
    assert containers.strip_metadata(bare) == head


@pytest.mark.parametrize(
    "content",
    [
        encoded(photo(8, 8), "JPEG", comment=b"note"),
        encoded(noise(8, 8), "JPEG", progressive=True),
        encoded(photo(8, 8), "PNG"),
        telling("WEBP", 6),
    ],
    ids=["jpeg", "progressive", "png", "webp"],
)
def test_a_picture_that_is_cut_off_is_an_error_everywhere(content: bytes) -> None:
    """Wherever it ends, it is not taken for a whole one."""
    for length in range(len(content) - 1):
        with pytest.raises(ImageError, match=r"cut off or broken|not a picture"):
            containers.strip_metadata(content[:length])


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + segment(0xFE, b"") * containers.MOST_PARTS,
        b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IDAT" + b"\0\0\0\0",
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"") * containers.MOST_PARTS,
        b"RIFF\xff\xff\xff\x7fWEBP" + (b"ABCD" + bytes(4)) * containers.MOST_PARTS,
    ],
    ids=["no-scan", "segments", "no-end", "chunks", "webp"],
)
def test_parts_without_end_are_an_error(content: bytes) -> None:
    """A file made to keep the reader busy is left after as many parts."""
    with pytest.raises(ImageError, match="cut off or broken"):
        containers.strip_metadata(content)


MAGIC = st.sampled_from(
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xda\0\2",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x40\0\0\0WEBP",
        b"RIFF\x40\0\0\0WEBPVP8X\0\0\0\0",
    ]
)

PIECES = st.sampled_from(
    [
        b"\xff\xd9",
        b"\xff\xd0\0\4",
        segment(0xDA, b"scan"),
        segment(0xC0, b"\0\0\1"),
        segment(0xE1, exif(6)[:50]),
        chunk(b"IHDR", bytes(9)),
        chunk(b"eXIf", exif(6)[6:]),
        chunk(b"IEND", b""),
        b"EXIF\x1a\0\0\0" + exif(6)[6:32],
        b"VP8 \0\0\0\0",
    ]
)


@given(MAGIC, st.lists(PIECES | st.binary(max_size=12), max_size=8))
def test_arbitrary_bytes_are_a_picture_or_an_error(
    magic: bytes, pieces: list[bytes]
) -> None:
    """Whatever a file holds: what comes out is whole if the file was, or an error."""
    content = magic + b"".join(pieces)
    try:
        containers.verify_complete(content)
        stripped = containers.strip_metadata(content)
    except ImageError:
        return
    assert containers.verify_complete(stripped) == containers.verify_complete(content)
    assert containers.strip_metadata(stripped) == stripped


@given(MAGIC, st.lists(PIECES | st.binary(max_size=12), max_size=8))
def test_dimensions_of_arbitrary_bytes_are_numbers_or_an_error(
    magic: bytes, pieces: list[bytes]
) -> None:
    """A head that makes no sense raises nothing else."""
    try:
        width, height = containers.dimensions(magic + b"".join(pieces))
    except ImageError:
        return
    assert width >= 0
    assert height >= 0


@pytest.mark.parametrize(
    "content",
    [
        encoded(photo(300, 7), "JPEG"),
        encoded(photo(300, 7), "JPEG", progressive=True, comment=b"note"),
        encoded(photo(300, 7), "PNG"),
        encoded(photo(300, 7), "WEBP"),
        encoded(photo(300, 7), "WEBP", lossless=True),
        encoded(photo(300, 7), "WEBP", exif=exif()),
    ],
    ids=["jpeg", "progressive", "png", "webp", "lossless", "extended"],
)
def test_dimensions_are_those_of_the_head(content: bytes) -> None:
    """Every kind of head is read as a decoder reads it."""
    assert containers.dimensions(content) == (300, 7)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + segment(0xDA, b"scan") + b"\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + chunk(b"IEND", b""),
    ],
    ids=["jpeg", "png"],
)
def test_a_picture_without_a_head_is_broken(content: bytes) -> None:
    """No size, no picture."""
    with pytest.raises(ImageError, match="cut off or broken"):
        containers.dimensions(content)


def tiff(order: str, kind: int, value: int, *, tag: int = 274, start: int = 8) -> bytes:
    """Return an Exif of two entries, the second one being the orientation."""
    mark = b"MM" if order == ">" else b"II"
    place = "H" if kind == 3 else "I"
    last = struct.pack(f"{order}HHI{place}", tag, kind, 1, value).ljust(12, b"\0")
    first = struct.pack(f"{order}HHII", 256, 4, 1, 7)
    head = mark + struct.pack(f"{order}HI", 42, start)
    return head + struct.pack(f"{order}H", 2) + first + last


@pytest.mark.parametrize(
    ("content", "orientation"),
    [
        (tiff(">", 3, 6), 6),
        (tiff("<", 3, 8), 8),
        (tiff(">", 4, 5), 5),
        (tiff("<", 4, 2), 2),
        (b"Exif\0\0" + tiff("<", 3, 3), 3),
        (tiff("<", 3, 9), 1),
        (tiff("<", 3, 0), 1),
        (tiff("<", 3, 6, tag=275), 1),
        (tiff("<", 3, 6, start=2**31), 1),
        (tiff("<", 3, 6)[:30], 1),
        (b"", 1),
        (b"JJ" + tiff("<", 3, 6)[2:], 1),
    ],
)
def test_the_orientation_is_read_in_both_byte_orders(
    content: bytes, orientation: int
) -> None:
    """An Exif that is broken turns nothing."""
    assert containers.orientation(content) == orientation


@given(st.sampled_from([b"II", b"MM", b""]), st.binary(max_size=60))
def test_any_exif_has_an_orientation(order: bytes, content: bytes) -> None:
    """It raises nothing and gives nothing a decoder does not know."""
    assert containers.orientation(order + content) in STORED


def test_another_format_is_refused() -> None:
    """Nothing is promised about a format that is not taken apart."""
    for take in (containers.strip_metadata, containers.dimensions):
        with pytest.raises(ImageError, match="give a JPEG, PNG or WebP"):
            take(encoded(Pillow.new("L", (1, 1)), "BMP"))
