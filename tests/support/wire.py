"""A raw HTTP/1.1 client: bytes on a socket, and every header of a response."""

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
class RawResponse:
    """A response, its headers in order and spelling."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of this very spelling."""
        return dict(reversed(self.headers)).get(name)

    def fields(self) -> dict[str, object]:
        """Return the body, which must be a JSON object."""
        value: object = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    def rows(self) -> list[dict[str, object]]:
        """Return the body, which must be a JSON array."""
        value: object = json.loads(self.body)
        assert isinstance(value, list)
        return value


class RawConnection:
    """One connection to a server; *host* is the name it is called by."""

    def __init__(self, base_url: str, trusting: ssl.SSLContext | None = None) -> None:
        self._address = urlsplit(base_url)
        self._trusting = trusting
        self.host = self._address.netloc

    async def __aenter__(self) -> Self:
        host, port = self._address.hostname, self._address.port
        self.reader, self.writer = await asyncio.open_connection(
            host, port, ssl=self._trusting
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send_head(
        self, method: str, path: str, headers: Headers = (), length: int | None = None
    ) -> None:
        """Send the request up to its body."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.writer.write("\r\n".join(lines).encode() + _END)
        await self.writer.drain()

    async def send(
        self, method: str, path: str, headers: Headers = (), body: bytes = b""
    ) -> None:
        """Send a whole request; a body may still be in the send buffer."""
        await self.send_head(method, path, headers, len(body) if body else None)
        self.writer.write(body)

    async def request(
        self, method: str, path: str, headers: Headers = (), body: bytes = b""
    ) -> RawResponse:
        """Send a whole request and return the response."""
        await self.send(method, path, headers, body)
        return await self.response(method)

    async def response(self, method: str = "GET") -> RawResponse:
        """Read one response; IncompleteReadError when the server breaks it off."""
        head = (await self.reader.readuntil(_END)).decode().split("\r\n")
        _, status, reason = head[0].split(" ", 2)
        pairs = [line.partition(": ") for line in head[1:] if line]
        headers = [(name, value) for name, _, value in pairs]
        body = b"" if method == "HEAD" else await self._body(dict(headers))
        return RawResponse(int(status), reason, headers, body)

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
