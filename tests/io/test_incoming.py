"""Uploads that an application is being sent: read once, within limits, freed."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import BodyPartReader, FormData, web
from aiohttp.test_utils import TestClient, TestServer

from ezlink_async._core.images import MAX_BYTES, Image, InspectedImage, Upload
from ezlink_async._io import image_reader
from ezlink_async._io.incoming import IN_MEMORY, receive, release
from ezlink_async.errors import ImageError, RejectedError
from tests.support.cancelling import cancel
from tests.support.pictures import jpeg
from tests.support.uploads import (
    FORMS,
    ReadUpload,
    endless,
    iterated,
    temporary_files,
    unreadable,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have temporary files be made in a folder of their own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


async def _receive(upload: Upload, limit: int = MAX_BYTES) -> Image:
    return await receive(upload, limit=limit, stall=300)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [60, IN_MEMORY, IN_MEMORY + 1, 3_000_000])
async def test_upload_of_each_form_is_received_whole(
    folder: Path, form: Callable[[bytes], Upload], length: int
) -> None:
    """Up to 1 MiB is in memory, more in a temporary file until it is released."""
    content = jpeg(length)
    picture = await _receive(form(content))
    assert bytes(picture.held or b"") == content
    assert (picture.content is None) == (length > IN_MEMORY)
    assert len(temporary_files(folder)) == (length > IN_MEMORY)
    release(picture)
    assert temporary_files(folder) == []


async def test_part_of_a_form_is_received_over_a_real_socket(folder: Path) -> None:
    content, received = jpeg(2_000_000), list[bytes]()

    async def handler(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            picture = await _receive(part)
            received.append(bytes(picture.held or b""))
            release(picture)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    async with TestClient(TestServer(app)) as browser:
        form = FormData()
        form.add_field(
            "a", io.BytesIO(content), filename="a.jpg", content_type="image/jpeg"
        )
        form.add_field("b", io.BytesIO(content[::-1]), filename="b.jpg")
        assert (await browser.post("/", data=form)).status == 200
    assert received == [content, content[::-1]]
    assert temporary_files(folder) == []


async def test_body_of_a_request_is_an_upload() -> None:
    content = jpeg(500_000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=(await _receive(request.content)).content)

    app = web.Application()
    app.router.add_post("/", handler)
    async with TestClient(TestServer(app)) as browser:
        answer = await browser.post("/", data=content)
        assert await answer.read() == content


async def test_spooled_upload_is_read_as_a_file_is() -> None:
    content = jpeg(2_000_000)
    picture = await _receive(ReadUpload(content))
    inspected = image_reader.inspect(picture)
    assert (inspected.media_type, inspected.length) == ("image/jpeg", len(content))
    whole = await image_reader.encode(inspected)
    assert whole.text == (await image_reader.encode(_in_memory(content))).text
    assert await image_reader.same_content(inspected, _in_memory(content))
    release(picture)
    assert repr(picture) == "Image(<upload>)"


def _in_memory(content: bytes) -> InspectedImage:
    return image_reader.inspect(Image.from_bytes(content))


async def test_limit_is_the_last_length_that_is_taken(folder: Path) -> None:
    """Of a longer upload no more is read than shows that it is longer."""
    assert (await _receive(ReadUpload(bytes(2_000_000)), 2_000_000)).held
    upload = ReadUpload(bytes(100_000_000))
    with pytest.raises(ImageError, match="more than the 2000000 bytes") as caught:
        await _receive(upload, 2_000_000)
    assert caught.value.limit == 2_000_000
    assert caught.value.retry_safe
    assert upload.given < 2_500_000
    del caught
    assert temporary_files(folder) == []


async def _text() -> AsyncIterator[str]:
    yield "text"


class OpenFile:
    """A reader that is not asynchronous."""

    @staticmethod
    def read(size: int) -> bytes:
        """Return bytes at once."""
        return bytes(size)


class Refusing:
    """An upload whose reading meets an error of this package."""

    @staticmethod
    async def read(size: int) -> bytes:
        """Fail."""
        raise RejectedError(f"no {size} bytes")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ReadUpload(b""), "empty, or was read before"),
        (lambda: iterated(b""), "empty, or was read before"),
        (unreadable, "broke off: ConnectionResetError: the browser has gone"),
        (_text, "brings bytes, not str"),
        (OpenFile, "an open file"),
    ],
)
async def test_unusable_upload_is_an_image_error(
    make: Callable[[], Upload], says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        await _receive(make())


async def test_error_of_the_package_is_raised_as_it_is() -> None:
    with pytest.raises(RejectedError, match="no 262144 bytes"):
        await _receive(Refusing())


async def test_upload_that_stands_still_is_given_up() -> None:
    with pytest.raises(ImageError, match=r"no byte of it came for 0\.01 s"):
        await receive(endless(), limit=MAX_BYTES, stall=0.01)


async def test_cancelled_reading_leaves_no_file(folder: Path) -> None:
    async def still(begun: asyncio.Event) -> AsyncIterator[bytes]:
        yield bytes(2_000_000)
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    reading = asyncio.create_task(_receive(still(begun)))
    await begun.wait()
    assert len(temporary_files(folder)) == 1
    await cancel(reading)
    del reading
    assert temporary_files(folder) == []


async def test_full_disk_is_an_image_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ImageError, match="cannot be kept on the disk"):
        await _receive(ReadUpload(bytes(2_000_000)))


async def test_picture_that_is_still_read_is_released_by_its_reader(
    folder: Path,
) -> None:
    picture = await _receive(ReadUpload(bytes(2_000_000)))
    view = memoryview(picture.held or b"")
    release(picture)
    assert view[:3] == bytes(3)
    view.release()
    del picture, view
    assert temporary_files(folder) == []
