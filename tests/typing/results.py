# ruff: noqa: T201 - a small script may print
"""
Results for other programs: read by type checkers, never run.

Everything is imported from the package itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from ezlink_async import (
    AsyncEzlink,
    QuotaError,
    ResultStream,
    SwapStream,
    TaskHandle,
    errors,
    run_batch,
)


async def for_a_web_server(handle: TaskHandle) -> dict[str, object]:
    """Stream the picture, and return the record as JSON has it."""
    stream: ResultStream = await handle.open()
    async with stream:
        print(assert_type(stream.media_type, str), assert_type(stream.length, int))
        async for block in stream:
            assert_type(block, bytes)
    path: Path = await handle.save("results/")
    return {**(await handle).to_dict(), "path": str(path)}


async def with_a_journal(ez: AsyncEzlink, photos: list[Path]) -> None:
    """Run a batch, and a stream that is kept under a name."""
    swaps: SwapStream[Path] = ez.swap_faces("me.jpg", photos)
    try:
        async with run_batch(ez, "me.jpg", "photos", output="out") as run:
            print([outcome.output async for outcome in run])
    except (QuotaError, errors.JournalError) as error:
        print(error.maybe_charged, error.task_id)
    await swaps.aclose()
