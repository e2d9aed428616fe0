"""
The journal of a batch: what was sent for each order, and how it ended.

After each change a later run knows what to do, wherever the power fails. The
journal is synchronous, and for one thread at a time: that thread is in
:mod:`ezlink_async.batch.journal.writer`.
"""

from __future__ import annotations

import collections
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import attrs

from ezlink_async.batch.journal.columns import (
    as_stored,
    decode_path,
    encode_path,
    job_record,
    remark_of,
)
from ezlink_async.batch.journal.jobs import (
    Claim,
    JobRecord,
    JobState,
    NewJob,
    Problem,
    Remark,
    Run,
    Submit,
)
from ezlink_async.batch.journal.schema import SCHEMA
from ezlink_async.batch.journal.sqlite import open_copy, open_database
from ezlink_async.batch.pairs.output_paths import (
    RESULT_NUMBER,
    Output,
    numbered,
    path_key,
)
from ezlink_async.batch.pairs.pictures import Input

_T = TypeVar("_T")


def _folder_of(output_path: str | bytes) -> str:
    return os.fsdecode(output_path).rpartition("/")[0]


_Lists = collections.defaultdict[int, list[_T]]

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

    A change is made between :meth:`begin` and :meth:`commit`, and is on disk when
    :meth:`commit` has returned.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._sql = connection

    @classmethod
    def open(cls, path: Path, *, locking: bool = True) -> Self:
        """Open the file at *path*, made if missing; see :func:`open_database`."""
        return cls(open_database(path, SCHEMA, locking=locking))

    @classmethod
    def rehearsal(cls, path: Path | None) -> Self:
        """Open a copy for a dry run, empty without *path*; it leaves no file."""
        return cls(open_copy(path, SCHEMA))

    def _execute(
        self, query: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> sqlite3.Cursor:
        """Execute *query*; texts that cannot be encoded are stored as escapes."""
        if isinstance(values, Mapping):
            named = {name: as_stored(value) for name, value in values.items()}
            return self._sql.execute(query, named)
        return self._sql.execute(query, [as_stored(value) for value in values])

    def close(self) -> None:
        """Close the file; a change that was not committed is undone."""
        self._sql.close()

    def begin(self) -> None:
        """Begin a transaction."""
        self._sql.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write the changes to the disk, and return when they are there."""
        self._sql.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the changes since :meth:`begin`."""
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")

    def start_run(self, when: float) -> int:
        """Begin a run; a submit that was cut short is unknown from now on."""
        self._execute(
            "UPDATE jobs SET state = 'unknown', error = ?, reason = NULL "
            "WHERE state = 'submitting'",
            (_CUT_SHORT,),
        )
        self._execute("DELETE FROM remarks")
        self._execute("DELETE FROM remark_inputs")
        cursor = self._execute("INSERT INTO runs (started_at) VALUES (?)", (when,))
        return cursor.lastrowid or 0

    def end_run(self, run: int, when: float, facts: dict[str, str]) -> None:
        """Store the end of a run."""
        self._execute(
            "UPDATE runs SET ended_at = ?, facts = ? WHERE id = ?",
            (when, json.dumps(facts), run),
        )

    def runs(self) -> list[Run]:
        """Return all runs, in their order."""
        rows = self._execute(
            "SELECT *, lead(started_at, 1, 9e99) OVER (ORDER BY id) AS next_at "
            "FROM runs ORDER BY id"
        ).fetchall()
        return [
            Run(
                row["started_at"],
                row["ended_at"],
                json.loads(row["facts"]),
                self._last_end(row["started_at"], row["next_at"])
                if row["ended_at"] is None
                else None,
            )
            for row in rows
        ]

    def _last_end(self, after: float, before: float) -> float | None:
        """Return when the last task ended in a time."""
        query = "SELECT max(ended_at) FROM jobs WHERE ended_at >= ? AND ended_at < ?"
        found: float | None = self._execute(query, (after, before)).fetchone()[0]
        return found

    def price(self, kind: str) -> float | None:
        """
        Return what one job of a *kind* cost in the latest run that knows it, in USD.

        Jobs of several kinds have several prices, so then none is known.
        """
        others = self._execute("SELECT 1 FROM jobs WHERE kind <> ? LIMIT 1", (kind,))
        if others.fetchone() is not None:
            return None
        rows = self._execute("SELECT facts FROM runs ORDER BY id DESC")
        for facts in (json.loads(row["facts"]) for row in rows):
            dollars, jobs = facts.get("charged_usd"), facts.get("accepted")
            if dollars and jobs and float(dollars) > 0 and int(jobs) > 0:
                return float(dollars) / int(jobs)
        return None

    def forget_unfinished(self, server: str) -> None:
        """Plan again the open jobs of *server*, which has ended with its tasks."""
        # Saved jobs lose their ids, too: their results cannot be downloaded again.
        self._execute(
            f"UPDATE jobs SET state = CASE WHEN {_OPEN} THEN 'planned' ELSE state END, "  # noqa: S608 - our own words
            f"error = CASE WHEN {_OPEN} THEN NULL ELSE error END, "
            f"reason = CASE WHEN {_OPEN} THEN NULL ELSE reason END, task_id = NULL, "
            f"unclear = 0 WHERE server = ? AND ({_OPEN} OR task_id IS NOT NULL)",
            (server,),
        )

    def assign_output_path(self, claim: Claim, run: int) -> str:
        """
        Return the output path for a job, relative to the output folder.

        A subject keeps the path it once had, and a picture that was moved keeps its
        path, too. Where several jobs of a *run* would share a file, the later
        ones get ``-2``, ``-3``; so does a job whose file could be one of another
        job's several results, in whichever order they come.
        """
        wanted, now = encode_path(claim.wanted_path), (claim.content, run)
        found = self._execute(
            "UPDATE places SET content = ?, run = ? WHERE subject = ? "
            "AND wished = ? RETURNING place",
            (*now, claim.subject, wanted),
        ).fetchall()
        if found:
            return os.fsdecode(found[0]["place"])
        names = numbered(claim.wanted_path)
        path = next(name for name in names if self._is_free(name, claim, run))
        same, place = encode_path(path_key(path)), encode_path(path)
        self._execute(
            "INSERT OR REPLACE INTO places (same, place, wished, subject, content, "
            "run) VALUES (?, ?, ?, ?, ?, ?)",
            (same, place, wanted, claim.subject, *now),
        )
        return path

    def output_folders(self) -> set[Path]:
        """Return the folders of all output paths, relative to the output folder."""
        rows = self._execute("SELECT place FROM places")
        return {Path(name) for name in {_folder_of(row["place"]) for row in rows}}

    def _is_free(self, path: str, claim: Claim, run: int) -> bool:
        """
        Return whether no other job has *path*, in this *run* or before.

        The same picture under another name was moved; the same name with another
        source is for the option ``existing`` to decide.
        """
        owner = self._execute(
            "SELECT content, subject, wished, run FROM places WHERE same = ?",
            (encode_path(path_key(path)),),
        ).fetchone()
        if owner is None:
            return not self._meets_results(path_key(path), claim)
        was_moved = owner["content"] == claim.content
        names = _head(claim.subject), encode_path(claim.wanted_path)
        is_ours = (_head(owner["subject"]), owner["wished"]) == names
        return bool((was_moved or is_ours) and owner["run"] != run)

    def _meets_results(self, key: str, claim: Claim) -> bool:
        """
        Return whether *key* is that of a numbered result of another job.

        Or that of another job is the key of a numbered result of this one. Several
        results of the job at ``a`` are ``a_1``, ``a_2``.
        """
        base = RESULT_NUMBER.sub("", key)
        if base != key:
            owner = self._execute(
                "SELECT subject FROM places WHERE same = ?", (encode_path(base),)
            ).fetchone()
            if owner is not None and _has_several(owner["subject"]):
                return True
        if not _has_several(claim.subject):
            return False
        # Between these two are the keys that go on with an underscore.
        bounds = encode_path(f"{key}_"), encode_path(f"{key}`")
        rows = self._execute(
            "SELECT same FROM places WHERE same > ? AND same < ?", bounds
        )
        ends = (os.fsdecode(row["same"])[len(key) :] for row in rows)
        return any(map(RESULT_NUMBER.fullmatch, ends))

    def find_or_add_job(self, new: NewJob) -> JobRecord:
        """Return the job of a key, stored as planned if it is new."""
        key = new.key
        values = (key.server, key.kind, key.request, encode_path(key.output_path))
        where = "server = ? AND kind = ? AND request = ? AND place = ?"
        known = self._select(where, values)
        if known and (known[0].label, known[0].inputs) == (new.label, new.inputs):
            return known[0]
        self._execute(
            "INSERT INTO jobs (server, kind, request, place, label, family, state) "
            "VALUES (?, ?, ?, ?, ?, ?, 'planned') ON CONFLICT DO UPDATE "
            "SET label = excluded.label",
            (*values, new.label, new.family),
        )
        (record,) = self._select(where, values)
        self._execute("DELETE FROM inputs WHERE job = ?", (record.id,))
        self._add_inputs("inputs", record.id, new.inputs)
        return attrs.evolve(record, inputs=new.inputs)

    def _add_inputs(self, table: str, owner: int, inputs: Sequence[Input]) -> None:
        for number, each in enumerate(inputs):
            self._execute(
                f"INSERT INTO {table} VALUES (?, ?, ?, ?)",  # noqa: S608 - our own words
                (owner, number, each.role, encode_path(each.path)),
            )

    def _inputs(self, table: str, owners: Sequence[int]) -> _Lists[Input]:
        """Return the pictures of jobs or remarks, by the number of these."""
        found: _Lists[Input] = collections.defaultdict(list)
        for row in self._rows_of(table, owners):
            found[row[0]].append(Input(row["role"], decode_path(row["path"])))
        return found

    def _outputs(self, jobs: Sequence[int]) -> _Lists[Output]:
        """Return the saved results of *jobs*, by the number of these."""
        found: _Lists[Output] = collections.defaultdict(list)
        for row in self._rows_of("outputs", jobs):
            path = decode_path(row["path"])
            found[row["job"]].append(Output(path, row["size"], row["digest"]))
        return found

    def _rows_of(self, table: str, owners: Sequence[int]) -> sqlite3.Cursor:
        column = "remark" if table == "remark_inputs" else "job"
        if len(owners) == 1:  # each photo of a run asks so, and this is much quicker
            return self._execute(
                f"SELECT * FROM {table} WHERE {column} = ? ORDER BY number",  # noqa: S608 - our own words
                owners,
            )
        return self._execute(
            f"SELECT * FROM {table} WHERE {column} IN "  # noqa: S608 - our own words
            f"(SELECT value FROM json_each(?)) ORDER BY {column}, number",
            (json.dumps(owners),),
        )

    def replaced_by(self, job: JobRecord) -> JobRecord | None:
        """Return the latest saved job whose result *job* would replace."""
        found = self._select(
            "state = 'saved' AND place = ? AND id <> ? "
            "ORDER BY ended_at DESC, id DESC LIMIT 1",
            (encode_path(job.key.output_path), job.id),
        )
        return next(iter(found), None)

    def submitting(self, job: int, submit: Submit) -> None:
        """Store that a job is about to be sent, perhaps again."""
        # An earlier submit that is unknown began before this one. 2 says that one
        # carried another state tag.
        self._execute(
            "UPDATE jobs SET unclear = CASE "
            "WHEN NOT (unclear OR state IN ('unknown', 'submitting')) THEN 0 "
            "WHEN unclear = 2 OR mark IS NOT :state_tag THEN 2 ELSE 1 END, "
            "state = 'submitting', mark = :state_tag, task_id = NULL, error = NULL, "
            "reason = NULL, "
            "request_ids = trim(request_ids || ' ' || :request_id), sent_at = :when, "
            "since = iif(state = 'unknown', min(ifnull(since, :since), :since), "
            ":since), record = NULL, ended_at = NULL WHERE id = :job",
            {**attrs.asdict(submit), "job": job},
        )

    def accepted(self, job: int, task_id: str) -> None:
        """Store the id."""
        self._set(job, state=JobState.SUBMITTED, task_id=task_id, error=None)

    def planned(self, job: int, error: str | None) -> None:
        """
        Store that a submit surely created nothing, and the *error* that stopped it.

        The job stays unknown if an earlier submit is.
        """
        self._execute(
            "UPDATE jobs SET state = CASE unclear WHEN 0 THEN 'planned' "
            "ELSE 'unknown' END, error = CASE unclear WHEN 0 THEN ? ELSE ? END, "
            "reason = NULL, task_id = NULL WHERE id = ?",
            (error, f"{_EARLIER} ({error})", job),
        )

    def not_created(
        self, job: int, error: str, *, failed_at: float | None = None
    ) -> None:
        """
        Do as :meth:`planned`, after a proof that covers all submits of the job.

        The job stays unknown if they carried several state tags: the proof is about
        the tasks of the last one. With *failed_at* it has failed then, so only
        a caller's wish sends it again.
        """
        self._execute(
            "UPDATE jobs SET unclear = 0 WHERE id = ? AND unclear = 1", (job,)
        )
        self.planned(job, error)
        if failed_at is not None:
            self._execute(
                "UPDATE jobs SET state = 'failed', ended_at = ? "
                "WHERE id = ? AND state = 'planned'",
                (failed_at, job),
            )

    def unknown(self, job: int, error: str) -> None:
        """Store that a job may exist, and may be paid."""
        self._set(job, state=JobState.UNKNOWN, error=error)

    def failed(self, job: int, problem: Problem, when: float) -> None:
        """Store that the server refused a job, or failed at it."""
        error, reason = problem.sentence, problem.reason
        self._set(job, state=JobState.FAILED, error=error, reason=reason, ended_at=when)

    def note_problem(self, job: int, problem: Problem) -> None:
        """Store an error that changes nothing else."""
        self._set(job, error=problem.sentence, reason=problem.reason)

    def succeeded(self, job: int, record: str | None, when: float) -> None:
        """Store that a job has finished at the server, and its task's record."""
        done = JobState.SUCCEEDED
        self._set(job, state=done, record=record, ended_at=when, error=None)

    def saved(self, job: int, outputs: Sequence[Output]) -> None:
        """Store that the results are in the output folder."""
        self._execute("DELETE FROM outputs WHERE job = ?", (job,))
        for number, each in enumerate(outputs):
            self._execute(
                "INSERT INTO outputs VALUES (?, ?, ?, ?, ?)",
                (job, number, encode_path(each.path), each.size, each.digest),
            )
        self._set(job, state=JobState.SAVED, error=None)

    def damaged(self, job: int) -> None:
        """Store that a saved result is no longer in the output folder."""
        self._set(job, state=JobState.SUCCEEDED)

    def prepared(self, job: int, changes: Sequence[str]) -> None:
        """Store what was changed about the picture that is sent."""
        self._set(job, changes=json.dumps(changes))

    def add_remark(
        self,
        run: int,
        kind: str,
        label: str,
        inputs: Sequence[Input],
        problem: Problem,
    ) -> None:
        """Store why an order did not become a job."""
        cursor = self._execute(
            "INSERT INTO remarks (run, kind, label, error, reason) "
            "VALUES (?, ?, ?, ?, ?)",
            (run, kind, label, *attrs.astuple(problem)),
        )
        self._add_inputs("remark_inputs", cursor.lastrowid or 0, inputs)

    def remarks(self, after: int = 0, most: int = 500) -> list[Remark]:
        """Return the next *most* remarks whose number is above *after*."""
        rows = self._execute(
            "SELECT * FROM remarks WHERE id > ? ORDER BY id LIMIT ?", (after, most)
        ).fetchall()
        inputs = self._inputs("remark_inputs", [row["id"] for row in rows])
        return [remark_of(row, inputs[row["id"]]) for row in rows]

    def records(self, after: int = 0, most: int = 500) -> list[JobRecord]:
        """Return the next *most* jobs whose number is above *after*."""
        return self._select("id > ? ORDER BY id LIMIT ?", (after, most))

    def open_records(
        self, server: str | None, after: int = 0, most: int = 500
    ) -> list[JobRecord]:
        """
        Return the next *most* jobs that may be paid and are not saved.

        They are those of *server*, or with ``None`` of every server.
        """
        where = f"{_OPEN} AND server = ifnull(?, server) AND id > ? ORDER BY id LIMIT ?"
        return self._select(where, (server, after, most))

    def witnesses(self, server: str, kinds: Iterable[str], most: int = 20) -> list[str]:
        """Return request ids of submits that *server* has accepted, latest first."""
        rows = self._execute(
            "SELECT request_ids FROM jobs WHERE server = ? AND task_id IS NOT NULL "
            "AND request_ids <> '' AND kind IN (SELECT value FROM json_each(?)) "
            "ORDER BY sent_at DESC LIMIT ?",
            (server, json.dumps([*kinds]), most),
        )
        return [str(row[0]).split()[-1] for row in rows]

    def task_ids(self, server: str) -> set[str]:
        """Return the ids of all known tasks of *server*."""
        rows = self._execute(
            "SELECT task_id FROM jobs WHERE server = ? AND task_id IS NOT NULL",
            (server,),
        )
        return {str(row[0]) for row in rows}

    def _set(self, job: int, **values: object) -> None:
        if "error" in values:
            values.setdefault("reason", None)  # the reason of an error it replaces
        columns = ", ".join(f"{name} = ?" for name in values)
        self._execute(
            f"UPDATE jobs SET {columns} WHERE id = ?",  # noqa: S608 - our own names
            (*values.values(), job),
        )

    def _select(self, where: str, values: Iterable[object]) -> list[JobRecord]:
        rows = self._execute(
            f"SELECT * FROM jobs WHERE {where}",  # noqa: S608 - our own words
            tuple(values),
        ).fetchall()
        ids = [row["id"] for row in rows]
        inputs, outputs = self._inputs("inputs", ids), self._outputs(ids)
        return [job_record(row, inputs[row["id"]], outputs[row["id"]]) for row in rows]


def _head(subject: bytes) -> bytes:
    return subject.partition(b"\0")[0]


def _has_several(subject: bytes) -> bool:
    """Return whether a job may have several results; one of two paths has one."""
    return b"\0" not in subject
