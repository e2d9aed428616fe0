"""
The processes of the benchmark: a server for all of it, a client for each run.

Each is bounded in time and ended by its own id, whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import trustme
from attrs import asdict, define, frozen

from tests.bench.plans import Order, Plan

_ROOT = Path(__file__).parents[2]
_ANSWER = 30.0
_LEAVE = 10.0
_LINE = 64 * 1024 * 1024  # a report has a line for each job


class BenchError(Exception):
    """The benchmark cannot go on, or something it ran was wrong."""


@frozen
class Certificate:
    """A certificate of the benchmark's own, and the file that makes it trusted."""

    server: Path
    authority: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        """Write both files into *folder*."""
        authority = trustme.CA()
        made = cls(folder / "server.pem", folder / "authority.pem")
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(made.server))
        authority.cert_pem.write_to_path(str(made.authority))
        return made

    def environment(self) -> dict[str, str]:
        """Return the environment of a child: it trusts, and has no settings of ours."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EZLINK_")}
        return kept | {"SSL_CERT_FILE": str(self.authority)}


@contextlib.asynccontextmanager
async def child(
    *module: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Run ``python -m MODULE ...`` until the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *module,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=environment,
        cwd=_ROOT,
        limit=_LINE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.communicate()


async def outcome(
    *module: str,
    told: str = "",
    limit: float,
    environment: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Run a module to its end and return the JSON it prints; *told* is its stdin."""
    name = " ".join(module)
    try:
        async with (
            child(*module, environment=environment) as process,
            asyncio.timeout(limit),
        ):
            out, err = await process.communicate(told.encode())
    except TimeoutError:
        raise BenchError(f"{name} was not done after {limit:g} s") from None
    if process.returncode:
        lines = err.decode(errors="replace").strip().splitlines()
        says = " / ".join(lines[-3:]) or "no word"
        raise BenchError(f"{name} ended with {process.returncode}: {says}")
    answer: dict[str, object] = json.loads(out)
    return answer


@define(eq=False)
class Server:
    """The running server, as the benchmark talks to it beside its API."""

    _process: Process
    addresses: dict[str, str]

    async def begin(self, plan: Plan) -> None:
        """Forget everything, and run *plan* from now on."""
        await self._ask({"begin": asdict(plan)})

    async def report(self) -> dict[str, object]:
        """Tell what was done since."""
        return await self._ask({"report": {}})

    async def _ask(self, order: dict[str, object]) -> dict[str, object]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await _line(self._process)


async def _line(process: Process) -> dict[str, object]:
    assert process.stdout
    assert process.stderr
    try:
        async with asyncio.timeout(_ANSWER):
            line = await process.stdout.readline()
            if not line:
                err = (await process.stderr.read()).decode(errors="replace")
                raise BenchError(f"the server has ended: {err.strip()[-500:]}")
    except TimeoutError:
        raise BenchError(f"the server said nothing for {_ANSWER:g} s") from None
    answer: dict[str, object] = json.loads(line)
    return answer


@contextlib.asynccontextmanager
async def serving(certificate: Certificate) -> AsyncIterator[Server]:
    """Run the server until the block is left."""
    async with child("tests.bench.serve", str(certificate.server)) as process:
        addresses = {name: str(url) for name, url in (await _line(process)).items()}
        yield Server(process, addresses)
        assert process.stdin
        process.stdin.close()  # which it takes as its end
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE):
                await process.wait()


async def client(order: Order, certificate: Certificate) -> dict[str, object]:
    """Run one client and return its figures."""
    return await outcome(
        "tests.bench.runner",
        told=json.dumps(asdict(order)),
        limit=order.limit + _LEAVE,
        environment=certificate.environment(),
    )
