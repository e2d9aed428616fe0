"""
Sends one request and returns one response, or says how far it came.

The only user of aiohttp's client. A submit is one attempt, never repeated
here; what is marked ``repeatable`` may be.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import aiohttp

from ezlink_async import __version__
from ezlink_async._core.error_mapping import is_retryable, retry_after
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async._core.settings import Settings
from ezlink_async._io import addresses, pools, transport_errors
from ezlink_async._io.responses import (
    BLOCK,
    DownloadStream,
    GraceTimeout,
    read_body,
    redact,
)
from ezlink_async._io.upload import Upload
from ezlink_async.errors import EzlinkError, TransportError

_Fault = TypeVar("_Fault", bound=EzlinkError)

_REDIRECTS = 5
_READERS = 2  # more only wait for the interpreter's lock
_WRITERS = 4
_AGENT = f"ezlink-async/{__version__}"

Sleep = Callable[[float], Awaitable[None]]


def new_request_id() -> str:
    """Return an id for one attempt; the server takes it over."""
    return secrets.token_hex(16)


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
        self._outage = transport_errors.OutageLog()
        self.key_worked = False
        # Apart, so that a slow disk delays neither the other nor a name lookup.
        self.readers = ThreadPoolExecutor(_READERS, "ezlink-read")
        self.writers = ThreadPoolExecutor(_WRITERS, "ezlink-write")
        self._pools = pools.ConnectionPools(settings, http)
        timeouts = settings.timeouts
        self._bound = pools.request_timeout(timeouts)
        self._idle_bound = pools.request_timeout(timeouts, timeouts.image)
        self._sleep = sleep

    async def open(self) -> None:
        """Make the pools; nothing is connected yet."""
        await self._pools.open()

    async def close(self) -> None:
        """Close what was opened here; the second time does nothing."""
        await self._pools.close()
        for pool in (self.readers, self.writers):
            pool.shutdown(wait=False)

    async def submit(
        self, request: HttpRequest, request_id: str, watch: Callable[[Upload], None]
    ) -> HttpResponse:
        """
        Make one attempt; *watch* is given its :class:`Upload` before it starts.

        :exc:`TransportError` says by ``retry_safe`` whether the body never
        left whole; :exc:`ImageError` comes from a picture that changed.
        """
        upload = Upload(request, stall=self.settings.timeouts.upload, pool=self.readers)
        watch(upload)
        try:
            return await self._attempt(request, request_id, upload)
        except transport_errors.FOREIGN as fault:
            url = self.settings.base_url + request.path
            error = transport_errors.translate_submit_error(
                fault, url, request_id, upload, known=self.answered
            )
        finally:
            upload.abort()
        raise self._told(error)

    async def _attempt(
        self, request: HttpRequest, request_id: str, upload: Upload
    ) -> HttpResponse:
        timeouts, loop = self.settings.timeouts, asyncio.get_running_loop()
        bound = GraceTimeout()
        upload.on_complete(lambda: bound.set(loop.time() + timeouts.submit))
        async with bound, await self._ask(request, request_id, upload) as answer:
            # What came before the whole body had left is no answer to it,
            # and after it the last part may not leave.
            upload.withhold_end()
            until = bound.when or loop.time() + timeouts.fetch
            bound.set(None)  # it would lose what had come by then
            body, broke = await read_body(answer, until)
            early, whole = not upload.complete, broke is None
            return self._response(
                request, request_id, answer, body, early=early, whole=whole
            )

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Send a small request once; :exc:`TransportError` when no answer came."""
        request_id = new_request_id()
        url = self.settings.base_url + request.path
        bound = asyncio.timeout(self.settings.timeouts.fetch)
        try:
            async with bound, await self._ask(request, request_id) as answer:
                body, broke = await read_body(answer)
                if broke is None:
                    return self._response(request, request_id, answer, body)
                error = transport_errors.translate_fetch_error(broke, url, request_id)
        except transport_errors.FOREIGN as fault:
            error = transport_errors.translate_fetch_error(fault, url, request_id)
        raise self._told(error)

    def _told(self, error: _Fault) -> _Fault:
        # A host that never answered may be mistyped: that is no outage.
        if self.answered:
            self._outage.note(error)
        return error

    async def send_with_retries(self, request: HttpRequest) -> HttpResponse:
        """
        Send a *repeatable* request until an answer comes that is no fault.

        The last fault is raised as it is, the last answer returned as it is.
        """
        if not request.repeatable:
            raise ValueError(f"{request.path} is not repeatable")
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
                wait = next(waits, None) if is_retryable(request, response) else None
                if wait is None:
                    return response
                hint = retry_after(response) or 0.0
            await self._sleep(max(wait, min(hint, self.settings.retry.timeout)))

    async def _ask(
        self, request: HttpRequest, request_id: str, upload: Upload | None = None
    ) -> aiohttp.ClientResponse:
        body = _small_body(request) if upload is None else upload
        headers = {"X-Request-ID": request_id, "User-Agent": _AGENT}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._request(
            self._pools.fetches if upload is None else self._pools.submits,
            request.method,
            self.settings.base_url + request.path,
            headers=headers,
            data=body,
            key=self._secret(request.credential),
        )

    async def _request(
        self,
        way: pools.Route,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        data: Upload | bytes | None = None,
        key: str | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        middlewares = way.sign(headers, key) if headers and key else ()
        # Undoes what a caller's session could do: repeat a POST, follow a
        # redirect with the key, turn answers into exceptions.
        return await way.session().request(
            method,
            addresses.parse_url(url),
            data=data,
            headers=headers,
            timeout=timeout or self._bound,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=middlewares,
            read_bufsize=BLOCK,
            proxy=way.proxy,
        )

    def _response(
        self,
        request: HttpRequest,
        request_id: str,
        answer: aiohttp.ClientResponse,
        body: bytes,
        *,
        early: bool = False,
        whole: bool = True,
    ) -> HttpResponse:
        # Some echo what they were sent, and an error keeps what it cannot read.
        for secret in filter(None, map(self._secret, Credential)):
            body = redact(secret.encode(), body)
        response = HttpResponse(
            answer.status,
            {name.lower(): text for name, text in answer.headers.items()},
            body,
            str(answer.url),
            early=early,
            whole=whole,
            sent_id=request_id,
        )
        # Handlers behind the check of the key answer so; proxies do not.
        passed = response.ok or b'"upstream_error"' in body
        self.key_worked |= request.credential is Credential.KEY and passed
        self.answered = True
        self._outage.over()
        return response

    async def stream(self, url: str, *, strict: bool) -> DownloadStream:
        """
        Begin a download, without the key, following redirects.

        Hosts that are not public are refused, but for the API's own origin.
        Unless *strict*, an API that is itself on a private network may name
        its neighbours. :exc:`ConfigurationError` on a refused address.
        """
        for _ in range(_REDIRECTS):
            answer = await self._begin(self._pools.way_to(url, strict=strict), url)
            target = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or not target:  # noqa: PLR2004 - 3xx
                return DownloadStream(answer.status, url, answer)
            async with answer:
                url = addresses.resolve_redirect(url, target)
        raise TransportError(f"more than {_REDIRECTS} redirects on the way to {url}")

    async def _begin(self, way: pools.Route, url: str) -> aiohttp.ClientResponse:
        try:
            return await self._request(way, "GET", url, timeout=self._idle_bound)
        except transport_errors.FOREIGN as fault:
            error = transport_errors.translate_fetch_error(fault, url, "")
        raise error

    def _secret(self, credential: Credential) -> str | None:
        if credential is Credential.ACCOUNT:
            return self.settings.account_token
        return self.settings.api_key if credential is Credential.KEY else None


def _small_body(request: HttpRequest) -> bytes | None:
    body = request.body[0] if request.body else None
    return body if isinstance(body, bytes) else None
