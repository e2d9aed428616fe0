"""The example application in a process of its own, and its users over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict, cast

import aiohttp
import attrs

from ezlink_async.emulator import Emulator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "howto" / "webapp"

SERVERS = {
    "uvicorn": (
        *("-m", "uvicorn", "app:app", "--port", "{port}"),
        *("--timeout-graceful-shutdown", "1"),
    ),
    "hypercorn": (
        *("-m", "hypercorn", "app:app", "--bind", "127.0.0.1:{port}"),
        *("--graceful-timeout", "1"),
    ),
    "aiohttp": (str(FOLDER / "aiohttp_app.py"), "--port", "{port}", "--grace", "1"),
    "python": (str(FOLDER / "app.py"), "--port", "{port}"),
}
"""The arguments after ``python`` that run the application, by its server."""

BOUND = 300
"""Seconds after which a test is given up; reached only by a failure."""

ENDS = {"done", "failed", "unknown"}

_STOPPED = {0, -signal.SIGTERM, 128 + signal.SIGTERM}


class View(TypedDict):
    """What the application says of a photo."""

    id: str
    name: str
    state: str
    progress: float | None
    error: str


@attrs.frozen(kw_only=True)
class Reply:
    """An answer of the application."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> object:
        """Return the body as JSON."""
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        return str(cast("dict[str, object]", self.json())["error"])


def new_id() -> str:
    """Return an id as the page makes it for each photo."""
    return secrets.token_hex(16)


class User:
    """A user of the application at *url*."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    async def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Reply:
        """Send a request; bodies have the type that the page gives them."""
        kind = {} if body is None else {"Content-Type": "application/octet-stream"}
        async with self._session.request(
            method,
            self.url + path,
            data=None if body is None else io.BytesIO(body),
            headers=kind | headers,
        ) as answer:
            return Reply(
                status=answer.status,
                headers={name.lower(): text for name, text in answer.headers.items()},
                content=await answer.read(),
            )

    async def create(self, face: bytes) -> str:
        """Make an album, and return its address."""
        reply = await self.send("POST", "/albums", face)
        assert reply.status == 201, reply
        album = cast("dict[str, str]", reply.json())["id"]
        return f"/albums/{album}"

    async def add(self, album: str, photo: str, content: bytes, name: str) -> Reply:
        """Add a photo."""
        return await self.send("PUT", f"{album}/photos/{photo}?name={name}", content)

    async def photos(self, album: str) -> list[View]:
        """Return what became of each photo of an album so far."""
        reply = await self.send("GET", f"{album}/photos")
        assert reply.status == 200, reply
        return cast("list[View]", reply.json())

    async def until(self, album: str, count: int, *states: str) -> list[View]:
        """Wait until *count* photos are in one of *states*; by default, at an end."""
        views: dict[str, View] = {}
        wanted = set(states) or ENDS
        async with asyncio.timeout(BOUND):
            while True:
                async for view in self.events(album):
                    views[view["id"]] = view
                    if sum(each["state"] in wanted for each in views.values()) >= count:
                        return list(views.values())
                    stuck = all(each["state"] in ENDS for each in views.values())
                    assert not stuck or len(views) < count, views

    async def events(self, album: str) -> AsyncIterator[View]:
        """Yield the events of one stream."""
        async with self._session.get(f"{self.url}{album}/events") as answer:
            assert answer.content_type == "text/event-stream"
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield cast("View", json.loads(line[5:]))


class Application(User):
    """A running application, and the first of its users."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, process: Process
    ) -> None:
        super().__init__(session, url)
        self.port = int(url.rpartition(":")[2])
        self._process = process
        self._output: list[str] = []
        self._reading = asyncio.create_task(self._read())
        self._started = asyncio.Event()

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self._output.append(line.decode(errors="replace"))
            if "running on http://" in self._output[-1].lower():
                self._started.set()
        self._started.set()  # it has ended

    async def started(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(BOUND):
            await self._started.wait()
        assert self._process.returncode is None, "".join(self._output)

    async def stop(self) -> str:
        """Ask it to stop, as a supervisor does; return what it has printed."""
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(BOUND):
            await self._reading
            assert await self._process.wait() in _STOPPED, "".join(self._output)
        return "".join(self._output)

    async def end(self) -> None:
        """Kill it, if it runs, with the workers that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reading


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def environment(folder: Path, server: Emulator | None = None) -> dict[str, str]:
    """Return the environment of an application that keeps its albums in *folder*."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("EZLINK_")}
    environ |= {
        "WEBAPP_DATA": str(folder),
        "PYTHONPATH": os.pathsep.join((str(FOLDER), str(ROOT))),
        "PYTHONUNBUFFERED": "1",
    }
    if server is not None:
        environ |= {
            "EZLINK_API_KEY": server.api_key,
            "EZLINK_BASE_URL": server.base_url,
            "EZLINK_POLL_FIRST": "0.1",
            "EZLINK_POLL_SHORTEST": "0.1",
        }
    return environ


@contextlib.asynccontextmanager
async def application(
    kind: str, environ: dict[str, str], port: int = 0
) -> AsyncIterator[Application]:
    """Run the application behind a server of :data:`SERVERS`."""
    port = port or free_port()
    arguments = [argument.format(port=port) for argument in SERVERS[kind]]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environ,
        start_new_session=True,
    )
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        app = Application(session, f"http://127.0.0.1:{port}", process)
        try:
            await app.started()
            yield app
        finally:
            await app.end()
