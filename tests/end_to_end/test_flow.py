"""Many jobs at once: which of them wait for each other, and which do not."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from ezlink_async import RetryPolicy
from ezlink_async._core.settings import Options
from ezlink_async.emulator import Emulator, EmulatorSettings, faults
from tests.support.client_harness import beside_emulator
from tests.support.pictures import jpeg

# When no task has moved for the longest pause, the gate admits one submit above its
# limit. The pause is long, so that a slow machine causes no such submit.
RETRY = RetryPolicy(first=0.01, longest=30)
SOURCE = jpeg(20_000)


def _requests(server: Emulator, part: str) -> int:
    return sum(part in request.path for request in server.control.requests)


async def test_tasks_are_polled_while_every_writer_thread_is_blocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks end while more saves than there are threads wait for the disk."""
    disk = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: disk.wait(300))
    async with beside_emulator(max_concurrency=2, retry=RETRY) as (ez, _):
        saving = []
        for number in range(16):
            handle = await ez.swap_face(SOURCE, jpeg(40_000 + number))
            path = tmp_path / f"{number}.jpg"
            saving.append(asyncio.create_task(handle.save(path)))
        try:
            for number in range(3):
                await (await ez.swap_face(SOURCE, jpeg(30_000 + number)))
            assert not any(task.done() for task in saving)
        finally:
            disk.set()
        for path in await asyncio.gather(*saving):
            assert path.stat().st_size > 40_000


async def test_tasks_are_polled_while_every_download_stalls() -> None:
    """Other tasks end while as many downloads as may run at once stand still."""
    async with beside_emulator(max_concurrency=4, retry=RETRY) as (ez, server):
        server.control.script("image", *[faults.Stall()] * 8)
        stuck = [await ez.swap_face(SOURCE, jpeg(30_000 + n)) for n in range(9)]
        reading = [asyncio.create_task(handle.read()) for handle in stuck]
        while _requests(server, "/mj/image/") < 8:
            await asyncio.sleep(0)
        await (await ez.swap_face(SOURCE, jpeg(50_000)))
        assert not any(task.done() for task in reading)
        assert _requests(server, "/mj/image/") == 8  # the ninth waits its turn
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_every_photo_finishes_on_a_small_server_after_few_refusals() -> None:
    """With 64 slots against 3 running and 10 queued tasks, no photo fails."""
    settings = EmulatorSettings(concurrency=3, queue=10, engine_seconds=0.01)
    options = Options(max_concurrency=64, retry=RETRY)
    async with beside_emulator(settings, **options) as (ez, server):
        targets = [jpeg(30_000 + number) for number in range(100)]
        async with ez.swap_faces(SOURCE, targets) as swaps:
            outcomes = [outcome async for outcome in swaps]
    assert [outcome.error for outcome in outcomes] == [None] * 100
    assert len(server.control.tasks) == 100
    assert _requests(server, "/swap") <= 150
