"""The jobs, runs and output paths in a journal."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.columns import decode_path, encode_path
from ezlink_async.batch.journal.jobs import (
    Claim,
    JobRecord,
    JobState,
    Problem,
    Reason,
    Remark,
    Run,
    Submit,
)
from ezlink_async.batch.journal.schema import SCHEMA
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.errors import ConfigurationError
from tests.support.journal_jobs import REQUEST, again, new_swap, swap_claim, swap_key

SERVER = "https://a.example"
KEY = swap_key(SERVER, "trip/a")
ME, A, B = Path("/photos/me.jpg"), Path("/photos/a.jpg"), Path("/photos/b.jpg")
INPUTS = new_swap(KEY, ME, A).inputs
OUTPUT = Output(Path("trip/a.jpg"), 20_000, b"o" * 32)
OTHER = Output(Path("trip/a_2.jpg"), 30_000, b"p" * 32)

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the journal."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Open a journal, and close it."""
    with contextlib.closing(Journal.open(path)) as journal:
        yield journal


def _submit(request_id: str, state_tag: str | None = "m", when: float = 1.0) -> Submit:
    return Submit(request_id=request_id, state_tag=state_tag, when=when, since=when)


def _job(journal: Journal, path: str = "trip/a", server: str = SERVER) -> JobRecord:
    key = attrs.evolve(KEY, output_path=path, server=server)
    return journal.find_or_add_job(new_swap(key, ME, A))


def _now(journal: Journal, job: JobRecord) -> JobRecord:
    """Return the job as it is in the journal now."""
    return journal.find_or_add_job(again(job))


# A job


def test_equal_keys_are_one_job(journal: Journal) -> None:
    """Each part of the key makes another job."""
    job = _job(journal)
    assert job == JobRecord(
        id=1,
        key=KEY,
        label=str(A),
        family="midjourney",
        inputs=INPUTS,
        state=JobState.PLANNED,
    )
    assert _now(journal, job) == job
    others = [
        attrs.evolve(KEY, server="https://b.example"),
        attrs.evolve(KEY, kind="imagine"),
        attrs.evolve(KEY, request=REQUEST.replace("aa", "cc")),
        attrs.evolve(KEY, output_path="trip/b"),
    ]
    ids = [journal.find_or_add_job(new_swap(key, ME, A)).id for key in others]
    assert ids == [2, 3, 4, 5]


def test_a_job_of_moved_pictures_keeps_its_state_and_gets_the_new_paths(
    journal: Journal,
) -> None:
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", "m1", 1.0))
    for source, target in ((ME, B), (B, A)):
        new = new_swap(KEY, source, target)
        moved = journal.find_or_add_job(new)
        assert (moved.id, moved.inputs) == (job.id, new.inputs)
        assert (moved.label, moved.state) == (str(target), JobState.SUBMITTING)
        assert _now(journal, moved) == moved


def test_each_change_keeps_the_earlier_ones_and_ends_their_errors(
    journal: Journal,
) -> None:
    job = _job(journal)
    journal.prepared(job.id, ["turned", "made smaller"])
    journal.submitting(job.id, _submit("r1", "m1", 1.0))
    journal.planned(job.id, "BusyError: later")
    planned = _now(journal, job)
    assert (planned.state, planned.error) == (JobState.PLANNED, "BusyError: later")
    journal.submitting(job.id, _submit("r2", "m1", 2.0))
    submitting = _now(journal, job)
    assert submitting == attrs.evolve(
        job,
        state=JobState.SUBMITTING,
        state_tag="m1",
        request_ids=("r1", "r2"),
        changes=("turned", "made smaller"),
        since=2.0,
        sent_at=2.0,
    )
    journal.accepted(job.id, "7")
    submitted = attrs.evolve(submitting, state=JobState.SUBMITTED, task_id="7")
    assert _now(journal, job) == submitted
    journal.note_problem(job.id, Problem("late", Reason.BUDGET))
    assert _now(journal, job) == attrs.evolve(
        submitted, error="late", reason=Reason.BUDGET
    )
    journal.succeeded(job.id, '{"task_id":"7"}', 3.0)
    succeeded = attrs.evolve(
        submitted,
        state=JobState.SUCCEEDED,
        record='{"task_id":"7"}',
        ended_at=3.0,
    )
    assert _now(journal, job) == succeeded
    journal.note_problem(job.id, Problem("gone", Reason.RESULT_GONE))
    journal.saved(job.id, [attrs.evolve(OUTPUT, size=1), OUTPUT])
    journal.saved(job.id, [OUTPUT, OTHER])
    saved = attrs.evolve(succeeded, state=JobState.SAVED, outputs=(OUTPUT, OTHER))
    assert saved.output == OUTPUT
    assert _now(journal, job) == saved
    journal.damaged(job.id)
    assert _now(journal, job) == attrs.evolve(saved, state=JobState.SUCCEEDED)


def test_a_job_that_is_sent_again_keeps_its_request_ids_only(journal: Journal) -> None:
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", "m1", 1.0))
    journal.accepted(job.id, "7")
    journal.succeeded(job.id, '{"task_id":"7"}', 2.0)
    journal.failed(job.id, Problem("TaskFailedError: no face"), 3.0)
    failed = _now(journal, job)
    assert (failed.state, failed.task_id, failed.ended_at) == (
        JobState.FAILED,
        "7",
        3.0,
    )
    assert failed.error == "TaskFailedError: no face"
    journal.submitting(job.id, _submit("r2", None, 4.0))
    assert _now(journal, job) == attrs.evolve(
        job, state=JobState.SUBMITTING, request_ids=("r1", "r2"), since=4.0, sent_at=4.0
    )
    journal.unknown(job.id, "SubmitUnknownError: lost")
    unknown = _now(journal, job)
    assert (unknown.state, unknown.task_id) == (JobState.UNKNOWN, None)
    assert unknown.error == "SubmitUnknownError: lost"


def test_a_refused_job_stays_unknown_after_an_unknown_submit(journal: Journal) -> None:
    """Only the end of its server makes it planned again."""
    job = _job(journal)
    for number, cut_off in enumerate((True, False)):
        journal.submitting(job.id, _submit(f"r{number}", "m", 1.0))
        if not cut_off:
            journal.unknown(job.id, "SubmitUnknownError: lost")
    journal.submitting(job.id, _submit("r2", "m", 2.0))
    journal.planned(job.id, "BusyError: later")
    found = _now(journal, job)
    assert (found.state, found.task_id) == (JobState.UNKNOWN, None)
    assert "an earlier submit of this job may have been" in str(found.error)
    assert str(found.error).endswith("(BusyError: later)")
    journal.forget_unfinished(SERVER)
    journal.submitting(job.id, _submit("r3", "m", 3.0))
    journal.planned(job.id, "BusyError: later")
    assert _now(journal, job).state is JobState.PLANNED


@pytest.mark.parametrize(
    ("tags", "state"),
    [
        (["m"], JobState.PLANNED),
        (["m", "m"], JobState.PLANNED),
        (["m", "n"], JobState.UNKNOWN),
        (["m", "n", "n"], JobState.UNKNOWN),
        ([None, "n"], JobState.UNKNOWN),
    ],
)
def test_proof_about_all_submits_makes_an_unknown_job_planned(
    journal: Journal, tags: list[str | None], state: JobState
) -> None:
    """It holds for the tasks of one state tag."""
    job = _job(journal)
    for number, tag in enumerate(tags):
        journal.submitting(job.id, _submit(f"r{number}", tag))
        journal.unknown(job.id, "SubmitUnknownError: lost")
    journal.not_created(job.id, "TransportError: it was never created")
    assert _now(journal, job).state is state
    assert "it was never created" in str(_now(journal, job).error)
    journal.submitting(job.id, _submit("last", tags[-1]))
    journal.planned(job.id, "BusyError: later")
    assert _now(journal, job).state is state


@pytest.mark.parametrize(
    ("first", "state", "ended_at"),
    [("n", JobState.FAILED, 5.0), ("m", JobState.UNKNOWN, None)],
)
def test_job_that_was_not_created_and_is_not_sent_again_has_failed(
    journal: Journal, first: str, state: JobState, ended_at: float | None
) -> None:
    job = _job(journal)
    for number, tag in enumerate((first, "n")):
        journal.submitting(job.id, _submit(f"r{number}", tag))
        journal.unknown(job.id, "SubmitUnknownError: lost")
    journal.not_created(job.id, "ServerError: the upstream", failed_at=5.0)
    found = _now(journal, job)
    assert (found.state, found.ended_at) == (state, ended_at)
    assert "ServerError: the upstream" in str(found.error)


def test_proof_does_not_cover_a_submit_before_the_one_that_failed(
    journal: Journal,
) -> None:
    """The job that is sent again after a failure has another state tag."""
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", "m"))
    journal.unknown(job.id, "SubmitUnknownError: lost")
    journal.submitting(job.id, _submit("r2", "m"))
    journal.accepted(job.id, "7")
    journal.failed(job.id, Problem("TaskFailedError: no face"), 2.0)
    journal.submitting(job.id, _submit("r3", "n"))
    journal.unknown(job.id, "SubmitUnknownError: lost")
    journal.not_created(job.id, "TransportError: it was never created")
    assert _now(journal, job).state is JobState.UNKNOWN


@posix
def test_names_that_are_no_text_come_back_in_the_next_run(path: Path) -> None:
    name = "m\udcfc"
    key = attrs.evolve(KEY, output_path=name)
    target = Path("/photos", f"{name}.jpg")
    output = attrs.evolve(OUTPUT, path=Path(f"{name}.jpg"))
    with contextlib.closing(Journal.open(path)) as journal:
        run = journal.start_run(1.0)
        assert journal.assign_output_path(swap_claim(target, target, name), run) == name
        job = journal.find_or_add_job(new_swap(key, target, target))
        journal.saved(job.id, [output])
    with contextlib.closing(Journal.open(path)) as journal:
        run = journal.start_run(2.0)
        assert journal.assign_output_path(swap_claim(target, target, name), run) == name
        (record,) = journal.records()
    assert (record.key, record.inputs) == (key, new_swap(key, target, target).inputs)
    assert record.label == r"/photos/m\udcfc.jpg"
    assert record.outputs == (output,)


def test_a_path_is_stored_as_text_if_it_is_text() -> None:
    """Other programs can read the file then."""
    assert encode_path(Path("/photos/\u65c5.jpg")) == "/photos/\u65c5.jpg"
    assert encode_path("m\udcfc") == b"m\xfc"
    for name in (Path("/photos/\u65c5.jpg"), Path("m\udcfc")):
        assert decode_path(encode_path(name)) == name


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("x\ud800.jpg", r"x\ud800.jpg"),
        ("m\udcfc\ud800", r"m\udcfc\ud800"),
        ("a\0b", r"a\x00b"),
    ],
)
def test_a_path_that_no_system_takes_is_stored_with_escapes(
    name: str, stored: str
) -> None:
    assert encode_path(Path(name)) == stored
    assert decode_path(stored) == Path(stored)


# Transactions and runs


def test_changes_without_a_commit_are_undone(path: Path) -> None:
    journal = Journal.open(path)
    journal.begin()
    _job(journal, "kept")
    journal.commit()
    journal.rollback()  # nothing is open: nothing to undo
    journal.begin()
    _job(journal, "undone")
    journal.rollback()
    journal.begin()
    _job(journal, "cut off")
    journal.close()
    with contextlib.closing(Journal.open(path)) as again:
        assert [record.key.output_path for record in again.records()] == ["kept"]


def test_a_rehearsal_reads_the_journal_and_changes_nothing(path: Path) -> None:
    with contextlib.closing(Journal.open(path)) as journal:
        _job(journal)
    with contextlib.closing(Journal.rehearsal(path)) as copy:
        assert [record.id for record in copy.records()] == [1]
        _job(copy, "another")
    with contextlib.closing(Journal.rehearsal(path)) as copy:
        assert len(copy.records()) == 1
    with contextlib.closing(Journal.rehearsal(None)) as empty:
        assert empty.records() == []


def test_runs_have_their_times_and_facts(journal: Journal) -> None:
    assert journal.runs() == []
    first = journal.start_run(1.0)
    journal.end_run(first, 2.0, {"spent": "3 \u00a5"})
    assert journal.start_run(3.0) == first + 1
    assert journal.runs() == [
        Run(1.0, 2.0, {"spent": "3 \u00a5"}),
        Run(3.0, None, {}),
    ]
    assert [run.seconds for run in journal.runs()] == [1.0, 0.0]


def test_a_run_that_was_cut_short_took_until_the_last_end_of_a_task(
    journal: Journal,
) -> None:
    """Not until a task that ended in another run."""
    for number, start in enumerate((10.0, 20.0, 30.0)):
        journal.start_run(start)
        for wait in (3.0, 2.0):
            job = _job(journal, f"{number}-{wait}")
            journal.succeeded(job.id, None, start + wait)
    assert [run.stopped_at for run in journal.runs()] == [13.0, 23.0, 33.0]
    assert [run.seconds for run in journal.runs()] == [3.0] * 3


def test_a_submit_cut_short_is_unknown_in_the_next_run(journal: Journal) -> None:
    """It may be paid, at whichever server; other jobs keep their state."""
    cut = [_job(journal, "a"), _job(journal, "b", "https://b.example")]
    for job in cut:
        journal.submitting(job.id, _submit("r", "m", 1.0))
    planned, followed = _job(journal, "c"), _job(journal, "d")
    journal.submitting(followed.id, _submit("r", "m", 1.0))
    journal.accepted(followed.id, "7")
    journal.start_run(2.0)
    for job in cut:
        after = _now(journal, job)
        assert after.state is JobState.UNKNOWN
        assert "may have been created and paid" in str(after.error)
    assert _now(journal, planned).state is JobState.PLANNED
    assert _now(journal, followed).state is JobState.SUBMITTED


def test_unfinished_jobs_of_an_ended_server_are_planned_again(journal: Journal) -> None:
    """Saved jobs stay saved, and lose their ids."""
    for path in ("sending", "sent", "lost", "done", "home", "bad"):
        journal.submitting(_job(journal, path).id, _submit("r", "m", 1.0))
    for path in ("sent", "done", "home", "bad"):
        journal.accepted(_job(journal, path).id, path)
    journal.unknown(_job(journal, "lost").id, "SubmitUnknownError: lost")
    for path in ("done", "home"):
        journal.succeeded(_job(journal, path).id, None, 2.0)
    journal.saved(_job(journal, "home").id, [OUTPUT])
    journal.failed(_job(journal, "bad").id, Problem("TaskFailedError: no face"), 2.0)
    other = _job(journal, "sent", "https://b.example")
    journal.accepted(other.id, "7")
    journal.forget_unfinished(SERVER)
    after = {
        record.key.output_path: record for record in journal.records() if record.id < 7
    }
    assert {record.task_id for record in after.values()} == {None}
    for path in ("sending", "sent", "lost", "done"):
        assert (after[path].state, after[path].error) == (JobState.PLANNED, None)
    assert (after["home"].state, after["home"].outputs) == (JobState.SAVED, (OUTPUT,))
    assert after["bad"].state is JobState.FAILED
    assert after["bad"].error == "TaskFailedError: no face"
    assert _now(journal, other).task_id == "7"


def test_since_is_the_time_of_the_first_unknown_submit(journal: Journal) -> None:
    """A submit that was surely refused does not count."""
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", when=1.0))
    journal.planned(job.id, "BusyError: later")
    for number in (2, 3, 4):
        journal.submitting(job.id, _submit(f"r{number}", when=number))
        assert _now(journal, job).since == 2.0
        if number == 3:
            journal.planned(job.id, "BusyError: later")
        else:
            journal.unknown(job.id, "SubmitUnknownError: lost")
    assert _now(journal, job).sent_at == 4.0


def test_remarks_of_earlier_runs_are_deleted(journal: Journal) -> None:
    run = journal.start_run(1.0)
    for error in ("one", "two", "three"):
        problem = Problem(error, Reason.UNUSABLE)
        journal.add_remark(run, "swap", "a.jpg", INPUTS, problem)
    assert journal.remarks()[0] == Remark(
        1, "swap", "a.jpg", INPUTS, "one", Reason.UNUSABLE
    )
    assert [remark.error for remark in journal.remarks(1, 1)] == ["two"]
    assert journal.remarks(3) == []
    journal.start_run(2.0)
    assert journal.remarks() == []


# Questions


def test_jobs_are_read_in_pages(journal: Journal) -> None:
    for number in range(7):
        job = _job(journal, f"p{number}")
        if number % 2:
            journal.submitting(job.id, _submit("r", "m", 1.0))
    assert [record.id for record in journal.records()] == [1, 2, 3, 4, 5, 6, 7]
    assert [record.id for record in journal.records(2, 3)] == [3, 4, 5]
    assert journal.records(7) == []
    assert [record.id for record in journal.open_records(SERVER)] == [2, 4, 6]
    assert [record.id for record in journal.open_records(SERVER, 2, 1)] == [4]
    assert journal.open_records(SERVER, 6) == []


def test_open_jobs_may_be_paid_and_are_not_saved(journal: Journal) -> None:
    verbs: dict[JobState, Callable[[int], None]] = {
        JobState.PLANNED: lambda job: journal.planned(job, None),
        JobState.SUBMITTING: lambda _: None,
        JobState.SUBMITTED: lambda job: journal.accepted(job, "7"),
        JobState.SUCCEEDED: lambda job: journal.succeeded(job, None, 1.0),
        JobState.SAVED: lambda job: journal.saved(job, [OUTPUT]),
        JobState.FAILED: lambda job: journal.failed(job, Problem("no"), 1.0),
        JobState.UNKNOWN: lambda job: journal.unknown(job, "lost"),
    }
    for state, verb in verbs.items():
        job = _job(journal, state)
        journal.submitting(job.id, _submit("r", "m", 1.0))
        verb(job.id)
    assert {record.state for record in journal.records()} == set(JobState)
    listed = [record.state.value for record in journal.open_records(SERVER)]
    assert listed == ["submitting", "submitted", "succeeded", "unknown"]
    assert journal.open_records("https://b.example") == []
    there = _job(journal, "there", "https://b.example")
    journal.unknown(there.id, "lost")
    assert len(journal.open_records(None)) == 5


def test_the_price_of_one_kind_is_known_where_there_is_no_other(
    journal: Journal,
) -> None:
    run = journal.start_run(1.0)
    journal.end_run(run, 2.0, {"charged_usd": "0.5", "accepted": "10"})
    assert journal.price("swap") == 0.05
    _job(journal)
    assert journal.price("swap") == 0.05
    assert journal.price("imagine") is None
    key = attrs.evolve(KEY, kind="imagine")
    journal.find_or_add_job(new_swap(key, ME, A))
    assert journal.price("swap") is None


def test_witnesses_are_the_latest_accepted_submits_of_a_server(
    journal: Journal,
) -> None:
    for number, path in enumerate("abc"):
        job = _job(journal, path)
        journal.submitting(job.id, _submit(f"lost-{path}", "m", 1.0))
        journal.submitting(job.id, _submit(f"good-{path}", "m", 2.0 + number))
        journal.accepted(job.id, f"id-{path}")
    journal.submitting(_job(journal, "d").id, _submit("open", "m", 9.0))
    journal.accepted(_job(journal, "e").id, "without-a-request")
    other = _job(journal, "a", "https://b.example")
    journal.submitting(other.id, _submit("elsewhere", "m", 9.0))
    journal.accepted(other.id, "7")
    kinds = ["imagine", "swap"]
    assert journal.witnesses(SERVER, kinds) == ["good-c", "good-b", "good-a"]
    assert journal.witnesses(SERVER, kinds, 1) == ["good-c"]
    # A job of another kind may be free, or leave nothing in the account's log.
    assert journal.witnesses(SERVER, kinds[:1]) == []
    assert journal.task_ids("https://b.example") == {"7"}
    assert journal.task_ids(SERVER) == {"id-a", "id-b", "id-c", "without-a-request"}


def test_the_file_names_its_application_and_version(path: Path) -> None:
    Journal.open(path).close()
    assert path.read_bytes()[68:72] == b"EZLJ"
    with contextlib.closing(sqlite3.connect(path)) as sql:
        version = sql.execute("PRAGMA user_version").fetchone()[0]
        assert version == len(SCHEMA.migrations)
        sql.execute(f"PRAGMA user_version = {version + 1}")
        sql.commit()
    with pytest.raises(ConfigurationError, match="newer version"):
        Journal.open(path)


def test_the_latest_saved_job_with_the_same_output_path_is_replaced(
    journal: Journal,
) -> None:
    """Neither the job itself, nor one that is not saved, nor another path."""
    keys = [swap_key(SERVER, "trip/a", str(number)) for number in range(4)]
    jobs = [journal.find_or_add_job(new_swap(key, ME, A)) for key in keys]
    elsewhere = _job(journal, "trip/b")
    for job, when in ((jobs[0], 1.0), (jobs[2], 3.0), (jobs[1], 2.0), (elsewhere, 9.0)):
        journal.succeeded(job.id, None, when)
        journal.saved(job.id, [OUTPUT])
    latest = journal.replaced_by(jobs[3])
    assert latest is not None
    assert latest.id == jobs[2].id
    before = journal.replaced_by(jobs[2])
    assert before is not None
    assert before.id == jobs[1].id
    assert journal.replaced_by(elsewhere) is None


# Output paths


class Claims:
    """The claims of several runs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.next_run()

    def next_run(self) -> None:
        """Begin another run."""
        self._run = self._journal.start_run(1.0)

    def claim(
        self, target: str, wanted: str = "a", content: str = "", source: str = "me"
    ) -> str:
        """Return the output path; by default each target is a picture of its own."""
        content = content or target
        claim = swap_claim(Path(source), Path(target), wanted, content.encode())
        return self._journal.assign_output_path(claim, self._run)

    def order(self, request: str, wanted: str) -> str:
        """Return the output path of a job that may have several results."""
        subject = request.encode()
        claim = Claim(subject, wanted, hashlib.sha256(subject).digest())
        return self._journal.assign_output_path(claim, self._run)


@pytest.fixture
def claims(journal: Journal) -> Claims:
    """Make claims in a new journal."""
    return Claims(journal)


def test_a_pair_keeps_its_output_path(claims: Claims) -> None:
    """In later runs, in another order, and after the target has changed."""
    assert [claims.claim("x/a"), claims.claim("y/a")] == ["a", "a-2"]
    assert claims.claim("x/a") == "a"
    claims.next_run()
    assert claims.claim("z/a") == "a-3"
    assert [claims.claim("y/a", content="new"), claims.claim("x/a")] == ["a-2", "a"]


@pytest.mark.parametrize(
    "alike",
    [
        ("a", "A", "a"),
        (
            unicodedata.normalize("NFC", "\u00e9"),
            unicodedata.normalize("NFD", "\u00c9"),
        ),
        ("stra\u00dfe", "STRASSE"),
        ("trip/a", "Trip/A"),
        ("m\udcfc", "M\udcfc"),
    ],
    ids=ascii,
)
def test_paths_that_some_file_systems_take_for_one_are_numbered(
    claims: Claims, alike: tuple[str, ...]
) -> None:
    """The later ones get ``-2``, ``-3``, in their own spelling."""
    found = [claims.claim(str(number), name) for number, name in enumerate(alike)]
    numbers = ["", *(f"-{number}" for number in range(2, len(alike) + 1))]
    assert found == [name + number for name, number in zip(alike, numbers, strict=True)]


def test_numbers_skip_paths_that_are_taken(claims: Claims) -> None:
    assert claims.claim("1", "a-2") == "a-2"
    assert [claims.claim(str(number)) for number in (2, 3, 4)] == ["a", "a-3", "a-4"]
    assert claims.claim("5", "a-3") == "a-3-2"


@posix
@pytest.mark.parametrize("name", ["fox", "trip/Fox", "m\udcfc"], ids=ascii)
def test_paths_of_several_results_meet_no_other_path(claims: Claims, name: str) -> None:
    """In either order, and in a later run; a swap has one result, and no number."""
    assert claims.order("one", f"{name}_1") == f"{name}_1"
    assert claims.order("two", name) == f"{name}-2"
    assert claims.order("three", f"{name}-2_12") == f"{name}-2_12-2"
    assert claims.claim("four", f"{name}-2_3") == f"{name}-2_3-2"
    claims.next_run()
    assert claims.order("five", f"{name}-2_4") == f"{name}-2_4-2"
    assert claims.order("one", f"{name}_1") == f"{name}_1"
    assert claims.order("two", name) == f"{name}-2"


def test_paths_that_are_no_number_of_a_result_are_taken(claims: Claims) -> None:
    free = ["fox", "fox_", "fox_0", "fox_01", "fox_1a", "fox_a_1", "fox1", "fox`_1"]
    assert [claims.order(name, name) for name in free] == free
    assert [claims.order(f"{name} too", f"a{name}") for name in free[::-1]] == [
        f"a{name}" for name in free[::-1]
    ]


def test_paths_of_swaps_have_no_numbers(claims: Claims) -> None:
    names = ["a", "a_1", "b_1", "b"]
    assert [claims.claim(name, name) for name in names] == names


def test_a_moved_picture_keeps_its_path_in_a_later_run(claims: Claims) -> None:
    """In the same run it is a copy, which gets its own path."""
    assert claims.claim("old/a", content="picture") == "a"
    assert claims.claim("copy/a", content="picture") == "a-2"
    claims.next_run()
    assert claims.claim("new/a", content="picture") == "a"
    assert claims.claim("newer/a", content="picture") == "a-2"
    claims.next_run()
    # What stayed where it was is found by its path first.
    assert claims.claim("newer/a", content="picture") == "a-2"
    assert claims.claim("other/a", content="another") == "a-3"


def test_another_source_gets_the_same_path_in_a_later_run_only(claims: Claims) -> None:
    """The option ``existing`` decides between the two results then."""
    assert claims.claim("x/a", source="me") == "a"
    claims.next_run()
    assert claims.claim("x/a", source="you") == "a"
    assert claims.claim("x/a", source="me") == "a-2"
    claims.next_run()
    assert claims.claim("x/a", source="me") == "a-2"
    assert claims.claim("x/a", source="them") == "a"


def test_a_pair_with_two_wanted_paths_has_two_output_paths(claims: Claims) -> None:
    assert claims.claim("x/a", "a") == "a"
    assert claims.claim("x/a", "b") == "b"
    assert [claims.claim("x/a", "b"), claims.claim("x/a", "a")] == ["b", "a"]


def test_no_two_pairs_of_a_run_share_a_path(claims: Claims) -> None:
    pairs = list(itertools.product("xyz", ("me", "you"), ("a", "A", "a-2")))
    for pick in (pairs[:5], pairs[::2], pairs[::-1], pairs[3::3], pairs):
        claims.next_run()
        found = [
            claims.claim(target, wanted, content=target, source=source)
            for target, source, wanted in pick
        ]
        assert len({path.casefold() for path in found}) == len(pick)
        again = [
            claims.claim(target, wanted, content=target, source=source)
            for target, source, wanted in pick
        ]
        assert again == found


def test_texts_that_cannot_be_encoded_are_stored_escaped(journal: Journal) -> None:
    """A name of a file stands in an error, and may hold bytes that are no text."""
    job, half = _job(journal), "m\udcfc \ud800"
    journal.submitting(job.id, _submit("req-1"))
    journal.accepted(job.id, half)
    journal.failed(job.id, Problem(f"TaskFailedError: {half}"), 2.0)
    problem, name = Problem(f"ImageError: {half}"), Path("m\udcfc.jpg")
    journal.add_remark(1, "swap", half, [Input("target", name)], problem)
    found = _now(journal, job)
    assert (found.task_id, found.state) == (r"m\udcfc \ud800", JobState.FAILED)
    assert found.error == r"TaskFailedError: m\udcfc \ud800"
    (remark,) = journal.remarks()
    assert remark.error == r"ImageError: m\udcfc \ud800"
    assert (remark.label, remark.inputs[0].path) == (r"m\udcfc \ud800", name)
