"""
Runs one client in a process of its own, and prints what it cost, as JSON.

The order is read from stdin. Nothing of the client under test is imported here, so
that each pays for its own.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import time
from pathlib import Path

from tests.bench.plans import Order, Run

_INTERVAL = 0.005


async def _heartbeat(late: list[float]) -> None:
    """Note by how much the loop was late, again and again."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_INTERVAL)
        late.append(time.perf_counter() - before - _INTERVAL)


def _peak() -> float:
    """Return the most memory this program has held, in MB."""
    # ru_maxrss also remembers what the parent held before this program was loaded.
    status = Path("/proc/self/status")
    if status.exists():
        words = status.read_text().partition("VmHWM:")[2].split()
        return int(words[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


async def _run(order: Order) -> dict[str, object]:
    client = importlib.import_module(f"tests.bench.{order.run.client}")
    targets = sorted(Path(order.photos).glob("*.jpg"))[1 : order.count + 1]
    late, known = [0.0], dict[str, float]()
    heart = asyncio.create_task(_heartbeat(late)) if order.run.heartbeat else None
    await asyncio.sleep(0)
    used, began = time.process_time(), time.perf_counter()
    async with asyncio.timeout(order.run.limit):
        await client.swap_all(order, targets, known)
    wall, used = time.perf_counter() - began, time.process_time() - used
    if heart is not None:
        await asyncio.sleep(2 * _INTERVAL)  # let it note the latest stall
        heart.cancel()
    return {
        "wall": wall,
        "cpu": used,
        "rss": _peak(),
        "stall": max(late),
        "known": known,
    }


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    order = Order(**{**given, "run": Run(**given["run"])})
    if not order.run.speed:
        sys.modules["pybase64"] = None  # type: ignore[assignment] # as if not there
    print(json.dumps(asyncio.run(_run(order))))
