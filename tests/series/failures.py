"""
What goes wrong in each series, and what the client promises about it.

* A connection that is reset during an upload creates no job: the client sends the
  photo again by itself. One that is reset after the last byte may have created one:
  the submit is unknown, and is not sent again.
* Over a slow link, the byte that the client takes for sent is not far ahead of what
  the server has read: from the last one on it waits for the answer, and not for ever.
* When the network fails in the middle of many jobs, none fails because of it, and
  none is paid twice. At most those submits are unknown that had arrived whole, and
  had no answer.
* A connection that the server closed before a submit began is not used for it. One
  that is closed during the submit may swallow a small body whole, and no client can
  tell that from a job whose answer was lost: such a submit may be unknown, but is
  never sent twice.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Awaitable, Callable

import attrs

from tests.series.client import JobResult, Workload
from tests.series.network import Connection, Network, Request, network
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

RESET_POLL = {"first": 0.05, "shortest": 0.05, "longest": 0.3}


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
    work = Workload(count=count, length=length_for(body), poll=RESET_POLL)
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
    work = Workload(count=count, length=length_for(body), poll=RESET_POLL)
    report = await here.run(server, work)
    result = SeriesResult()
    result.check_jobs(report, server, work, excused=server.photos)
    result.expect("every photo is unknown", len(report.unknown), count)
    result.expect("every photo was whole", len(server.whole), count)
    result.expect("no submit is repeated", server.submits, count)
    return result


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


PHOTO = 2_000
"""Bytes of a photo: so few that the kernel takes every body at once."""

IDLE_POLL = {"first": 0.01, "shortest": 0.01, "longest": 0.05}


@attrs.define(eq=False)
class ImpatientServer(SwapServer):
    """
    A server that closes connections that were idle for *patience* seconds.

    It announces nothing of the kind. *closed* holds, by key, between which two
    moments each connection was closed; *reused* counts the submits on connections
    that had carried another.
    """

    patience: float = 0.0
    closed: collections.defaultdict[str, list[tuple[float, float]]] = attrs.field(
        factory=lambda: collections.defaultdict(list)
    )
    reused: int = 0

    async def talk(self, connection: Connection) -> None:
        """Serve a connection until the next submit takes too long to arrive."""
        key, submits = "", 0
        while request := await self._next_request(connection, submits):
            if request.is_submit:
                key = request.headers["authorization"].removeprefix("Bearer ")
                self.reused += submits > 0
                submits += 1
            await self.serve(connection, request)
        before = time.monotonic()
        connection.close()
        if key:
            self.closed[key].append((before, time.monotonic()))

    async def _next_request(
        self, connection: Connection, submits: int
    ) -> Request | None:
        if not submits:
            return await connection.read_head()
        if not self.patience:
            return None
        try:
            async with asyncio.timeout(self.patience):
                return await connection.read_head()
        except TimeoutError:
            return None

    def closed_during(self, job: JobResult) -> bool:
        """Tell whether a connection was closed while *job* was submitted."""
        return any(
            job.began <= after and before <= job.ended
            for before, after in self.closed[job.key]
        )


async def idle_connections(
    here: Environment,
    patience: float,
    pauses: tuple[float, float],
    count: int = 100,
    clients: int = 20,
) -> SeriesResult:
    """Submit again and again after *pauses* to a server of some *patience*."""
    server = ImpatientServer(patience=patience)
    work = Workload(
        count=count, length=PHOTO, poll=IDLE_POLL, clients=clients, pauses=pauses
    )
    report = await here.run(server, work)
    excused = {job.request_id for job in report.unknown if server.closed_during(job)}
    result = SeriesResult()
    result.check_jobs(report, server, work, excused)
    result.add(
        f"{server.reused} on a used connection",
        f"{len(excused)} met by a closing one",
    )
    return result
