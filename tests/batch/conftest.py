"""The harness that the tests of whole batches share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ezlink_async.emulator import EmulatorSettings, serving
from tests.support.batch_harness import BatchHarness


@pytest.fixture
async def batch(tmp_path: Path) -> AsyncIterator[BatchHarness]:
    """Run an emulator with room for all, and lay out the source beside it."""
    async with serving(EmulatorSettings(concurrency=64, queue=1000)) as server:
        yield BatchHarness(tmp_path, server)
