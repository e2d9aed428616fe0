"""
Connections that are reset during an upload, and right after its last byte.

The first create no job: the client sends the photo again by itself. The others
may have created one: they are unknown, and are not sent again.
"""

from __future__ import annotations

import asyncio
import collections

import attrs

from tests.series.client import Workload
from tests.series.connection import Connection, Request
from tests.series.photos import length_for
from tests.series.result import Environment, SeriesResult
from tests.series.server import SwapServer

SHARES = (0.1, 0.5, 0.8, 0.99)

TINY = 4 * 1024
"""
A receive buffer that has no room for the last hundredth of a body.

With a larger one the missing bytes could have arrived, unread, and the client
could not tell.
"""

POLL = {"first": 0.05, "shortest": 0.05, "longest": 0.3}


@attrs.define(eq=False)
class ResettingServer(SwapServer):
    """Resets each photo's first upload, after the next of *shares* each time."""

    shares: tuple[float, ...] = SHARES
    reset_at: dict[str, float] = attrs.field(factory=dict)
    _known: set[int] = attrs.field(factory=set)

    async def take_submit(self, connection: Connection, request: Request) -> None:
        """Read some of the body, or accept the second upload."""
        if request.length in self._known:
            await super().take_submit(connection, request)
            return
        share = self.shares[len(self._known) % len(self.shares)]
        self._known.add(request.length)
        self.reset_at[request.request_id] = share
        await connection.read_body(int(request.length * share))
        connection.reset()


async def reset_half_way(
    here: Environment,
    count: int = 200,
    body: int = 2_000_000,
    shares: tuple[float, ...] = SHARES,
) -> SeriesResult:
    """Reset each photo's first upload on its way."""
    server = ResettingServer(shares=shares)
    work = Workload(count=count, length=length_for(body), poll=POLL)
    report = await here.run(server, work, TINY)
    result = SeriesResult()
    result.check_jobs(report, server, work)
    wrong = collections.Counter(
        server.reset_at[each.request_id] for each in report.unknown
    )
    shown = ", ".join(f"{wrong[share]} at {share:.0%}" for share in shares)
    result.add(f"unknown by place: {shown}")
    result.expect("each photo is sent twice", server.submits, 2 * count)
    return result


class SilentServer(SwapServer):
    """Resets each upload once it is whole, without an answer."""

    async def take_submit(self, connection: Connection, request: Request) -> None:
        """Record the body, and reset the connection."""
        if await connection.read_body():
            self.record(request)
            connection.reset()
            await asyncio.sleep(0)


async def reset_after_last_byte(
    here: Environment, count: int = 200, body: int = 2_000_000
) -> SeriesResult:
    """Reset each upload when it is whole, before any answer."""
    server = SilentServer()
    work = Workload(count=count, length=length_for(body), poll=POLL)
    report = await here.run(server, work)
    result = SeriesResult()
    result.check_jobs(report, server, work, excused=server.photos)
    result.expect("every photo is unknown", len(report.unknown), count)
    result.expect("every photo was whole", len(server.whole), count)
    result.expect("no submit is repeated", server.submits, count)
    return result
