"""The client against an emulator that is ready, busy or away."""

import asyncio

import pytest

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskStatus, errors
from ezlink_async.emulator import (
    DEFAULT_KEY,
    EmulatorSettings,
    faults,
    running,
    serving,
)
from tests.support.pictures import jpeg

POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)

# Seconds; reached only by a failure.
_BOUND = 300


async def test_running_gives_the_address_of_a_server_with_the_default_key() -> None:
    async with running(concurrency=1) as base_url:
        client = AsyncEzlink(DEFAULT_KEY, base_url=base_url, poll=POLL)
        async with client as ez:
            handle = await ez.swap_face(jpeg(20_000), jpeg(20_001))
            assert (await handle).status is TaskStatus.SUCCESS


async def test_client_waits_for_a_full_queue() -> None:
    """With three running and two queued, all sixty swaps succeed in the end."""
    settings = EmulatorSettings(concurrency=3, queue=2, engine_seconds=0.02)
    async with asyncio.timeout(_BOUND), serving(settings) as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            max_concurrency=24,
            poll=POLL,
            retry=RetryPolicy(first=0.01, longest=0.05),
        )
        targets = [jpeg(20_001 + number) for number in range(60)]
        async with client as ez:
            outcomes = [o async for o in ez.swap_faces(jpeg(20_000), targets)]
        assert [o.error for o in outcomes] == [None] * 60
        assert len(server.control.tasks) == 60
        assert server.control.peak <= 5


async def test_outage_between_two_swaps_fails_neither() -> None:
    """Nine dropped fetches in a row do not end a swap; after closing, calls raise."""
    async with asyncio.timeout(_BOUND), serving() as server:
        client = AsyncEzlink(
            server.api_key,
            base_url=server.base_url,
            max_concurrency=2,
            poll=POLL,
            retry=RetryPolicy(first=0.01, longest=0.02, attempts=2),
        )
        async with client as ez:
            await (await ez.swap_face(jpeg(20_000), jpeg(20_001)))
            server.control.script("fetch", *[faults.Drop(reset=True)] * 9)
            await (await ez.swap_face(jpeg(20_000), jpeg(20_002)))
        with pytest.raises(errors.ClientClosedError):
            await ez.fetch_task("1")
