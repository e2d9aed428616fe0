"""How a journal is laid out on disk, version by version."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from ezlink_async.database import Schema
from ezlink_async.jobs import Entry, JobKey, JobState, Output, Remark

_FIRST = """
CREATE TABLE places (
    same PRIMARY KEY NOT NULL,
    place NOT NULL,
    wished NOT NULL,
    source NOT NULL,
    target NOT NULL,
    content BLOB NOT NULL,
    run INTEGER NOT NULL,
    UNIQUE (target, source, wished)
) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    source_hash BLOB NOT NULL,
    target_hash BLOB NOT NULL,
    options TEXT NOT NULL,
    place NOT NULL,
    source NOT NULL,
    target NOT NULL,
    state TEXT NOT NULL,
    unclear INTEGER NOT NULL DEFAULT 0,
    task_id TEXT,
    mark TEXT,
    request_ids TEXT NOT NULL DEFAULT '',
    error TEXT,
    image_url TEXT,
    changes TEXT NOT NULL DEFAULT '[]',
    output,
    output_size INTEGER,
    output_hash BLOB,
    since REAL,
    sent_at REAL,
    ended_at REAL,
    UNIQUE (server, source_hash, target_hash, options, place)
);
CREATE INDEX open_jobs ON jobs (state)
    WHERE state IN ('submitting', 'submitted', 'succeeded', 'unknown');
CREATE TABLE remarks (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    source NOT NULL,
    target NOT NULL,
    error TEXT NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,
    ended_at REAL,
    facts TEXT NOT NULL DEFAULT '{}'
);
"""

SCHEMA = Schema(
    application=0x455A4C4A,  # "EZLJ": what `file` and we know it by
    migrations=(_FIRST,),
)


def kept(path: Path | str) -> str | bytes:
    """Return what keeps any name: not every one is text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return str(path)


def path_of(name: str | bytes) -> Path:
    """Return the path that :func:`kept` made this of."""
    return Path(os.fsdecode(name))


def key_values(key: JobKey) -> tuple[object, ...]:
    """Return the columns of a key."""
    hashes = key.source_hash, key.target_hash
    return key.server, *hashes, key.options, kept(key.place)


def remark_of(row: sqlite3.Row) -> Remark:
    """Return what a row tells of a pair without a job."""
    return Remark(
        row["id"], path_of(row["source"]), path_of(row["target"]), row["error"]
    )


def entry_of(row: sqlite3.Row) -> Entry:
    """Return the job that a row tells of."""
    output = None
    if row["output"] is not None:
        path = path_of(row["output"])
        output = Output(path, row["output_size"], row["output_hash"])
    return Entry(
        id=row["id"],
        key=JobKey(
            row["server"],
            row["source_hash"],
            row["target_hash"],
            row["options"],
            os.fsdecode(row["place"]),
        ),
        source=path_of(row["source"]),
        target=path_of(row["target"]),
        state=JobState(row["state"]),
        task_id=row["task_id"],
        mark=row["mark"],
        request_ids=tuple(row["request_ids"].split()),
        error=row["error"],
        image_url=row["image_url"],
        changes=tuple(json.loads(row["changes"])),
        output=output,
        since=row["since"],
        sent_at=row["sent_at"],
        ended_at=row["ended_at"],
    )
