"""
The journal of a batch: what was sent for each photo, and what came of it.

Each change leads to a state from which a later run knows what to do, wherever
the power fails. Synchronous, and for one thread at a time: that thread is in
:mod:`ezlink_async.commits`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import attrs

from ezlink_async.claims import Claim, place_for
from ezlink_async.database import open_copy, open_database
from ezlink_async.jobs import Entry, JobKey, JobState, Output, Remark, Run, Submit
from ezlink_async.schema import SCHEMA, entry_of, kept, key_values, remark_of

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
        return place_for(self._sql, claim, run)

    def job(self, key: JobKey, source: Path, target: Path) -> Entry:
        """Return the job *key* means, noted as planned when it is new."""
        values = key_values(key)
        self._sql.execute(
            "INSERT INTO jobs (server, source_hash, target_hash, options, place, "
            "source, target, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'planned') "
            "ON CONFLICT DO UPDATE SET source = excluded.source, "
            "target = excluded.target WHERE target <> excluded.target "
            "OR source <> excluded.source",
            (*values, kept(source), kept(target)),
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
            output=kept(output.path),
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
            (run, kept(source), kept(target), error),
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
