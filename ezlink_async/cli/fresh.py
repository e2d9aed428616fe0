"""``ezlink swap --fresh``: begin anew, unless something that is paid would be lost."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from ezlink_async.batch.journal.jobs import Entry
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL
from ezlink_async.errors import ConfigurationError

_SHOWN = 10


def start_afresh(journal: Path) -> None:
    """Move *journal* aside; refuse while ids or unknowns in it are open."""
    if not journal.exists():
        return
    lock = FolderLock(journal.with_name("lock"))
    with contextlib.closing(lock):
        with contextlib.closing(Journal.open(journal, locking=lock.is_real)) as old:
            check_fresh(old)
        journal.replace(_aside(journal))


def check_fresh(journal: Journal) -> None:
    """Raise what is open in *journal*, if anything is."""
    found = (entry for entry in _open(journal) if entry.key.server != LOCAL)
    listed = "\n".join(map(_line, itertools.islice(found, _SHOWN)))
    if not listed:
        return
    more = sum(1 for _ in found)
    rest = f"\n  and {more} more" if more else ""
    raise ConfigurationError(
        "--fresh would forget what is paid, or may be; run the command without it "
        f"first:\n{listed}{rest}"
    )


def _open(journal: Journal) -> Iterator[Entry]:
    after = 0
    while entries := journal.open_entries(None, after):
        after = entries[-1].id
        yield from entries


def _line(entry: Entry) -> str:
    if entry.task_id is not None:
        return f"  {entry.target}: task {entry.task_id} is not brought home"
    request = entry.request_ids[-1] if entry.request_ids else "none"
    return f"  {entry.target}: may have been paid (request id: {request})"


def _aside(journal: Path) -> Path:
    names = (
        journal.with_name(f"{journal.stem}-{number}{journal.suffix}")
        for number in itertools.count(1)
    )
    return next(name for name in names if not name.exists())
