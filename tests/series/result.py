"""What a series found: its figures on one line, and each promise that was broken."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Container, Coroutine

import attrs

from tests.series.client import ClientReport, Workload
from tests.series.network import network
from tests.series.photos import digest_of
from tests.series.server import SwapServer
from tests.support.raw_servers import SMALL


@attrs.define
class SeriesResult:
    """Figures in the order in which they are printed, and the broken promises."""

    figures: list[str] = attrs.field(factory=list)
    broken: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        end = "BROKEN: " + "; ".join(self.broken) if self.broken else "ok"
        return f"{', '.join(self.figures)}: {end}"

    def add(self, *figures: str) -> None:
        """Add figures."""
        self.figures.extend(figures)

    def expect(self, promise: str, found: object, wanted: object) -> None:
        """Note a promise that was not kept."""
        if found != wanted:
            self.broken.append(f"{promise} ({found}, not {wanted})")

    def check_jobs(
        self,
        report: ClientReport,
        server: SwapServer,
        work: Workload,
        excused: Container[str] = (),
    ) -> None:
        """
        Add what became of the jobs of *work*, and check what is promised of them.

        Every photo has its result, except that *excused* requests may be unknown.
        No photo is made twice, and each result is of a photo that was made.
        """
        done = {each.photo for each in report.results if each.right}
        unknown, failed = report.unknown, report.failed
        self.add(
            f"{work.count} photos",
            f"{server.submits} submits",
            f"{server.whole.total()} whole",
            f"{len(done)} done",
            f"{len(unknown)} unknown",
            f"{len(failed)} failed",
            f"{report.connects} connects",
            f"{report.seconds:.1f} s",
        )
        if report.complaints:
            self.add(f"asyncio complains {report.complaints} times")
        names = sorted({each.error for each in failed})
        self.expect("every photo ends", len(report.results), work.count)
        self.expect(f"nothing fails {names}", len(failed), 0)
        causeless = [each for each in unknown if each.request_id not in excused]
        self.expect("nothing is unknown without a cause", len(causeless), 0)
        ended = len(done) + len(unknown) + len(failed)
        self.expect("all others have their results", ended, work.count)
        self.expect("each result was made", len(done - server.whole.keys()), 0)
        twice = [photo for photo, times in server.whole.items() if times > 1]
        self.expect("no photo is made twice", len(twice), 0)
        unasked = server.whole.keys() - set(map(digest_of, work.photos()))
        self.expect("only photos of the workload are made", len(unasked), 0)


@attrs.frozen
class Environment:
    """How a series is run: over TLS or not, and in which process the client is."""

    tls: ssl.SSLContext | None
    run_client: Callable[[Workload], Coroutine[object, object, ClientReport]]

    async def run(
        self, server: SwapServer, work: Workload, buffer: int = SMALL
    ) -> ClientReport:
        """Do *work* against *server*, whose receive buffer is *buffer* bytes."""
        async with network(server.talk, self.tls, buffer) as link:
            server.url = link.url
            return await self.run_client(attrs.evolve(work, url=link.url))
