"""
Runs the series, plain and over TLS, and prints a line for each.

Fails when a promise was broken. Arguments are names, or how names begin.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import traceback
from collections.abc import Awaitable, Callable

from tests.series import child
from tests.series.cut import half_way, last_byte
from tests.series.many import many
from tests.series.outage import outage
from tests.series.slow import slow_link
from tests.series.stale import stale
from tests.series.verdict import Edition, Verdict
from tests.support.raw_servers import server_tls

BOUND = 300
"""Seconds after which a series is given up."""

Series = Callable[[Edition], Awaitable[Verdict]]

SERIES: dict[str, Series] = {
    "half-way": half_way,
    # Near its end the rest of a small body may lie at the server, unread: no
    # client can tell.
    "half-way-small": functools.partial(half_way, body=100_000, shares=(0.1, 0.5, 0.8)),
    "last-byte": last_byte,
    "slow-link": slow_link,
    "outage-refused": functools.partial(outage, way="refused", seconds=60),
    "outage-dropped": functools.partial(outage, way="dropped", seconds=20),
    "outage-still": functools.partial(outage, way="still", seconds=20),
    "outage-swallowed": functools.partial(outage, way="swallowed", seconds=20),
    "stale-at-once": functools.partial(stale, patience=0, pauses=(0, 0.002)),
    "stale-1.9": functools.partial(stale, patience=1.9, pauses=(1.895, 1.905)),
    "stale-2.1": functools.partial(stale, patience=2.1, pauses=(1.95, 2.15)),
    "three-hundred": many,
}


async def _run(name: str, *, tls: bool) -> bool:
    here = Edition(server_tls() if tls else None, child.buy)
    verdict = Verdict()
    try:
        async with asyncio.timeout(BOUND):
            verdict = await SERIES[name](here)
    except TimeoutError:
        verdict.broken.append(f"not over after {BOUND} s")
    except (RuntimeError, ExceptionGroup) as fault:
        traceback.print_exception(fault)
        verdict.broken.append("the customer complains")
    print(f"{name} {'tls' if tls else 'plain'}: {verdict}", flush=True)
    return not verdict.broken


async def _main(chosen: list[str]) -> bool:
    kept = [
        await _run(name, tls=tls)
        for name in SERIES
        for tls in (False, True)
        if not chosen or name.startswith(tuple(chosen))
    ]
    return bool(kept) and all(kept)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name", nargs="*", help=", ".join(SERIES))
    sys.exit(not asyncio.run(_main(options.parse_args().name)))
