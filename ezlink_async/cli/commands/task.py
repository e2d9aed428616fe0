"""``ezlink task``: show tasks by their ids, or save their results."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ezlink_async import AsyncEzlink
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskStatus
from ezlink_async.report.escaping import shown

_DOWNLOADS = 8


def task(
    *ids: Annotated[str, Parameter(name="ID", required=True)],
    output: Path | None = None,
    base_url: str | None = None,
) -> int:
    """
    Show tasks by their ids, or wait for them and save their results.

    Parameters
    ----------
    ids
        What the server called the tasks.
    output
        Folder for the results; without it the tasks are only shown.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]

    """
    if output is not None and (blocked := why_not_writable(output)):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    connection = Connection(base_url=base_url)
    check_connection(connection)
    return asyncio.run(_run(list(dict.fromkeys(ids)), output, connection))


async def _run(ids: list[str], output: Path | None, connection: Connection) -> int:
    def leave() -> None:
        display.note("nothing is lost: the tasks run on, and keep their ids")
        interrupts.leave()

    good = False
    with (
        Display() as display,
        Interrupts(leave) as interrupts,
        logs_shown_on(display),
        # Only a signal cancels this task.
        contextlib.suppress(asyncio.CancelledError),
    ):
        async with connect(connection) as ez:
            if output is None:
                good = await _show(ez, ids, display)
            else:
                good = await _save(ez, ids, output, display)
    return INTERRUPTED if interrupts.count else int(not good)


async def _show(ez: AsyncEzlink, ids: Sequence[str], display: Display) -> bool:
    records = await ez.fetch_tasks(ids)
    for task_id in ids:
        record = records.get(task_id)
        if record is None:
            display.note(f"{shown(task_id)}: the server does not know this id", "red")
            continue
        words = [task_id, str(record.status) or "not started"]
        if record.progress is not None:
            words.append(f"{record.progress:g}%")
        if record.fail_reason:
            words.append(record.fail_reason)
        display.result(shown(" ".join(words)))
    return all(
        task_id in records and records[task_id].status == TaskStatus.SUCCESS
        for task_id in ids
    )


async def _save(
    ez: AsyncEzlink, ids: Sequence[str], output: Path, display: Display
) -> bool:
    downloads = asyncio.Semaphore(_DOWNLOADS)

    async def save(task_id: str) -> bool:
        try:
            handle = ez.task(task_id)
            await handle
            async with downloads:
                saved = await handle.save(f"{output}/")
        except EzlinkError as error:
            line = shown(f"{task_id}: {type(error).__name__}: {error}")
            display.note(line, "red")
            return False
        display.result(shown(str(saved)))
        return True

    return all(await asyncio.gather(*map(save, ids)))
