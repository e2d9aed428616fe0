"""
Loads the example application with many users, and prints what it met.

The application, the emulator and the users are three processes. Fails on an error that
is no clear 429 or 503 of the application, on a step of its event loop of more than 50
ms of processor time (without the collector's, which is printed beside them), when its
memory grows, when tasks are left after its end, or when an accepted job is not
accounted for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypedDict, cast

import aiohttp
import attrs

from tests.load.users import Tally, Visitor
from tests.support.programs import python
from tests.support.webapp import User, environment, free_port

LONGEST_STEP = 0.05
"""Seconds of the processor time of the event loop's thread."""

GROWTH = 20.0
"""MB, from a third of the time to the end."""

_START = 30.0


class Report(TypedDict):
    """What the application says at its end."""

    steps: list[tuple[float, str]]
    collection: float
    left: list[str]


@attrs.define
class Load:
    """A load: so many users for so many seconds, and what was measured."""

    users: int
    seconds: float
    tally: Tally = attrs.field(factory=Tally)
    memory: list[float] = attrs.field(factory=list)
    """MB of the application, second by second."""
    charges: int = 0
    report: Report = attrs.field(
        factory=lambda: Report(steps=[], collection=0.0, left=[])
    )

    def broken(self) -> list[str]:
        """Return the promises that were not kept."""
        tally = self.tally
        longest = max((step for step, _ in self.report["steps"]), default=1.0)
        promises = {
            "errors: " + "; ".join(tally.errors[:5]): not tally.errors,
            f"a step of {1000 * longest:.0f} ms": longest <= LONGEST_STEP,
            f"memory grows by {self.growth:.1f} MB": self.growth <= GROWTH,
            f"tasks left: {self.report['left']}": not self.report["left"],
            "accepted jobs without a result": tally.accepted == tally.done > 0,
            "charges beside accepted jobs": self.charges == tally.accepted,
        }
        return [promise for promise, kept in promises.items() if not kept]

    @property
    def growth(self) -> float:
        """The growth of the application's memory, from a third of the time on."""
        third = len(self.memory) // 3
        return max(self.memory[-3:]) - max(self.memory[third : third + 3])


def resident(process: Process) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextlib.asynccontextmanager
async def serving(load: Load) -> AsyncIterator[dict[str, str]]:
    """Run the emulator, give the client's environment, and count its charges."""
    async with python("-u", "-m", "tests.scale.server") as server:
        assert server.stdin
        assert server.stdout
        yield json.loads(await server.stdout.readline())
        server.stdin.write(b"\n")
        load.charges = int(await server.stdout.readline())


@contextlib.asynccontextmanager
async def running(load: Load, environ: dict[str, str]) -> AsyncIterator[str]:
    """Run the application, give its address, and read its report."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.measured_app", str(port)),
        env=environ,
        stdout=PIPE,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_it_answers(url)
        measuring = asyncio.create_task(_measure(load, process))
        yield url
        measuring.cancel()
        process.send_signal(signal.SIGTERM)
        out, _ = await process.communicate()
        line = out.decode().partition("REPORT ")[2]
        load.report = cast("Report", json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _until_it_answers(url: str) -> None:
    async with asyncio.timeout(_START), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url):
                    return
            await asyncio.sleep(0.1)


async def _measure(load: Load, process: Process) -> None:
    while True:
        load.memory.append(resident(process))
        await asyncio.sleep(1)


async def run(load: Load) -> None:
    """Load the application, and stop it."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(load) as account:
            environ = environment(Path(folder)) | account
            async with running(load, environ) as url:
                end = time.monotonic() + load.seconds
                # Shorter than the server's 5 s, or a request may meet its close.
                connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
                async with (
                    aiohttp.ClientSession(connector=connector) as session,
                    asyncio.TaskGroup() as group,
                ):
                    for number in range(load.users):
                        user = User(session, url)
                        visitor = Visitor(user, number, load.tally, end)
                        group.create_task(visitor.visit())


def main(users: int, seconds: float) -> bool:
    """Print what was measured, and return whether each promise was kept."""
    load = Load(users, seconds)
    began = time.monotonic()
    asyncio.run(run(load))
    tally, took = load.tally, time.monotonic() - began
    print(f"{users} users for {seconds:g} s ({took:.1f} s in all)")
    print(f"accepted {tally.accepted}, done {tally.done}, charged {load.charges}")
    print(f"refused {tally.refused}, full {tally.full}, ZIPs {tally.zips}")
    print(f"answers {dict(sorted(tally.answers.items()))}")
    for step, what in load.report["steps"]:
        print(f"step {1000 * step:.1f} ms: {what[:160]}")
    print(f"longest garbage collection {1000 * load.report['collection']:.1f} ms")
    print(f"memory {load.memory[0]:.1f} to {load.memory[-1]:.1f} MB", end=", ")
    print(f"{load.growth:+.1f} MB in the last two thirds")
    broken = load.broken()
    print(f"BROKEN: {'; '.join(broken)}" if broken else "ok")
    return not broken


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--users", type=int, default=200)
    options.add_argument("--seconds", type=float, default=60)
    given = options.parse_args()
    sys.exit(not main(given.users, given.seconds))
