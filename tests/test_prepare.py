"""Any file, made ready for the server or refused with what to change."""

from __future__ import annotations

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ezlink_async._core import containers, images
from ezlink_async._core.images import Image
from ezlink_async._io import image_reader
from ezlink_async.errors import ImageError
from ezlink_async.prepare import MOST_READ, Prepared, needs_preparing, prepare_picture
from tests.conftest import recorded_jpeg, png, webp
from tests.photos import SECRETS, corners, decoded, encoded, exif, near, noise, photo

NAMES = ["JPEG", "PNG", "WEBP"]
FOREIGN = ["HEIC", "AVIF", "TIFF", "BMP", "GIF"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a file whose suffix says nothing true."""
    return tmp_path / "holiday.txt"


def content_of(prepared: Prepared) -> bytes:
    """Return the bytes, after the client's own look at them."""
    content = prepared.image.content
    assert content is not None
    assert image_reader.prepare(prepared.image).length == len(content)
    assert containers.verify(content)
    return content


@pytest.mark.parametrize("content", [recorded_jpeg(), png(), webp()], ids=NAMES)
def test_what_the_server_takes_is_left_alone(content: bytes, file: Path) -> None:
    """It stays a file on the disk, and goes out byte for byte."""
    file.write_bytes(content)
    assert prepare_picture(file) == Prepared(Image.from_path(file))
    assert prepare_picture(str(file)).changes == ()


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_removed_on_request(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No decoder is needed for it, so no extra."""
    file.write_bytes(encoded(photo(), name, exif=exif(6)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert prepare_picture(file) == Prepared(Image.from_path(file))
    prepared = prepare_picture(file, strip_metadata=True)
    assert prepared.changes == ("metadata removed",)
    assert not [secret for secret in SECRETS if secret in content_of(prepared)]
    assert prepared.image.path == file


@pytest.mark.parametrize("name", NAMES)
def test_where_there_is_none_the_file_is_left_alone(name: str, file: Path) -> None:
    """A report says nothing of a change that was none."""
    file.write_bytes(encoded(photo(), name))
    assert prepare_picture(file, strip_metadata=True) == Prepared(Image.from_path(file))


@pytest.mark.parametrize("strip_metadata", [False, True])
def test_a_film_behind_a_photo_is_no_reason_to_encode_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, *, strip_metadata: bool
) -> None:
    """A phone's photo with eleven megabytes of film is sent in its own pixels."""
    content = encoded(photo(), "JPEG")
    file.write_bytes(content + bytes(11_000_000))
    monkeypatch.setitem(sys.modules, "PIL", None)
    prepared = prepare_picture(file, strip_metadata=strip_metadata)
    assert prepared.changes == ("metadata removed",)
    assert content_of(prepared) == content


@pytest.mark.parametrize("name", NAMES)
def test_what_is_too_large_is_made_smaller(name: str, file: Path) -> None:
    """The limit is the server's, and the largest picture below it is taken."""
    side = 4400 if name == "JPEG" else 2000
    options = {"lossless": True, "method": 0} if name == "WEBP" else {}
    file.write_bytes(encoded(noise(side, side), name, exif=exif(6), **options))
    assert file.stat().st_size > images.MAX_BYTES
    prepared = prepare_picture(file)
    content = content_of(prepared)
    assert decoded(content).format == "JPEG"
    assert prepared.changes[-2].endswith("to fit 10 MiB")
    assert repr(prepared.image) == f"Image({str(file)!r})"


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_are_converted(name: str, file: Path) -> None:
    """Known by content; the suffix is wrong here."""
    file.write_bytes(encoded(photo(), name))
    prepared = prepare_picture(file)
    assert prepared.changes == (f"converted from {name}", "metadata removed")
    assert near(corners(decoded(content_of(prepared))), most=16)


def test_a_container_is_told_by_the_brands_it_lists(file: Path) -> None:
    """A file that says only ``mif1`` may hold either."""
    content = encoded(photo(), "AVIF")
    assert b"avif" in content[16:40]
    file.write_bytes(content[:8] + b"mif1" + content[12:])
    assert prepare_picture(file).changes[0] == "converted from AVIF"


@pytest.mark.parametrize("name", FOREIGN)
def test_without_the_extra_the_message_names_it(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the file, once."""
    file.write_bytes(encoded(photo(), name))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install 'ezlink-async\[images\]'") as e:
        prepare_picture(file)
    assert e.value.path == file
    assert str(e.value).count(str(file)) == 1


def test_a_large_picture_needs_the_extra_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says why: it is no format the server refuses."""
    file.write_bytes(encoded(noise(2000, 2000), "PNG"))
    for module in ("PIL", "PIL.PngImagePlugin"):
        monkeypatch.setitem(sys.modules, module, None)
    for look in (prepare_picture, needs_preparing):
        with pytest.raises(ImageError, match=r"a PNG of more than 10 MiB.*\[images\]"):
            look(file)


def resized(width: int, height: int) -> bytes:
    """Return a PNG that says it has this size."""
    content = png()
    return content[:16] + struct.pack(">II", width, height) + content[24:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the picture is empty; copy it again"),
        (b"a letter to my aunt", "not a picture; give a JPEG, PNG, WebP or HEIC"),
        (recorded_jpeg()[:-20], "the JPEG is cut off; copy it again"),
        (png()[:-20], "the PNG is cut off; copy it again"),
        (webp()[:-5], "the WEBP is cut off; copy it again"),
        (resized(0, 5), "it has 0 x 5 pixels; export it again"),
        (resized(60_000, 60_000), "60000 x 60000 pixels are too many; make it smaller"),
        (b"II*\0" + bytes(40), "the TIFF cannot be decoded .*; it may be cut off"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "the HEIC cannot be decoded"),
    ],
)
def test_what_cannot_be_sent_says_what_to_change(
    content: bytes, reason: str, file: Path
) -> None:
    """One error each, with the file's path."""
    file.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        prepare_picture(file)
    assert caught.value.path == file
    assert caught.value.retry_safe


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    """A folder and a name that leads nowhere are not pictures."""
    with pytest.raises(ImageError, match="this is not a file"):
        prepare_picture(tmp_path)
    with pytest.raises(ImageError, match="there is no such file"):
        prepare_picture(tmp_path / "gone.jpg")


def test_a_file_that_would_fill_the_memory_is_not_read(file: Path) -> None:
    """Half a gigabyte is no photo that was meant for this."""
    with file.open("wb") as stream:
        stream.truncate(MOST_READ + 1)
    with pytest.raises(ImageError, match="too many to be made smaller here") as caught:
        prepare_picture(file)
    assert caught.value.limit == MOST_READ


async def test_a_prepared_picture_is_compared_as_it_is_sent(tmp_path: Path) -> None:
    """Two files that become the same picture are the same to the server."""
    content = encoded(photo(), "JPEG")
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for number, each in enumerate(files):
        each.write_bytes(content + b"film %d" % number)
    one, other = (prepare_picture(each, strip_metadata=True) for each in files)
    with pytest.raises(ImageError, match=r"b\.jpg: source and target are the same"):
        await image_reader.prepare_other(other.image, image_reader.prepare(one.image))


def test_many_threads_prepare_at_the_same_time(tmp_path: Path) -> None:
    """Each gets what it would have got alone."""
    files = [tmp_path / f"{number}" for number in range(24)]
    for number, each in enumerate(files):
        name = (*FOREIGN, *NAMES)[number % 8]
        each.write_bytes(encoded(noise(40 + number, 30), name, exif=exif(6)))
    alone = [prepare_picture(each, strip_metadata=True) for each in files]
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(
            lambda each: prepare_picture(each, strip_metadata=True), files
        )
        assert list(together) == alone
