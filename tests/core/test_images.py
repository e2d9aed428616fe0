"""
Pictures: what may be sent, and what has come back whole.

Numbers such as E40 are this project's own list of edge cases.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core import images
from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async.errors import ImageError
from tests.support.pictures import WHOLE, png

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
        images.check_acceptable(content, len(content))


@WHOLE
def test_e24_the_limit_is_on_decoded_bytes(media_type: str, content: bytes) -> None:
    """Ten MiB are taken and one byte more is not: nothing is sent to find out."""
    assert images.check_acceptable(content, images.MAX_BYTES) == media_type
    with pytest.raises(ImageError, match="make the picture smaller") as caught:
        images.check_acceptable(content, images.MAX_BYTES + 1, path="big.jpg")
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
    kept = EncodedImage(InspectedImage(image, "image/png", 4), b"QUJD")
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
    stamp = InspectedImage(Image.from_bytes(content), "image/png", len(content))
    text = base64.b64encode(content)
    assert len(text) == stamp.text_length
    assert Image.from_data_uri((stamp.prefix + text).decode()).content == content
