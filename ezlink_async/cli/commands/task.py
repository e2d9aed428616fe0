"""``ezlink task``: show tasks by their ids, or save their results."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_text
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from ezlink_async import AsyncEzlink
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.report.escaping import shown

_DOWNLOADS = 8


def task(
    *ids: Annotated[str, Parameter(name="ID", required=True)],
    output: Annotated[Path | None, Parameter(("--output", "-o"))] = None,
    base_url: str | None = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
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
    json
        Print one JSON object a line: task_id, status, progress, output, error.

    """
    if output is not None and (blocked := why_not_writable(output)):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    connection = Connection(base_url=base_url)
    check_connection(connection)
    wanted = list(dict.fromkeys(ids))
    return asyncio.run(_run(wanted, output, connection, as_json=json))


async def _run(
    ids: list[str], output: Path | None, connection: Connection, *, as_json: bool
) -> int:
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
        write = _write_json if as_json else _write_text
        async with connect(connection) as ez:
            lines = _show(ez, ids) if output is None else _save(ez, ids, output)
            good = True
            async for line in lines:
                write(display, line)
                good = good and line.is_good
    return INTERRUPTED if interrupts.count else int(not good)


@attrs.frozen(kw_only=True)
class _Line:
    """What is printed of one task; *error* says why it was not shown or saved."""

    task_id: str
    record: TaskRecord | None = None
    output: Path | None = None
    error: str | None = None

    @property
    def is_good(self) -> bool:
        done = self.record and self.record.status == TaskStatus.SUCCESS
        return self.error is None and bool(done)


def _write_json(display: Display, line: _Line) -> None:
    record = line.record
    row = {
        "task_id": line.task_id,
        "status": None if record is None else str(record.status),
        "progress": None if record is None else record.progress,
        "output": None if line.output is None else str(line.output),
        "error": line.error or (record and record.fail_reason) or None,
    }
    display.result(json_text.dumps(row))


def _write_text(display: Display, line: _Line) -> None:
    record = line.record
    if line.error is not None or record is None:
        display.note(shown(f"{line.task_id}: {line.error}"), "red")
        return
    if line.output is not None:
        display.result(shown(line.output))
        return
    words = [line.task_id, str(record.status) or "not started"]
    if record.progress is not None:
        words.append(f"{record.progress:g}%")
    if record.fail_reason:
        words.append(record.fail_reason)
    display.result(shown(" ".join(words)))


async def _show(ez: AsyncEzlink, ids: Sequence[str]) -> AsyncIterator[_Line]:
    records = await ez.fetch_tasks(ids)
    for task_id in ids:
        record = records.get(task_id)
        error = None if record else "the server does not know this id"
        yield _Line(task_id=task_id, record=record, error=error)


async def _save(
    ez: AsyncEzlink, ids: Sequence[str], output: Path
) -> AsyncIterator[_Line]:
    downloads = asyncio.Semaphore(_DOWNLOADS)

    async def save(task_id: str) -> _Line:
        record = None
        try:
            handle = ez.task(task_id)
            record = await handle
            async with downloads:
                saved = await handle.save(f"{output}/")
        except EzlinkError as error:
            line = f"{type(error).__name__}: {error}"
            return _Line(task_id=task_id, record=record, error=line)
        return _Line(task_id=task_id, record=record, output=saved)

    for ended in asyncio.as_completed([save(task_id) for task_id in ids]):
        yield await ended
