"""The same job with the client."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ezlink_async import AsyncEzlink, PollPolicy, SwapOutcome

POLL = PollPolicy(first=0.5, shortest=0.25, longest=1)


async def swap_all(
    base_url: str, key: str, photos: list[Path], output: Path, slots: int
) -> None:
    """Swap the face of the first photo into the others."""
    source, *targets = photos

    async def bring_home(swap: SwapOutcome) -> None:
        if swap.handle is None or swap.error is not None:
            raise swap.error or AssertionError
        await swap.handle.save(output / Path(str(swap.target)).name)

    async with (
        AsyncEzlink(key, base_url=base_url, max_concurrency=slots, poll=POLL) as ez,
        asyncio.TaskGroup() as saving,
        ez.swap_faces(source, targets) as all_,
    ):
        async for swap in all_:
            saving.create_task(bring_home(swap))
