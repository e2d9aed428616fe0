"""``ezlink task``: show tasks by their ids, or bring their results home."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from ezlink_async import AsyncEzlink
from ezlink_async.batch.pairs.output_paths import escape, why_not_writable
from ezlink_async.cli.connect import Connection, connect, ready
from ezlink_async.cli.display import Display, Lines, noted, shown
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskStatus

_AT_ONCE = 8


def task(ids: Sequence[str], output: Path | None, connection: Connection) -> int:
    """Do it, and return the exit code: 0 when all are SUCCESS."""
    if output is not None and (blocked := why_not_writable(output)):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    ready(connection)
    with Lines() as display:
        return asyncio.run(_work(list(dict.fromkeys(ids)), output, connection, display))


async def _work(
    ids: list[str], output: Path | None, connection: Connection, display: Display
) -> int:
    def wind_down() -> None:
        display.note("nothing is lost: the tasks run on, and keep their ids")
        interrupts.leave()

    good = False
    with Interrupts(wind_down) as interrupts, noted(display):
        # Nothing but a signal cancels this.
        with contextlib.suppress(asyncio.CancelledError):
            async with connect(connection) as ez:
                if output is None:
                    good = await _show(ez, ids, display)
                else:
                    good = await _bring_home(ez, ids, output, display)
        return INTERRUPTED if interrupts.count else int(not good)


async def _show(ez: AsyncEzlink, ids: Sequence[str], display: Display) -> bool:
    records = await ez.fetch_tasks(ids)
    for task_id in ids:
        record = records.get(task_id)
        if record is None:
            display.note(f"{shown(task_id)}: the server does not know it", "red")
            continue
        words = [str(record.status) or "not started", record.fail_reason]
        if record.progress is not None:
            words.insert(1, f"{record.progress:g}%")
        display.result(f"{shown(task_id)} {shown(' '.join(filter(None, words)))}")
    return all(
        task_id in records and records[task_id].status == TaskStatus.SUCCESS
        for task_id in ids
    )


async def _bring_home(
    ez: AsyncEzlink, ids: Sequence[str], output: Path, display: Display
) -> bool:
    room = asyncio.Semaphore(_AT_ONCE)

    async def bring(task_id: str) -> bool:
        try:
            handle = ez.task(task_id)
            await handle
            async with room:
                saved = await handle.save_fitting(output / escape(task_id))
        except EzlinkError as error:
            says = f"{shown(task_id)}: {type(error).__name__}: {shown(error)}"
            display.note(says, "red")
            return False
        display.result(shown(saved.path))
        return True

    return all(await asyncio.gather(*map(bring, ids)))
