"""
One run of one client: set up, let it work, check everything, reckon its figures.

A figure counts only when every target arrived whole, every result is on disk as it
was sent, and every job was charged once.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

from attrs import define, field, frozen

from ezlink_async.emulator.settings import DEFAULT_KEY
from tests.bench.children import BenchError, Certificate, Server, client
from tests.bench.pictures import result, write_album
from tests.bench.plans import ALBUMS, Album, Order, Run, Scenario


class JobTold(TypedDict):
    """A job in the server's report."""

    task_id: str
    seconds: float
    finished: float
    visible: float
    source: str
    target: str


class Told(TypedDict):
    """The server's report."""

    jobs: list[JobTold]
    requests: dict[str, int]
    refused: int
    queued: int
    charges: int
    ideal: float
    cpu: float


class Spent(TypedDict):
    """What the process of a client tells of itself."""

    wall: float
    cpu: float
    rss: float
    stall: float
    known: dict[str, float]


@frozen(kw_only=True)
class Figures:
    """What one run came to: seconds, MB, and counts per job."""

    wall: float
    ideal: float
    cpu: float
    server_cpu: float
    rss: float
    stall: float
    status_requests: float
    requests: float
    refused: float
    latency: float
    latency_p95: float
    mean: float

    @property
    def over_ideal(self) -> float:
        """The time it took over the least it could take."""
        return self.wall / self.ideal

    @property
    def lateness(self) -> float:
        """The mean latency as a share of the mean job."""
        return self.latency / self.mean


@define(eq=False)
class Studio:
    """The photos of all scenarios, written when they are first asked for."""

    folder: Path
    _hashes: dict[str, dict[str, str]] = field(factory=dict)

    def photos(self, album: Album) -> Path:
        """Return where the photos of *album* are: all of its kind, or more."""
        place = self.folder / album.name
        if album.name not in self._hashes:
            self._hashes[album.name] = write_album(ALBUMS[album.name], place)
        return place

    def hashes(self, album: Album) -> Mapping[str, str]:
        """Return the hash of the source and of each target, by name."""
        known = self._hashes[album.name].items()
        return dict(itertools.islice(known, album.count + 1))


@frozen
class Bench:
    """What a run needs: the server, what it is trusted by, and the photos."""

    server: Server
    certificate: Certificate
    studio: Studio

    async def run(self, scenario: Scenario, run: Run, seed: int) -> Figures:
        """Run one client of *scenario* against a server that knows nothing yet."""
        photos = self.studio.photos(scenario.album)
        await self.server.begin(scenario.plan(seed))
        with tempfile.TemporaryDirectory(dir=self.studio.folder) as output:
            order = Order(
                client=run.client,
                base_url=self.server.addresses["https" if scenario.tls else "http"],
                key=DEFAULT_KEY,
                photos=str(photos),
                count=scenario.album.count,
                output=output,
                in_flight=run.in_flight,
                scale=scenario.scale,
                shortest=run.shortest,
                speed=run.speed,
                safely=scenario.safely,
                heartbeat=run.watched,
                limit=run.limit,
            )
            spent = cast("Spent", await client(order, self.certificate))
            told = cast("Told", await self.server.report())
            hashes = self.studio.hashes(scenario.album)
            wrong = check(told, hashes, Path(output), scenario.album.result)
        if wrong:
            raise BenchError(f"{scenario.name}, {run.name}: {wrong}")
        return figures(spent, told)


def check(
    told: Told, hashes: Mapping[str, str], output: Path, length: int
) -> str | None:
    """
    Return what is wrong with a run, if anything.

    *hashes* are those of the source and the targets, by name; the results are to be
    in *output*, of *length* bytes without their stamps.
    """
    (_, source), *targets = hashes.items()
    if {job["source"] for job in told["jobs"]} != {source}:
        return "the server has another source than was sent"
    if sorted(job["target"] for job in told["jobs"]) != sorted(
        target for _, target in targets
    ):
        return "the server has other targets than were sent"
    if told["charges"] + told["queued"] != len(targets):
        return f"{told['charges']} charges for {len(targets)} jobs"
    for name, target in targets:
        place = output / name
        if not place.exists() or place.read_bytes() != result(source, target, length):
            return f"{name} is not the result of its job"
    if len(list(output.iterdir())) != len(targets):
        return "there is more in the folder than results"
    return None


def figures(spent: Spent, told: Told) -> Figures:
    """Reckon what a run came to."""
    jobs, asked, known = told["jobs"], told["requests"], spent["known"]
    late = [known[job["task_id"]] - job["visible"] for job in jobs]
    status = asked.get("fetch", 0) + asked.get("list", 0)
    count = len(jobs)
    return Figures(
        wall=spent["wall"],
        ideal=told["ideal"],
        cpu=spent["cpu"] / count,
        server_cpu=told["cpu"] / count,
        rss=spent["rss"],
        stall=spent["stall"],
        status_requests=status / count,
        requests=sum(asked.values()) / count,
        refused=told["refused"] / count,
        latency=statistics.fmean(late),
        latency_p95=statistics.quantiles(late, n=20)[-1],
        mean=statistics.fmean(job["seconds"] for job in jobs),
    )
