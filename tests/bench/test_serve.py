"""The benchmark's server, byte by byte and without a process of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import attrs
import pytest

from ezlink_async._core.containers import verify_complete
from ezlink_async.emulator import DEFAULT_KEY
from tests.bench.measuring import ServerReport
from tests.bench.pictures import result
from tests.bench.plans import Plan
from tests.bench.serve import Service
from tests.support.pictures import jpeg
from tests.support.wire import RawConnection, RawResponse

PLAN = Plan(mean=1e-6, slots=1, queue=0, progress=False, seed=1, result=2_000_000)
SOURCE, TARGET = jpeg(30_000), jpeg(50_000)
SWAP = "/mj/insight-face/swap"
HEADERS = [("Authorization", f"Bearer {DEFAULT_KEY}")]


def _hash(picture: bytes) -> str:
    return hashlib.sha256(base64.b64encode(picture)).hexdigest()


def _body(separator: str = "") -> bytes:
    pictures = {"source": SOURCE, "target": TARGET}
    texts = {
        f"{name}Base64": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        for name, picture in pictures.items()
    }
    return json.dumps(texts, separators=("," + separator, ":" + separator)).encode()


@attrs.frozen
class _Client:
    """A connection to the server, and the server's report."""

    service: Service
    connection: RawConnection

    def report(self) -> ServerReport:
        """Return what was done."""
        return cast("ServerReport", self.service.report())

    async def request(
        self, path: str, body: bytes = b"", *, key: bool = True
    ) -> RawResponse:
        """Return the response to one request, sent with the key or without."""
        method, headers = "POST" if body else "GET", HEADERS if key else ()
        return await self.connection.request(method, path, headers, body)


@asynccontextmanager
async def _client(plan: Plan = PLAN) -> AsyncIterator[_Client]:
    service, loop = Service(), asyncio.get_running_loop()
    service.start(plan)
    server = await loop.create_server(service.connection, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        async with RawConnection(f"http://{host}:{port}") as connection:
            yield _Client(service, connection)


@pytest.mark.parametrize("separator", ["", " "], ids=["ours", "json.dumps"])
async def test_report_has_the_hashes_of_the_sent_pictures(separator: str) -> None:
    """The client's JSON may have spaces between its parts."""
    async with _client() as client:
        response = await client.request(SWAP, _body(separator))
        (job,) = client.report()["jobs"]
    assert response.status == 200
    assert response.fields()["result"] == job["task_id"]
    assert (job["source"], job["target"]) == (_hash(SOURCE), _hash(TARGET))


async def test_body_may_arrive_in_small_pieces() -> None:
    async with _client() as client:
        whole, connection = _body(), client.connection
        await connection.send_head("POST", SWAP, HEADERS, len(whole))
        for start in range(0, len(whole), 9973):
            connection.writer.write(whole[start : start + 9973])
            await asyncio.sleep(0)
        assert (await connection.response()).status == 200
        (job,) = client.report()["jobs"]
    assert job["target"] == _hash(TARGET)


async def test_two_pipelined_requests_are_answered_in_order() -> None:
    async with _client() as client:
        whole, connection = _body(), client.connection
        await connection.send_head("POST", SWAP, HEADERS, len(whole))
        connection.writer.write(whole)
        await connection.send_head("GET", "/mj/task/1/fetch", HEADERS)
        assert [(await connection.response()).status for _ in range(2)] == [200, 400]


async def test_result_is_a_whole_picture_with_both_hashes() -> None:
    """The picture passes the client's own check, and names its source and target."""
    async with _client() as client:
        task_id = (await client.request(SWAP, _body())).fields()["result"]
        row = (await client.request(f"/mj/task/{task_id}/fetch")).fields()
        picture = await client.request(f"/mj/image/{task_id}", key=False)
    assert (row["status"], picture.status) == ("SUCCESS", 200)
    assert str(row["imageUrl"]).endswith(f"/mj/image/{task_id}")
    assert picture.body == result(_hash(SOURCE), _hash(TARGET), PLAN.result)
    assert verify_complete(picture.body) == "image/jpeg"


async def test_each_job_is_counted_and_charged_once() -> None:
    """A full queue refuses a job in the server's words, and charges nothing for it."""
    async with _client(attrs.evolve(PLAN, mean=100.0)) as client:
        assert (await client.request(SWAP, _body())).status == 200
        refused = await client.request(SWAP, _body())
        listed = await client.request("/mj/task/list-by-condition", b'{"ids":[]}')
        counts = client.report()["counts"]
    assert (refused.status, refused.fields()["code"]) == (400, 9)
    assert (listed.status, listed.body) == (200, b"[]")
    assert counts == {"submit": 2, "list": 1, "charges": 1, "refused": 1}


async def test_request_without_the_key_is_refused() -> None:
    """The benchmark would fail a client that sends no key."""
    async with _client() as client:
        assert (await client.request("/mj/task/1/fetch", key=False)).status == 401
