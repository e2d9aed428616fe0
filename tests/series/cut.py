"""
Connections that are reset in mid-upload, and right after the last byte.

The first leave no job: the photo is sent again, unasked. The others may have
left one: they are unknown, and nobody sends them again.
"""

from __future__ import annotations

import asyncio
import collections

import attrs

from tests.series.network import network
from tests.series.orders import Order
from tests.series.photos import length_for
from tests.series.shop import Shop
from tests.series.verdict import Edition, Verdict
from tests.series.wire import Wire

SHARES = (0.1, 0.5, 0.8, 0.99)

TINY = 4 * 1024
"""
A receive buffer that has no room for the last hundredth of a body.

With more the missing bytes could have arrived, unread, and nobody could tell.
"""

POLL = {"first": 0.05, "shortest": 0.05, "longest": 0.3}


@attrs.define
class Scissors:
    """Cut each photo's first upload, the next of *shares* each time."""

    shares: tuple[float, ...]
    cut: dict[str, float] = attrs.field(factory=dict)
    _known: set[int] = attrs.field(factory=set)

    async def take(self, shop: Shop, wire: Wire) -> None:
        """Take a submit, or some of it."""
        request = wire.request
        assert request is not None
        if request.length in self._known:
            await shop.take(wire)
            return
        share = self.shares[len(self._known) % len(self.shares)]
        self._known.add(request.length)
        self.cut[request.sent_id] = share
        await wire.body(int(request.length * share))
        wire.reset()


async def half_way(
    here: Edition,
    count: int = 200,
    body: int = 2_000_000,
    shares: tuple[float, ...] = SHARES,
) -> Verdict:
    """Reset each photo's first upload on its way."""
    scissors = Scissors(shares)
    shop = Shop(scissors.take)
    async with network(shop.talk, here.tls, TINY) as line:
        shop.url = line.url
        order = Order(url=line.url, count=count, length=length_for(body), poll=POLL)
        receipt = await here.buy(order)
    verdict = Verdict()
    verdict.judge(receipt, shop, order, ())
    wrong = collections.Counter(
        scissors.cut[each.request_id] for each in receipt.unknowns
    )
    shown = ", ".join(f"{wrong[share]} at {share:.0%}" for share in shares)
    verdict.say(f"unknown by place: {shown}")
    verdict.expect("each photo is sent twice", shop.begun, 2 * count)
    return verdict


async def _deaf(shop: Shop, wire: Wire) -> None:
    if await wire.body() and wire.request is not None:
        shop.note(wire.request)
        wire.reset()
        await asyncio.sleep(0)


async def last_byte(here: Edition, count: int = 200, body: int = 2_000_000) -> Verdict:
    """Reset each upload when it is whole, before any answer."""
    shop = Shop(_deaf)
    async with network(shop.talk, here.tls) as line:
        shop.url = line.url
        order = Order(url=line.url, count=count, length=length_for(body), poll=POLL)
        receipt = await here.buy(order)
    verdict = Verdict()
    verdict.judge(receipt, shop, order, shop.photos)
    verdict.expect("every photo is unknown", len(receipt.unknowns), count)
    verdict.expect("every photo was whole", len(shop.whole), count)
    verdict.expect("no submit is repeated", shop.begun, count)
    return verdict
