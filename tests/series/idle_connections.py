"""
Submits on connections that a server closes while they are idle.

The client can promise not to use a connection that was closed before a submit
began. One that is closed during the submit may swallow a small body whole, and
no client can tell that from a job whose answer was lost: such a submit may be
unknown, but is never sent twice.
"""

from __future__ import annotations

import asyncio
import collections
import time

import attrs

from tests.series.client import JobResult, Workload
from tests.series.connection import Connection, Request
from tests.series.result import Environment, SeriesResult
from tests.series.server import SwapServer

PHOTO = 2_000
"""Bytes of a photo: so few that the kernel takes every body at once."""

POLL = {"first": 0.01, "shortest": 0.01, "longest": 0.05}


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
        count=count, length=PHOTO, poll=POLL, clients=clients, pauses=pauses
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
