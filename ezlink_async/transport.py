"""
Sends one request and returns one response, or says how far it came.

The only user of aiohttp's client. A submit is one attempt, never repeated
here; what is marked ``repeatable`` may be.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from urllib.parse import urljoin, urlsplit

import aiohttp
import attrs
import yarl

from ezlink_async import __version__, connections, faults
from ezlink_async.config import Settings
from ezlink_async.errors import (
    BusyError,
    ConfigurationError,
    ServerError,
    TransportError,
)
from ezlink_async.messages import HttpRequest, HttpResponse
from ezlink_async.refusals import refusal, retry_after
from ezlink_async.upload import Upload

_ANSWER_LIMIT = 16 * 1024 * 1024
_BLOCK = 256 * 1024
_REDIRECTS = 5

Sleep = Callable[[float], Awaitable[None]]


def new_request_id() -> str:
    """Return an id for one attempt; the server takes it over."""
    return uuid.uuid4().hex


@attrs.frozen
class Stream:
    """A download that has begun: its status, and its bytes as they come."""

    status: int
    url: str
    _answer: aiohttp.ClientResponse

    async def block(self) -> bytes:
        """Return the next bytes, empty at the end."""
        try:
            return await self._answer.content.read(_BLOCK)
        except faults.FOREIGN as fault:
            raise TransportError(
                f"the download from {self.url} broke off: {faults.words(fault)}"
            ) from None


class Transport:
    """
    The connections of one client, to the API and to where results lie.

    Given a caller's session it uses that one for the API and leaves it open.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        http: aiohttp.ClientSession | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.answered = False
        self.key_worked = False
        self._given = http
        self._sleep = sleep
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Make the pools; nothing is connected yet."""
        timeouts = self.settings.timeouts
        self._proxy: str | None = None
        if self._given is not None:
            connections.check_session(self._given)
            self._submits = self._fetches = self._given
        else:
            self._submits = await self._own(connections.submit_session(timeouts))
            self._fetches = await self._own(connections.fetch_session(timeouts))
            self._proxy = connections.proxy_for(self.settings.base_url)
        self._elsewhere = await self._own(connections.public_session(timeouts))

    async def _own(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        return await self._stack.enter_async_context(session)

    async def close(self) -> None:
        """Close what was opened here; the second time does nothing."""
        await self._stack.aclose()

    async def submit(
        self, request: HttpRequest, request_id: str, watch: Callable[[Upload], None]
    ) -> HttpResponse:
        """
        Make one attempt; *watch* is given its :class:`Upload` before it starts.

        :exc:`TransportError` says by ``retry_safe`` whether the body never
        left whole; :exc:`ImageError` comes from a picture that changed.
        """
        timeouts, loop = self.settings.timeouts, asyncio.get_running_loop()
        bound = asyncio.timeout(None)
        upload = Upload(
            request,
            stall=timeouts.upload,
            finished=lambda: bound.reschedule(loop.time() + timeouts.submit),
        )
        watch(upload)
        url = self.settings.base_url + request.path
        try:
            async with bound, self._ask(request, request_id, upload) as answer:
                # What came before the whole body had left is no answer to it,
                # and after it nothing more may leave.
                upload.abort()
                if not upload.complete:
                    bound.reschedule(loop.time() + timeouts.fetch)
                return await self._read(request, request_id, answer, upload=upload)
        except faults.FOREIGN as fault:
            raise faults.submit_fault(fault, url, request_id, upload) from None

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a small request once; :exc:`TransportError` when no answer came."""
        request_id = new_request_id()
        try:
            async with (
                asyncio.timeout(self.settings.timeouts.fetch),
                self._ask(request, request_id, _small_body(request)) as answer,
            ):
                return await self._read(request, request_id, answer)
        except faults.FOREIGN as fault:
            url = self.settings.base_url + request.path
            raise faults.fetch_fault(fault, url, request_id) from None

    async def repeat(self, request: HttpRequest) -> HttpResponse:
        """
        Send a *repeatable* request until an answer comes that is no fault.

        The last fault is raised as it is, the last answer returned as it is.
        """
        waits = self.settings.retry.waits()
        while True:
            hint = 0.0
            try:
                response = await self.send(request)
            except TransportError as error:
                wait = None if error.stage == "tls" else next(waits, None)
                if wait is None:
                    raise
            else:
                wait = next(waits, None) if _is_fault(response) else None
                if wait is None:
                    return response
                hint = retry_after(response) or 0.0
            await self._sleep(max(wait, min(hint, self.settings.retry.timeout)))

    def _ask(
        self, request: HttpRequest, request_id: str, body: Upload | bytes | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        session = self._submits if isinstance(body, Upload) else self._fetches
        headers = {
            "X-Request-ID": request_id,
            "User-Agent": f"ezlink-async/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if request.authenticated:
            headers["Authorization"] = f"Bearer {self.settings.api_key}"
        url = self.settings.base_url + request.path
        return self._request(session, request.method, url, headers, body)

    def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: dict[str, str],
        body: Upload | bytes | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if session.closed:
            raise ConfigurationError("the session given as http= was closed")
        idle = self.settings.timeouts.image if body is None else None
        proxy = self._proxy
        if session is self._elsewhere:
            proxy = connections.proxy_for(url)
        # Undoes what a caller's session could do: repeat a POST, follow a
        # redirect with the key, turn answers into exceptions.
        return session.request(
            method,
            _exact(url),
            data=body,
            headers=headers,
            timeout=connections.request_timeout(self.settings.timeouts, idle),
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=(),
            proxy=proxy,
        )

    async def _read(
        self,
        request: HttpRequest,
        request_id: str,
        answer: aiohttp.ClientResponse,
        *,
        upload: Upload | None = None,
    ) -> HttpResponse:
        response = HttpResponse(
            answer.status,
            {name.lower(): text for name, text in answer.headers.items()},
            await _body(answer),
            str(answer.url),
            early=upload is not None and not upload.complete,
            sent_id=request_id,
        )
        self.answered = True
        if request.authenticated and _passed_the_door(response):
            self.key_worked = True
        return response

    @asynccontextmanager
    async def stream(self, url: str, *, strict: bool) -> AsyncIterator[Stream]:
        """
        Begin a download, without the key, following redirects.

        Hosts that are not public are refused, but for the API's own origin.
        Unless *strict*, an API that is itself on a private network may name
        its neighbours. :exc:`ConfigurationError` on a refused address.
        """
        for _ in range(_REDIRECTS):
            session = self._session_for(url, strict=strict)
            async with AsyncExitStack() as stack:
                try:
                    answer = await stack.enter_async_context(
                        self._request(session, "GET", url, {})
                    )
                except faults.FOREIGN as fault:
                    raise faults.fetch_fault(fault, url, "") from None
                target = answer.headers.get("Location")
                if not 300 <= answer.status < 400 or not target:  # noqa: PLR2004 - 3xx
                    yield Stream(answer.status, url, answer)
                    return
            url = urljoin(url, target)
        raise TransportError(f"more than {_REDIRECTS} redirects on the way to {url}")

    def _session_for(self, url: str, *, strict: bool) -> aiohttp.ClientSession:
        if connections.same_origin(url, self.settings.base_url):
            return self._fetches
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and connections.is_public(parts.hostname):
            return self._elsewhere
        home = urlsplit(self.settings.base_url).hostname
        if parts.hostname and not strict and not connections.is_public(home):
            return self._fetches
        raise ConfigurationError(
            f"{url} is no address of the public internet, and not the API's"
        )


def _exact(url: str) -> yarl.URL:
    # Signed addresses break when they are quoted anew.
    return yarl.URL(url, encoded=url.isascii())


def _small_body(request: HttpRequest) -> bytes | None:
    body = request.body[0] if request.body else None
    return body if isinstance(body, bytes) else None


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """Read an answer; of one that is cut off, what came: it may tell enough."""
    kept = bytearray()
    try:
        while (block := await answer.content.read(_BLOCK)) and len(
            kept
        ) < _ANSWER_LIMIT:
            kept += block
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as fault:
        if isinstance(fault, TimeoutError):
            raise
    return bytes(kept)


def _passed_the_door(response: HttpResponse) -> bool:
    # Handlers behind the check of the key answer so; proxies do not.
    return response.ok or b'"upstream_error"' in response.body


def _is_fault(response: HttpResponse) -> bool:
    error = None if response.ok else refusal(response)
    return isinstance(error, BusyError | ServerError)
