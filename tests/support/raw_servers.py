"""
Servers on raw loopback sockets, for everything a real one does wrong.

A server is a coroutine that is given each connection as a :class:`Line` and
says what happens on it, byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trustme

SMALL = 16 * 1024
"""A receive buffer that fills at once, so that uploads stand still early."""

_BLOCK = 64 * 1024


@attrs.define(eq=False)
class Line:
    """One connection, as the server sees it, and what came over it so far."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    start: str = ""
    headers: dict[str, str] = attrs.field(factory=dict)
    length: int = 0
    received: int = 0
    body: bytearray = attrs.field(factory=bytearray)
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)

    @property
    def path(self) -> str:
        """The target of the latest request."""
        return self.start.split(" ")[1]

    @property
    def whole(self) -> bool:
        """Whether the latest request came with all of its body."""
        return self.received >= self.length

    async def head(self) -> bool:
        """Read the head of the next request; false when there is none."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
            return False
        self.start, *lines = text[:-4].split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.length = int(self.headers.get("content-length", 0))
        self.received, self.body = 0, bytearray()
        self.server.requests.append(self)
        self.server.arrived.set()
        return True

    async def take(self, most: int | None = None, *, keep: bool = True) -> bool:
        """Read up to *most* bytes of the body, or the rest; false at its end."""
        stop = self.length if most is None else min(self.length, self.received + most)
        while self.received < stop:
            try:
                block = await self.reader.read(min(_BLOCK, stop - self.received))
            except ConnectionError:
                block = b""
            if not block:
                self.gone.set()
                return False
            self.received += len(block)
            if keep:
                self.body += block
        return True

    async def request(self) -> bool:
        """Read a whole request."""
        return await self.head() and await self.take()

    async def until_gone(self) -> None:
        """Read whatever comes until the client has left."""
        with contextlib.suppress(ConnectionError):
            while block := await self.reader.read(_BLOCK):
                self.received += len(block)
        self.gone.set()

    def say(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer."""
        self.say(answer(status, body, **headers))

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def hang_up(self) -> None:
        """Close the connection, as soon as what was said has left."""
        self.writer.close()


Talk = Callable[[Line], Awaitable[None]]


@attrs.define(eq=False)
class Server:
    """A running server: its address, its connections, its requests."""

    talk: Talk
    url: str = ""
    port: int = 0
    lines: list[Line] = attrs.field(factory=list)
    requests: list[Line] = attrs.field(factory=list)
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def meet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection until its talk is over."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = Line(self, reader, writer)
        self.lines.append(line)
        try:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self.talk(line)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End every talk and break every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for line in self.lines:
            line.writer.transport.abort()
        await asyncio.sleep(0)


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP answer with its exact length."""
    given = {"Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    lines = [f"HTTP/1.1 {status} Status", *(f"{n}: {t}" for n, t in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def hangs_up_after(*answers: bytes) -> Talk:
    """Give one answer a connection, in turn, then close it."""
    left = list(answers)

    async def talk(line: Line) -> None:
        if await line.request():
            line.say(left.pop(0) if len(left) > 1 else left[0])

    return talk


def keeps_open(*answers: bytes) -> Talk:
    """Give the answers in turn, the last one for ever, and keep connections."""
    left = list(answers)

    async def talk(line: Line) -> None:
        while await line.request():
            line.say(left.pop(0) if len(left) > 1 else left[0])

    return talk


@asynccontextmanager
async def serving(
    talk: Talk, *, tls: ssl.SSLContext | None = None, buffer: int | None = None
) -> AsyncIterator[Server]:
    """Serve *talk* on loopback; *buffer* is the size of its receive buffer."""
    listener = socket.socket()
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    listener.bind(("127.0.0.1", 0))
    server = Server(talk)
    server.port = listener.getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://localhost:{server.port}"
    running = await asyncio.start_server(
        server.meet, sock=listener, ssl=tls, limit=buffer or _BLOCK
    )
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        running.close()
        await server.stop()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@functools.cache
def authority() -> trustme.CA:
    """Return the one certificate authority of the tests."""
    return trustme.CA()


@functools.cache
def server_tls() -> ssl.SSLContext:
    """Return a context for a TLS server named localhost and api.example.com."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("localhost", "127.0.0.1", "api.example.com")
    authority().issue_cert(*names).configure_cert(context)
    return context


@functools.cache
def stranger_tls() -> ssl.SSLContext:
    """Return a context for a server whose certificate nobody here trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@functools.cache
def client_tls() -> ssl.SSLContext:
    """Return a context that trusts the authority of the tests."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def trust_file(folder: Path) -> Path:
    """Write the authority's certificate where ``SSL_CERT_FILE`` can name it."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    return path
