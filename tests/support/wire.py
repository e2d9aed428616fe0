"""A client that hides nothing: bytes on a socket, and what came back."""

import asyncio
import json
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from attrs import frozen

Headers = Iterable[tuple[str, str]]

_END = b"\r\n\r\n"


@frozen
class Answered:
    """A response, headers in order and spelling."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of this very spelling."""
        return dict(reversed(self.headers)).get(name)

    def json(self) -> object:
        """Return the body, read as JSON."""
        value: object = json.loads(self.body)
        return value


class Wire:
    """One connection to an emulator."""

    def __init__(self, base_url: str, trusting: ssl.SSLContext | None = None) -> None:
        self._address = urlsplit(base_url)
        self._trusting = trusting

    async def __aenter__(self) -> Self:
        host, port = self._address.hostname, self._address.port
        self.reader, self.writer = await asyncio.open_connection(
            host, port, ssl=self._trusting
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send_head(
        self, method: str, path: str, headers: Headers = (), length: int | None = None
    ) -> None:
        """Send everything but the body."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._address.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.writer.write("\r\n".join(lines).encode() + _END)
        await self.writer.drain()

    async def ask(
        self, method: str, path: str, headers: Headers = (), body: bytes = b""
    ) -> Answered:
        """Send a whole request and return the answer to it."""
        await self.send_head(method, path, headers, len(body) if body else None)
        self.writer.write(body)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answered:
        """Read one response; IncompleteReadError when it breaks off."""
        head = (await self.reader.readuntil(_END)).decode().split("\r\n")
        _, status, reason = head[0].split(" ", 2)
        pairs = [line.partition(": ") for line in head[1:] if line]
        headers = [(name, value) for name, _, value in pairs]
        body = b"" if method == "HEAD" else await self._body(dict(headers))
        return Answered(int(status), reason, headers, body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("Transfer-Encoding") == "chunked":
            return await self._chunks()
        return await self.reader.readexactly(int(headers.get("Content-Length", "0")))

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body
