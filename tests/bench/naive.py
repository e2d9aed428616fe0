"""
The baseline: what a competent user writes today.

``gather`` over all targets, a semaphore, whole files as base64, ``json=``, and
a poll loop of its own for each task.
"""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import aiohttp

POLL = 0.5


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


async def _one(
    session: aiohttp.ClientSession, source: str, target: Path, output: Path
) -> None:
    body = {"sourceBase64": source, "targetBase64": _data_uri(target)}
    async with session.post("/mj/insight-face/swap", json=body) as answer:
        task_id = (await answer.json(content_type=None))["result"]
    while True:
        await asyncio.sleep(POLL)
        async with session.get(f"/mj/task/{task_id}/fetch") as answer:
            if (await answer.json())["status"] == "SUCCESS":
                break
    async with session.get(f"/mj/image/{task_id}") as answer:
        content = await answer.read()
    part = output / f"{target.name}.part"
    with part.open("wb") as stream:
        stream.write(content)
        os.fsync(stream.fileno())
    part.replace(output / target.name)


async def swap_all(
    base_url: str, key: str, photos: list[Path], output: Path, slots: int
) -> None:
    """Swap the face of the first photo into the others."""
    gate = asyncio.Semaphore(slots)
    source, *targets = photos
    face = _data_uri(source)

    async def bounded(target: Path) -> None:
        async with gate:
            await _one(session, face, target, output)

    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(base_url, headers=headers) as session:
        await asyncio.gather(*map(bounded, targets))
