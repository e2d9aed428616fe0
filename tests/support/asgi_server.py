"""A small ASGI server on a loopback socket, with one request for each connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from urllib.parse import unquote

_BLOCK = 64 * 1024

Message = Mapping[str, object]

App = Callable[
    [
        Message,
        Callable[[], Awaitable[Message]],
        Callable[[MutableMapping[str, object]], Awaitable[None]],
    ],
    Awaitable[None],
]


class _Exchange:
    """One request and its answer, as an application sees them."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._left = 0

    async def scope(self) -> Message | None:
        """Read the head of the request; ``None`` when none comes."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        start, *lines = head[:-4].split(b"\r\n")
        method, target, _ = start.decode("latin-1").split(" ", 2)
        pairs = [line.partition(b": ") for line in lines]
        headers = [(name.lower(), value) for name, _, value in pairs]
        self._left = int(dict(headers).get(b"content-length", b"0"))
        path = unquote(target.partition("?")[0])
        scope = {"type": "http", "method": method, "path": path}
        return {**scope, "headers": headers}

    async def receive(self) -> Message:
        """Return the next part of the body, or that the client is gone."""
        part = await self._reader.read(min(_BLOCK, self._left)) if self._left else b""
        if self._left and not part:
            return {"type": "http.disconnect"}
        self._left -= len(part)
        return {"type": "http.request", "body": part, "more_body": self._left > 0}

    async def send(self, message: MutableMapping[str, object]) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            headers = message["headers"]
            assert isinstance(headers, list)
            lines = [b"%s: %s" % pair for pair in headers]
            start = f"HTTP/1.1 {message['status']} Word".encode()
            lines = [start, *lines, b"Connection: close", b"", b""]
            self._writer.write(b"\r\n".join(lines))
        else:
            body = message["body"]
            assert isinstance(body, bytes)
            self._writer.write(body)

    async def end(self) -> None:
        """End the answer, and drop what is left of the request."""
        with contextlib.suppress(ConnectionError):
            self._writer.write_eof()
            while await self._reader.read(_BLOCK):
                pass


@asynccontextmanager
async def serving_asgi(
    app: App, listening: socket.socket | None = None
) -> AsyncIterator[str]:
    """Serve *app* on a new socket, or on that one, and give its address."""
    listening = listening or socket.create_server(("127.0.0.1", 0))
    is_open = True
    exchanges: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = _Exchange(reader, writer)
        try:
            scope = await exchange.scope()
            if scope is not None:
                await app(scope, exchange.receive, exchange.send)
            await exchange.end()
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not is_open:  # accepted just before the end
            writer.transport.abort()
            return
        task = asyncio.create_task(talk(reader, writer))
        exchanges[task] = writer
        task.add_done_callback(exchanges.pop)

    async with await asyncio.start_server(accept, sock=listening):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    is_open = False
    for task, writer in exchanges.items():
        task.cancel()
        writer.transport.abort()  # also where the task has not begun
    await asyncio.gather(*exchanges, return_exceptions=True)
    for _ in range(5):  # turns in which aborted connections close
        await asyncio.sleep(0)
