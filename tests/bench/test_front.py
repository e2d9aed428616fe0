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
from tests.bench.measuring import Told
from tests.bench.pictures import result
from tests.bench.plans import Plan
from tests.bench.serve import Desk
from tests.support.pictures import jpeg

PLAN = Plan(
    seed=1, mean=1e-6, slots=1, queue=0, beat=0.0, progress=False, result=2_000_000
)
SOURCE, TARGET = jpeg(30_000), jpeg(50_000)


def _hash(picture: bytes) -> str:
    return hashlib.sha256(base64.b64encode(picture)).hexdigest()


def _swap(separator: str = "") -> bytes:
    pictures = {"source": SOURCE, "target": TARGET}
    texts = {
        f"{name}Base64": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        for name, picture in pictures.items()
    }
    body = json.dumps(texts, separators=("," + separator, ":" + separator)).encode()
    return _request("POST /mj/insight-face/swap", body)


def _request(start: str, body: bytes = b"", key: str = DEFAULT_KEY) -> bytes:
    head = f"{start} HTTP/1.1\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@attrs.frozen
class _Line:
    """A connection to the server, and what it keeps count of."""

    desk: Desk
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def report(self) -> Told:
        """Tell what was done."""
        return cast("Told", self.desk.obey({"report": {}}))

    async def answer(self) -> tuple[int, bytes]:
        """Read one answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ")[1])
        if "chunked" not in head:
            length = int(head.partition("Content-Length: ")[2].split("\r\n")[0])
            return status, await self.reader.readexactly(length)
        body = bytearray()
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return status, bytes(body)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send one request and read its answer."""
        self.writer.write(request)
        return await self.answer()


@asynccontextmanager
async def _line(plan: Plan = PLAN) -> AsyncIterator[_Line]:
    desk = Desk()
    desk.obey({"begin": attrs.asdict(plan)})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(desk.connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield _Line(desk, reader, writer)
    finally:
        writer.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("separator", ["", " "], ids=["ours", "json.dumps"])
async def test_the_pictures_are_found_and_hashed(separator: str) -> None:
    """Whoever wrote the JSON, the report has the hashes of what was sent."""
    async with _line() as line:
        status, body = await line.ask(_swap(separator))
        (job,) = line.report()["jobs"]
    assert (status, json.loads(body)["result"]) == (200, job["task_id"])
    assert (job["source"], job["target"]) == (_hash(SOURCE), _hash(TARGET))


async def test_a_body_may_come_in_any_pieces() -> None:
    """Where the network cuts it makes no difference."""
    whole = _swap()
    async with _line() as line:
        for start in range(0, len(whole), 9973):
            line.writer.write(whole[start : start + 9973])
            await asyncio.sleep(0)
        assert (await line.answer())[0] == 200
        (job,) = line.report()["jobs"]
    assert job["target"] == _hash(TARGET)


async def test_two_requests_may_come_at_once() -> None:
    """The second one is answered after the first."""
    fetch = _request("GET /mj/task/1/fetch")
    async with _line() as line:
        line.writer.write(_swap() + fetch)
        assert [(await line.answer())[0] for _ in range(2)] == [200, 400]


async def test_the_result_is_a_whole_picture_with_both_hashes() -> None:
    """It passes our own check, and tells which source met which target."""
    async with _line() as line:
        task_id = json.loads((await line.ask(_swap()))[1])["result"]
        row = json.loads((await line.ask(_request(f"GET /mj/task/{task_id}/fetch")))[1])
        status, picture = await line.ask(_request(f"GET /mj/image/{task_id}", key=""))
    assert (row["status"], status) == ("SUCCESS", 200)
    assert row["imageUrl"].endswith(f"/mj/image/{task_id}")
    assert picture == result(_hash(SOURCE), _hash(TARGET), PLAN.result)
    assert verify_complete(picture) == "image/jpeg"


async def test_each_job_is_counted_and_charged_once() -> None:
    """A queue that is full refuses in the server's words, and charges nothing."""
    slow = attrs.evolve(PLAN, mean=100.0)
    async with _line(slow) as line:
        assert (await line.ask(_swap()))[0] == 200
        status, body = await line.ask(_swap())
        listed = await line.ask(
            _request("POST /mj/task/list-by-condition", b'{"ids":[]}')
        )
        report = line.report()
    assert (status, json.loads(body)["code"]) == (400, 9)
    assert listed == (200, b"[]")
    assert (report["charges"], report["refused"]) == (1, 1)
    assert report["requests"] == {"submit": 2, "list": 1}


async def test_a_wrong_key_is_refused() -> None:
    """The benchmark would notice a client that sends none."""
    async with _line() as line:
        assert (await line.ask(_request("GET /mj/task/1/fetch", key="")))[0] == 401
