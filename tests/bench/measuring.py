"""
One run of one client: start it, check everything it did, compute its figures.

The server is a process of its own for all runs, each client one for each run.

A figure counts only when every target arrived whole, every result is on disk as it
was sent, and every job was charged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TypedDict, cast

from attrs import asdict, define, field, frozen

from ezlink_async.emulator.settings import DEFAULT_KEY
from tests.bench.pictures import result, write_album
from tests.bench.plans import ALBUMS, Album, Order, Plan, Run, Scenario
from tests.support.programs import ProgramError, certificate_file, python, run_python
from tests.support.raw_servers import trust_file

_ANSWER = 300.0
_EXIT = 10.0


class JobReport(TypedDict):
    """A job in the server's report."""

    task_id: str
    seconds: float
    visible: float
    source: str
    target: str


class ServerReport(TypedDict):
    """The server's report."""

    jobs: list[JobReport]
    counts: dict[str, int]
    ideal: float
    cpu: float


class ClientReport(TypedDict):
    """What the process of a client reports of itself."""

    wall: float
    cpu: float
    rss: float
    stall: float
    known: dict[str, float]


@frozen(kw_only=True)
class Figures:
    """The figures of one run: seconds, MB, and counts per job."""

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
class Server:
    """
    A running server, beside its API.

    *urls* are its addresses by scheme, and *env* is the environment of a client
    that trusts it, without settings of ours.
    """

    env: dict[str, str]
    _process: Process
    urls: dict[str, str]

    async def start(self, plan: Plan) -> None:
        """Forget everything, and run *plan* from now on."""
        await self._ask({"plan": asdict(plan)})

    async def report(self) -> dict[str, object]:
        """Return what was done since."""
        return await self._ask({})

    async def _ask(self, command: dict[str, object]) -> dict[str, object]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await _answer(self._process)


async def _answer(process: Process) -> dict[str, object]:
    assert process.stdout
    assert process.stderr
    async with asyncio.timeout(_ANSWER):
        line = await process.stdout.readline()
        if not line:
            err = (await process.stderr.read()).decode(errors="replace")
            raise ProgramError(f"the server has ended: {err.strip()[-500:]}")
    answer: dict[str, object] = json.loads(line)
    return answer


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """Run the server until the block is left; its certificate is in *folder*."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("EZLINK_")}
    env["SSL_CERT_FILE"] = str(trust_file(folder))
    program = ("-m", "tests.bench.serve", str(certificate_file(folder)))
    async with python(*program) as process:
        urls = {name: str(url) for name, url in (await _answer(process)).items()}
        yield Server(env, process, urls)
        assert process.stdin
        process.stdin.close()  # the server ends with it
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT):
                await process.wait()


@define(eq=False)
class Bench:
    """The server, and a folder with the photos that were asked for so far."""

    server: Server
    folder: Path
    _hashes: dict[str, dict[str, str]] = field(factory=dict)

    def _photos(self, album: Album) -> tuple[Path, dict[str, str]]:
        """Return the folder of *album*, and the hashes of its photos by name."""
        folder = self.folder / album.name
        if album.name not in self._hashes:
            self._hashes[album.name] = write_album(ALBUMS[album.name], folder)
        known = self._hashes[album.name].items()
        return folder, dict(itertools.islice(known, album.count + 1))

    async def run(self, scenario: Scenario, run: Run, seed: int) -> Figures:
        """Run one client of *scenario* against a server that knows nothing yet."""
        photos, hashes = self._photos(scenario.album)
        await self.server.start(scenario.plan(seed))
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            order = Order(
                run=run,
                base_url=self.server.urls["https" if scenario.tls else "http"],
                key=DEFAULT_KEY,
                photos=str(photos),
                count=scenario.album.count,
                output=output,
                scale=scenario.scale,
                safely=scenario.safely,
            )
            out, _ = await run_python(
                *("-m", "tests.bench.runner"),
                stdin=json.dumps(asdict(order)),
                limit=run.limit + _EXIT,
                env=self.server.env,
            )
            served = cast("ServerReport", await self.server.report())
            wrong = check(served, hashes, Path(output), scenario.album.result)
        if wrong:
            raise ProgramError(f"{scenario.name}, {run.name}: {wrong}")
        return figures(json.loads(out), served)


def check(
    served: ServerReport, hashes: Mapping[str, str], output: Path, length: int
) -> str | None:
    """
    Return what is wrong with a run, if anything.

    *hashes* are those of the source and the targets, by name; the results are to be
    in *output*, of *length* bytes without their stamps.
    """
    (_, source), *targets = hashes.items()
    if {job["source"] for job in served["jobs"]} != {source}:
        return "the server has another source than was sent"
    if sorted(job["target"] for job in served["jobs"]) != sorted(
        target for _, target in targets
    ):
        return "the server has other targets than were sent"
    charges, queued = (served["counts"].get(name, 0) for name in ("charges", "queued"))
    if charges + queued != len(targets):
        return f"{charges} charges for {len(targets)} jobs"
    for name, target in targets:
        path = output / name
        if not path.exists() or path.read_bytes() != result(source, target, length):
            return f"{name} is not the result of its job"
    if len(list(output.iterdir())) != len(targets):
        return "there is more in the folder than results"
    return None


def figures(client: ClientReport, served: ServerReport) -> Figures:
    """Compute the figures of a run."""
    jobs, counts, known = served["jobs"], served["counts"], client["known"]
    late = [known[job["task_id"]] - job["visible"] for job in jobs]
    status = counts.get("fetch", 0) + counts.get("list", 0)
    count = len(jobs)
    return Figures(
        wall=client["wall"],
        ideal=served["ideal"],
        cpu=client["cpu"] / count,
        server_cpu=served["cpu"] / count,
        rss=client["rss"],
        stall=client["stall"],
        status_requests=status / count,
        requests=(status + counts["submit"] + counts["image"]) / count,
        refused=counts.get("refused", 0) / count,
        latency=statistics.fmean(late),
        latency_p95=statistics.quantiles(late, n=20)[-1],
        mean=statistics.fmean(job["seconds"] for job in jobs),
    )
