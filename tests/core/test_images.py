"""
Pictures: which may be sent, and in which forms they are given.

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
def test_picture_is_known_by_its_content(media_type: str, content: bytes) -> None:
    assert images.sniff(content[: images.HEAD_BYTES]) == media_type
    assert images.foreign_format(content) is None
    assert media_type in images.SUFFIXES


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"RIFF\0\0\0\0WAVE", b"<html>"])
def test_other_bytes_are_no_picture(content: bytes) -> None:
    """Too few bytes, a sound and a page are not taken for pictures."""
    assert images.sniff(content) is None
    assert images.foreign_format(content) is None


@pytest.mark.parametrize(("name", "content"), FOREIGN)
def test_foreign_format_is_refused_by_its_name(name: str, content: bytes) -> None:
    with pytest.raises(ImageError, match=f"{name} pictures are not taken; give a JPEG"):
        images.check_acceptable(content, len(content))


@WHOLE
def test_e24_limit_is_ten_mib_before_base64(media_type: str, content: bytes) -> None:
    assert images.check_acceptable(content, images.MAX_BYTES) == media_type
    with pytest.raises(ImageError, match="make the picture smaller") as caught:
        images.check_acceptable(content, images.MAX_BYTES + 1, path="big.jpg")
    assert caught.value.limit == 10_485_760
    assert caught.value.path == "big.jpg"


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (b"", "the picture is empty"),
        (b"text", "this is not a picture; give a JPEG, PNG or WebP"),
        ("https://host/a.jpg", "fetch_image"),
        ("HTTP://host/a.jpg", "fetch_image"),
        ("data:image/png;base64,AAAA", "from_data_uri"),
        (7, "give a path, bytes, an upload or an Image, not int"),
    ],
)
def test_unusable_value_is_an_image_error_with_advice(
    value: object, advice: str
) -> None:
    with pytest.raises(ImageError, match=advice):
        Image.of(value)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize("value", [None, 7, "a.jpg"])
def test_value_that_is_no_bytes_is_an_image_error(value: object) -> None:
    with pytest.raises(ImageError, match="give the bytes of a picture"):
        Image.from_bytes(value)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize("value", [None, 7, b"data:"])
def test_data_uri_that_is_no_text_is_an_image_error(value: object) -> None:
    with pytest.raises(ImageError, match="a data URI is a str"):
        Image.from_data_uri(value)  # type: ignore[arg-type]  # the mistake itself


def test_picture_is_given_as_path_or_as_any_kind_of_bytes() -> None:
    assert Image.of("a.jpg") == Image.of(Path("a.jpg")) == Image(path=Path("a.jpg"))
    kept = Image.of(png())
    assert kept.content == png()
    assert Image.of(kept) is kept
    for content in (bytearray(png()), memoryview(png())):
        assert Image.of(content) == kept  # type: ignore[arg-type]  # taken all the same


def test_path_in_bytes_is_an_image_error(tmp_path: Path) -> None:
    """``os.scandir(b"photos")`` gives such paths."""
    (tmp_path / "a.jpg").write_bytes(b"")
    (entry,) = os.scandir(os.fsencode(tmp_path))
    with pytest.raises(ImageError, match=r"a\.jpg.* is a path in bytes"):
        Image.of(entry)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (Image.from_path("a.jpg"), "Image('a.jpg')"),
        (Image.from_bytes(png()), f"Image(<{len(png())} bytes>)"),
        (Image(), "Image(<0 bytes>)"),
    ],
)
def test_repr_never_shows_the_picture(image: Image, text: str) -> None:
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
def test_data_uri_is_read_whatever_its_case_and_media_type(
    shape: str, media_type: str, content: bytes
) -> None:
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
def test_broken_data_uri_is_an_image_error(uri: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        Image.from_data_uri(uri)


@given(st.binary(max_size=300))
def test_prefix_and_text_make_a_data_uri_of_the_promised_length(tail: bytes) -> None:
    content = png() + tail
    image = InspectedImage(Image.from_bytes(content), "image/png", len(content))
    text = base64.b64encode(content)
    assert len(text) == image.text_length
    assert Image.from_data_uri((image.prefix + text).decode()).content == content


def test_base64_text_in_place_of_a_path_is_named_in_a_short_error() -> None:
    text = base64.b64encode(bytes(100_000)).decode()
    with pytest.raises(
        ImageError, match="is no path; give a picture's bytes"
    ) as caught:
        Image.of(text)
    assert len(str(caught.value)) < 300


def test_error_about_a_long_path_has_at_most_2000_characters() -> None:
    error = ImageError("there is no such file", path="A" * 8000)
    assert len(str(error)) < 2000
    assert error.path == "A" * 8000
