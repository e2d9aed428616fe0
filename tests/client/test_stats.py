"""The numbers of a health page: how busy a client is, and what it has sent."""

from __future__ import annotations

import asyncio

import attrs

from ezlink_async import RetryPolicy
from ezlink_async.emulator import faults, scripts
from ezlink_async.models import Stats
from tests.support.cancelling import cancel
from tests.support.client_harness import beside_emulator
from tests.support.pictures import jpeg

SOURCE, TARGET = jpeg(20_000), jpeg(30_000)

IDLE = Stats(
    in_progress=0,
    waiting=0,
    pending=0,
    busy_for=0.0,
    requests=0,
    retries=0,
    bytes_sent=0,
    bytes_received=0,
)


async def test_client_that_has_done_nothing_is_idle() -> None:
    async with beside_emulator() as (ez, _):
        assert ez.stats() == IDLE


async def test_slots_their_queue_and_the_followed_tasks_are_counted() -> None:
    async with beside_emulator(max_concurrency=2) as (ez, server):
        server.control.script_tasks(*[scripts.stuck()] * 2)
        handles = [await ez.swap_face(SOURCE, jpeg(30_000 + n)) for n in range(2)]
        waiting = [asyncio.create_task(ez.swap_face(SOURCE, TARGET)) for _ in range(3)]
        resumed = ez.task("known-by-its-id")
        while ez.stats().waiting < 3:
            await asyncio.sleep(0)
        stats = ez.stats()
        assert (stats.in_progress, stats.waiting, stats.pending) == (2, 3, 3)
        assert len(ez.pending()) == 3
        for task in waiting:
            await cancel(task)
        assert (ez.stats().in_progress, ez.stats().waiting) == (2, 0)
        del handles, resumed


async def test_bodies_and_requests_are_counted() -> None:
    """A submit counts with the base64 of both pictures, a result with its bytes."""
    async with beside_emulator() as (ez, server):
        handle = await ez.swap_face(SOURCE, TARGET)
        stats = ez.stats()
        assert stats.bytes_sent > (len(SOURCE) + len(TARGET)) * 4 // 3
        result = await handle.read()
        after = ez.stats()
        assert after.bytes_received >= stats.bytes_received + len(result)
        assert after.requests == len(server.control.requests)
        assert (after.retries, after.pending, after.in_progress) == (0, 0, 0)


async def test_retries_of_submits_queries_and_downloads_are_counted() -> None:
    async with beside_emulator() as (ez, server):
        server.control.script("submit", faults.queue_full())
        handle = await ez.swap_face(SOURCE, TARGET)
        assert ez.stats().retries == 1
        await handle
        server.control.script("image", faults.Picture(status=500))
        await handle.read()
        assert ez.stats().retries == 2
        server.control.script("fetch", faults.proxy(503))
        await ez.fetch_task(handle.task_id)
        assert ez.stats().retries == 3
        assert ez.stats().requests == len(server.control.requests)


async def test_closed_gate_is_shown_until_it_opens() -> None:
    retry = RetryPolicy(first=50, longest=60)
    async with beside_emulator(retry=retry) as (ez, server):
        server.control.script("submit", faults.queue_full())
        waiting = asyncio.create_task(ez.swap_face(SOURCE, TARGET))
        while not ez.stats().busy_for:
            await asyncio.sleep(0)
        assert ez.stats().busy_for > 0
        await cancel(waiting)


async def test_numbers_can_be_sent_as_json() -> None:
    async with beside_emulator() as (ez, _):
        assert attrs.asdict(ez.stats())["busy_for"] == 0.0
