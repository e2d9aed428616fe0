"""
The baseline: the script that a competent user writes today.

``gather`` over all targets, a semaphore, whole files as base64, ``json=``, and a
poll loop of its own for each task.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from pathlib import Path

import aiohttp

from tests.bench.plans import Order

POLL = 2.0
"""Seconds between two polls of a task, at the real server."""


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


async def _one(
    session: aiohttp.ClientSession, order: Order, target: Path, known: dict[str, float]
) -> None:
    source = target.parent / "0000.jpg"
    body = {"sourceBase64": _data_uri(source), "targetBase64": _data_uri(target)}
    async with session.post("/mj/insight-face/swap", json=body) as answer:
        task_id = (await answer.json(content_type=None))["result"]
    while True:
        await asyncio.sleep(POLL * order.scale)
        async with session.get(f"/mj/task/{task_id}/fetch") as answer:
            if (await answer.json())["status"] == "SUCCESS":
                break
    known[task_id] = time.monotonic()
    async with session.get(f"/mj/image/{task_id}") as answer:
        content = await answer.read()
    path = Path(order.output) / target.name
    if order.safely:
        _write_safely(path, content)
    else:
        path.write_bytes(content)


def _write_safely(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, even if the power fails."""
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def swap_all(order: Order, targets: list[Path], known: dict[str, float]) -> None:
    """Swap the face of the source into *targets*; note when each is known done."""
    slots = asyncio.Semaphore(order.run.in_flight)

    async def bounded(target: Path) -> None:
        async with slots:
            await _one(session, order, target, known)

    headers = {"Authorization": f"Bearer {order.key}"}
    async with aiohttp.ClientSession(order.base_url, headers=headers) as session:
        await asyncio.gather(*map(bounded, targets))
