"""Cancelling a task of asyncio and waiting for its end."""

from __future__ import annotations

import asyncio

import pytest


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel *task*, and check that it ends by that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
