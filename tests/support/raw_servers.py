"""
Servers on raw loopback sockets, for everything a real server does wrong.

A server is a handler: a coroutine function that is called with each
:class:`Connection` and decides, byte by byte, what happens on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trustme

SMALL = 16 * 1024
"""A receive buffer that fills at once, so that uploads stall early."""

_BLOCK = 64 * 1024


@attrs.define(eq=False)
class Connection:
    """One connection as the server sees it, and its latest request."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    start: str = ""
    headers: dict[str, str] = attrs.field(factory=dict)
    length: int = 0
    received: int = 0
    body: bytearray = attrs.field(factory=bytearray)
    closed: asyncio.Event = attrs.field(factory=asyncio.Event)

    @property
    def path(self) -> str:
        """The target of the latest request."""
        return self.start.split(" ")[1]

    @property
    def whole(self) -> bool:
        """Whether the body of the latest request arrived to its end."""
        return self.received >= self.length

    async def read_head(self) -> bool:
        """Read the head of the next request; false when there is none."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
            return False
        self.start, *lines = text[:-4].split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.length = int(self.headers.get("content-length", 0))
        self.received, self.body = 0, bytearray()
        self.server.requests.append(self)
        return True

    async def read_body(self, most: int | None = None, *, keep: bool = True) -> bool:
        """Read up to *most* bytes of the body, or all; false when it ends early."""
        stop = self.length if most is None else min(self.length, self.received + most)
        while self.received < stop:
            try:
                block = await self.reader.read(min(_BLOCK, stop - self.received))
            except ConnectionError:
                block = b""
            if not block:
                self.closed.set()
                return False
            self.received += len(block)
            if keep:
                self.body += block
        return True

    async def read_request(self) -> bool:
        """Read a request with its body; false when there is none."""
        return await self.read_head() and await self.read_body()

    async def read_until_closed(self) -> None:
        """Read until the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while block := await self.reader.read(_BLOCK):
                self.received += len(block)
        self.closed.set()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def close(self) -> None:
        """Close the connection, as soon as all sent bytes have left."""
        self.writer.close()


Handler = Callable[[Connection], Awaitable[None]]


@attrs.define(eq=False)
class Server:
    """A running server: its address, its connections, its requests."""

    handler: Handler
    url: str = ""
    port: int = 0
    connections: list[Connection] = attrs.field(factory=list)
    requests: list[Connection] = attrs.field(factory=list)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection until the handler returns."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = Connection(self, reader, writer)
        self.connections.append(connection)
        try:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self.handler(connection)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """Cancel every handler and break every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for connection in self.connections:
            # A transport that has closed itself after a reset has lost its loop.
            with contextlib.suppress(AttributeError):
                connection.writer.transport.abort()
        await asyncio.sleep(0)


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP answer with its exact length."""
    given = {"Content-Length": str(len(body))}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    lines = [f"HTTP/1.1 {status} Status", *(f"{n}: {t}" for n, t in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closes_after(*answers: bytes) -> Handler:
    """Send one answer a connection, in turn and the last one for ever, and close."""
    left = list(answers)

    async def handler(conn: Connection) -> None:
        if await conn.read_request():
            conn.send(left.pop(0) if len(left) > 1 else left[0])

    return handler


def keeps_open(*answers: bytes) -> Handler:
    """Send the answers in turn, the last one for ever, and keep connections."""
    left = list(answers)

    async def handler(conn: Connection) -> None:
        while await conn.read_request():
            conn.send(left.pop(0) if len(left) > 1 else left[0])

    return handler


async def never_answers(conn: Connection) -> None:
    """Read until the client has closed the connection, and send nothing."""
    await conn.read_until_closed()


def after_body(most: int, end: Handler) -> Handler:
    """Read the head and up to *most* bytes of the body, and continue as *end*."""

    async def handler(conn: Connection) -> None:
        if await conn.read_head():
            await conn.read_body(most)
            await end(conn)

    return handler


async def resets(conn: Connection) -> None:
    """Read a request, and answer with a TCP reset."""
    await conn.read_request()
    conn.reset()


@asynccontextmanager
async def serving(
    handler: Handler, *, tls: ssl.SSLContext | None = None, buffer: int | None = None
) -> AsyncIterator[Server]:
    """Serve *handler* on loopback; *buffer* is the size of its receive buffer."""
    listener = socket.socket()
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    listener.bind(("127.0.0.1", 0))
    server = Server(handler)
    server.port = listener.getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://localhost:{server.port}"
    running = await asyncio.start_server(
        server.accept, sock=listener, ssl=tls, limit=buffer or _BLOCK
    )
    try:
        async with asyncio.timeout(300):
            yield server
    finally:
        running.close()
        await server.stop()


async def run_client(program: str, *arguments: str, **environ: str) -> tuple[str, str]:
    """Run *program* in development mode; return what it wrote to stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await process.communicate()
    return printed.decode(), problems.decode()


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@functools.cache
def authority() -> trustme.CA:
    """Return the one certificate authority of the tests."""
    return trustme.CA()


def _server_context(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("localhost", "127.0.0.1", "api.example.com")
    issuer.issue_cert(*names).configure_cert(context)
    return context


@functools.cache
def server_tls() -> ssl.SSLContext:
    """Return a context for a TLS server named localhost and api.example.com."""
    return _server_context(authority())


@functools.cache
def stranger_tls() -> ssl.SSLContext:
    """Return a context for a server whose certificate no client here trusts."""
    return _server_context(trustme.CA())


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
