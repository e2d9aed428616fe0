"""
Networks that go away in the middle of many jobs, each in its own way.

Nothing may fail for it, and nothing be paid twice. Unknown may be at most
what had come whole when the network went, and had no answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import attrs

from tests.series.network import Network, network
from tests.series.orders import Order
from tests.series.photos import length_for
from tests.series.shop import Shop
from tests.series.slow import Link
from tests.series.verdict import Edition, Verdict

WAYS: dict[str, Callable[[Network], None]] = {
    "refused": Network.refuse,  # nobody listens
    "dropped": Network.drop,  # a black hole: no attempt to connect is answered
    "still": Network.stand_still,  # connections are made, and no byte moves
    "swallowed": Network.swallow,  # every byte is taken, and none answered
}

_TOLD = {"refused", "dropped"}  # who waits is told why; in the others nobody knows

_LINE = 10_000_000  # bytes a second: some uploads are always on their way


async def lose(
    here: Edition,
    way: str,
    order: Order,
    shop: Shop,
    until: Callable[[str], Awaitable[None]],
) -> Verdict:
    """Let the network go when two fifths of *order* are made, and wait *until*."""
    verdict = Verdict()
    async with network(shop.talk, here.tls) as line, asyncio.TaskGroup() as group:
        shop.url = line.url
        order = attrs.evolve(order, url=line.url)
        buying = group.create_task(here.buy(order))
        going = group.create_task(shop.in_full_swing(order.count * 2 // 5))
        await asyncio.wait((buying, going), return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        if buying.done():
            verdict.broken.append("all is over before the network goes")
        else:
            WAYS[way](line)
            shop.go_on()
            await until(line.url)
        line.restore()
        back = time.monotonic()
        receipt = await buying
    gone = {lost.sent_id: shop.note(lost) for lost in line.lost if lost.is_submit}
    verdict.judge(receipt, shop, order, gone)
    if way in _TOLD and not receipt.losses:
        verdict.broken.append("nobody was told that the connection is lost")
    verdict.say(f"{len(gone)} were whole without an answer")
    verdict.say(f"over {time.monotonic() - back:.1f} s after the network was back")
    return verdict


async def outage(
    here: Edition, way: str, seconds: float, count: int = 100, body: int = 1_000_000
) -> Verdict:
    """Lose the network for *seconds* in the middle of *count* jobs."""
    shop = Shop(Link(_LINE).take, work=0.3)
    order = Order(count=count, length=length_for(body), slots=16)
    return await lose(here, way, order, shop, lambda _: asyncio.sleep(seconds))
