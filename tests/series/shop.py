"""
A shop that makes a picture of each whole body it gets, and keeps book.

It speaks what a swap needs: acceptance, list-by-condition, fetch, image. How
a submit is taken is each series' own matter.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import itertools
import json
import math
from collections.abc import Awaitable, Callable

import attrs

from tests.series.photos import digest_of, result_of
from tests.series.wire import Request, Wire
from tests.support.raw_servers import answer

_FIRST_ID = 1_733_213_213_000_000
_UNKNOWN_ID = {
    "code": 4,
    "description": "Get mj id failed Error",
    "type": "upstream_error",
}


@attrs.define(eq=False)
class Shop:
    """
    A server's inside, and its book.

    *takes* is how a submit is taken. A job takes *work* seconds. *begun* counts
    submits whose head came, *whole* each photo whose body came whole, by its
    hash.
    """

    takes: Callable[[Shop, Wire], Awaitable[None]] | None = None
    work: float = 0.0
    url: str = ""
    begun: int = 0
    whole: collections.Counter[str] = attrs.field(factory=collections.Counter)
    photos: dict[str, str] = attrs.field(factory=dict)
    _holds_from: float = math.inf
    _showing: bool = False
    _swings: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(_FIRST_ID))
    _tasks: dict[str, tuple[str, float]] = attrs.field(factory=dict)

    async def talk(self, wire: Wire) -> None:
        """Serve one connection for as long as it lasts."""
        while request := await wire.head():
            await self.serve(wire, request)

    async def serve(self, wire: Wire, request: Request) -> None:
        """Serve one request whose head has come."""
        if request.is_submit:
            self.begun += 1
            await (self.takes(self, wire) if self.takes else self.take(wire))
        elif await wire.body():
            await self._show(wire, request)

    async def take(self, wire: Wire) -> None:
        """Take a submit as a shop does that is well."""
        if not await wire.body() or wire.request is None:
            return
        digest = self.note(wire.request)
        if self._showing:
            self._swings.set()
            await asyncio.Event().wait()
        await wire.say(self._accept(digest))

    async def in_full_swing(self, made: int) -> None:
        """
        Wait until *made* came whole, and something of each kind is under way.

        From then on a picture is held back, and after it an acceptance: what
        comes next must be the end of their connections.
        """
        self._holds_from = made
        await self._swings.wait()

    def go_on(self) -> None:
        """Hold back nothing more."""
        self._holds_from, self._showing = math.inf, False

    def note(self, request: Request) -> str:
        """Enter a whole body into the book, once, and return its photo's name."""
        known = self.photos.get(request.sent_id)
        if known is not None:
            return known
        _, _, text = request.body.rpartition(b'"targetBase64":"')
        digest = digest_of(base64.b64decode(text[: -len(b'"}')].partition(b",")[2]))
        request.body.clear()
        self.photos[request.sent_id] = digest
        self.whole[digest] += 1
        return digest

    def _accept(self, digest: str) -> bytes:
        task_id = str(next(self._ids))
        ready = asyncio.get_running_loop().time() + self.work
        self._tasks[task_id] = digest, ready
        said = {"code": 1, "description": "ok", "properties": {}, "result": task_id}
        return answer(200, json.dumps(said).encode())

    async def _show(self, wire: Wire, request: Request) -> None:
        if "/image/" in request.path and self.whole.total() >= self._holds_from:
            self._showing = True
            await asyncio.Event().wait()
        await wire.say(self._look(request))

    def _look(self, request: Request) -> bytes:
        if request.path.endswith("/list-by-condition"):
            ids = json.loads(request.body)["ids"]
            rows = [self._row(task_id) for task_id in ids if task_id in self._tasks]
            return answer(200, json.dumps(rows).encode())
        _, _, kind, task_id, *_ = [*request.path.split("/"), ""]
        if task_id not in self._tasks:
            return answer(400, json.dumps(_UNKNOWN_ID).encode())
        if kind == "image":
            return answer(200, result_of(self._tasks[task_id][0]))
        return answer(200, json.dumps(self._row(task_id)).encode())

    def _row(self, task_id: str) -> dict[str, str]:
        _, ready = self._tasks[task_id]
        done = asyncio.get_running_loop().time() >= ready
        return {
            "id": task_id,
            "action": "FACE_SWAP",
            "status": "SUCCESS" if done else "IN_PROGRESS",
            "progress": "100%" if done else "50%",
            "imageUrl": f"{self.url}/mj/image/{task_id}" if done else "",
        }
