"""Transports on real sockets, a recorded sleep, and a search for leaked secrets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from ezlink_async._core.images import InspectedImage
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import RetryPolicy, Timeouts
from ezlink_async._core.settings import Settings
from ezlink_async._io.transport import Transport
from ezlink_async._io.upload import Upload
from ezlink_async.errors import TransportError
from tests.support.raw_servers import (
    Handler,
    Server,
    client_tls,
    server_tls,
    serving,
)

KEY = "sk-thekeythatmustnotleak"

PASSWORD = "hunter2hunter2"


def submit_of(*parts: bytes | InspectedImage) -> HttpRequest:
    """Return a submit with *parts* between the head and the last two bytes."""
    return HttpRequest("POST", "/mj/insight-face/swap", (b'{"a":"', *parts, b'"}'))


FETCH = HttpRequest("GET", "/mj/task/7/fetch", repeatable=True)

LIST = HttpRequest("POST", "/mj/task/list", (b'{"ids":["7"]}',), repeatable=True)

SHORT = Timeouts(connect=5, upload=5, submit=5, fetch=5, image=5)


def settings(
    base_url: str, timeouts: Timeouts = SHORT, retry: RetryPolicy | None = None
) -> Settings:
    """Return settings for a server of the tests."""
    return Settings(
        api_key=KEY,
        base_url=base_url,
        timeouts=timeouts,
        retry=retry or RetryPolicy(first=0.001, longest=0.002, attempts=3),
    )


class RecordedSleep:
    """A sleep that takes no time and records the seconds it was asked for."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Let the loop turn once."""
        self.waits.append(seconds)
        await asyncio.sleep(0)


class Submits:
    """A transport that makes submits, and the upload of the latest one."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.upload: Upload | None = None

    @property
    def complete(self) -> bool:
        """Whether the latest body counts as sent to its end."""
        assert self.upload is not None
        return self.upload.complete

    async def submit(self, request: HttpRequest) -> HttpResponse:
        """Make one attempt."""

        def keep(upload: Upload) -> None:
            self.upload = upload

        return await self.transport.submit(request, "request-1", keep)

    async def error_of(self, request: HttpRequest) -> TransportError:
        """Make one attempt, which must fail, and return its error without secrets."""
        with pytest.raises(TransportError) as caught:
            await self.submit(request)
        assert not secrets_in(caught.value)
        return caught.value


@asynccontextmanager
async def transport(
    base_url: str,
    timeouts: Timeouts = SHORT,
    *,
    retry: RetryPolicy | None = None,
    http: aiohttp.ClientSession | None = None,
    sleep: RecordedSleep | None = None,
) -> AsyncIterator[Transport]:
    """Open a transport, and close it."""
    chosen = settings(base_url, timeouts, retry)
    here = Transport(chosen, http=http, sleep=sleep or RecordedSleep())
    await here.open()
    try:
        yield here
    finally:
        await here.close()


@asynccontextmanager
async def submits(
    base_url: str, timeouts: Timeouts = SHORT, http: aiohttp.ClientSession | None = None
) -> AsyncIterator[Submits]:
    """Open a transport for submits; over TLS with a session that trusts."""
    async with (
        _trusting(base_url, http) as session,
        transport(base_url, timeouts, http=session) as here,
    ):
        yield Submits(here)


class ServedSubmits(Submits):
    """Submits to a server of their own."""

    def __init__(self, transport: Transport, server: Server) -> None:
        super().__init__(transport)
        self.server = server


@asynccontextmanager
async def submitting_to(
    handler: Handler,
    timeouts: Timeouts = SHORT,
    *,
    tls: bool = False,
    buffer: int | None = None,
    http: aiohttp.ClientSession | None = None,
) -> AsyncIterator[ServedSubmits]:
    """Serve *handler*, and open a transport for submits to it."""
    context = server_tls() if tls else None
    async with (
        serving(handler, tls=context, buffer=buffer) as server,
        submits(server.url, timeouts, http) as here,
    ):
        yield ServedSubmits(here.transport, server)


@asynccontextmanager
async def _trusting(
    base_url: str, http: aiohttp.ClientSession | None
) -> AsyncIterator[aiohttp.ClientSession | None]:
    if http is not None or base_url.startswith("http:"):
        yield http
        return
    connector = aiohttp.TCPConnector(ssl=client_tls(), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its causes, its contexts, and the errors in their arguments."""
    seen: set[int] = set()
    left = [error]
    while left:
        link = left.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        left += [link.__cause__, link.__context__]
        left += [arg for arg in link.args if isinstance(arg, BaseException)]


def secrets_in(error: BaseException) -> list[str]:
    """Return the texts of *error* and its chain that hold the key or the password."""
    secret = re.compile(f"{KEY}|{KEY[3:]}|{PASSWORD}")
    texts = [
        text
        for link in chain(error)
        for text in (str(link), repr(link), repr(link.args), repr(vars(link)))
    ]
    return [text for text in texts if secret.search(text)]
