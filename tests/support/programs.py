"""Python programs in processes of their own, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.support.raw_servers import authority

_ROOT = Path(__file__).parents[2]
_LONGEST_LINE = 64 * 1024 * 1024


class ProgramError(Exception):
    """A program failed, or took too long."""


@contextlib.asynccontextmanager
async def python(
    *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Run ``python ARGUMENTS`` with three pipes; kill it when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=env,
        cwd=_ROOT,
        limit=_LONGEST_LINE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.communicate()


async def run_python(
    *arguments: str,
    stdin: str = "",
    limit: float = 300,
    env: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """
    Run ``python ARGUMENTS`` to its end and return what it wrote to stdout and stderr.

    :exc:`ProgramError` if it fails, or is not done after *limit* seconds.
    """
    name = " ".join(arguments)
    try:
        async with python(*arguments, env=env) as process, asyncio.timeout(limit):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        raise ProgramError(f"{name} was not done after {limit:g} s") from None
    complaints = err.decode(errors="replace")
    if process.returncode:
        reason = " / ".join(complaints.strip().splitlines()[-3:]) or "no output"
        raise ProgramError(f"{name} ended with {process.returncode}: {reason}")
    return out.decode(), complaints


async def run_strictly(*arguments: str, **env: str) -> str:
    """
    Run ``python ARGUMENTS`` with every warning an error, and return its stdout.

    *env* is added to the environment. :exc:`ProgramError` if it fails, or writes
    anything to stderr.
    """
    whole = os.environ | env
    out, complaints = await run_python("-W", "error", *arguments, env=whole)
    if complaints:
        raise ProgramError(complaints)
    return out


def certificate_file(folder: Path) -> Path:
    """Write key and certificate of a server on this machine, and return the file."""
    path = folder / "server.pem"
    issued = authority().issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path
