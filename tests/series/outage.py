"""
Networks that fail in the middle of many jobs, each in its own way.

No job may fail because of it, and none be paid twice. At most those submits may
be unknown that had arrived whole when the network failed, and had no answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import attrs

from tests.series.client import Workload
from tests.series.network import Network, network
from tests.series.photos import length_for
from tests.series.result import Environment, SeriesResult
from tests.series.server import SwapServer
from tests.series.slow_link import SlowServer

FAILURES: dict[str, Callable[[Network], None]] = {
    "refused": Network.refuse,  # the port is closed
    "dropped": Network.drop,  # a black hole: no attempt to connect is answered
    "still": Network.stall,  # connections are accepted, and no byte moves
    "swallowed": Network.swallow,  # every byte is read, and none answered
}

_LOGGED = {"refused", "dropped"}  # the client sees that it cannot connect

_RATE = 10_000_000  # bytes a second: some uploads are always in progress


async def lose(
    here: Environment,
    failure: str,
    work: Workload,
    server: SwapServer,
    until: Callable[[str], Awaitable[None]],
) -> SeriesResult:
    """Fail the network when two fifths of *work* are made, and wait *until*."""
    result = SeriesResult()
    async with network(server.talk, here.tls) as link, asyncio.TaskGroup() as group:
        server.url = link.url
        work = attrs.evolve(work, url=link.url)
        running = group.create_task(here.run_client(work))
        holding = group.create_task(server.hold(work.count * 2 // 5))
        await asyncio.wait((running, holding), return_when=asyncio.FIRST_COMPLETED)
        holding.cancel()
        if running.done():
            result.broken.append("the client is done before the network fails")
        else:
            FAILURES[failure](link)
            server.stop_holding()
            await until(link.url)
        link.restore()
        restored = time.monotonic()
        report = await running
    lost = {
        each.request_id: server.record(each) for each in link.lost if each.is_submit
    }
    result.check_jobs(report, server, work, excused=lost)
    if failure in _LOGGED and not report.losses:
        result.broken.append("the client did not log that the connection is lost")
    result.add(
        f"{len(lost)} were whole without an answer",
        f"done {time.monotonic() - restored:.1f} s after the network was back",
    )
    return result


async def outage(
    here: Environment,
    failure: str,
    seconds: float,
    count: int = 100,
    body: int = 1_000_000,
) -> SeriesResult:
    """Fail the network for *seconds* in the middle of *count* jobs."""
    server = SlowServer(rate=_RATE, task_seconds=0.3)
    work = Workload(count=count, length=length_for(body), slots=16)
    return await lose(here, failure, work, server, lambda _: asyncio.sleep(seconds))
