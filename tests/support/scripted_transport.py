"""
A transport that answers from a script, and a poller on top of it.

The transport takes requests as values and gives responses as values, so
everything above it is real. It counts how many requests are open at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar, cast

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.polling.poller import Poller
from ezlink_async._core.events import Subject
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy, RetryPolicy, Timeouts
from ezlink_async._core.settings import Settings
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.responses import DownloadStream
from ezlink_async._io.transport import Transport
from ezlink_async.errors import TransportError
from ezlink_async.services.midjourney import MIDJOURNEY

_T = TypeVar("_T")

BASE = "http://127.0.0.1:9"
QUICK = PollPolicy(first=0.001, shortest=0.001, longest=0.004, deadline=30)

Answer = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


def reply(body: object, status: int = 200) -> HttpResponse:
    """Return a response with *body* as JSON."""
    return HttpResponse(status, {}, json.dumps(body).encode(), BASE)


def row(task_id: str, status: str = "", **fields: object) -> dict[str, object]:
    """Return a task as the server spells it."""
    progress = "100%" if status in {"SUCCESS", "FAILURE"} else "0%"
    image = f"{BASE}/mj/image/{task_id}" if status == "SUCCESS" else ""
    return {
        "id": task_id,
        "status": status,
        "progress": progress,
        "imageUrl": image,
        **fields,
    }


UNKNOWN_ID = {"code": 4, "description": "Get mj id failed Error"}


def unknown_id() -> HttpResponse:
    """Return the server's answer about an id that it does not know."""
    return reply({**UNKNOWN_ID, "type": "upstream_error"}, 400)


def refused(message: str, status: int = 401) -> HttpResponse:
    """Return the server's refusal of a key."""
    text = f"{message} (request id: 1)"
    return reply({"error": {"message": text, "type": "api_error"}}, status)


class ScriptedTransport(Transport):
    """Answers requests by calling *answer*, and downloads from *pictures* by URL."""

    def __init__(
        self, answer: Answer, pictures: dict[str, bytes] | None = None
    ) -> None:
        settings = Settings(
            api_key="sk-key",
            base_url=BASE,
            poll=QUICK,
            retry=RetryPolicy(first=0.001, longest=0.002, attempts=3),
            timeouts=Timeouts(image=5),
        )
        super().__init__(settings)
        self._answer = answer
        self._pictures = pictures or {}
        self.seen: list[HttpRequest] = []
        self.inside = 0
        self.most_inside = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Answer from the script, after a turn of the loop."""
        self.seen.append(request)
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await asyncio.sleep(0)
            response = self._answer(request)
            return response if isinstance(response, HttpResponse) else await response
        finally:
            self.inside -= 1

    async def stream(
        self,
        url: str,
        *,
        strict: bool,  # noqa: ARG002 - the signature of Transport
        subject: Subject | None = None,  # noqa: ARG002 - the same
    ) -> DownloadStream:
        """Return the picture at *url*, or 404."""
        content = self._pictures.get(url)
        return cast(
            "DownloadStream", Held(200 if content else 404, url, content or b"")
        )

    def paths(self) -> list[str]:
        """Return the path of every request, in order."""
        return [request.path for request in self.seen]


@attrs.define
class Held(AbstractAsyncContextManager["Held"]):
    """A download whose whole content is in memory."""

    status: int
    url: str
    content: bytes
    retry_after: float | None = None
    request_id: str | None = None
    announced: int | None = None

    async def __aexit__(self, *_: object) -> None:
        pass

    async def block(self) -> bytes:
        """Return the content at once, then nothing."""
        content, self.content = self.content, b""
        return content


class PollerHarness:
    """A poller on a scripted transport, and the owner of its handles."""

    def __init__(
        self, transport: ScriptedTransport, policy: PollPolicy = QUICK
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.base_url = self.origin = BASE
        self.transport = transport
        self.events = transport.events
        self.background = BackgroundTasks()
        self.downloads = Downloader(transport)
        self.poller = Poller(transport, policy, self.background, self.downloads)
        self.released: list[str] = []
        self.some_released = asyncio.Event()

    def forget(self, handle: FollowedHandle) -> None:
        """Stop following *handle*."""
        self.poller.forget(handle)

    async def ask(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """Send *request* and read the answer."""
        return reader(await self.transport.send(request))

    def follow(
        self, task_id: str, *, own: bool = True, paid: bool = False
    ) -> FollowedHandle:
        """Follow a new task; one of an earlier client that is *paid* was restored."""
        handle = FollowedHandle(task_id, MIDJOURNEY, self)
        if paid:
            handle.mark_paid()
        self.poller.of(MIDJOURNEY).follow(
            handle, own=own, release=lambda: self._release(task_id)
        )
        return handle

    def _release(self, task_id: str) -> None:
        self.released.append(task_id)
        self.some_released.set()


@asynccontextmanager
async def poller_harness(
    answer: Answer,
    *,
    policy: PollPolicy = QUICK,
    pictures: dict[str, bytes] | None = None,
    bound: float | None = 300,
) -> AsyncIterator[PollerHarness]:
    """Poll against a script until the block is left, within *bound* seconds."""
    here = PollerHarness(ScriptedTransport(answer, pictures), policy)
    here.poller.start()
    try:
        async with asyncio.timeout(bound):
            yield here
    finally:
        await here.background.close()


def offline(_: HttpRequest) -> HttpResponse:
    """Raise the error of a lost network."""
    raise TransportError("no connection", stage="connect")
