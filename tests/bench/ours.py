"""The same job with the client, whose defaults are scaled in time like the jobs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy
from tests.bench.plans import Order


def _client(order: Order) -> AsyncEzlink:
    scale, poll, retry = order.scale, PollPolicy(), RetryPolicy()
    return AsyncEzlink(
        order.key,
        base_url=order.base_url,
        max_concurrency=order.run.in_flight,
        poll=PollPolicy(
            first=poll.first * scale,
            shortest=order.run.shortest * scale,
            longest=poll.longest * scale,
        ),
        retry=RetryPolicy(first=retry.first * scale, longest=retry.longest * scale),
    )


async def swap_all(order: Order, targets: list[Path], known: dict[str, float]) -> None:
    """Swap the face of the source into *targets*; note when each is known done."""
    source = targets[0].parent / "0000.jpg"
    async with (
        _client(order) as ez,
        asyncio.TaskGroup() as saving,
        ez.swap_faces(source, targets) as swaps,
    ):
        async for swap in swaps:
            if swap.handle is None or swap.error is not None:
                raise swap.error or AssertionError
            known[swap.handle.task_id] = time.monotonic()
            path = Path(order.output) / Path(str(swap.target)).name
            saving.create_task(swap.handle.save(path))
