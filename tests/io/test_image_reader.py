"""Pictures from the disk, and their base64."""

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
from ezlink_async._io import concurrency, image_reader
from ezlink_async.errors import ImageError
from tests.support.pictures import GIF, JPEG, MIB, PNG, jpeg, prepared, prepared_file

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


async def text_of(picture: InspectedImage) -> bytes:
    """Return all blocks of a picture's text."""
    text, kept = image_reader.Base64Stream(picture), b""
    while pieces := await text.next():
        assert sum(map(len, pieces)) <= MIB
        kept += b"".join(pieces)
    text.close()
    return kept


# Reading


@pytest.mark.parametrize("length", [60, 61, 62, 196_608, 196_609, 700_000])
async def test_the_text_of_a_picture_is_its_base64(tmp_path: Path, length: int) -> None:
    """Whatever its length, a picture's text is exactly what was promised."""
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
def test_without_the_extra_the_text_is_the_same(length: int) -> None:
    """The standard library is as good as ``pybase64``, only slower."""
    content = bytes(range(256)) * (length // 256 + 1)
    text = image_reader.slow_base64(content[:length])
    assert text == base64.b64encode(content[:length])


async def test_a_picture_is_looked_at_by_content(tmp_path: Path) -> None:
    """Type and length are found without reading a file to its end."""
    path = tmp_path / "named.jpg"
    path.write_bytes(PNG)
    assert image_reader.inspect(Image.from_path(path)).media_type == "image/png"
    assert image_reader.inspect(Image.from_path(path)).length == len(PNG)
    assert image_reader.inspect(Image.from_bytes(JPEG)).media_type == "image/jpeg"


def _missing(path: Path) -> None:
    pass


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _gif(path: Path) -> None:
    path.write_bytes(GIF)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_missing, "no such file"),
        (_empty, "empty"),
        (_folder, "not a file"),
        (_pipe, "not a file"),
        (_gif, "GIF"),
        (_loop, "cannot be read"),
    ],
)
async def test_what_is_no_usable_file_is_said_so(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """A file that is missing or cannot be sent is an ImageError naming it."""
    path = tmp_path / "a.jpg"
    make(path)
    with pytest.raises(ImageError, match=says) as caught:
        image_reader.inspect(Image.from_path(path))
    assert caught.value.path == path
    assert caught.value.retry_safe


async def test_a_name_no_system_takes_is_an_image_error() -> None:
    """A path with a null byte is an ImageError like any that cannot be read."""
    with pytest.raises(ImageError, match="cannot be read"):
        image_reader.inspect(Image.from_path("a\0b"))


@pytest.mark.parametrize("by", [-1, 1, -500_000, 500_000])
async def test_a_file_of_another_length_is_refused(tmp_path: Path, by: int) -> None:
    """A file that grew or shrank since it was looked at gives no whole text."""
    path = tmp_path / "a.jpg"
    picture = prepared_file(path, jpeg(700_000))
    path.write_bytes(jpeg(700_000 + by))
    with pytest.raises(ImageError, match="changed its length"):
        await text_of(picture)
    with pytest.raises(ImageError, match="changed its length"):
        await image_reader.encode(picture)


@LINUX
async def test_a_disk_that_fails_is_an_image_error() -> None:
    """An error while a file is being read names the file."""
    picture = InspectedImage(Image.from_path("/proc/self/mem"), "image/jpeg", 100)
    with pytest.raises(ImageError, match="cannot be read"):
        await text_of(picture)
    with pytest.raises(ImageError, match="cannot be read") as caught:
        image_reader.inspect(picture.image)
    assert caught.value.path == Path("/proc/self/mem")


@pytest.mark.parametrize(
    ("length", "once"), [(64 * 1024, True), (64 * 1024 + 1, False)]
)
async def test_a_little_file_is_read_once(
    tmp_path: Path, length: int, *, once: bool
) -> None:
    """What was looked at whole is what is sent; nobody reads it again."""
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


async def test_a_file_that_goes_while_it_is_used_is_an_image_error(
    tmp_path: Path,
) -> None:
    """A picture that was there when it was looked at may be gone when it is read."""
    picture = prepared_file(tmp_path / "a.jpg", jpeg(700_000))
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(ImageError, match="no such file"):
        await text_of(picture)


@LINUX
async def test_a_text_that_is_given_up_lets_go_of_its_file(tmp_path: Path) -> None:
    """Closing in the middle closes the file, once its thread has let go of it."""
    path = tmp_path / "a.jpg"
    text = image_reader.Base64Stream(prepared_file(path, jpeg(MIB)))
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


async def test_large_work_leaves_the_loop_alone() -> None:
    """More than 256 KiB are worked on in a thread, less where the caller is."""
    here = threading.get_ident()
    assert (
        await concurrency.run_in_thread_if_large(
            concurrency.INLINE_BYTES, threading.get_ident
        )
        == here
    )
    assert (
        await concurrency.run_in_thread_if_large(
            concurrency.INLINE_BYTES + 1, threading.get_ident
        )
        != here
    )


async def test_the_same_picture_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Two pictures are the same when their bytes are, wherever they come from."""
    content, other = jpeg(400_000), jpeg(399_999) + b"x"
    file = prepared_file(tmp_path / "a.jpg", content)
    encoded = await image_reader.encode(prepared(content))
    assert await image_reader.same_content(prepared(content), file)
    assert await image_reader.same_content(encoded, file)
    assert not await image_reader.same_content(encoded, prepared(other))
    assert not await image_reader.same_content(
        prepared(content), prepared(content + b"x")
    )


async def test_a_target_that_is_the_source_is_refused_by_name(tmp_path: Path) -> None:
    """The server refuses such a pair, so it is told before anything is sent."""
    path = tmp_path / "a.jpg"
    source = prepared_file(path, JPEG)
    with pytest.raises(ImageError, match="the same picture") as caught:
        await image_reader.inspect_other(Image.from_path(path), than=source)
    assert caught.value.path == path
    other = Image.from_bytes(jpeg(5_000))
    assert (await image_reader.inspect_other(other, than=source)).image is other


async def test_encoding_gives_way_when_its_caller_leaves(tmp_path: Path) -> None:
    """A cancelled encoding ends at once and leaves no file open for long."""
    path = tmp_path / "a.jpg"
    picture = prepared_file(path, jpeg(2 * MIB))
    task = asyncio.create_task(image_reader.encode(picture))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Drip(io.FileIO):
    """A file of a system that gives little at a time."""

    def readinto(self, buffer: memoryview, /) -> int | None:  # type: ignore[override]
        """Read at most 1000 bytes."""
        return super().readinto(buffer[:1000])


async def test_files_that_are_read_in_turn_do_not_mix(tmp_path: Path) -> None:
    """One thread may read a block of this picture, then one of that."""
    contents = [os.urandom(2 * MIB + 7) for _ in range(3)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        texts = [
            image_reader.Base64Stream(
                prepared_file(tmp_path / f"{i}.jpg", JPEG + content), pool
            )
            for i, content in enumerate(contents)
        ]
        came = [b""] * 3
        for _ in range(3):
            for i, text in enumerate(texts):
                came[i] += b"".join(await text.next())
    assert came == [base64.b64encode(JPEG + content) for content in contents]


async def test_two_files_that_differ_at_their_end_are_two(tmp_path: Path) -> None:
    """Both are read, block by block, side by side."""
    content = jpeg(2 * MIB)
    one = prepared_file(tmp_path / "a.jpg", content)
    same = prepared_file(tmp_path / "b.jpg", content)
    other = prepared_file(tmp_path / "c.jpg", content[:-1] + b"x")
    assert await image_reader.same_content(one, same)
    assert not await image_reader.same_content(one, other)


@pytest.mark.parametrize(("there", "whole"), [(5000, True), (4999, False)])
def test_a_system_may_give_less_than_there_is(
    tmp_path: Path, there: int, *, whole: bool
) -> None:
    """A block is read to its end, however little comes at a time."""
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
