"""
Concurrent uploads over a link that is slower than any of them.

The byte that the client takes for sent must not be far ahead of what the server
has read: from the last one on it waits for the answer, and not for ever.
"""

from __future__ import annotations

import asyncio

import attrs

from tests.series.client import Workload
from tests.series.connection import Connection, Request
from tests.series.photos import length_for
from tests.series.result import Environment, SeriesResult
from tests.series.server import SwapServer

PROMISE = 5.0
"""Seconds within which the answer follows the last byte."""

_STEP = 16 * 1024


@attrs.define(eq=False)
class SlowServer(SwapServer):
    """Reads *rate* bytes a second, over all connections together."""

    rate: float = 1_000_000
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _free: float = 0.0

    async def take_submit(self, connection: Connection, request: Request) -> None:
        """Accept a submit whose body arrives slowly."""
        while not request.whole:
            before = request.received
            if not await connection.read_body(before + _STEP):
                return
            await self._carry(request.received - before)
        await super().take_submit(connection, request)

    async def _carry(self, count: int) -> None:
        """Wait until the link has carried *count* bytes."""
        now = asyncio.get_running_loop().time
        async with self._turn:
            self._free = max(self._free, now()) + count / self.rate
            await asyncio.sleep(self._free - now())


async def slow_link(
    here: Environment, count: int = 8, body: int = 4_000_000, rate: float = 1_000_000
) -> SeriesResult:
    """Upload *count* bodies at once at *rate* bytes a second in all."""
    server = SlowServer(rate=rate)
    work = Workload(
        count=count,
        length=length_for(body),
        slots=count,
        timeouts={"submit": 10, "upload": 10},
        timed=True,
    )
    report = await here.run(server, work)
    result = SeriesResult()
    result.check_jobs(report, server, work)
    result.expect("every upload is sent once", server.submits, count)
    slowest = max(report.gaps, default=0)
    result.add(f"answers {slowest:.2f} s after the last byte at most")
    late = [gap for gap in report.gaps if gap > PROMISE]
    result.expect(f"an answer within {PROMISE:g} s", len(late), 0)
    result.expect("every answer is timed", len(report.gaps), count)
    return result
