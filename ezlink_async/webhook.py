"""
Receives the callbacks about tasks, by which a client polls them less.

The server's upstream posts each state of a task to the ``notifyHook`` of its job, and
repeats no post that fails (``trueai-org/midjourney-proxy``,
``Services/NotifyService.cs``). Callbacks have no signature: they may be forged,
doubled, late, early, or in another order, and some never come. Rules:

1. Each task has an address of its own, which cannot be guessed. Its last part is a
   token, made of the task's state with the secret of the application, so that nothing
   needs to be kept to know it again, not even after a restart.
2. What a callback says is never taken for true: it makes the client ask the server.
3. A token that this receiver did not make is refused before the body is read, and a
   refusal says nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from urllib.parse import urlsplit

from aiohttp import web

from ezlink_async._core.json_reader import is_light, obstacle, parse_json, storable
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.policies import check_seconds
from ezlink_async._core.records import read_record
from ezlink_async.errors import (
    ConfigurationError,
    WebhookDuplicateError,
    WebhookError,
    WebhookSizeError,
    WebhookSyntaxError,
    WebhookTaskError,
    WebhookTokenError,
)
from ezlink_async.models import TaskRecord

_log = get_logger()

MOST_BYTES = 1024 * 1024
"""The largest body of a callback; a task has some 2,000 bytes."""

_MOST_URL = 1900  # characters: with a token the upstream takes at most 2,000

_LEAST_SECRET = 16  # bytes

_HALF = 32  # characters of a token: 24 bytes in base64

_REMEMBERED = 4096  # callbacks, by which doubled ones are known

_ACCEPTED, _REFUSED = 204, 404

_Read = Callable[[], Awaitable[bytes]]

_Message = Mapping[str, object]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[MutableMapping[str, object]], Awaitable[None]]


def parse_hook(body: bytes) -> TaskRecord:
    """
    Return the record in the *body* of a callback; nothing in it is proven.

    It is the upstream's own task object, so its ``image_url`` is the upstream's, and
    times are by the upstream's clock. Raises :exc:`WebhookSizeError` for more than
    1 MiB, :exc:`WebhookSyntaxError` for what is no JSON, and :exc:`WebhookTaskError`
    for JSON without an id or a status.
    """
    if len(body) > MOST_BYTES:
        raise WebhookSizeError(f"a callback of {len(body):,} bytes is not read")
    if why := obstacle(body):
        raise WebhookSyntaxError(f"a callback is not read: {why}")
    found = parse_json(body)
    if found is None:
        raise WebhookSyntaxError("a callback is no JSON")
    try:
        return read_record(found)
    except ValueError as fault:
        raise WebhookTaskError(f"a callback is no task: {fault}") from None


class WebhookReceiver:
    """
    The callbacks of one application, for ``AsyncEzlink(webhook=...)``.

    *url* is where the application receives them, as the server's upstream reaches it:
    an address of the public Internet, ``https`` where possible, to which ``/`` and a
    token are added. *secret* makes the tokens: at least 16 bytes that are random,
    the same after each restart and in each process of the application. A body has to
    come within *body_timeout* seconds.

    Give the application :meth:`aiohttp_routes`, or mount :attr:`asgi`, or receive the
    callbacks elsewhere and :meth:`deliver` them. A receiver works without a client,
    too, and for several. Raises :exc:`ConfigurationError` for an address or a secret
    that cannot be used.
    """

    def __init__(
        self, url: str, *, secret: str | bytes, body_timeout: float = 10.0
    ) -> None:
        self._body_timeout = check_seconds(body_timeout, "body_timeout")
        self._url, self._path = _checked(url)
        self._state_key, self._token_key = _keys(secret)
        self._hearers: list[Callable[[TaskRecord], object]] = []
        self._heard: dict[bytes, None] = {}

    def __repr__(self) -> str:
        return f"<WebhookReceiver {self._url}>"

    def hook_url(self, state: str) -> str:
        """Return the ``notify_hook`` of the task with this *state*: keep it private."""
        tag = self._tag(state)
        return f"{self._url}/{(tag + self._proof(tag)).decode()}"

    def attach(self, hear: Callable[[TaskRecord], object]) -> None:
        """Call *hear* with what each callback says, also with doubled ones."""
        self._hearers.append(hear)

    def detach(self, hear: Callable[[TaskRecord], object]) -> None:
        """Call *hear* no more."""
        self._hearers.remove(hear)

    async def deliver(self, token: str, body: bytes) -> TaskRecord:
        """
        Take a callback that was received elsewhere; return what it says, unproven.

        *token* is the last part of the address it came to. The client then asks the
        server about the task. Raises :exc:`WebhookTokenError` for a token that this
        receiver did not make for the state in the *body*, the errors of
        :func:`parse_hook`, and :exc:`WebhookDuplicateError` for what was said before,
        which is passed on all the same. Each has the status to answer as ``answer``.
        """
        made = self._checked_token(token)
        if len(body) > MOST_BYTES or is_light(body):
            record = parse_hook(body)
        else:
            record = await asyncio.to_thread(parse_hook, body)
        if not hmac.compare_digest(self._tag(record.state), made[:_HALF]):
            raise WebhookTokenError("the token of a callback is that of another task")
        for hear in tuple(self._hearers):
            hear(record)
        self._remember(record)
        return record

    # Web servers

    def aiohttp_routes(self) -> list[web.RouteDef]:
        """Return the routes for an application of aiohttp that serves the address."""
        return [web.route("*", f"{self._path}/{{token}}", self.aiohttp_handler)]

    async def aiohttp_handler(self, request: web.Request) -> web.Response:
        """Answer a callback; the token is the last part of the path."""
        token = request.path.rpartition("/")[2]
        is_plain = (
            request.method == "POST" and "Content-Encoding" not in request.headers
        )
        status = _REFUSED
        if is_plain:
            status = await self._answer(token, request.content.readany)
        return web.Response(status=status)

    async def asgi(
        self,
        scope: _Message,
        receive: _Receive,
        send: _Send,
    ) -> None:
        """Answer a callback as an ASGI application; mount it where the address is."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        token = str(scope["path"]).rpartition("/")[2]
        status = _REFUSED
        if scope["method"] == "POST" and not _is_encoded(scope["headers"]):
            status = await self._answer(token, _reader(receive))
        length = [(b"content-length", b"0")]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [] if status == _ACCEPTED else length,
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def _answer(self, token: str, read: _Read) -> int:
        """Return the status for a callback whose body *read* brings in parts."""
        try:
            self._checked_token(token)
            async with asyncio.timeout(self._body_timeout):
                body = await _whole(read)
            await self.deliver(token, body)
        except WebhookError as error:
            _log.debug("a callback is answered %d: %s", error.answer, error)
            return error.answer
        except (TimeoutError, ConnectionError, web.RequestPayloadError):
            return _REFUSED
        return _ACCEPTED

    # Tokens

    def _tag(self, state: str) -> bytes:
        """Return the half of a token that stands for *state*."""
        return _mac(self._state_key, storable(state).encode())

    def _proof(self, tag: bytes) -> bytes:
        """Return the half of a token that shows that this receiver made the *tag*."""
        return _mac(self._token_key, tag)

    def _checked_token(self, token: str) -> bytes:
        """Return *token* as bytes, if this receiver has made it for some state."""
        given = token.encode(errors="backslashreplace")
        # Texts outside ASCII cannot be compared in constant time, bytes can.
        if not hmac.compare_digest(self._proof(given[:_HALF]), given[_HALF:]):
            raise WebhookTokenError("the token of a callback is unknown")
        return given

    def _remember(self, record: TaskRecord) -> None:
        """Note what was said; raise that it is a duplicate if it was said before."""
        said = (record.task_id, record.state, str(record.status), record.progress)
        key = hashlib.blake2b(repr(said).encode(), digest_size=16).digest()
        if key in self._heard:
            raise WebhookDuplicateError(
                f"a callback says again that task {record.task_id} is {record.status}",
                task_id=record.task_id,
            )
        self._heard[key] = None
        if len(self._heard) > _REMEMBERED:
            del self._heard[next(iter(self._heard))]


def _checked(url: str) -> tuple[str, str]:
    """Return *url* without a slash at its end, and its path."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        raise ConfigurationError(f"this is no address: {url!r:.100}") from None
    if not is_address or parts.query or parts.fragment or not url.isascii():
        raise ConfigurationError(
            "the address of a webhook is http(s)://HOST/PATH, without a query, "
            f"not {url!r:.100}"
        )
    if len(url) > _MOST_URL or not url.isprintable() or set(url) & set(" {}?#"):
        raise ConfigurationError(
            f"the address of a webhook has at most {_MOST_URL:,} characters, and no "
            f"blanks or braces: {url!r:.100}"
        )
    return url.rstrip("/"), parts.path.rstrip("/")


def _keys(secret: str | bytes) -> tuple[bytes, bytes]:
    """Return the keys of the two halves of a token."""
    whole = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(whole) < _LEAST_SECRET:
        raise ConfigurationError(
            f"the secret of a webhook has at least {_LEAST_SECRET} bytes: make one "
            "with secrets.token_urlsafe(), and keep it with your settings"
        )
    uses = (b"ezlink-async webhook: state", b"ezlink-async webhook: token")
    state_key, token_key = (hmac.digest(whole, use, "sha256") for use in uses)
    return state_key, token_key


def _mac(key: bytes, message: bytes) -> bytes:
    digest = hmac.digest(key, message, "sha256")
    return base64.urlsafe_b64encode(digest)[:_HALF]


async def _whole(read: _Read) -> bytes:
    """Return the whole body; :exc:`WebhookSizeError` once it is too large."""
    body = bytearray()
    while chunk := await read():
        body += chunk
        if len(body) > MOST_BYTES:
            raise WebhookSizeError(f"a callback has more than {MOST_BYTES:,} bytes")
    return bytes(body)


# ASGI


def _reader(receive: _Receive) -> _Read:
    """Return what brings the next part of a body, and at its end an empty one."""
    is_open = True

    async def read() -> bytes:
        nonlocal is_open
        while is_open:
            message = await receive()
            if message["type"] != "http.request":
                raise ConnectionResetError  # the client is gone
            is_open = bool(message.get("more_body"))
            body = message.get("body")
            if isinstance(body, bytes) and body:
                return body
        return b""

    return read


def _is_encoded(headers: object) -> bool:
    """Return whether the body is compressed: the upstream's is not."""
    pairs = headers if isinstance(headers, list | tuple) else ()
    return any(name == b"content-encoding" for name, _ in pairs)


async def _live(receive: _Receive, send: _Send) -> None:
    """Tell the server at its start and at its end that this is ready."""
    while True:
        kind = str((await receive())["type"])
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
