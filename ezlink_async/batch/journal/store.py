"""
The journal of a batch: what was sent for each photo, and what came of it.

Each change leads to a state from which a later run knows what to do, wherever
the power fails. Synchronous, and for one thread at a time: that thread is in
:mod:`ezlink_async.batch.journal.writer`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import attrs

from ezlink_async.batch.journal.jobs import Entry, JobKey, JobState, Remark, Run, Submit
from ezlink_async.batch.journal.sqlite import Schema, open_copy, open_database
from ezlink_async.batch.pairs.output_paths import Output, path_key

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


def encode_path(path: Path | str) -> str | bytes:
    """Return what keeps any name: not every one is text."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return str(path)


def decode_path(name: str | bytes) -> Path:
    """Return the path that :func:`kept` made this of."""
    return Path(os.fsdecode(name))


def key_values(key: JobKey) -> tuple[object, ...]:
    """Return the columns of a key."""
    hashes = key.source_hash, key.target_hash
    return key.server, *hashes, key.options, encode_path(key.place)


def remark_of(row: sqlite3.Row) -> Remark:
    """Return what a row tells of a pair without a job."""
    return Remark(
        row["id"], decode_path(row["source"]), decode_path(row["target"]), row["error"]
    )


def entry_of(row: sqlite3.Row) -> Entry:
    """Return the job that a row tells of."""
    output = None
    if row["output"] is not None:
        path = decode_path(row["output"])
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
        source=decode_path(row["source"]),
        target=decode_path(row["target"]),
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


@attrs.frozen
class Claim:
    """A place that is *wished* for the result of a pair; *content* is the target's."""

    source: Path
    target: Path
    wished: str
    content: bytes


def assign_output_path(sql: sqlite3.Connection, claim: Claim, run: int) -> str:
    """
    Return the place for a result, relative to the folder, and note it.

    A pair keeps the place it once had, and a picture that was moved takes
    its place along. Where several would become one file in this *run*, the
    later ones get ``-2``, ``-3``.
    """
    names, now = (
        (encode_path(claim.source), encode_path(claim.target)),
        (claim.content, run),
    )
    found = sql.execute(
        "UPDATE places SET content = ?, run = ? WHERE source = ? AND target = ? "
        "AND wished = ? RETURNING place",
        (*now, *names, encode_path(claim.wished)),
    ).fetchall()
    if found:
        return os.fsdecode(found[0]["place"])
    place = next(
        place for place in _numbered(claim.wished) if _is_free(sql, place, claim, run)
    )
    sql.execute(
        "INSERT OR REPLACE INTO places (same, place, wished, source, target, "
        "content, run) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*map(encode_path, (path_key(place), place, claim.wished)), *names, *now),
    )
    return place


def _is_free(sql: sqlite3.Connection, place: str, claim: Claim, run: int) -> bool:
    """
    Return whether *place* is nobody's in this *run*, and nobody else's before.

    The same picture under another name was moved; the same name with
    another source is what ``existing`` is about.
    """
    owner = sql.execute(
        "SELECT content, target, wished, run FROM places WHERE same = ?",
        (encode_path(path_key(place)),),
    ).fetchone()
    if owner is None:
        return True
    moved = owner["content"] == claim.content
    ours = owner["target"] == encode_path(claim.target) and owner[
        "wished"
    ] == encode_path(claim.wished)
    return bool((moved or ours) and owner["run"] != run)


def _numbered(wished: str) -> Iterator[str]:
    number, place = 1, wished
    while True:
        yield place
        number, place = number + 1, f"{wished}-{number + 1}"


_OPEN = "state IN ('submitting', 'submitted', 'succeeded', 'unknown')"

_CUT_SHORT = (
    "SubmitUnknownError: the run ended before the answer to this submit: the job "
    "may have been created and paid"
)

_EARLIER = (
    "SubmitUnknownError: an earlier submit of this job may have been created and "
    "paid; the last one was not"
)


class Journal:
    """
    The open file.

    What changes something is on disk when :meth:`commit` has returned, and
    begins with :meth:`begin`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._sql = connection

    @classmethod
    def open(cls, path: Path, *, locking: bool = True) -> Self:
        """Open it, made when it is missing: see :func:`database.open_database`."""
        return cls(open_database(path, SCHEMA, locking=locking))

    @classmethod
    def rehearsal(cls, path: Path | None) -> Self:
        """Open a copy that leaves no trace; of nothing without *path*."""
        return cls(open_copy(path, SCHEMA))

    def close(self) -> None:
        """Close it; what was not committed is as if it never was."""
        self._sql.close()

    def begin(self) -> None:
        """Begin a transaction."""
        self._sql.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Bring what was changed to the disk, and return when it is there."""
        self._sql.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was changed since :meth:`begin`."""
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")

    def start_run(self, when: float) -> int:
        """Begin a run; what was left in mid-submit is unknown from now on."""
        self._sql.execute(
            "UPDATE jobs SET state = 'unknown', error = ? WHERE state = 'submitting'",
            (_CUT_SHORT,),
        )
        self._sql.execute("DELETE FROM remarks")
        cursor = self._sql.execute("INSERT INTO runs (started_at) VALUES (?)", (when,))
        return cursor.lastrowid or 0

    def end_run(self, run: int, when: float, facts: dict[str, str]) -> None:
        """Note that a run has ended."""
        self._sql.execute(
            "UPDATE runs SET ended_at = ?, facts = ? WHERE id = ?",
            (when, json.dumps(facts), run),
        )

    def last_run(self) -> Run | None:
        """Return the latest run."""
        row = self._sql.execute("SELECT * FROM runs ORDER BY id DESC").fetchone()
        if row is None:
            return None
        return Run(row["started_at"], row["ended_at"], json.loads(row["facts"]))

    def forget_unfinished(self, server: str) -> None:
        """Take back what *server*, which is gone with its tasks, has not brought."""
        # The ids go from all: nothing can be brought again, if it is damaged.
        self._sql.execute(
            f"UPDATE jobs SET state = CASE WHEN {_OPEN} THEN 'planned' ELSE state END, "  # noqa: S608 - our own words
            f"error = CASE WHEN {_OPEN} THEN NULL ELSE error END, task_id = NULL, "
            f"unclear = 0 WHERE server = ? AND ({_OPEN} OR task_id IS NOT NULL)",
            (server,),
        )

    def claim(self, claim: Claim, run: int) -> str:
        """Return the place for a result: see :func:`claims.place_for`."""
        return assign_output_path(self._sql, claim, run)

    def job(self, key: JobKey, source: Path, target: Path) -> Entry:
        """Return the job *key* means, noted as planned when it is new."""
        values = key_values(key)
        self._sql.execute(
            "INSERT INTO jobs (server, source_hash, target_hash, options, place, "
            "source, target, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'planned') "
            "ON CONFLICT DO UPDATE SET source = excluded.source, "
            "target = excluded.target WHERE target <> excluded.target "
            "OR source <> excluded.source",
            (*values, encode_path(source), encode_path(target)),
        )
        where = (
            "server = ? AND source_hash = ? AND target_hash = ? AND options = ? "
            "AND place = ?"
        )
        return self._entries(where, values)[0]

    def submitting(self, job: int, submit: Submit) -> None:
        """Note that it is about to be sent, perhaps again."""
        # What was sent before, and is unknown, began before this.
        self._sql.execute(
            "UPDATE jobs SET unclear = unclear OR state IN ('unknown', 'submitting'), "
            "state = 'submitting', mark = :mark, task_id = NULL, error = NULL, "
            "request_ids = trim(request_ids || ' ' || :request_id), sent_at = :when, "
            "since = iif(state = 'unknown', min(ifnull(since, :since), :since), "
            ":since), image_url = NULL, ended_at = NULL WHERE id = :job",
            {**attrs.asdict(submit), "job": job},
        )

    def accepted(self, job: int, task_id: str) -> None:
        """Note its id."""
        self._set(job, state=JobState.SUBMITTED, task_id=task_id, error=None)

    def planned(self, job: int, error: str | None) -> None:
        """
        Note that it surely was not created, and what stood in the way.

        An earlier submit that may have been leaves it unknown.
        """
        self._sql.execute(
            "UPDATE jobs SET state = CASE unclear WHEN 0 THEN 'planned' "
            "ELSE 'unknown' END, error = CASE unclear WHEN 0 THEN ? ELSE ? END, "
            "task_id = NULL WHERE id = ?",
            (error, f"{_EARLIER} ({error})", job),
        )

    def unknown(self, job: int, error: str) -> None:
        """Note that it may exist, and may be paid."""
        self._set(job, state=JobState.UNKNOWN, error=error)

    def failed(self, job: int, error: str, when: float) -> None:
        """Note that the server would not do it, or could not."""
        self._set(job, state=JobState.FAILED, error=error, ended_at=when)

    def noted(self, job: int, error: str) -> None:
        """Note what stood in the way, which changes nothing else."""
        self._set(job, error=error)

    def succeeded(self, job: int, image_url: str | None, when: float) -> None:
        """Note that it is done at the server."""
        done = JobState.SUCCEEDED
        self._set(job, state=done, image_url=image_url, ended_at=when, error=None)

    def saved(self, job: int, output: Output) -> None:
        """Note that its result is at home."""
        self._set(
            job,
            state=JobState.SAVED,
            output=encode_path(output.path),
            output_size=output.size,
            output_hash=output.digest,
            error=None,
        )

    def damaged(self, job: int) -> None:
        """Note that its result is not at home any more."""
        self._set(job, state=JobState.SUCCEEDED)

    def prepared(self, job: int, changes: Sequence[str]) -> None:
        """Note what was changed about the picture that is sent."""
        self._set(job, changes=json.dumps(changes))

    def remark(self, run: int, source: Path, target: Path, error: str) -> None:
        """Note why a pair did not become a job."""
        self._sql.execute(
            "INSERT INTO remarks (run, source, target, error) VALUES (?, ?, ?, ?)",
            (run, encode_path(source), encode_path(target), error),
        )

    def remarks(self, after: int = 0, most: int = 500) -> list[Remark]:
        """Return the next *most* remarks whose number is above *after*."""
        rows = self._sql.execute(
            "SELECT * FROM remarks WHERE id > ? ORDER BY id LIMIT ?", (after, most)
        )
        return [remark_of(row) for row in rows]

    def entries(self, after: int = 0, most: int = 500) -> list[Entry]:
        """Return the next *most* jobs whose number is above *after*."""
        return self._entries("id > ? ORDER BY id LIMIT ?", (after, most))

    def open_entries(
        self, server: str | None, after: int = 0, most: int = 500
    ) -> list[Entry]:
        """
        Return the next *most* that may be paid, and are not at home.

        At *server*, or at any.
        """
        where = f"{_OPEN} AND server = ifnull(?, server) AND id > ? ORDER BY id LIMIT ?"
        return self._entries(where, (server, after, most))

    def witnesses(self, server: str, most: int = 20) -> list[str]:
        """Return request ids of submits that *server* has accepted, latest first."""
        rows = self._sql.execute(
            "SELECT request_ids FROM jobs WHERE server = ? AND task_id IS NOT NULL "
            "AND request_ids <> '' ORDER BY sent_at DESC LIMIT ?",
            (server, most),
        )
        return [str(row[0]).split()[-1] for row in rows]

    def task_ids(self, server: str) -> set[str]:
        """Return the ids of all tasks of *server* that are known."""
        rows = self._sql.execute(
            "SELECT task_id FROM jobs WHERE server = ? AND task_id IS NOT NULL",
            (server,),
        )
        return {str(row[0]) for row in rows}

    def _set(self, job: int, **values: object) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        self._sql.execute(
            f"UPDATE jobs SET {columns} WHERE id = ?",  # noqa: S608 - our own names
            (*values.values(), job),
        )

    def _entries(self, where: str, values: Iterable[object]) -> list[Entry]:
        rows = self._sql.execute(
            f"SELECT * FROM jobs WHERE {where}",  # noqa: S608 - our own words
            tuple(values),
        )
        try:
            return [entry_of(row) for row in rows]
        except (TypeError, ValueError) as fault:
            raise sqlite3.DatabaseError(f"it is damaged: {fault}") from None
