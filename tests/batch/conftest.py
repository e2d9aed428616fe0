"""The harness that the tests of whole batches share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ezlink_async.emulator import EmulatorSettings, serving
from tests.support.batch_harness import BatchHarness

_PATIENCE = 300  # seconds: a test that hangs fails, a slow machine decides nothing


@pytest.fixture
async def batch(tmp_path: Path) -> AsyncIterator[BatchHarness]:
    """Run an emulator with room for all; cancel a test that hangs."""
    loop = asyncio.get_running_loop()
    async with serving(EmulatorSettings(concurrency=64, queue=1000)) as server:
        watchdog = loop.call_later(
            _PATIENCE, lambda: [task.cancel() for task in asyncio.all_tasks(loop)]
        )
        yield BatchHarness(tmp_path, server)
        watchdog.cancel()
