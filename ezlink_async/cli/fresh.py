"""``--fresh``: an earlier journal is moved aside, unless a job in it is unfinished."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from ezlink_async.batch.journal.jobs import JobRecord, Reason
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL
from ezlink_async.cli.connect import unknown_advice
from ezlink_async.errors import ConfigurationError

_SHOWN = 10  # unfinished jobs named in an error


def archive_journal(journal: Path) -> None:
    """Rename *journal*, unless jobs in it are unfinished: those are raised."""
    if not journal.exists():
        return
    with finished(journal):
        names = (
            journal.with_name(f"{journal.stem}-{number}{journal.suffix}")
            for number in itertools.count(1)
        )
        journal.replace(next(name for name in names if not name.exists()))


@contextlib.contextmanager
def finished(journal: Path) -> Iterator[None]:
    """Lock *journal*; raise :exc:`ConfigurationError` with its unfinished jobs."""
    lock = FolderLock(journal.with_name("lock"))
    with contextlib.closing(lock):
        with contextlib.closing(Journal.open(journal, locking=lock.is_real)) as old:
            _check_finished(old)
        yield


def _check_finished(journal: Journal) -> None:
    found = filter(_has_result, _open(journal))
    first = list(itertools.islice(found, _SHOWN))
    if not first:
        return
    others = list(found)
    lines = [*map(_line, first), *([f"  and {len(others):,} more"] if others else [])]
    advice = ["Run the command without --fresh first: it fetches what is paid."]
    unknown = {each.key.kind for each in (*first, *others) if each.task_id is None}
    if unknown:
        advice.append(f"To find out about the unknown ones: {unknown_advice(unknown)}.")
    raise ConfigurationError(
        "--fresh would forget jobs that are paid, or may be:\n"
        + "\n".join((*lines, *advice))
    )


def _has_result(record: JobRecord) -> bool:
    """Return whether a later run may bring a result; a dialog has none."""
    return record.key.server != LOCAL and record.reason is not Reason.INPUT


def _open(journal: Journal) -> Iterator[JobRecord]:
    after = 0
    while records := journal.open_records(None, after):
        after = records[-1].id
        yield from records


def _line(record: JobRecord) -> str:
    if record.task_id is not None:
        return f"  {record.label}: the result of task {record.task_id} is not saved"
    request = record.request_ids[-1] if record.request_ids else "none"
    return f"  {record.label}: may have been paid (request id: {request})"
