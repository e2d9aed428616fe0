"""The two applications of the web page, used over a socket as a browser does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from ezlink_async import AsyncEzlink

PAGE = Path(__file__).parent / "howto" / "web.md"
SAMPLES = Path(__file__).parent / "samples"
SOURCE = (SAMPLES / "astronaut.jpg").read_bytes()
TARGET = (SAMPLES / "hopper.jpg").read_bytes()

Serve = Callable[[], AbstractAsyncContextManager[str]]

pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture
def page() -> dict[str, object]:
    """Return the names of the page, whose blocks have all been run."""
    document = Sybil(parsers=[PythonCodeBlockParser()]).parse(PAGE)
    document.namespace["__name__"] = PAGE.stem
    for example in document.examples():
        example.evaluate()
    return document.namespace


@pytest.fixture(params=["aiohttp", "fastapi"])
def serve(request: pytest.FixtureRequest, page: dict[str, object]) -> Serve:
    """Return what serves one of the applications, as often as it is called."""

    @asynccontextmanager
    async def with_aiohttp() -> AsyncIterator[str]:
        make = page["make_app"]
        assert callable(make)
        app = make()
        assert isinstance(app, web.Application)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    @asynccontextmanager
    async def with_uvicorn() -> AsyncIterator[str]:
        config = uvicorn.Config(page["api"], port=0, log_level="error")  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await serving

    return with_aiohttp if request.param == "aiohttp" else with_uvicorn


@asynccontextmanager
async def _browser(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with asyncio.timeout(300), aiohttp.ClientSession(url) as session:
        yield session


def _form(source: bytes = SOURCE, target: bytes = TARGET) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("source", io.BytesIO(source), filename="me.jpg")
    form.add_field("target", io.BytesIO(target), filename="a.jpg")
    return form


async def _order(browser: aiohttp.ClientSession) -> str:
    async with browser.post("/orders", data=_form()) as answer:
        assert answer.status == 202
        return str((await answer.json())["order"])


async def _picture(browser: aiohttp.ClientSession, name: str) -> bytes:
    async with browser.get(f"/orders/{name}/picture") as answer:
        assert answer.status == 200
        assert answer.content_type == "image/jpeg"
        content = await answer.read()
        assert answer.content_length == len(content)
        return content


async def test_order_is_taken_and_its_picture_is_sent(serve: Serve) -> None:
    async with serve() as url, _browser(url) as browser:
        name = await _order(browser)
        picture = await _picture(browser, name)
        assert picture.startswith(b"\xff\xd8\xff")
        assert await _picture(browser, name) == picture


async def test_order_outlives_a_restart(serve: Serve) -> None:
    async with serve() as url, _browser(url) as browser:
        name = await _order(browser)
    async with serve() as url, _browser(url) as browser:
        assert await _picture(browser, name)


async def test_what_is_no_picture_is_answered_with_its_reason(serve: Serve) -> None:
    async with serve() as url, _browser(url) as browser:
        form = _form(target=b"GIF89a" + bytes(100))
        async with browser.post("/orders", data=form) as answer:
            assert answer.status == 400
            assert "GIF" in (await answer.json())["error"]


async def test_unknown_order_is_not_found(serve: Serve) -> None:
    picture = "/orders/guessed/picture"
    async with (
        serve() as url,
        _browser(url) as browser,
        browser.get(picture) as answer,
    ):
        assert answer.status == 404


async def test_full_server_is_503_and_may_be_tried_again(
    page: dict[str, object], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's five seconds are cut, and nothing is polled that would free a slot."""
    monkeypatch.setenv("EZLINK_MAX_CONCURRENCY", "1")
    monkeypatch.setenv("EZLINK_POLL_FIRST", "300")
    page["AsyncEzlink"] = lambda slot_timeout: AsyncEzlink(
        slot_timeout=slot_timeout / 500
    )
    async with serve() as url, _browser(url) as browser:
        await _order(browser)
        async with browser.post("/orders", data=_form(target=SOURCE[:-2])) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"


async def test_health_page_shows_the_numbers(page: dict[str, object]) -> None:
    make = page["make_app"]
    assert callable(make)
    async with TestServer(make()) as server, _browser(str(server.make_url(""))) as here:
        name = await _order(here)
        async with here.get(f"/orders/{name}") as answer:
            assert (await answer.json()).keys() == {"status", "progress"}
        async with here.get("/health") as answer:
            assert (await answer.json())["requests"] >= 1
