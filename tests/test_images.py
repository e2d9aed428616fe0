"""
Pictures: what may be sent, and what has come back whole.

Numbers such as E40 are this project's own list of edge cases.
"""

from __future__ import annotations

import base64
import contextlib
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core import containers, images
from ezlink_async._core.images import EncodedImage, Image, PreparedImage
from ezlink_async.errors import ImageError
from tests.conftest import recorded_jpeg, png, progressive, samples, webp

PICTURES = {
    "jpeg": ("image/jpeg", recorded_jpeg()),
    "progressive": ("image/jpeg", progressive()),
    "png": ("image/png", png()),
    "webp": ("image/webp", webp()),
}
WHOLE = pytest.mark.parametrize(
    ("media_type", "content"), PICTURES.values(), ids=PICTURES
)
FOREIGN = [
    ("GIF", b"GIF89a" + bytes(30)),
    ("BMP", b"BM" + bytes(30)),
    ("TIFF", b"II*\0" + bytes(30)),
    ("TIFF", b"MM\0*" + bytes(30)),
    ("HEIC", b"\0\0\0\x18ftypheic" + bytes(30)),
    ("HEIC", b"\0\0\0\x18ftyphevc" + bytes(30)),
    ("HEIC", b"\0\0\0\x18ftypmif1" + bytes(30)),
    ("HEIC", b"\0\0\0\x18ftypmsf1" + bytes(30)),
    ("AVIF", b"\0\0\0\x18ftypavif" + bytes(30)),
    ("AVIF", b"\0\0\0\x18ftypavis" + bytes(30)),
]


@WHOLE
def test_a_picture_is_known_by_its_content(media_type: str, content: bytes) -> None:
    """Magic bytes tell the media type, and nothing is foreign about it."""
    assert images.sniff(content[: images.HEAD_BYTES]) == media_type
    assert images.foreign_format(content) is None
    assert media_type in images.SUFFIXES


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"<html>"])
def test_other_bytes_are_no_picture(content: bytes) -> None:
    """Too few bytes, a sound and a page are not taken for pictures."""
    assert images.sniff(content) is None
    assert images.foreign_format(content) is None


@pytest.mark.parametrize(("name", "content"), FOREIGN)
def test_a_foreign_format_is_named(name: str, content: bytes) -> None:
    """A phone's picture is refused by name, with what to give instead."""
    with pytest.raises(ImageError, match=f"{name} pictures are not taken; give a JPEG"):
        images.accept(content, len(content))


@WHOLE
def test_e24_the_limit_is_on_decoded_bytes(media_type: str, content: bytes) -> None:
    """Ten MiB are taken and one byte more is not: nothing is sent to find out."""
    assert images.accept(content, images.MAX_BYTES) == media_type
    with pytest.raises(ImageError, match="make the picture smaller") as caught:
        images.accept(content, images.MAX_BYTES + 1, path="big.jpg")
    assert caught.value.limit == 10_485_760
    assert caught.value.path == "big.jpg"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the picture is empty"), (b"text", "not a picture")]
)
def test_what_is_no_picture_is_refused(content: bytes, reason: str) -> None:
    """Empty files and other files fail here, not at the server."""
    with pytest.raises(ImageError, match=reason):
        Image.from_bytes(content)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("https://host/a.jpg", "fetch_image"),
        ("HTTP://host/a.jpg", "fetch_image"),
        ("data:image/png;base64,AAAA", "from_data_uri"),
    ],
)
def test_an_address_is_not_taken_for_a_path(text: str, advice: str) -> None:
    """An address given as a path says which call to use."""
    for take in (Image.from_path, Image.of):
        with pytest.raises(ImageError, match=advice):
            take(text)


def test_a_picture_is_given_in_any_form() -> None:
    """A path is kept as a path; every kind of bytes becomes the same picture."""
    assert Image.of("a.jpg") == Image.of(Path("a.jpg")) == Image(path=Path("a.jpg"))
    kept = Image.of(png())
    assert kept.content == png()
    assert Image.of(kept) is kept
    for content in (bytearray(png()), memoryview(png())):
        assert Image.of(content) == kept  # type: ignore[arg-type]  # taken all the same


def test_an_entry_of_a_folder_given_as_bytes_is_no_path(tmp_path: Path) -> None:
    """``os.scandir(b"photos")`` gives paths that are bytes: an error names them."""
    (tmp_path / "a.jpg").write_bytes(b"")
    (entry,) = os.scandir(os.fsencode(tmp_path))
    with pytest.raises(ImageError, match=r"a\.jpg.* is a path in bytes"):
        Image.of(entry)  # type: ignore[arg-type]  # the mistake itself


def test_anything_else_is_no_picture() -> None:
    """A number is refused by its type's name."""
    with pytest.raises(ImageError, match="give a path, bytes or an Image, not int"):
        Image.of(7)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (Image.from_path("a.jpg"), "Image('a.jpg')"),
        (Image.from_bytes(png()), f"Image(<{len(png())} bytes>)"),
        (Image(), "Image(<0 bytes>)"),
    ],
)
def test_a_repr_never_holds_the_picture(image: Image, text: str) -> None:
    """A log line stays a line."""
    assert repr(image) == text
    kept = EncodedImage(PreparedImage(image, "image/png", 4), b"QUJD")
    assert "QUJD" not in repr(kept)


@WHOLE
@pytest.mark.parametrize(
    "shape",
    [
        "data:{type};base64,{text}",
        "DATA:{type};BASE64,{text}",
        "data:;base64,{text}",
        "data:{type};name=a.png;base64,{text}",
        "  data:image/wrong;base64,\n{text}\n",
    ],
)
def test_a_data_uri_is_read_back(shape: str, media_type: str, content: bytes) -> None:
    """Case, blanks and a wrong media type do not matter: the bytes do."""
    text = base64.b64encode(content).decode()
    uri = shape.format(type=media_type, text=text)
    assert Image.from_data_uri(uri).content == content


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data:image/png,abc", "not a base64 data URI"),
        ("image/png;base64,AAAA", "not a base64 data URI"),
        ("data:image/png;base64,A", "base64 of the data URI is broken"),
        ("data:image/png;base64,*AAAA", "base64 of the data URI is broken"),
        ("data:image/png;base64,ÄAAA", "base64 of the data URI is broken"),
        ("data:image/png;base64,", "the picture is empty"),
        ("data:image/png;base64,AAAA", "this is not a picture"),
    ],
)
def test_a_broken_data_uri_is_an_image_error(uri: str, reason: str) -> None:
    """Whatever is wrong with it, the caller hears of it before it is sent."""
    with pytest.raises(ImageError, match=reason):
        Image.from_data_uri(uri)


@given(st.binary(max_size=300))
def test_the_text_form_reads_back_to_the_same_bytes(tail: bytes) -> None:
    """Prefix and text make a data URI of exactly the length promised."""
    content = png() + tail
    stamp = PreparedImage(Image.from_bytes(content), "image/png", len(content))
    text = base64.b64encode(content)
    assert len(text) == stamp.text_length
    assert Image.from_data_uri((stamp.prefix + text).decode()).content == content


@WHOLE
def test_a_whole_picture_is_called_whole(media_type: str, content: bytes) -> None:
    """Each real picture passes, whatever traps are in it."""
    assert containers.verify(content) == media_type


@WHOLE
def test_e40_a_cut_picture_is_never_called_whole(
    media_type: str, content: bytes
) -> None:
    """Cut anywhere before its end, a picture is an error: never a result."""
    del media_type
    for length in range(len(content)):
        with pytest.raises(ImageError):
            containers.verify(content[:length])


@given(st.sampled_from(sorted(PICTURES)), st.binary(max_size=50))
def test_bytes_behind_the_end_are_allowed(name: str, tail: bytes) -> None:
    """Phones append data to a picture; it stays whole."""
    media_type, content = PICTURES[name]
    assert containers.verify(content + tail) == media_type


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", png()[:8], b"RIFF", webp()[:12], b"GIF8"]),
    st.binary(max_size=100),
)
def test_any_bytes_are_judged(head: bytes, tail: bytes) -> None:
    """Arbitrary bytes are a picture, not verifiable, or an ImageError."""
    try:
        assert containers.verify(head + tail) in {*images.SUFFIXES, None}
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
        containers.verify(bytes(content))


@pytest.mark.parametrize("content", [content for _, content in FOREIGN])
def test_a_format_that_cannot_be_verified_is_kept_apart(content: bytes) -> None:
    """Neither whole nor cut off: the caller keeps it under another name."""
    assert containers.verify(content) is None


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
        containers.verify(content)


def test_an_end_marker_inside_a_table_is_no_end() -> None:
    """A picture that is cut in a table which holds these two bytes is cut off."""
    content = progressive()
    for end in range(len(content) - 1, 2, -1):
        if content[:end].endswith(b"\xff\xd9"):
            with pytest.raises(ImageError, match="is cut off"):
                containers.verify(content[:end])


@pytest.mark.parametrize("filling", [b"\xff\x00", b"\x00", b"\xff\xd0", b"\xff"])
def test_a_long_picture_is_walked_in_pieces(filling: bytes) -> None:
    """Wherever its end is, and whatever comes before and behind it."""
    head = recorded_jpeg()[: recorded_jpeg().index(b"\xff\xda") + 2] + b"\0\2"
    scan = filling * (2 * 1024 * 1024 // len(filling))
    assert containers.verify(head + scan + b"\xff\xd9") == "image/jpeg"
    assert (
        containers.verify(head + scan + b"\xff\xd9 and a phone's own") == "image/jpeg"
    )
    with pytest.raises(ImageError, match="is cut off"):
        containers.verify(head + scan)


SCAN = b"\xff\xd8\xff\xda\x00\x02"
MANY = containers.MOST_PARTS + 1


@pytest.mark.parametrize("shift", range(-4, 5))
@pytest.mark.parametrize("filling", [b"\x01", b"\xff\x00", b"\xff"])
def test_an_end_is_found_wherever_it_lies(filling: bytes, shift: int) -> None:
    """Large pictures are searched in pieces; an end across two of them counts."""
    length = 2 * containers._PIECE + shift
    body = (filling * length)[:length].removesuffix(b"\xff")
    assert containers.verify(SCAN + body + b"\xff\xd9") == "image/jpeg"
    with pytest.raises(ImageError, match="cut off"):
        containers.verify(SCAN + body + b"\xff")


def test_fill_bytes_may_be_many() -> None:
    """Any number of them may stand before a marker, and none makes a picture."""
    fill = b"\xff" * (10 * images.MAX_BYTES)
    assert containers.verify(SCAN[:2] + fill + SCAN[2:] + b"\xff\xd9") == "image/jpeg"
    with pytest.raises(ImageError, match="cut off"):
        containers.verify(SCAN[:2] + fill)


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
        containers.verify(content)


def test_a_cut_picture_is_named_by_its_format() -> None:
    """The sentence says what was cut off."""
    with pytest.raises(ImageError, match="the WEBP is cut off"):
        containers.verify(webp()[:-1])


def test_a_mapped_file_is_judged_alike() -> None:
    """A picture that is not read into memory gets the same verdict."""
    for media_type, content in PICTURES.values():
        with mmap.mmap(-1, len(content)) as mapped:
            mapped.write(content)
            assert containers.verify(mapped) == media_type


def test_e41_the_content_type_is_not_asked() -> None:
    """A picture sent as a stream of octets is a picture."""
    response = samples()["image-octet"].response
    assert response.headers["content-type"] == "application/octet-stream"
    assert containers.verify(response.body) == "image/jpeg"
