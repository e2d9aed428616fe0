"""
A server that makes a result of each body that arrives whole, and counts them.

It speaks what a swap needs: submit, list-by-condition, fetch and image. The
series override :meth:`SwapServer.take_submit` to do their damage.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import itertools
import json
import math

import attrs

from tests.series.network import Connection, Request
from tests.series.photos import digest_of, result_of
from tests.support.raw_servers import answer

_FIRST_ID = 1_733_213_213_000_000
_UNKNOWN_ID = {
    "code": 4,
    "description": "Get mj id failed Error",
    "type": "upstream_error",
}


@attrs.define(eq=False)
class SwapServer:
    """
    A server that accepts every submit, and what it has received.

    A task takes *task_seconds*. *submits* counts the submits whose head arrived,
    *whole* each photo whose body arrived whole, by its digest; *photos* are those
    digests by request id.
    """

    task_seconds: float = 0.0
    url: str = ""
    submits: int = 0
    whole: collections.Counter[str] = attrs.field(factory=collections.Counter)
    photos: dict[str, str] = attrs.field(factory=dict)
    _holds_from: float = math.inf
    _holds_submits: bool = False
    _holding: asyncio.Event = attrs.field(factory=asyncio.Event)
    _ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(_FIRST_ID))
    _tasks: dict[str, tuple[str, float]] = attrs.field(factory=dict)

    async def talk(self, connection: Connection) -> None:
        """Serve one connection for as long as it lasts."""
        while request := await connection.read_head():
            await self.serve(connection, request)

    async def serve(self, connection: Connection, request: Request) -> None:
        """Serve one request whose head has arrived."""
        if request.is_submit:
            self.submits += 1
            await self.take_submit(connection, request)
        elif await connection.read_body():
            await self._answer(connection, request)

    async def take_submit(self, connection: Connection, request: Request) -> None:
        """Read the body and accept the job."""
        if not await connection.read_body():
            return
        digest = self.record(request)
        if self._holds_submits:
            self._holding.set()
            await asyncio.Event().wait()
        await connection.send(self._accept(digest))

    async def hold(self, made: int) -> None:
        """
        Once *made* bodies arrived whole, hold back a picture, and then a submit.

        Return when both are held back: only the end of their connections ends
        these two requests.
        """
        self._holds_from = made
        await self._holding.wait()

    def stop_holding(self) -> None:
        """Hold back nothing more."""
        self._holds_from, self._holds_submits = math.inf, False

    def record(self, request: Request) -> str:
        """Count a whole body, once, and return its photo's digest."""
        known = self.photos.get(request.request_id)
        if known is not None:
            return known
        _, _, text = request.body.rpartition(b'"targetBase64":"')
        digest = digest_of(base64.b64decode(text[: -len(b'"}')].partition(b",")[2]))
        request.body.clear()
        self.photos[request.request_id] = digest
        self.whole[digest] += 1
        return digest

    def _accept(self, digest: str) -> bytes:
        task_id = str(next(self._ids))
        ready = asyncio.get_running_loop().time() + self.task_seconds
        self._tasks[task_id] = digest, ready
        body = {"code": 1, "description": "ok", "properties": {}, "result": task_id}
        return _json(200, body)

    async def _answer(self, connection: Connection, request: Request) -> None:
        if "/image/" in request.path and self.whole.total() >= self._holds_from:
            self._holds_submits = True
            await asyncio.Event().wait()
        await connection.send(self._show(request))

    def _show(self, request: Request) -> bytes:
        if request.path.endswith("/list-by-condition"):
            ids = json.loads(request.body)["ids"]
            return _json(200, [self._row(each) for each in ids if each in self._tasks])
        _, _, kind, task_id, *_ = [*request.path.split("/"), ""]
        if task_id not in self._tasks:
            return _json(400, _UNKNOWN_ID)
        if kind == "image":
            return answer(200, result_of(self._tasks[task_id][0]))
        return _json(200, self._row(task_id))

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


def _json(status: int, body: object) -> bytes:
    return answer(status, json.dumps(body).encode())
