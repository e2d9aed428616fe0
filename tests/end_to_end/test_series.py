"""
A small edition of each long series; ``nox -s series`` runs them in full.

Client and server share a process here, and no test waits for a clock: an outage
ends when the client has tried to connect often enough.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from types import SimpleNamespace

import aiohttp
import attrs
import pytest

from tests.series.cancelled_requests import cancelled_requests
from tests.series.client import ClientReport, Workload, connects, run_client
from tests.series.failures import (
    idle_connections,
    lose,
    reset_after_last_byte,
    reset_half_way,
)
from tests.series.heavy_answers import CALLS, answers, outcome_of, serve
from tests.series.network import Connection, Request
from tests.series.photos import length_for
from tests.series.result import Environment
from tests.series.server import SwapServer
from tests.support.raw_servers import SMALL, server_tls, serving

BODY = 2_000_000

ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux drops what a full queue has no room for"
)
QUICK = {"first": 0.001, "longest": 0.002, "attempts": 1000}

WORK = Workload(
    count=20,
    length=2_000,
    slots=4,
    retry=QUICK,
    poll={"first": 0.001, "shortest": 0.001, "longest": 0.004},
    timeouts={"connect": 0.05},
)


async def _bounded(work: Workload, *traces: aiohttp.TraceConfig) -> ClientReport:
    async with asyncio.timeout(300):
        return await run_client(work, *traces)


@pytest.fixture(params=["plain", "tls"])
def here(request: pytest.FixtureRequest) -> Environment:
    """Run the client in this process, over TLS or not."""
    return Environment(server_tls() if request.param == "tls" else None, _bounded)


async def test_uploads_that_are_reset_half_way_are_sent_again(
    here: Environment,
) -> None:
    """Each photo is made once, and none is unknown."""
    result = await reset_half_way(here, 9, BODY, shares=(0.1, 0.5, 0.8))
    assert not result.broken


async def test_uploads_that_are_reset_near_their_end_are_sent_again(
    here: Environment,
) -> None:
    """The client knows that the last hundredth of the body did not arrive."""
    result = await reset_half_way(here, 4, BODY, shares=(0.99,))
    assert not result.broken


async def test_uploads_that_are_reset_after_their_last_byte_are_unknown(
    here: Environment,
) -> None:
    """None of them is sent again."""
    result = await reset_after_last_byte(here, 6, BODY)
    assert not result.broken


@attrs.define(eq=False)
class ReluctantServer(SwapServer):
    """
    Reads little at a time, and nothing before *awaited* uploads have begun.

    *most* is how many were in progress at once: those of which more than half is
    missing, which is more than all buffers on the way could hold.
    """

    awaited: int = 1
    most: int = 0
    uploads: dict[str, Request] = attrs.field(factory=dict)
    _begun: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def take_submit(self, connection: Connection, request: Request) -> None:
        """Accept a submit whose body is read slowly."""
        self.uploads[request.request_id] = request
        begun = self.uploads.values()
        uploading = sum(each.received < each.length // 2 for each in begun)
        self.most = max(self.most, uploading)
        if len(self.uploads) >= self.awaited:
            self._begun.set()
        await self._begun.wait()
        while not request.whole:
            if not await connection.read_body(request.received + SMALL):
                return
            for _ in range(20):
                await asyncio.sleep(0)
        await super().take_submit(connection, request)


def _note_missing(missing: list[int], server: ReluctantServer) -> aiohttp.TraceConfig:
    """Return hooks that note what the server has yet to read at each last byte."""

    async def start(
        _: object, at: SimpleNamespace, started: aiohttp.TraceRequestStartParams
    ) -> None:
        at.request_id = started.headers.get("X-Request-ID")

    async def chunk(
        _: object, at: SimpleNamespace, sent: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        if bytes(sent.chunk) == b'"}':
            request = server.uploads[at.request_id]
            missing.append(request.length - request.received)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_chunk_sent.append(chunk)
    return config


async def test_last_byte_is_not_far_ahead_of_a_slow_server(here: Environment) -> None:
    """When the client calls four bodies sent, 5 MB at most are not yet read."""
    missing: list[int] = []
    server = ReluctantServer()
    hooks = _note_missing(missing, server)
    here = attrs.evolve(here, run_client=lambda work: _bounded(work, hooks))
    work = attrs.evolve(WORK, count=4, length=length_for(BODY), timeouts={})
    report = await here.run(server, work)
    assert all(each.right for each in report.results)
    assert len(missing) == 4
    assert sum(missing) <= 5_000_000


async def test_max_uploads_limits_concurrent_uploads(here: Environment) -> None:
    """Of eight jobs in progress two upload at a time, and all eight finish."""
    server = ReluctantServer(awaited=2)
    work = attrs.evolve(
        WORK, count=8, length=length_for(BODY), slots=8, uploads=2, timeouts={}
    )
    report = await here.run(server, work)
    assert all(each.right for each in report.results)
    assert server.most == 2


async def _until(tries: int, url: str) -> None:
    """Wait until the client has tried to connect *tries* times more."""
    enough = connects(url) + tries
    while connects(url) < enough:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        ("refused", 40),
        pytest.param("dropped", 8, marks=ON_LINUX),
        ("still", 2),
        ("swallowed", 2),
    ],
)
async def test_no_job_fails_when_the_network_does(
    here: Environment, failure: str, tries: int
) -> None:
    """At most the submits are unknown that were whole and had no answer."""
    result = await lose(here, failure, WORK, SwapServer(), partial(_until, tries))
    assert not result.broken


async def test_downloads_outlast_an_outage(here: Environment) -> None:
    """With three attempts a picture still arrives once the network is back."""
    work = attrs.evolve(WORK, retry=QUICK | {"attempts": 3})
    result = await lose(here, "refused", work, SwapServer(), partial(_until, 40))
    assert not result.broken


async def test_connections_closed_before_a_submit_are_not_used(
    here: Environment,
) -> None:
    """A server that closes after each answer makes no submit unknown."""
    result = await idle_connections(
        here, patience=0, pauses=(0, 0), count=20, clients=1
    )
    assert not result.broken


async def test_requests_that_are_cancelled_at_random_moments_lose_nothing(
    here: Environment,
) -> None:
    """Each charge has an id, and no slot, task, connection or file is left."""
    result = await cancelled_requests(here, 40)
    assert not result.broken


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"task"}))
async def test_every_answer_gives_a_value_or_an_error_of_the_package(call: str) -> None:
    """Each call of the client meets each hostile answer."""
    async with serving(serve) as server:
        ends = [
            await outcome_of(call, server.url, number)
            for number in range(len(answers()))
        ]
    assert len(ends) == len(answers())
    assert all(ends)
