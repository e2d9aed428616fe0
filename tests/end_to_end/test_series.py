"""
A small edition of each long series; ``nox -s series`` runs them in full.

Client and server share a process here, and nothing waits for a clock: an
outage ends when the client has tried often enough.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import aiohttp
import attrs
import pytest

from tests.series.customer import buy
from tests.series.cut import half_way, last_byte
from tests.series.dials import dials
from tests.series.network import network
from tests.series.orders import Order, Receipt
from tests.series.outage import lose
from tests.series.photos import length_for
from tests.series.shop import Shop
from tests.series.stale import stale
from tests.series.verdict import Edition
from tests.series.wire import Request, Wire
from tests.support.raw_servers import server_tls

BODY = 2_000_000

ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux drops what a full queue has no room for"
)
QUICK = {"first": 0.001, "longest": 0.002, "attempts": 1000}

SMALL = Order(
    count=20,
    length=2_000,
    slots=4,
    retry=QUICK,
    poll={"first": 0.001, "shortest": 0.001, "longest": 0.004},
    timeouts={"connect": 0.05},
)


async def _bounded(order: Order) -> Receipt:
    async with asyncio.timeout(20):
        return await buy(order)


@pytest.fixture(params=["plain", "tls"])
def here(request: pytest.FixtureRequest) -> Edition:
    """Run in this process, over TLS or not, and not for ever."""
    return Edition(server_tls() if request.param == "tls" else None, _bounded)


async def test_uploads_that_are_reset_on_their_way(here: Edition) -> None:
    """Each photo whose first upload was cut off is made once, and none is unknown."""
    verdict = await half_way(here, 9, BODY, shares=(0.1, 0.5, 0.8))
    assert not verdict.broken


async def test_uploads_that_are_reset_near_their_end(here: Edition) -> None:
    """A body of which the last hundredth did not arrive is known to be cut off."""
    verdict = await half_way(here, 4, BODY, shares=(0.99,))
    assert not verdict.broken


async def test_uploads_that_are_reset_after_their_last_byte(here: Edition) -> None:
    """Each of them is unknown, and none is sent again."""
    verdict = await last_byte(here, 6, BODY)
    assert not verdict.broken


def _notes(ahead: list[int], coming: dict[str, Request]) -> aiohttp.TraceConfig:
    """Return hooks that note what a server has yet to read at each last byte."""

    async def start(
        _: object, at: SimpleNamespace, told: aiohttp.TraceRequestStartParams
    ) -> None:
        at.sent_id = told.headers.get("X-Request-ID")

    async def chunk(
        _: object, at: SimpleNamespace, told: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        if bytes(told.chunk) == b'"}':
            request = coming[at.sent_id]
            ahead.append(request.length - request.received)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_chunk_sent.append(chunk)
    return config


async def test_the_last_byte_is_not_far_ahead_of_a_slow_server(here: Edition) -> None:
    """When the client calls a body gone, 5 s of a line of 1 MB/s are left at most."""
    ahead: list[int] = []
    coming: dict[str, Request] = {}

    async def slowly(shop: Shop, wire: Wire) -> None:
        assert wire.request is not None
        request = coming[wire.request.sent_id] = wire.request
        while await wire.body(request.received + 16 * 1024) and not request.whole:
            for _ in range(20):
                await asyncio.sleep(0)
        await shop.take(wire)

    shop = Shop(slowly)
    async with asyncio.timeout(20), network(shop.talk, here.tls) as line:
        shop.url = line.url
        order = attrs.evolve(
            SMALL, url=line.url, count=4, length=length_for(BODY), timeouts={}
        )
        receipt = await buy(order, _notes(ahead, coming))
    assert all(each.right for each in receipt.bought)
    assert len(ahead) == 4
    assert sum(ahead) <= 5_000_000


def _until(tries: int) -> Callable[[str], Awaitable[None]]:
    """Wait until the client has tried to connect so many times more."""

    async def wait(url: str) -> None:
        enough = dials(url) + tries
        while dials(url) < enough:
            await asyncio.sleep(0)

    return wait


@pytest.mark.parametrize(
    ("way", "tries"),
    [
        ("refused", 40),
        pytest.param("dropped", 8, marks=ON_LINUX),
        ("still", 2),
        ("swallowed", 2),
    ],
)
async def test_a_network_that_goes_away(here: Edition, way: str, tries: int) -> None:
    """Nothing fails; unknown is at most what was whole and had no answer."""
    verdict = await lose(here, way, SMALL, Shop(), _until(tries))
    assert not verdict.broken


async def test_pictures_outlast_a_network_that_is_gone(here: Edition) -> None:
    """A picture that was on its way home comes when the network is back."""
    order = attrs.evolve(SMALL, retry=QUICK | {"attempts": 3})
    verdict = await lose(here, "refused", order, Shop(), _until(40))
    assert not verdict.broken


async def test_connections_that_were_closed_before_a_submit(here: Edition) -> None:
    """A server that closes behind each answer makes nothing unknown."""
    verdict = await stale(here, patience=0, pauses=(0, 0), count=20, lanes=1)
    assert not verdict.broken
