"""The server of the benchmark, in a process of its own, as its parent talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from attrs import asdict, define

from tests.bench.plans import Plan
from tests.support.programs import ProgramError, certificate_file, python
from tests.support.raw_servers import trust_file

_ANSWER = 300.0
_EXIT = 10.0


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
