"""
Uploads at once over a link that is slower than any of them.

What the client calls "the last byte" must not be far ahead of what the server
has: from then on it waits for the answer, and not for ever.
"""

from __future__ import annotations

import asyncio

from tests.series.network import network
from tests.series.orders import Order
from tests.series.photos import length_for
from tests.series.shop import Shop
from tests.series.verdict import Edition, Verdict
from tests.series.wire import Wire

PROMISE = 5.0
"""Seconds within which the answer follows the last byte."""

_STEP = 16 * 1024


class Link:
    """A line that carries *rate* bytes a second, whoever's they are."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._turn = asyncio.Lock()
        self._free = 0.0

    async def carry(self, count: int) -> None:
        """Wait until *count* bytes are through."""
        now = asyncio.get_running_loop().time
        async with self._turn:
            self._free = max(self._free, now()) + count / self._rate
            await asyncio.sleep(self._free - now())

    async def take(self, shop: Shop, wire: Wire) -> None:
        """Take a submit as slowly as the link is."""
        request = wire.request
        assert request is not None
        while not request.whole:
            before = request.received
            if not await wire.body(before + _STEP):
                return
            await self.carry(request.received - before)
        await shop.take(wire)


async def slow_link(
    here: Edition, count: int = 8, body: int = 4_000_000, rate: float = 1_000_000
) -> Verdict:
    """Upload *count* bodies at once at *rate* bytes a second in all."""
    shop = Shop(Link(rate).take)
    async with network(shop.talk, here.tls) as line:
        shop.url = line.url
        order = Order(
            url=line.url,
            count=count,
            length=length_for(body),
            slots=count,
            timeouts={"submit": 10, "upload": 10},
            timed=True,
        )
        receipt = await here.buy(order)
    verdict = Verdict()
    verdict.judge(receipt, shop, order, ())
    verdict.expect("every upload is sent once", shop.begun, count)
    gaps = sorted(receipt.gaps, reverse=True)
    verdict.say(f"answers {max(gaps, default=0):.2f} s after the last byte at most")
    late = [gap for gap in gaps if gap > PROMISE]
    verdict.expect(f"an answer within {PROMISE:g} s", len(late), 0)
    verdict.expect("every answer is timed", len(gaps), count)
    return verdict
