"""``ezlink task``: show tasks by their ids, or save their results."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_text
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Self

import attrs
from cyclopts import Parameter

from ezlink_async import AsyncEzlink
from ezlink_async._client.client import session_of
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.cli.plugins import Plugins, import_plugins
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.models import TaskStatus
from ezlink_async.report.escaping import shown
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.registry import FAMILIES, family_of

_DOWNLOADS = 8


def task(
    *ids: Annotated[str, Parameter(name="ID", required=True)],
    output: Annotated[Path | None, Parameter(("--output", "-o"))] = None,
    base_url: str | None = None,
    json: Annotated[bool, SWITCH] = False,
    plugin: Plugins = (),
) -> int:
    """
    Show tasks by their ids, or wait for them and save their results.

    Exit code 0: all have succeeded; 1: some have not; 2: nothing could be done; 130:
    interrupted.

    Parameters
    ----------
    ids
        What the server called the tasks. One of another family than midjourney,
        which swaps belong to as well, has the family before it: FAMILY:ID.
    output
        Folder for the results; without it the tasks are only shown.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    json
        Print one JSON object a line: task_id, status, progress, output, error,
        outputs, text.
    plugin
        A Python module to import first, which registers a family; may be repeated.

    """
    if output is not None and (blocked := why_not_writable(output)):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    import_plugins(plugin)
    wanted = [_Named.of(given) for given in dict.fromkeys(ids)]
    connection = Connection(base_url=base_url)
    check_connection(connection)
    return asyncio.run(_run(wanted, output, connection, as_json=json))


@attrs.frozen
class _Named:
    """A task as it was named: *given*, which has the family and the id."""

    given: str
    family: str
    task_id: str

    @classmethod
    def of(cls, given: str) -> Self:
        """Read the family before the colon; an id may have colons of its own."""
        family, colon, task_id = given.partition(":")
        if colon and family in FAMILIES and task_id:
            return cls(given, family, task_id)
        return cls(given, MIDJOURNEY.name, given)


async def _run(
    ids: list[_Named], output: Path | None, connection: Connection, *, as_json: bool
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
        for caution in _cautions(ids, to_end=output is not None):
            display.note(caution, "yellow")
        async with connect(connection) as ez:
            lines = _show(ez, ids) if output is None else _save(ez, ids, output)
            good = True
            async for line in lines:
                write(display, line)
                good = good and line.is_good
    return INTERRUPTED if interrupts.count else int(not good)


def _cautions(ids: Sequence[_Named], *, to_end: bool) -> list[str]:
    """Return what looking at the tasks may cost, or following them *to_end*."""
    families = [family_of(each.family) for each in ids]
    said = (each.caution_at_end if to_end else each.caution for each in families)
    return [caution for caution in dict.fromkeys(said) if caution]


@attrs.frozen(kw_only=True)
class _Line:
    """What is printed of one task; *error* says why it was not shown or saved."""

    task_id: str
    record: AnyRecord | None = None
    outputs: tuple[Path, ...] = ()
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
        "output": next(map(str, line.outputs), None),
        "error": line.error or (record and record.fail_reason) or None,
        "outputs": list(map(str, line.outputs)),
        "text": record.text if record else "",
    }
    display.result(json_text.dumps(row))


def _write_text(display: Display, line: _Line) -> None:
    record = line.record
    if line.error is not None or record is None:
        display.note(shown(f"{line.task_id}: {line.error}"), "red")
        return
    if line.outputs:
        for path in line.outputs:
            display.result(shown(path))
        return
    words = [line.task_id, str(record.status) or "not started"]
    if record.progress is not None:
        words.append(f"{record.progress:g}%")
    if record.fail_reason:
        words.append(record.fail_reason)
    display.result(shown(" ".join(words)))


async def _show(ez: AsyncEzlink, ids: Sequence[_Named]) -> AsyncIterator[_Line]:
    usual = [named.task_id for named in ids if named.family == MIDJOURNEY.name]
    records = await ez.fetch_tasks(usual)
    for named in ids:
        if named.family != MIDJOURNEY.name:
            yield await _look(ez, named)
            continue
        record = records.get(named.task_id)
        error = None if record else "the server does not know this id"
        yield _Line(task_id=named.given, record=record, error=error)


async def _look(ez: AsyncEzlink, named: _Named) -> _Line:
    """Ask once about a task of any family."""
    family = family_of(named.family)
    transport = session_of(ez).transport
    try:
        request = attrs.evolve(
            family.fetch_request(named.task_id),
            wait=family.timing.query_timeout(transport.settings.timeouts),
            new_connection=family.timing.new_connection,
        )
        ask = transport.send_with_retries if request.repeatable else transport.send
        response = await ask(request)
        record = await transport.read(
            response, lambda answer: family.read(answer, named.task_id)
        )
    except EzlinkError as error:
        return _Line(task_id=named.given, error=_sentence(error))
    return _Line(task_id=named.given, record=record)


async def _save(
    ez: AsyncEzlink, ids: Sequence[_Named], output: Path
) -> AsyncIterator[_Line]:
    downloads = asyncio.Semaphore(_DOWNLOADS)

    async def save(named: _Named) -> _Line:
        record = None
        try:
            handle = ez.task(named.task_id, family=named.family)
            record = await handle
            async with downloads:
                saved = await handle.save_all(f"{output}/")
        except EzlinkError as error:
            return _Line(task_id=named.given, record=record, error=_sentence(error))
        return _Line(task_id=named.given, record=record, outputs=saved)

    for ended in asyncio.as_completed([save(named) for named in ids]):
        yield await ended


def _sentence(error: EzlinkError) -> str:
    return f"{type(error).__name__}: {error}"
