"""Results of every family, sent on by a web application over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ezlink_async import TaskHandle, errors
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.requests import (
    AsyncImage,
    Doubao,
    FaceSwap,
    Flux,
    Imagine,
    JobRequest,
    Kling,
    Shorten,
    Veo,
)
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.stability.endpoints import endpoint_of
from ezlink_async.services.stability.submits import StabilityRequest
from tests.support.client_harness import emulated_client
from tests.support.pictures import jpeg, png
from tests.support.uploads import temporary_files

SETTINGS = EmulatorSettings(stability=True)

EACH: dict[str, tuple[JobRequest[AnyRecord], str]] = {
    "a swap": (FaceSwap(jpeg(20_000), jpeg(30_000)), "image/jpeg"),
    "a large swap": (FaceSwap(jpeg(20_000), jpeg(3_000_000)), "image/jpeg"),
    "imagine": (Imagine("a fox"), "image/png"),
    "a text": (Shorten("a very red fox"), "text/plain"),
    "an image": (AsyncImage("kling-v1", "a fox"), "image/png"),
    "flux": (Flux("flux-2-pro", "a fox"), "image/"),
    "a video": (Kling("a cat", model="kling-v1", seconds=5), "video/mp4"),
    "doubao": (Doubao("a cat --dur 5", model="doubao-seedance-1-0-lite"), "video/mp4"),
    "stability": (
        StabilityRequest.of(endpoint_of("core"), {"prompt": "a fox"}),
        "image/",
    ),
    "stability's video": (
        StabilityRequest.of(endpoint_of("image-to-video"), {"image": png()}),
        "video/mp4",
    ),
}
"""A job of each family, and the media type of its result."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _application(handler: Handler) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve *handler*, and give a session that asks it."""
    app = web.Application()
    app.router.add_get("/", handler)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(server.make_url("")) as browser,
    ):
        yield browser


def _sends(handle: TaskHandle[AnyRecord]) -> Handler:
    """Return a handler that sends the result of *handle*."""

    async def send(request: web.Request) -> web.StreamResponse:
        async with await handle.open() as stream:
            response = web.StreamResponse()
            response.content_type = stream.media_type
            response.content_length = stream.length
            await response.prepare(request)
            async for block in stream:
                await response.write(block)
        return response

    return send


@pytest.mark.parametrize("kind", EACH)
async def test_result_of_each_family_is_sent_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    request, media_type = EACH[kind]
    async with emulated_client(SETTINGS) as both:
        handle: TaskHandle[AnyRecord] = await both.ez.submit(request)
        async with (
            _application(_sends(handle)) as browser,
            browser.get("/") as answer,
        ):
            content = await answer.read()
            assert answer.content_type.startswith(media_type)
            assert answer.content_length == len(content)
        assert content == await handle.read()
        assert temporary_files(tmp_path) == []


async def test_broken_result_is_an_error_before_the_first_byte_is_sent() -> None:
    """The browser gets a status of 502, and no half of a picture under 200."""

    async def send(request: web.Request) -> web.StreamResponse:
        try:
            return await _sends(handle)(request)
        except errors.DownloadError as error:
            raise web.HTTPBadGateway(text=str(error)) from error

    async with emulated_client() as both:
        handle = await both.ez.swap_face(jpeg(20_000), jpeg(400_000))
        both.server.control.standing("image", faults.Picture(keep=300_000))
        async with _application(send) as browser, browser.get("/") as answer:
            assert answer.status == 502
            assert "no result" in await answer.text()


async def test_browser_that_goes_away_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sent = asyncio.Event()

    async def send(request: web.Request) -> web.StreamResponse:
        try:
            return await _sends(handle)(request)
        finally:
            sent.set()

    async with emulated_client() as both:
        handle = await both.ez.swap_face(jpeg(20_000), jpeg(9_000_000))
        async with _application(send) as browser:
            answer = await browser.get("/")
            await answer.content.read(1)
            assert len(temporary_files(tmp_path)) == 1
            answer.close()
            await sent.wait()
        assert temporary_files(tmp_path) == []
        assert await handle.read()


async def test_all_results_of_a_task_are_streams(tmp_path: Path) -> None:
    async with emulated_client() as both:
        request = Veo("a cat", model="veo-3.0-generate-001", count=2)
        clips = await both.ez.video.generate(request)
        with pytest.raises(errors.ConfigurationError, match="has 2 results"):
            await clips.open()
        streams = await clips.open_all()
        contents = [b"".join([block async for block in each]) for each in streams]
        assert tuple(contents) == await clips.read_all()
        assert [each.media_type for each in streams] == ["video/mp4"] * 2
        paths = await clips.save_all(tmp_path / "cat")
        assert [path.read_bytes() for path in paths] == contents


async def test_only_result_is_the_only_stream() -> None:
    async with emulated_client() as both:
        handle = await both.ez.swap_face(jpeg(20_000), jpeg(30_000))
        (stream,) = await handle.open_all()
        assert b"".join([block async for block in stream]) == await handle.read()
