# ruff: noqa: T201 - a small script may print
"""
Outcomes of ``swap_faces()``: read by type checkers, never run.

The type of the targets that go in is the type of the target that comes out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import assert_type

from ezlink_async import AsyncEzlink, SwapOutcome, TaskHandle, TaskRecord
from ezlink_async.errors import EzlinkError


async def paths(ez: AsyncEzlink, photos: Iterable[Path]) -> None:
    """Save each result under the name of its target, as the README does."""
    async for swap in ez.swap_faces("me.jpg", photos):
        assert_type(swap, SwapOutcome[Path])
        print(swap.error or await swap.save(f"swapped/{swap.target.name}"))


async def pairs(
    ez: AsyncEzlink, orders: AsyncIterator[tuple[bytes, str]]
) -> list[bytes]:
    """Read results of pairs, told apart by their targets."""
    found: list[bytes] = []
    async with ez.swap_faces(None, orders, mode="relax", state="mine") as swaps:
        async for swap in swaps:
            assert_type(swap.target, str)
            assert_type(swap.request.target, str)
            assert_type(swap.ok, bool)
            assert_type(swap.unwrap(), TaskHandle)
            found.append(await swap.read())
        left: tuple[SwapOutcome[str], ...] = swaps.dropped()
    return [*found, *(swap.target.encode() for swap in left)]


async def either(ez: AsyncEzlink, source: Path | None, targets: list[Path]) -> None:
    """Give a source that is known only at run time."""
    async for swap in ez.swap_faces(source, targets):
        print(describe(swap), swap.source)


def describe(swap: SwapOutcome) -> str:
    """Take an outcome of any target."""
    record: TaskRecord | None = swap.record
    error: EzlinkError | None = swap.error
    return f"{swap.target!r} {record} {error}"
