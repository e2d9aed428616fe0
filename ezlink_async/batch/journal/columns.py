"""The values of a journal as the columns of its tables hold them."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ezlink_async._core.json_reader import storable
from ezlink_async.batch.journal.jobs import (
    JobKey,
    JobRecord,
    JobState,
    Reason,
    Remark,
)
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.batch.pairs.pictures import Input


def encode_path(path: Path | str) -> str | bytes:
    """
    Return a path as text, or as bytes where its name is no text.

    A path that no system takes becomes text with escapes, the path of no file.
    """
    name = str(path).replace("\0", r"\x00")  # it would be taken for damage
    try:
        name.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeEncodeError):
            return os.fsencode(name)
        return storable(name)
    return name


@functools.lru_cache(64)  # one source has many targets
def decode_path(name: str | bytes) -> Path:
    """Return the path that :func:`encode_path` made this of."""
    return Path(os.fsdecode(name))


def as_stored(value: object) -> object:
    """Return *value* as the journal has it: text that can be encoded."""
    return storable(value) if isinstance(value, str) else value


def _reason(row: sqlite3.Row) -> Reason | None:
    return None if row["reason"] is None else Reason(row["reason"])


def job_record(
    row: sqlite3.Row, inputs: Sequence[Input], outputs: Sequence[Output]
) -> JobRecord:
    """Return the job of a *row*, with its pictures and its results."""
    place = os.fsdecode(row["place"])
    return JobRecord(
        id=row["id"],
        key=JobKey(row["server"], row["kind"], row["request"], place),
        label=row["label"],
        family=row["family"],
        inputs=tuple(inputs),
        state=JobState(row["state"]),
        task_id=row["task_id"],
        state_tag=row["mark"],
        request_ids=tuple(row["request_ids"].split()),
        error=row["error"],
        reason=_reason(row),
        record=row["record"],
        changes=tuple(json.loads(row["changes"])),
        outputs=tuple(outputs),
        since=row["since"],
        sent_at=row["sent_at"],
        ended_at=row["ended_at"],
    )


def remark_of(row: sqlite3.Row, inputs: Sequence[Input]) -> Remark:
    """Return the remark of a *row*, with its pictures."""
    return Remark(
        id=row["id"],
        kind=row["kind"],
        label=row["label"],
        inputs=tuple(inputs),
        error=row["error"],
        reason=_reason(row),
    )
