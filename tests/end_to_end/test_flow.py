"""Many at once: who waits for whom, and who does not."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskHandle
from ezlink_async._core.images import Image
from ezlink_async._io.transport import Transport
from ezlink_async.emulator import Emulator, EmulatorSettings, faults, serving
from tests.support.pictures import jpeg

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)
RETRY = RetryPolicy(first=0.01, longest=0.02)
SOURCE = jpeg(20_000)


def _client(server: Emulator, slots: int, uploads: int | None = None) -> AsyncEzlink:
    return AsyncEzlink(
        server.api_key,
        base_url=server.base_url,
        max_concurrency=slots,
        max_uploads=uploads,
        poll=POLL,
        retry=RETRY,
    )


def _asked(server: Emulator, part: str) -> int:
    return sum(part in request.path for request in server.control.requests)


def _transport(ez: AsyncEzlink) -> Transport:
    session = ez._session
    assert session is not None
    return session.transport


async def test_a_slow_disk_delays_no_poll(tmp_path: Path) -> None:
    """While every thread that writes is stuck, other tasks are followed on."""
    release = threading.Event()
    async with asyncio.timeout(60), serving() as server, _client(server, 2) as ez:
        for _ in range(8):
            _transport(ez).writers.submit(release.wait)
        handle = await ez.swap_face(SOURCE, jpeg(500_000))
        saving = asyncio.create_task(handle.save(tmp_path / "a.jpg"))
        try:
            for number in range(3):
                await (await ez.swap_face(SOURCE, jpeg(30_000 + number)))
            assert handle.done()
            assert not saving.done()
        finally:
            release.set()
        assert (await saving).stat().st_size > 500_000


async def test_a_slow_link_delays_no_poll() -> None:
    """As many pictures as may come at once are stuck, and tasks still end."""
    async with asyncio.timeout(60), serving() as server, _client(server, 4) as ez:
        server.control.script("image", *[faults.Stall()] * 8)
        stuck = [await ez.swap_face(SOURCE, jpeg(30_000 + n)) for n in range(9)]
        reading = [asyncio.create_task(handle.read()) for handle in stuck]
        while _asked(server, "/mj/image/") < 8:
            await asyncio.sleep(0)
        await (await ez.swap_face(SOURCE, jpeg(50_000)))
        assert not any(task.done() for task in reading)
        assert _asked(server, "/mj/image/") == 8  # the ninth waits its turn
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_uploads_have_a_limit_of_their_own() -> None:
    """Of many jobs in progress only so many send their pictures at a time."""
    settings = EmulatorSettings(concurrency=20, engine_seconds=0.05)
    most = 0
    async with (
        asyncio.timeout(60),
        serving(settings) as server,
        _client(server, 12, uploads=2) as ez,
    ):
        session = ez._session
        assert session is not None
        uploads = session.submitter._uploads

        async def swap(number: int) -> TaskHandle:
            nonlocal most
            handle = await ez.swap_face(SOURCE, Image.from_bytes(jpeg(40_000 + number)))
            most = max(most, uploads.taken)
            return handle

        handles = await asyncio.gather(*(swap(number) for number in range(12)))
        await asyncio.gather(*handles)
        assert most <= 2
        assert uploads.taken == 0
    assert len(server.control.tasks) == 12


async def test_a_server_that_is_full_is_kept_full_and_every_photo_finishes() -> None:
    """Three run, ten wait, more are refused: nothing fails, and few are refused."""
    settings = EmulatorSettings(concurrency=3, queue=10, engine_seconds=0.01)
    async with (
        asyncio.timeout(60),
        serving(settings) as server,
        _client(server, 64) as ez,
    ):
        targets = [jpeg(30_000 + number) for number in range(100)]
        async with ez.swap_faces(SOURCE, targets) as swaps:
            outcomes = [outcome async for outcome in swaps]
    assert [outcome.error for outcome in outcomes] == [None] * 100
    assert len(server.control.tasks) == 100
    assert _asked(server, "/swap") <= 150
