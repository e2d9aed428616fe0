"""
Pictures taken apart: complete or cut off, their size, and without metadata.

Numbers such as E40 are this project's own list of edge cases.
"""

from __future__ import annotations

import contextlib
import mmap
import struct

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
    chunk,
    jpeg,
    png,
    progressive,
    segment,
    webp,
)
from tests.support.samples import samples


@WHOLE
def test_complete_picture_is_verified(media_type: str, content: bytes) -> None:
    assert containers.verify_complete(content) == media_type


@WHOLE
def test_e40_picture_cut_off_anywhere_is_an_error(
    media_type: str, content: bytes
) -> None:
    del media_type
    for length in range(len(content)):
        with pytest.raises(ImageError):
            containers.verify_complete(content[:length])


@given(st.sampled_from(sorted(PICTURES)), st.binary(max_size=50))
def test_bytes_behind_the_end_are_allowed(name: str, tail: bytes) -> None:
    """Phones append data to a picture."""
    media_type, content = PICTURES[name]
    assert containers.verify_complete(content + tail) == media_type


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", png()[:8], b"RIFF", webp()[:12], b"GIF8"]),
    st.binary(max_size=100),
)
def test_any_bytes_are_verified_or_an_image_error(head: bytes, tail: bytes) -> None:
    try:
        assert containers.verify_complete(head + tail) in {*images.SUFFIXES, None}
    except ImageError as error:
        reason = error.reason
        assert any(word in reason for word in ("cut off", "no picture", "empty"))


@given(st.sampled_from(sorted(PICTURES)), st.data())
def test_damaged_picture_raises_nothing_but_an_image_error(
    name: str, data: st.DataObject
) -> None:
    content = bytearray(PICTURES[name][1])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        containers.verify_complete(bytes(content))


@pytest.mark.parametrize(
    "content", [content for name, content in FOREIGN if name != "GIF"]
)
def test_format_that_cannot_be_verified_is_none(content: bytes) -> None:
    """The caller keeps such a result under another name."""
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
def test_end_marker_before_any_scan_proves_nothing(content: bytes) -> None:
    """The same holds for a WebP without content."""
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(content)


def test_end_marker_inside_a_table_is_not_the_end() -> None:
    """A picture cut off behind these two bytes of a table is cut off."""
    content = progressive()
    for end in range(len(content) - 1, 2, -1):
        if content[:end].endswith(b"\xff\xd9"):
            with pytest.raises(ImageError, match="is cut off"):
                containers.verify_complete(content[:end])


def test_end_is_searched_once_behind_many_scans() -> None:
    """A search behind each of these empty scans would take minutes."""
    scans = b"\xff\xda\x00\x02" * 30_000
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify_complete(
            b"\xff\xd8" + scans + b"\xff\xfe\xff\xff" + b"\xff\xd9"
        )


SCAN = b"\xff\xd8\xff\xda\x00\x02"

MANY = containers.MOST_PARTS + 1

PIECE = 256 * 1024


@pytest.mark.parametrize("shift", range(-4, 5))
@pytest.mark.parametrize("filling", [b"\x01", b"\xff\x00", b"\xff\xd0", b"\xff"])
def test_end_is_found_at_any_offset_of_a_long_scan(filling: bytes, shift: int) -> None:
    """A long scan is searched in pieces, and the end may lie across two of them."""
    length = 2 * PIECE + shift
    body = (filling * length)[:length].removesuffix(b"\xff")
    for tail in (b"", b" and bytes of a phone"):
        whole = SCAN + body + b"\xff\xd9" + tail
        assert containers.verify_complete(whole) == "image/jpeg"
    with pytest.raises(ImageError, match="cut off"):
        containers.verify_complete(SCAN + body + b"\xff")


def test_any_number_of_fill_bytes_may_stand_before_a_marker() -> None:
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
def test_picture_of_too_many_parts_is_refused(content: bytes) -> None:
    """A file made to keep the reader busy is given up after a while."""
    with pytest.raises(ImageError, match="cut off"):
        containers.verify_complete(content)


def test_error_names_the_format_that_is_cut_off() -> None:
    with pytest.raises(ImageError, match="the WEBP is cut off"):
        containers.verify_complete(webp()[:-1])


def test_mapped_file_is_verified_like_bytes() -> None:
    for media_type, content in PICTURES.values():
        with mmap.mmap(-1, len(content)) as mapped:
            mapped.write(content)
            assert containers.verify_complete(mapped) == media_type


def test_e41_content_type_is_ignored() -> None:
    """A picture sent as ``application/octet-stream`` is a picture."""
    response = samples()["image-octet"].response
    assert response.headers["content-type"] == "application/octet-stream"
    assert containers.verify_complete(response.body) == "image/jpeg"


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

XMP = b"<x:xmpmeta>SECRET</x:xmpmeta>"


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of these chunks."""
    parts = (
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def with_metadata(name: str, orientation: int = 1) -> bytes:
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
def test_strip_metadata_keeps_pixels_colours_and_orientation(
    name: str, orientation: int
) -> None:
    """Position, serial number and notes are gone."""
    content = with_metadata(name, orientation)
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


@WHOLE
def test_strip_metadata_keeps_pictures_of_other_makers_valid(
    media_type: str, content: bytes
) -> None:
    stripped = containers.strip_metadata(content)
    assert containers.verify_complete(stripped) == media_type
    assert len(stripped) <= len(content)
    if content != progressive():  # no decoder reads that one
        assert pixels(stripped) == pixels(content)


def test_strip_metadata_removes_second_pictures_and_notes_of_a_jpeg() -> None:
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
    full = content[:2] + more + content[20:] + film
    stripped = containers.strip_metadata(full)
    assert stripped == content[:2] + segment(0xE0, jfif[:12] + b"\0\0") + content[20:]
    assert pixels(stripped) == pixels(content)


def test_strip_metadata_removes_a_comment_between_two_scans() -> None:
    """The tables between the scans stay."""
    content = encoded(noise(64, 64), "JPEG", progressive=True)
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    longer = content[:second] + segment(0xFE, b"SECRET") + content[second:]
    assert containers.strip_metadata(longer) == content
    traps = containers.strip_metadata(progressive())
    assert traps.count(b"\xff\xda") == 2
    assert b"again" in traps
    assert b"second\xff\xff\xd7scan\xff\xd9" in traps
    assert b"small" not in traps
    assert containers.verify_complete(traps) == "image/jpeg"


def test_strip_metadata_keeps_the_segment_that_defines_cmyk() -> None:
    """Its tail is removed."""
    content = encoded(photo().convert("CMYK"), "JPEG")
    short = segment(0xEE, b"Adobe\0d\0\0\0\0\0")
    assert short in content
    longer = content.replace(short, segment(0xEE, b"Adobe\0d\0\0\0\0\0SECRET"))
    assert containers.strip_metadata(longer) == content


def test_first_exif_of_a_jpeg_decides_its_orientation() -> None:
    """Decoders ignore a second Exif too."""
    content = encoded(photo(), "JPEG")
    both = segment(0xE1, exif(6)) + segment(0xE1, exif(3))
    stripped = containers.strip_metadata(content[:2] + both + content[2:])
    assert decoded(stripped).getexif()[274] == 6
    assert stripped.count(b"Exif") == 1


def test_strip_metadata_keeps_palette_transparency_and_frames_of_a_png() -> None:
    palette = encoded(photo().quantize(8), "PNG", transparency=1)
    assert containers.strip_metadata(palette) == palette
    frames = [noise(16, 16), photo(16, 16)]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert containers.strip_metadata(moving) == moving
    end = chunk(b"IEND", b"")
    longer = moving.removesuffix(end) + chunk(b"caBX", b"SECRET") + end + b"SECRET"
    assert containers.strip_metadata(longer) == moving


def test_strip_metadata_keeps_transparency_and_frames_of_a_webp() -> None:
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


def test_strip_metadata_drops_the_exif_of_a_simple_webp() -> None:
    """Decoders ignore it there too."""
    content = webp()
    longer = riff((content[12:16], content[20:]), (b"EXIF", exif(6)))
    assert containers.strip_metadata(longer) == content


def test_missing_padding_of_the_last_webp_chunk_is_added() -> None:
    """Some writers omit it."""
    head = riff((b"VP8L", b"\x2f" + bytes(6)))
    bare = head[:4] + struct.pack("<I", len(head) - 9) + head[8:-1]
    assert containers.strip_metadata(bare) == head


@pytest.mark.parametrize(
    "content",
    [
        encoded(photo(8, 8), "JPEG", comment=b"note"),
        encoded(noise(8, 8), "JPEG", progressive=True),
        encoded(photo(8, 8), "PNG"),
        with_metadata("WEBP", 6),
    ],
    ids=["jpeg", "progressive", "png", "webp"],
)
def test_strip_metadata_refuses_a_picture_cut_off_anywhere(content: bytes) -> None:
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
def test_strip_metadata_refuses_too_many_parts(content: bytes) -> None:
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
def test_strip_metadata_keeps_arbitrary_bytes_verifiable_or_raises(
    magic: bytes, pieces: list[bytes]
) -> None:
    """Stripping twice changes nothing more."""
    content = magic + b"".join(pieces)
    with contextlib.suppress(ImageError):
        assert min(containers.dimensions(content)) >= 0
    try:
        containers.verify_complete(content)
        stripped = containers.strip_metadata(content)
    except ImageError:
        return
    assert containers.verify_complete(stripped) == containers.verify_complete(content)
    assert containers.strip_metadata(stripped) == stripped


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
def test_dimensions_are_read_from_every_kind_of_head(content: bytes) -> None:
    assert containers.dimensions(content) == (300, 7)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + segment(0xDA, b"scan") + b"\xff\xd9",
        b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + chunk(b"IEND", b""),
    ],
    ids=["jpeg", "png"],
)
def test_picture_without_a_head_has_no_dimensions(content: bytes) -> None:
    with pytest.raises(ImageError, match="cut off or broken"):
        containers.dimensions(content)


def tiff(order: str, kind: int, value: int, *, tag: int = 274, start: int = 8) -> bytes:
    """Return an Exif of two entries, the second one being the orientation."""
    mark = b"MM" if order == ">" else b"II"
    size = "H" if kind == 3 else "I"
    last = struct.pack(f"{order}HHI{size}", tag, kind, 1, value).ljust(12, b"\0")
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
def test_orientation_is_read_in_both_byte_orders(
    content: bytes, orientation: int
) -> None:
    """An Exif that is broken has orientation 1."""
    assert containers.orientation(content) == orientation


@given(st.sampled_from([b"II", b"MM", b""]), st.binary(max_size=60))
def test_any_exif_has_a_known_orientation(order: bytes, content: bytes) -> None:
    assert containers.orientation(order + content) in STORED


def test_other_formats_are_refused() -> None:
    for call in (containers.strip_metadata, containers.dimensions):
        with pytest.raises(ImageError, match="give a JPEG, PNG or WebP"):
            call(encoded(Pillow.new("L", (1, 1)), "BMP"))


SECRET = b"51.5007 N, 0.1246 W"


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    content = b"WEBP" + b"".join(_riff_chunk(*each) for each in chunks)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


LOSSLESS = b"\x2f" + (99 | 99 << 14).to_bytes(4, "little")  # 100 pixels each way

LOSSY = b"\x10\2\0\x9d\x01\x2a" + b"\x64\0\x64\0"


def test_strip_metadata_drops_chunks_inside_the_frame_of_a_webp() -> None:
    head = bytes(range(16))
    pixels = _riff_chunk(b"ALPH", b"a") + _riff_chunk(b"VP8 ", b"pixels")
    extra = _riff_chunk(b"EXIF", SECRET) + _riff_chunk(b"abcd", SECRET)
    canvas = (b"VP8X", b"\2" + bytes(9))
    given = _riff(canvas, (b"ANIM", bytes(6)), (b"ANMF", head + extra + pixels + extra))
    kept = _riff(canvas, (b"ANIM", bytes(6)), (b"ANMF", head + pixels))
    assert containers.strip_metadata(given) == kept
    assert containers.strip_metadata(kept) == kept


def test_frame_of_a_webp_that_is_cut_off_is_not_stripped() -> None:
    given = _riff((b"VP8X", bytes(10)), (b"ANMF", bytes(16) + b"VP8 \xff\0\0\0"))
    with pytest.raises(ImageError, match="cut off"):
        containers.strip_metadata(given)


@pytest.mark.parametrize("marker", [0xC8, 0xD0, 0xD8, 0xDC, 0xDD, 0xDE, 0xDF])
def test_jpeg_with_an_unknown_segment_is_not_stripped(marker: int) -> None:
    whole = jpeg(2000)
    given = whole[:2] + segment(marker, SECRET) + whole[2:]
    with pytest.raises(ImageError, match=f"a part .FF {marker:02X}. that may hold"):
        containers.strip_metadata(given)


def test_number_of_lines_of_a_jpeg_is_kept() -> None:
    whole = jpeg(2000)
    kept = containers.strip_metadata(whole[:2] + segment(0xDC, b"\0\7") + whole[2:])
    assert segment(0xDC, b"\0\7") in kept


def test_png_with_an_unknown_critical_chunk_is_not_stripped() -> None:
    whole = png()
    given = whole[:33] + chunk(b"GPSx", SECRET) + whole[33:]
    with pytest.raises(ImageError, match=r"a part .GPSx. that may hold metadata"):
        containers.strip_metadata(given)


def test_strip_metadata_empties_the_end_of_a_png() -> None:
    given = png()[:-12] + chunk(b"IEND", SECRET)
    assert containers.strip_metadata(given) == containers.strip_metadata(png())


@pytest.mark.parametrize(
    ("pixels", "zeros"),
    [((b"VP8 ", LOSSY), 100 * 100 // 64 + 64), ((b"VP8L", LOSSLESS), 5064)],
    ids=["lossy", "lossless"],
)
def test_webp_with_more_zeros_than_its_pixels_take_is_cut_off(
    pixels: tuple[bytes, bytes], zeros: int
) -> None:
    """A file of the right length whose end was never written."""
    name, content = pixels
    content += b"pixels"
    assert containers.verify_complete(_riff((name, content + bytes(zeros))))
    assert containers.verify_complete(_riff((b"VP8X", bytes(10)), (name, content)))
    with pytest.raises(ImageError, match="the WEBP is cut off"):
        containers.verify_complete(_riff((name, content + bytes(zeros + 2))))


@pytest.mark.parametrize("length", [40, 300_000, 1_000_000])
def test_webp_with_zeros_in_place_of_a_chunk_is_cut_off(length: int) -> None:
    whole = _riff((b"VP8X", b"\x10" + bytes(9)), (b"VP8 ", LOSSY + b"x" * length))
    head = 30
    with pytest.raises(ImageError, match="the WEBP is cut off"):
        containers.verify_complete(whole[:head] + bytes(len(whole) - head))


def test_webp_is_searched_for_zeros_up_to_a_bound() -> None:
    """One of very many chunks is taken as it is."""
    assert containers.verify_complete(_riff(*[(b"ABCD", b"")] * MANY))


def test_zeros_behind_the_pixels_of_a_webp_are_allowed() -> None:
    given = _riff((b"VP8 ", LOSSY + b"x" * 99), (bytes(4), bytes(500)))
    assert containers.verify_complete(given) == "image/webp"


def test_zeros_at_the_end_of_other_chunks_of_a_webp_are_allowed() -> None:
    """Cameras reserve room in their Exif."""
    given = _riff((b"VP8 ", LOSSY + b"x" * 99), (b"EXIF", b"MM\0*" + bytes(5000)))
    assert containers.verify_complete(given) == "image/webp"
