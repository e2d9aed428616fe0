"""
What the commands that go on from another task have in common.

The task is looked up first: its buttons, and the prompt that its dialog suggests, are
in its record. That costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import attrs
from cyclopts import Parameter

from ezlink_async.batch.journal.jobs import JobRecord
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL, journal_of
from ezlink_async.batch.pairs.output_paths import escape
from ezlink_async.cli.connect import check_connection, connect, server_of
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord

_ENDED = (
    "the built-in server of --local ends with each command, and its tasks with it; "
    "press buttons by ezlink imagine --then, or run ezlink serve"
)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class InputOptions:
    """
    What a dialog of the server asks for.

    Attributes
    ----------
    prompt
        What to draw. [default: for modal what the server suggests]
    mask
        A picture as large as the one to change: white where it may change, black
        elsewhere.

    """

    prompt: str | None = None
    mask: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether there is any input."""
        return self.prompt is not None or self.mask is not None


NO_INPUT = InputOptions()
"""No option is given."""


def check_follow_up(options: JobOptions) -> None:
    """Raise ConfigurationError for options that no job of another task can have."""
    if options.local:
        raise ConfigurationError(_ENDED)
    options.check()


@attrs.frozen
class Parent:
    """
    The task to go on from: its id, and the *place* that its results begin with.

    *record* is its job, where a journal knows it.
    """

    task_id: str
    place: str
    record: JobRecord | None = None

    @classmethod
    def of(cls, given: str, options: JobOptions | None = None) -> Self:
        """
        Read an id, or the file of a result, whose task the journal beside it knows.

        An id that the journal of *options* knows is the same as the file.
        :exc:`ConfigurationError` for a file that no journal knows, or that --local
        has made.
        """
        path = Path(given)
        if not path.is_file():
            known = None if options is None else _job_with(given, options)
            place = escape(given) if known is None else known.key.output_path
            return cls(given, place, known)
        path = path.resolve()
        for folder in path.parents:
            found = _job_of(path.relative_to(folder), journal_of(folder))
            if found is not None and found.key.server == LOCAL:
                raise ConfigurationError(f"{given} was made with --local: {_ENDED}")
            if found is not None and found.task_id is not None:
                return cls(found.task_id, found.key.output_path, found)
        raise ConfigurationError(
            f"no journal beside {given} knows its task: give the id of the task"
        )


def _job_of(result: Path, journal: Path) -> JobRecord | None:
    """Return the job whose *result* this is, if *journal* knows it."""
    found = _saved_jobs(journal)
    return next((job for job in found if _has_made(job, result)), None)


def _has_made(job: JobRecord, result: Path) -> bool:
    return any(output.path == result for output in job.outputs)


def _job_with(task_id: str, options: JobOptions) -> JobRecord | None:
    """Return the saved job of a task, if the journal of the results knows it."""
    key = task_id, server_of(options)
    jobs = _saved_jobs(journal_of(options.output))
    return next((job for job in jobs if (job.task_id, job.key.server) == key), None)


def _saved_jobs(journal: Path) -> Iterator[JobRecord]:
    """Yield the jobs of a *journal* that have results, if it is there."""
    if not journal.exists():
        return
    with contextlib.closing(Journal.rehearsal(journal)) as known:
        after = 0
        while records := known.records(after):
            after = records[-1].id
            yield from (record for record in records if record.outputs)


def fetch_record(options: JobOptions, task_id: str) -> TaskRecord:
    """Return the record of a task; :exc:`TaskNotFoundError` for an unknown id."""
    check_connection(options)
    return asyncio.run(_fetch(options, task_id))


async def _fetch(options: JobOptions, task_id: str) -> TaskRecord:
    async with connect(options) as ez:
        return await ez.fetch_task(task_id)
