"""
The server of the benchmark: a lean HTTP/1.1 front to the relay, as a program.

It speaks just enough of HTTP for the clients of the benchmark, and the same to all
of them: requests with a Content-Length, each received into its final buffer, answers
with one or in chunks, kept connections.

The program serves the API on two ports, and takes commands over its pipes: a line of
JSON on stdin is a command, a line on stdout its answer. It ends with stdin, so it
never outlives its parent.
"""

from __future__ import annotations

import asyncio
import http
import json
import resource
import ssl
import sys
from collections.abc import Callable
from typing import cast

from attrs import define, field

from ezlink_async.emulator.http.replies import Reply
from tests.bench.plans import Plan
from tests.bench.relay import Picture, Relay, Request

_HOST = "127.0.0.1"
_HEAD = 64 * 1024
_PIECE = 512 * 1024
_ROUND = 4 * 1024 * 1024
_BLANK = b"\r\n\r\n"


@define(eq=False)
class Buffers:
    """Buffers of earlier bodies: fresh memory costs more than the work done in it."""

    _spare: list[bytearray] = field(factory=list)

    def take(self, length: int) -> bytearray:
        """Return a buffer of *length* bytes or more."""
        for index, buffer in enumerate(self._spare):
            if len(buffer) >= length:
                return self._spare.pop(index)
        return bytearray(-(-length // _ROUND) * _ROUND)

    def give(self, buffer: bytearray) -> None:
        """Take *buffer* back."""
        self._spare.append(buffer)

    def clear(self) -> None:
        """Free all of them."""
        self._spare.clear()


class Connection(asyncio.BufferedProtocol):
    """One connection of a client."""

    def __init__(
        self, answer: Callable[[Request], Reply | Picture], buffers: Buffers
    ) -> None:
        self._answer = answer
        self._buffers = buffers
        self._head = bytearray(_HEAD)
        self._filled = 0
        self._request: Request | None = None
        self._received = 0
        self._left = memoryview(b"")
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the address, and buffer little for a slow reader."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_PIECE)
        scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        host, port = transport.get_extra_info("sockname")
        self._address = f"{scheme}://{host}:{port}"

    def connection_lost(self, _: Exception | None) -> None:
        """Drop the request in progress, and the rest of an answer."""
        self._left = memoryview(b"")
        if self._request is not None:
            self._buffers.give(self._request.body)
            self._request = None

    def get_buffer(self, _: int) -> memoryview:
        """Return the memory for the next bytes."""
        if self._request is not None:
            whole = memoryview(self._request.body)
            return whole[self._received : self._request.length]
        return memoryview(self._head)[self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Count the bytes received, and answer each request that is whole."""
        if self._request is not None:
            self._received += count
        else:
            self._filled += count
            self._begin()
        while self._request and self._received == self._request.length:
            request, self._request = self._request, None
            self._reply(request)
            self._buffers.give(request.body)
            self._begin()

    def _begin(self) -> None:
        """Turn the received head into a request, if it is whole."""
        end = self._head.find(_BLANK, 0, self._filled)
        if end < 0:
            if self._filled == _HEAD:
                self._transport.abort()
            return
        request = self._read(bytes(self._head[:end]))
        rest = memoryview(self._head)[end + len(_BLANK) : self._filled]
        self._received = min(len(rest), request.length)
        request.body[: self._received] = rest[: self._received]
        self._filled = len(rest) - self._received
        self._head[: self._filled] = bytes(rest[self._received :])
        self._request = request

    def _read(self, head: bytes) -> Request:
        start, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = start.split(" ")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): text.strip() for name, _, text in pairs}
        length = int(fields.get("content-length", 0))
        return Request(
            method=method,
            path=path,
            key=fields.get("authorization", "").removeprefix("Bearer "),
            request_id=fields.get("x-request-id", "none"),
            address=self._address,
            body=self._buffers.take(length),
            length=length,
        )

    def _reply(self, request: Request) -> None:
        answer = self._answer(request)
        if isinstance(answer, Reply):
            status, body = answer.status, answer.body
            kind = f"{answer.content_type}\r\nContent-Length: {len(body)}"
        else:
            status, body, self._left = 200, answer.stamp, memoryview(answer.rest)
            kind = "image/jpeg\r\nTransfer-Encoding: chunked"
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            f"X-Request-Id: {request.request_id}\r\nContent-Type: {kind}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        self._write_rest()

    def _write_rest(self) -> None:
        while self._left and not self._paused:
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            self._transport.write(piece)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send more of the picture."""
        self._paused = False
        self._write_rest()


def _cpu_seconds() -> float:
    """Return the seconds of processor time this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@define(eq=False)
class Service:
    """The relay of the current run, and what the run has cost so far."""

    _buffers: Buffers = field(factory=Buffers)
    _relay: Relay | None = None
    _cpu: float = 0.0

    def connection(self) -> Connection:
        """Return a connection to the current relay."""
        return Connection(self._answer, self._buffers)

    def _answer(self, request: Request) -> Reply | Picture:
        return self._relay.answer(request) if self._relay else Reply(503)

    def start(self, plan: Plan) -> None:
        """Begin a run with a new relay."""
        self._buffers.clear()
        self._relay, self._cpu = Relay(plan), _cpu_seconds()

    def report(self) -> dict[str, object]:
        """Return what was done in this run."""
        report = self._relay.report() if self._relay else {}
        return report | {"cpu": _cpu_seconds() - self._cpu}


async def _serve(certificate: str) -> None:
    service, loop = Service(), asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    urls = {}
    for scheme, tls in (("http", None), ("https", context)):
        server = await loop.create_server(
            service.connection, _HOST, 0, ssl=tls, backlog=512
        )
        urls[scheme] = f"{scheme}://{_HOST}:{server.sockets[0].getsockname()[1]}"
    print(json.dumps(urls), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := await commands.readline():
        answer: dict[str, object] = {}
        if plan := json.loads(line).get("plan"):
            service.start(Plan(**plan))
        else:
            answer = service.report()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
