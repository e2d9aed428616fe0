# ruff: noqa: T201 - a small script may print
"""
Results for other programs: read by type checkers, never run.

Everything but the upload of aiohttp is imported from the package itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

from aiohttp import BodyPartReader

from ezlink_async import (
    AsyncEzlink,
    Image,
    QuotaError,
    ResultStream,
    Stats,
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


class Upload:
    """An upload, in the form of Starlette's ``UploadFile``."""

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        return bytes(size)


async def from_a_browser(
    ez: AsyncEzlink, part: BodyPartReader, body: AsyncIterator[bytes]
) -> Stats:
    """Pass uploads of web frameworks on as they are."""
    face = assert_type(await ez.receive_image(part), Image)
    await ez.swap_face(face, body)
    await ez.swap_face(part, Upload())
    async with ez.swap_faces(face, [Upload()]) as swaps:
        async for swap in swaps:
            assert_type(swap.target, Upload)
    return ez.stats()


async def with_a_journal(ez: AsyncEzlink, photos: list[Path]) -> None:
    """Run a batch, and a stream that is kept under a name."""
    swaps: SwapStream[Path] = ez.swap_faces("me.jpg", photos)
    try:
        async with run_batch(ez, "me.jpg", "photos", output="out") as run:
            print([outcome.output async for outcome in run])
    except (QuotaError, errors.JournalError) as error:
        print(error.maybe_charged, error.task_id)
    await swaps.aclose()
