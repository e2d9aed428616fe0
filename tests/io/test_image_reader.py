"""Images from disk, and their base64 text."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ezlink_async._core.images import Image, InspectedImage
from ezlink_async._core.messages import FileContent
from ezlink_async._io import image_reader
from ezlink_async.errors import ImageError
from tests.support.cancelling import cancel
from tests.support.pictures import GIF, JPEG, MIB, PNG, jpeg, prepared, prepared_file

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def text_of(picture: InspectedImage) -> bytes:
    """Return the text of a picture, from all its blocks."""
    text, kept = image_reader.PartStream(picture), b""
    while pieces := await text.next():
        assert sum(map(len, pieces)) <= MIB
        kept += b"".join(pieces)
    text.close()
    return kept


@pytest.mark.parametrize("length", [60, 61, 62, 196_608, 196_609, 700_000])
async def test_text_of_a_picture_is_its_base64_of_the_promised_length(
    tmp_path: Path, length: int
) -> None:
    content = jpeg(length)
    for picture in (
        prepared(content),
        prepared_file(tmp_path / "a.jpg", content),
    ):
        text = await text_of(picture)
        assert text == base64.b64encode(content)
        assert len(text) == picture.text_length
        assert (await image_reader.encode(picture)).text == text


@pytest.mark.parametrize("length", [0, 1, 196_608, 196_609, 700_000])
def test_standard_library_encodes_the_same_text(length: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    text = image_reader.slow_base64(content[:length])
    assert text == base64.b64encode(content[:length])


async def test_inspect_finds_the_media_type_by_content_and_the_length(
    tmp_path: Path,
) -> None:
    path = tmp_path / "named.jpg"
    path.write_bytes(PNG)
    assert image_reader.inspect(Image.from_path(path)).media_type == "image/png"
    assert image_reader.inspect(Image.from_path(path)).length == len(PNG)
    assert image_reader.inspect(Image.from_bytes(JPEG)).media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.exists, "no such file"),
        (Path.touch, "empty"),
        (Path.mkdir, "not a file"),
        (os.mkfifo, "not a file"),
        (lambda path: path.write_bytes(GIF), "GIF"),
        (lambda path: path.symlink_to(path), "cannot be read"),
    ],
)
async def test_unusable_file_is_an_image_error_with_its_path(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    path = tmp_path / "a.jpg"
    make(path)
    with pytest.raises(ImageError, match=says) as caught:
        image_reader.inspect(Image.from_path(path))
    assert caught.value.path == path
    assert caught.value.retry_safe


async def test_null_byte_in_a_path_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        image_reader.inspect(Image.from_path("a\0b"))


@pytest.mark.parametrize("by", [-1, 1, -500_000, 500_000])
async def test_file_that_changed_its_length_is_an_image_error(
    tmp_path: Path, by: int
) -> None:
    path = tmp_path / "a.jpg"
    picture = prepared_file(path, jpeg(700_000))
    path.write_bytes(jpeg(700_000 + by))
    with pytest.raises(ImageError, match="changed its length"):
        await text_of(picture)
    with pytest.raises(ImageError, match="changed its length"):
        await image_reader.encode(picture)


@LINUX
async def test_read_error_is_an_image_error_with_the_path() -> None:
    picture = InspectedImage(Image.from_path("/proc/self/mem"), "image/jpeg", 100)
    with pytest.raises(ImageError, match="cannot be read"):
        await text_of(picture)
    with pytest.raises(ImageError, match="cannot be read") as caught:
        image_reader.inspect(picture.image)
    assert caught.value.path == Path("/proc/self/mem")


@pytest.mark.parametrize(
    ("length", "once"), [(64 * 1024, True), (64 * 1024 + 1, False)]
)
async def test_file_up_to_64_kib_is_read_once(
    tmp_path: Path, length: int, *, once: bool
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(length))
    picture = image_reader.inspect(Image.from_path(path))
    assert (picture.kept is not None) is once
    assert picture == prepared_file(path, jpeg(length))
    path.unlink()
    if once:
        assert await text_of(picture) == base64.b64encode(jpeg(length))
    else:
        with pytest.raises(ImageError, match="no such file"):
            await text_of(picture)


async def test_file_deleted_after_its_inspection_is_an_image_error(
    tmp_path: Path,
) -> None:
    picture = prepared_file(tmp_path / "a.jpg", jpeg(700_000))
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(ImageError, match="no such file"):
        await text_of(picture)


def test_only_a_file_that_is_there_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    assert image_reader.measure_file(path) == FileContent(path, 3)
    with pytest.raises(ImageError, match="no such file"):
        image_reader.measure_file(tmp_path / "b")
    with pytest.raises(ImageError, match="not a file"):
        image_reader.measure_file(tmp_path)


LARGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.mark.parametrize(
    "given",
    [
        bytearray(b"abc"),
        bytearray(),
        bytearray(LARGE),
        memoryview(LARGE),
        memoryview(LARGE).cast("I"),
        memoryview(LARGE)[::-1],
        memoryview(LARGE)[:0],
    ],
)
async def test_bytes_that_may_change_are_copied_whole(
    given: bytearray | memoryview,
) -> None:
    copied = await image_reader.load_file(given)
    assert type(copied) is bytes
    assert copied == bytes(given)
    if isinstance(given, bytearray):
        given.clear()  # which a view that is still open would refuse


async def test_only_many_bytes_are_copied_in_a_thread(tmp_path: Path) -> None:
    """A copy of 500 MB would stop the loop for a quarter of a second."""
    (tmp_path / "a.txt").write_bytes(b"abc")
    threads = list[str]()

    def note() -> None:
        threads.append(threading.current_thread().name)

    with ThreadPoolExecutor(1, "copies", note) as pool:
        await image_reader.load_file(memoryview(b"abc"), pool)
        await image_reader.load_file(tmp_path / "a.txt", pool)
        assert threads == []
        assert await image_reader.load_file(bytearray(LARGE), pool) == LARGE
    assert threads == ["copies_0"]


@LINUX
async def test_closed_stream_closes_its_file(tmp_path: Path) -> None:
    """The file is closed once its thread has left it."""
    path = tmp_path / "a.jpg"
    text = image_reader.PartStream(prepared_file(path, jpeg(MIB)))
    assert await text.next()
    assert _is_open(path)
    text.close()
    async with asyncio.timeout(20):
        while _is_open(path):
            await asyncio.sleep(0)
    assert await text.next() == []


def _is_open(path: Path) -> bool:
    links = list(Path("/proc/self/fd").iterdir())
    return path in [link.readlink() for link in links if link.is_symlink()]


async def test_pictures_are_the_same_if_their_bytes_are(tmp_path: Path) -> None:
    content, other = jpeg(400_000), jpeg(399_999) + b"x"
    file = prepared_file(tmp_path / "a.jpg", content)
    encoded = await image_reader.encode(prepared(content))
    assert await image_reader.same_content(prepared(content), file)
    assert await image_reader.same_content(encoded, file)
    assert not await image_reader.same_content(encoded, prepared(other))
    assert not await image_reader.same_content(
        prepared(content), prepared(content + b"x")
    )


async def test_target_that_is_the_source_is_an_image_error(tmp_path: Path) -> None:
    """The server would refuse such a pair."""
    path = tmp_path / "a.jpg"
    source = prepared_file(path, JPEG)
    with pytest.raises(ImageError, match="the same picture") as caught:
        await image_reader.inspect_other(Image.from_path(path), than=source)
    assert caught.value.path == path
    other = Image.from_bytes(jpeg(5_000))
    assert (await image_reader.inspect_other(other, than=source)).image is other


async def test_cancelled_encoding_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = prepared_file(path, jpeg(2 * MIB))
    task = asyncio.create_task(image_reader.encode(picture))
    await asyncio.sleep(0)
    await cancel(task)


class Drip(io.FileIO):
    """A file of a system that returns few bytes at a time."""

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]
        """Read at most 1000 bytes."""
        return super().readinto(buffer[:1000])


async def test_streams_that_share_a_thread_do_not_mix(tmp_path: Path) -> None:
    """The thread has one buffer, and reads a block of each file in turn."""
    contents = [os.urandom(2 * MIB + 7) for _ in range(3)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        texts = [
            image_reader.PartStream(
                prepared_file(tmp_path / f"{i}.jpg", JPEG + content), pool
            )
            for i, content in enumerate(contents)
        ]
        came = [b""] * 3
        for _ in range(3):
            for i, text in enumerate(texts):
                came[i] += b"".join(await text.next())
    assert came == [base64.b64encode(JPEG + content) for content in contents]


async def test_files_that_differ_in_their_last_byte_are_not_the_same(
    tmp_path: Path,
) -> None:
    content = jpeg(2 * MIB)
    one = prepared_file(tmp_path / "a.jpg", content)
    same = prepared_file(tmp_path / "b.jpg", content)
    other = prepared_file(tmp_path / "c.jpg", content[:-1] + b"x")
    assert await image_reader.same_content(one, same)
    assert not await image_reader.same_content(one, other)


@pytest.mark.parametrize(("there", "whole"), [(5000, True), (4999, False)])
def test_block_is_read_to_its_end_if_the_system_returns_few_bytes(
    tmp_path: Path, there: int, *, whole: bool
) -> None:
    path, content = tmp_path / "a.jpg", jpeg(5000)
    picture = prepared_file(path, content)
    os.truncate(path, there)
    with Drip(path) as stream:
        view = memoryview(bytearray(5001))
        if whole:
            assert bytes(image_reader.read_block(picture, stream, 0, view)) == content
            return
        with pytest.raises(ImageError, match="changed its length"):
            image_reader.read_block(picture, stream, 0, view)
