"""
Sends one request and returns its response, or an error that says how far it came.

The only user of aiohttp's client. A submit is one attempt and never repeated
here; a request marked ``repeatable`` may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import aiohttp
import attrs

from ezlink_async import __version__
from ezlink_async._core.error_mapping import is_retryable, retry_after
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async._core.policies import RetryWaits
from ezlink_async._core.settings import Settings
from ezlink_async._io import addresses, pools, responses, transport_errors
from ezlink_async._io.concurrency import (
    OutOfThreadsError,
    is_out_of_threads,
    run_in_any_thread,
    run_in_thread_if_large,
)
from ezlink_async._io.image_reader import raise_allocator_threshold
from ezlink_async._io.responses import Body, DownloadStream
from ezlink_async._io.server_log import OutageLog, ServerWaitLog
from ezlink_async._io.traffic import Traffic
from ezlink_async._io.upload import Upload
from ezlink_async.errors import EzlinkError, TransportError

_REDIRECTS = 5
_READERS = 2  # more threads only wait for the interpreter's lock
_WRITERS = 4
_AGENT = f"ezlink-async/{__version__}"

Sleep = Callable[[float], Awaitable[None]]

_T = TypeVar("_T")


def new_request_id() -> str:
    """Return an id for one attempt; the server uses it as its own."""
    return secrets.token_hex(16)


_log = get_logger()


@contextlib.contextmanager
def _timed(
    method: str, url: str, request_id: str | None
) -> Iterator[Callable[[int], None]]:
    """Log a request with its status, or how it failed, and the seconds it took."""
    if not _log.isEnabledFor(logging.DEBUG):
        yield lambda _: None
        return
    loop = asyncio.get_running_loop()
    start, says = loop.time(), f"{method} {addresses.without_secrets(url)}"

    def log(outcome: object) -> None:
        seconds = loop.time() - start
        _log.debug(
            "%s -> %s in %.3f s (request %s)", says, outcome, seconds, request_id
        )

    try:
        yield log
    except BaseException as fault:
        log(type(fault).__name__)  # its text may quote headers
        raise


def _middlewares(
    key: str | None, *, once: bool
) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    keyed = (pools.with_key(key),) if key else ()
    return (*keyed, transport_errors.sent_once) if once else keyed


class Transport:
    """
    The connections of one client, to the API and to the addresses of results.

    A session of the caller, *http*, serves the requests to the API and is left open.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        http: aiohttp.ClientSession | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.answered: bool = False
        self.key_worked: bool = False
        self.traffic: Traffic = Traffic()
        self._outage = OutageLog()
        self.server_waits: ServerWaitLog = ServerWaitLog()
        # Two pools, so that a slow disk delays neither the other nor a name lookup.
        self.readers: ThreadPoolExecutor = ThreadPoolExecutor(_READERS, "ezlink-read")
        self.writers: ThreadPoolExecutor = ThreadPoolExecutor(_WRITERS, "ezlink-write")
        self._pools = pools.ConnectionPools(settings, http)
        connect, silence = settings.timeouts.connect, settings.timeouts.image
        self._timeout = aiohttp.ClientTimeout(connect=connect)
        self._read_timeout = aiohttp.ClientTimeout(connect=connect, sock_read=silence)
        # Headers that drip are no silence, and have no pace that a download judges.
        self._headers_timeout = connect + silence
        self._sleep = sleep

    async def open(self) -> None:
        """Create the connection pools; nothing is connected yet."""
        raise_allocator_threshold()
        await self._pools.open()

    async def close(self) -> None:
        """Close the pools and threads of this transport; a second call does nothing."""
        await self._pools.close()
        for pool in (self.readers, self.writers):
            pool.shutdown(wait=False)

    async def submit(
        self, request: HttpRequest, request_id: str, started: Callable[[Upload], None]
    ) -> HttpResponse:
        """
        Make one attempt; *started* is called with its :class:`Upload` first.

        ``retry_safe`` of a :exc:`TransportError` says that the body certainly
        never arrived to its end; :exc:`ImageError` means that a file changed.
        """
        upload = Upload(request, stall=self.settings.timeouts.upload, pool=self.readers)
        started(upload)
        try:
            return await self._attempt(request, request_id, upload)
        except transport_errors.FOREIGN as fault:
            url = self.settings.base_url + request.path
            error = transport_errors.translate_submit_error(
                fault, url, request_id, upload, known=self.answered
            )
        finally:
            upload.abort()
            self.traffic.bytes_sent += upload.sent
        raise self._logged(error)

    async def _attempt(
        self, request: HttpRequest, request_id: str, upload: Upload
    ) -> HttpResponse:
        timeouts, loop = self.settings.timeouts, asyncio.get_running_loop()
        bound = responses.GraceTimeout()
        wait = timeouts.submit if request.wait is None else request.wait
        upload.on_complete(lambda: bound.reschedule(loop.time() + wait))
        async with (
            bound.running(),
            await self._send(request, request_id, upload) as answer,
        ):
            # An answer that precedes the end of the body does not answer it, and
            # once there is one the last part may not be sent any more.
            upload.withhold_end()
            until = bound.deadline or loop.time() + timeouts.fetch
            bound.reschedule(None)  # it would drop the bytes that had come by then
            body = await self._read(request, answer, until)
            early = not upload.complete
            response = self._response(request, request_id, answer, body, early=early)
        return await self._parsed(response)

    async def send(self, request: HttpRequest) -> HttpResponse:
        """
        Send a small request; :exc:`TransportError` when no answer came.

        A GET whose connection ends without an answer is sent once more by aiohttp,
        unless it asks for a *new_connection*.
        """
        request_id = new_request_id()
        url = self.settings.base_url + request.path
        wait = request.wait
        bound = asyncio.timeout(self.settings.timeouts.fetch if wait is None else wait)
        outcome: HttpResponse | EzlinkError
        try:
            async with bound, await self._send(request, request_id) as answer:
                body = await self._read(request, answer)
                if body.broke is None:
                    outcome = self._response(request, request_id, answer, body)
                else:
                    outcome = self._fetch_error(body.broke, url, request_id)
        except transport_errors.FOREIGN as fault:
            outcome = self._fetch_error(fault, url, request_id)
        if isinstance(outcome, EzlinkError):
            raise outcome
        return await self._parsed(outcome)  # not within the bound of the network

    async def _parsed(self, response: HttpResponse) -> HttpResponse:
        """Return *response* with its JSON parsed, which the loop has no time for."""
        await self.read(response, lambda answer: answer.document)
        return response

    async def read(
        self, response: HttpResponse, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """
        Return what *reader* makes of *response*, in a thread if that takes long.

        If the caller is cancelled, the thread goes on and its result is dropped.
        """
        if response.is_light:
            return reader(response)
        return await run_in_any_thread(lambda: reader(response), self.readers)

    def _fetch_error(self, fault: Exception, url: str, request_id: str) -> EzlinkError:
        return self._logged(
            transport_errors.translate_fetch_error(fault, url, request_id)
        )

    def _logged(self, error: EzlinkError) -> EzlinkError:
        # The address of a host that never answered may be mistyped: no outage.
        if self.answered:
            self._outage.failed(error)
        return error

    async def send_with_retries(
        self, request: HttpRequest, longest: float = math.inf
    ) -> HttpResponse:
        """
        Send a *repeatable* request until its answer is no failure of the server.

        After the last attempt its error is raised, or its answer returned. All
        attempts begin within the timeout of the policy; where the next would come
        after more than *longest* seconds, there is none.
        """
        if not request.repeatable:
            raise ValueError(f"{request.path} is not repeatable")
        clock, waits = asyncio.get_running_loop().time, RetryWaits(self.settings.retry)
        while True:
            hint: float | None = None
            try:
                response = await self.send(request)
            except TransportError as error:
                wait = None if error.stage == "tls" else waits.next(clock())
                if wait is None or wait > longest:
                    raise
            else:
                if not is_retryable(request, response):
                    return response
                hint = retry_after(response)
                wait = waits.next(clock(), hint)
                if wait is None or wait > longest:
                    return response
            _log.info("retrying %s %s in %.1f s", request.method, request.path, wait)
            self.server_waits.begin(hint, wait)
            await self._sleep(wait)
            self.traffic.retries += 1

    async def _send(
        self, request: HttpRequest, request_id: str, upload: Upload | None = None
    ) -> aiohttp.ClientResponse:
        data = request.small_body if upload is None else upload
        if isinstance(data, bytes):
            self.traffic.bytes_sent += len(data)
        headers = {"X-Request-ID": request_id, "User-Agent": _AGENT}
        if request.body:
            headers["Content-Type"] = request.content_type
        if request.accept is not None:
            headers["Accept"] = request.accept
        pooled = self._pools.fetches if upload is None else self._pools.submits
        return await self._request(
            self._pools.single if request.new_connection else pooled,
            request.method,
            self.settings.base_url + request.path,
            headers=headers,
            data=data if request.body else None,
            key=self._secret(request.credential),
            once=request.new_connection,
        )

    async def _request(
        self,
        route: pools.Route,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        data: object = None,
        key: str | None = None,
        once: bool = False,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        # The arguments undo what a caller's session could do: repeat a POST, follow
        # a redirect with the key, turn answers into exceptions.
        with _timed(method, url, (headers or {}).get("X-Request-ID")) as log_status:
            self.traffic.requests += 1
            try:
                answer = await route.session().request(
                    method,
                    addresses.parse_url(url),
                    data=data,
                    headers=headers,
                    timeout=timeout or self._timeout,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=True,
                    middlewares=_middlewares(key, once=once),
                    read_bufsize=responses.BLOCK,
                    proxy=route.proxy,
                )
            except RuntimeError as fault:
                if not is_out_of_threads(fault):
                    raise
            else:
                log_status(answer.status)
                return answer
            # The name of the host is looked up in a thread.
            says = f"no connection to {url}: {OutOfThreadsError()}"
            raise TransportError(says, stage="connect", retry_safe=True)

    def _response(
        self,
        request: HttpRequest,
        request_id: str,
        answer: aiohttp.ClientResponse,
        body: Body,
        *,
        early: bool = False,
    ) -> HttpResponse:
        response = HttpResponse(
            answer.status,
            self._plain_headers(answer.headers),
            body.content,
            str(answer.url),
            early=early,
            sent_id=request_id,
            whole=body.broke is None and not body.oversized,
            oversized=body.oversized,
            tasks=request.tasks,
        )
        # Handlers that run after the check of the key answer so; proxies do not.
        passed = response.ok or b'"upstream_error"' in body.content[: responses.BLOCK]
        self.key_worked |= request.credential is Credential.KEY and passed
        self.answered = True
        self._outage.answered()
        return response

    async def _read(
        self,
        request: HttpRequest,
        answer: aiohttp.ClientResponse,
        until: float | None = None,
    ) -> Body:
        """Read the body, without the secrets, as far as it comes and may be long."""
        most = request.answer_limit
        body = await responses.read_body(answer, most, until, self.readers)
        self.traffic.bytes_received += len(body.content)
        plain = await run_in_thread_if_large(
            len(body.content), partial(self._redact_body, body.content), self.readers
        )
        return body if plain is body.content else attrs.evolve(body, content=plain)

    def _redact_body(self, body: bytes) -> bytes:
        # Some servers echo the request, and errors quote what they cannot read.
        for secret in filter(None, map(self._secret, Credential)):
            body = responses.redact(secret.encode(), body)
        return body

    def _plain_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        all_of_them = "\n".join(headers.values())
        if self._redact(all_of_them) == all_of_them:
            return {name.lower(): text for name, text in headers.items()}
        return {name.lower(): self._redact(text) for name, text in headers.items()}

    def _redact(self, text: str) -> str:
        return self._redact_body(text.encode(errors="surrogateescape")).decode(
            errors="surrogateescape"
        )

    async def stream(self, url: str, *, strict: bool) -> DownloadStream:
        """
        Start a download without the key, following redirects.

        Hosts that are not public are refused, except for the API's own origin.
        Unless *strict*, an API that is itself on a private network may refer to
        other private hosts. :exc:`ConfigurationError` for a refused address.
        """
        for _ in range(_REDIRECTS):
            answer = await self._get(self._pools.route_to(url, strict=strict), url)
            target = answer.headers.get("Location")
            if not 300 <= answer.status < 400 or not target:  # noqa: PLR2004 - 3xx
                return DownloadStream(answer.status, url, answer)
            async with answer:
                url = addresses.resolve_redirect(url, target)
        raise TransportError(f"more than {_REDIRECTS} redirects on the way to {url}")

    async def _get(self, route: pools.Route, url: str) -> aiohttp.ClientResponse:
        try:
            async with asyncio.timeout(self._headers_timeout):
                return await self._request(
                    route, "GET", url, timeout=self._read_timeout
                )
        except transport_errors.FOREIGN as fault:
            error = transport_errors.translate_fetch_error(fault, url, "")
        raise error  # outside the handler, so that it carries no context

    def _secret(self, credential: Credential) -> str | None:
        if credential is Credential.ACCOUNT:
            return self.settings.account_token
        return self.settings.api_key if credential is Credential.KEY else None
