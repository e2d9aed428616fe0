"""
Submits on connections that a server closes while they are idle.

What can be promised: a connection that was closed before a submit began is
not used for it. What cannot: one that is closed while the submit is under way
may swallow a small body whole, and no client can tell that from a job whose
answer was lost. So such a submit may be unknown, but is never sent twice.
"""

from __future__ import annotations

import asyncio
import collections
import time

import attrs

from tests.series.network import network
from tests.series.orders import Bought, Order
from tests.series.shop import Shop
from tests.series.verdict import Edition, Verdict
from tests.series.wire import Request, Wire

PHOTO = 2_000
"""Bytes of a photo: with so few, every body is at once on its way."""

POLL = {"first": 0.01, "shortest": 0.01, "longest": 0.05}


@attrs.define
class Impatient:
    """
    A server that closes what was idle for *patience* seconds.

    It promises nothing of the kind. It notes between which moments it closed
    each customer's connections, and how many submits came on used ones.
    """

    patience: float
    closed: collections.defaultdict[str, list[tuple[float, float]]] = attrs.field(
        factory=lambda: collections.defaultdict(list)
    )
    used: int = 0

    async def talk(self, shop: Shop, wire: Wire) -> None:
        """Serve a connection until the next submit is too long in coming."""
        key, submits = "", 0
        while request := await self._next(wire, submits):
            if request.is_submit:
                key = request.headers["authorization"].removeprefix("Bearer ")
                self.used += submits > 0
                submits += 1
            await shop.serve(wire, request)
        before = time.monotonic()
        wire.hang_up()
        if key:
            self.closed[key].append((before, time.monotonic()))

    async def _next(self, wire: Wire, submits: int) -> Request | None:
        if not submits:
            return await wire.head()
        if not self.patience:
            return None
        try:
            async with asyncio.timeout(self.patience):
                return await wire.head()
        except TimeoutError:
            return None

    def met(self, each: Bought) -> bool:
        """Tell whether a connection was closed while a submit was under way."""
        return any(
            each.began <= after and before <= each.ended
            for before, after in self.closed[each.key]
        )


async def stale(
    here: Edition,
    patience: float,
    pauses: tuple[float, float],
    count: int = 100,
    lanes: int = 20,
) -> Verdict:
    """Submit again and again after *pauses* to a server of some *patience*."""
    shop, server = Shop(), Impatient(patience)
    async with network(lambda wire: server.talk(shop, wire), here.tls) as line:
        shop.url = line.url
        order = Order(
            url=line.url,
            count=count,
            length=PHOTO,
            poll=POLL,
            lanes=lanes,
            pauses=pauses,
        )
        receipt = await here.buy(order)
    verdict = Verdict()
    met = {each.request_id for each in receipt.unknowns if server.met(each)}
    verdict.judge(receipt, shop, order, met)
    verdict.say(f"{server.used} on a used connection")
    verdict.say(f"{len(met)} met by a closing one")
    return verdict
