"""Pictures of a pair that a program holds in memory, and their names."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from ezlink_async import Image
from ezlink_async.batch import Pair
from ezlink_async.batch.pairs.pictures import InMemory, picture_of
from ezlink_async.errors import ConfigurationError, ImageError
from tests.support.pictures import MIB, jpeg

PHOTO = jpeg(9_000)
NAME = Path("order 17/front")


def _in_memory(given: object) -> InMemory:
    picture = picture_of(given, NAME)
    assert isinstance(picture, InMemory)
    return picture


class _Slow(io.BytesIO):
    """A stream that returns a few bytes at a time, as a raw one may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1_000))


@pytest.mark.parametrize(
    "given",
    [
        PHOTO,
        bytearray(PHOTO),
        memoryview(PHOTO),
        Image.from_bytes(PHOTO),
        io.BytesIO(PHOTO),
        _Slow(PHOTO),
    ],
    ids=lambda given: type(given).__name__,
)
def test_pictures_in_memory_are_known_by_their_content(given: object) -> None:
    """They are read once: a file object would be at its end the second time."""
    picture = _in_memory(given)
    for _ in range(2):
        assert picture.image.content == PHOTO
        assert picture.digest == hashlib.sha256(PHOTO).digest()


def test_bytes_that_change_later_are_sent_as_they_were_given() -> None:
    buffer = bytearray(PHOTO)
    picture = _in_memory(buffer)
    buffer[:] = b"something else"
    assert picture.image.content == PHOTO


def test_paths_in_any_form_are_files() -> None:
    for given in ("a.jpg", Path("a.jpg"), Image.from_path("a.jpg")):
        assert picture_of(given, NAME) == Path("a.jpg")


def _closed() -> io.BytesIO:
    stream = io.BytesIO(PHOTO)
    stream.close()
    return stream


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "the picture is empty"),
        (b"words", "this is not a picture"),
        (PHOTO[:-2], "cut off"),
        (io.BytesIO(), "the file object has nothing to read: it is empty"),
        (io.StringIO("words"), "has to be open in binary mode"),
        (_closed(), "cannot be read: "),
        (io.BytesIO(bytes(11 * MIB)), "more than the 10,485,760"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_picture_in_memory_that_cannot_be_sent_is_an_error_with_its_name(
    given: object, says: str
) -> None:
    picture = _in_memory(given)
    for _ in range(2):
        with pytest.raises(ImageError, match=says) as caught:
            _ = picture.image
        assert caught.value.path == NAME
        assert len(str(caught.value)) < 2_000


class _Torn:
    """A file object in an archive that is cut off."""

    def read(self, _size: int, /) -> bytes:
        raise EOFError("the archive ended")


def test_any_error_of_a_file_object_is_an_error_of_the_picture_with_its_cause() -> None:
    picture = _in_memory(_Torn())
    for _ in range(2):
        with pytest.raises(ImageError, match="cannot be read: EOFError: the") as caught:
            _ = picture.digest
        assert caught.value.path == NAME
        assert isinstance(caught.value.__cause__, EOFError)


def test_file_object_that_two_pairs_share_is_an_error_that_says_so() -> None:
    shared = io.BytesIO(PHOTO)
    first, second = (Pair(shared, f"{name}.jpg").source_picture for name in "ab")
    assert isinstance(first, InMemory)
    assert isinstance(second, InMemory)
    assert first.image.content == PHOTO
    with pytest.raises(ImageError, match="perhaps for another pair; give the bytes"):
        _ = second.image


@pytest.mark.parametrize("given", [None, 3, ["a.jpg"], object(), Path])
def test_value_that_is_no_picture_is_refused_by_its_type(given: object) -> None:
    with pytest.raises(ConfigurationError, match="a picture is a path, bytes, an"):
        picture_of(given, NAME)


@pytest.mark.parametrize(
    "text", ["https://a.b/c.jpg", "data:;base64,AA", "A" * 130_000]
)
def test_text_that_is_no_path_is_refused_with_what_to_give(text: str) -> None:
    for arguments in ((text, "a.jpg"), ("a.jpg", text)):
        with pytest.raises(ImageError) as caught:
            Pair(*arguments)
        assert len(str(caught.value)) < 2_000


# --- pairs


def test_result_is_named_after_the_file_the_name_or_the_path() -> None:
    assert Pair("me.jpg", "trip/a.jpg").wanted_path == "a"
    assert Pair("me.jpg", "trip/a.jpg", name="b/c.png").wanted_path == "b/c"
    assert Pair("me.jpg", "trip/a.jpg", "x/y", name="b").wanted_path == "x/y"
    pair = Pair(PHOTO, PHOTO, name="order 17/front")
    assert pair.wanted_path == "order 17/front"
    assert (pair.source, pair.target) == (Path("picture in memory"), NAME)
    order = pair.order()
    assert order.files == []
    assert order.stored == order.inputs
    assert [each.path for each in order.stored] == [Path("picture in memory"), NAME]
    assert str(len(PHOTO)) not in repr(pair)


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a\0b", "\ud800", 3])
def test_name_that_leads_out_of_the_output_folder_is_refused(name: object) -> None:
    with pytest.raises(ConfigurationError, match="a name is a path below"):
        Pair("me.jpg", PHOTO, name=name)  # type: ignore[arg-type]


def test_target_in_memory_needs_a_name() -> None:
    for target in (PHOTO, io.BytesIO(PHOTO), Image.from_bytes(PHOTO)):
        with pytest.raises(ConfigurationError, match=r"Pair\(source, target, name="):
            Pair("me.jpg", target)
    with pytest.raises(ConfigurationError, match="not NoneType"):
        Pair("me.jpg")
