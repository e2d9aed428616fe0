"""Runs one client in a process of its own and prints what it cost, as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import sys
import time
from pathlib import Path

BEAT = 0.005


async def _heartbeat(late: list[float]) -> None:
    """Note by how much the loop was late, again and again."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(BEAT)
        late.append(time.perf_counter() - before - BEAT)


async def _run(name: str, arguments: list[str]) -> dict[str, float]:
    base_url, key, folder, output, slots = arguments
    client = importlib.import_module(f"tests.bench.{name}")
    photos = sorted(Path(folder).glob("*.jpg"))
    late: list[float] = []
    heart = asyncio.create_task(_heartbeat(late))
    used = time.process_time()
    began = time.perf_counter()
    await client.swap_all(base_url, key, photos, Path(output), int(slots))
    wall = time.perf_counter() - began
    heart.cancel()
    return {
        "wall": wall,
        "cpu": (time.process_time() - used) / (len(photos) - 1),
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stall": max(late),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], sys.argv[2:]))))
