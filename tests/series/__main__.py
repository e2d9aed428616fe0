"""
Runs the series, plain and over TLS, and prints a line for each.

Fails when a promise was broken. Arguments are names, or how names begin.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.end_to_end import three_hundred_swaps
from tests.series.cancelled_requests import cancelled_requests
from tests.series.client import run_client_process
from tests.series.failures import (
    idle_connections,
    outage,
    reset_after_last_byte,
    reset_half_way,
    slow_link,
)
from tests.series.heavy_answers import heavy_answers
from tests.series.hostile_results import hostile_results_series
from tests.series.result import Environment, SeriesResult
from tests.support.programs import ProgramError, certificate_file, run_strictly
from tests.support.raw_servers import server_tls, trust_file

BOUND = 300
"""Seconds after which a series is given up."""


async def three_hundred(here: Environment) -> SeriesResult:
    """Run 300 swaps through an emulator in Python's devmode, and check the report."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = await run_strictly(
            *("-m", "tests.end_to_end.three_hundred_swaps"),
            *([str(certificate_file(folder))] if here.tls else []),
            **three_hundred_swaps.DEVMODE,
            SSL_CERT_FILE=str(trust_file(folder)),
        )
    report = json.loads(out)
    result = SeriesResult([f"{figure} {name}" for name, figure in report.items()])
    result.add(f"{time.monotonic() - began:.1f} s")
    result.expect("the report is right", report, three_hundred_swaps.EXPECTED)
    return result


SERIES: dict[str, Callable[[Environment], Awaitable[SeriesResult]]] = {
    "half-way": reset_half_way,
    # Near its end the rest of a small body may lie at the server, unread: no
    # client can tell.
    "half-way-small": partial(reset_half_way, body=100_000, shares=(0.1, 0.5, 0.8)),
    "last-byte": reset_after_last_byte,
    "slow-link": slow_link,
    "outage-refused": partial(outage, failure="refused", seconds=60),
    "outage-dropped": partial(outage, failure="dropped", seconds=20),
    "outage-still": partial(outage, failure="still", seconds=20),
    "outage-swallowed": partial(outage, failure="swallowed", seconds=20),
    "stale-at-once": partial(idle_connections, patience=0, pauses=(0, 0.002)),
    "stale-1.9": partial(idle_connections, patience=1.9, pauses=(1.895, 1.905)),
    "stale-2.1": partial(idle_connections, patience=2.1, pauses=(1.95, 2.15)),
    "three-hundred": three_hundred,
    "cancelled-requests": cancelled_requests,
    "heavy_answers": heavy_answers,
    "hostile-results": hostile_results_series,
}


async def _run(name: str, *, tls: bool) -> bool:
    here = Environment(server_tls() if tls else None, run_client_process)
    result = SeriesResult()
    try:
        async with asyncio.timeout(BOUND):
            result = await SERIES[name](here)
    except TimeoutError:
        result.broken.append(f"not done after {BOUND} s")
    except (ProgramError, ExceptionGroup) as failure:
        traceback.print_exception(failure)
        result.broken.append("the client process failed or complained")
    print(f"{name} {'tls' if tls else 'plain'}: {result}", flush=True)
    return not result.broken


async def _main(chosen: list[str]) -> bool:
    kept = [
        await _run(name, tls=tls)
        for name in SERIES
        for tls in (False, True)
        if name.startswith(tuple(chosen or [""]))
    ]
    return bool(kept) and all(kept)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name", nargs="*", help=", ".join(SERIES))
    sys.exit(not asyncio.run(_main(options.parse_args().name)))
