"""What a journal keeps of a job, and where results go."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.jobs import Entry, JobKey, JobState, Remark, Submit
from ezlink_async.batch.journal.store import (
    SCHEMA,
    Claim,
    Journal,
    decode_path,
    encode_path,
)
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.errors import ConfigurationError

SERVER = "https://a.example"
KEY = JobKey(SERVER, b"s" * 32, b"t" * 32, "{}", "trip/a")
ME, A, B = Path("/photos/me.jpg"), Path("/photos/a.jpg"), Path("/photos/b.jpg")
OUTPUT = Output(Path("trip/a.jpg"), 20_000, b"o" * 32)

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal is."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Open a journal, and close it."""
    with contextlib.closing(Journal.open(path)) as journal:
        yield journal


def _submit(request_id: str, mark: str | None = "m", when: float = 1.0) -> Submit:
    return Submit(request_id=request_id, mark=mark, when=when, since=when)


def _job(journal: Journal, place: str = "trip/a", server: str = SERVER) -> Entry:
    key = attrs.evolve(KEY, place=place, server=server)
    return journal.job(key, ME, A)


def _now(journal: Journal, job: Entry) -> Entry:
    """Return the job as it is in the journal now."""
    return journal.job(job.key, job.source, job.target)


# A job


def test_a_job_is_noted_once(journal: Journal) -> None:
    """The same key means the same job; each part of the key makes another."""
    job = _job(journal)
    assert job == Entry(id=1, key=KEY, source=ME, target=A, state=JobState.PLANNED)
    assert _now(journal, job) == job
    others = [
        attrs.evolve(KEY, server="https://b.example"),
        attrs.evolve(KEY, source_hash=b"S" * 32),
        attrs.evolve(KEY, target_hash=b"T" * 32),
        attrs.evolve(KEY, options='{"strip_metadata": true}'),
        attrs.evolve(KEY, place="trip/b"),
    ]
    ids = [journal.job(key, ME, A).id for key in others]
    assert ids == [2, 3, 4, 5, 6]


def test_a_picture_that_was_moved_is_known_by_its_new_path(journal: Journal) -> None:
    """The job is the same, and so is all that is known of it."""
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", "m1", 1.0))
    for source, target in ((ME, B), (B, A)):
        moved = journal.job(KEY, source, target)
        assert (moved.id, moved.source, moved.target) == (job.id, source, target)
        assert moved.state is JobState.SUBMITTING


def test_the_life_of_a_job(journal: Journal) -> None:
    """Each step keeps what the ones before have noted, and ends their errors."""
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
        mark="m1",
        request_ids=("r1", "r2"),
        changes=("turned", "made smaller"),
        since=2.0,
        sent_at=2.0,
    )
    journal.accepted(job.id, "7")
    submitted = attrs.evolve(submitting, state=JobState.SUBMITTED, task_id="7")
    assert _now(journal, job) == submitted
    journal.noted(job.id, "TaskTimeoutError: late")
    assert _now(journal, job) == attrs.evolve(submitted, error="TaskTimeoutError: late")
    journal.succeeded(job.id, "https://a.example/7", 3.0)
    succeeded = attrs.evolve(
        submitted,
        state=JobState.SUCCEEDED,
        image_url="https://a.example/7",
        ended_at=3.0,
    )
    assert _now(journal, job) == succeeded
    journal.noted(job.id, "DownloadError: cut off")
    journal.saved(job.id, OUTPUT)
    saved = attrs.evolve(succeeded, state=JobState.SAVED, output=OUTPUT)
    assert _now(journal, job) == saved
    journal.damaged(job.id)
    assert _now(journal, job) == attrs.evolve(saved, state=JobState.SUCCEEDED)


def test_a_job_that_is_sent_again_begins_anew(journal: Journal) -> None:
    """Of its last attempt only the request id stays, by which it can be found."""
    job = _job(journal)
    journal.submitting(job.id, _submit("r1", "m1", 1.0))
    journal.accepted(job.id, "7")
    journal.succeeded(job.id, "https://a.example/7", 2.0)
    journal.failed(job.id, "TaskFailedError: no face", 3.0)
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


def test_a_refusal_clears_no_earlier_submit(journal: Journal) -> None:
    """What may be paid stays unknown until the server is gone with it."""
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


@posix
def test_names_that_are_no_text_are_kept(path: Path) -> None:
    """Every path and place comes back as it was, in another run too."""
    name = "m\udcfc"
    key = attrs.evolve(KEY, place=name)
    target = Path("/photos", f"{name}.jpg")
    output = attrs.evolve(OUTPUT, path=Path(f"{name}.jpg"))
    with contextlib.closing(Journal.open(path)) as journal:
        run = journal.start_run(1.0)
        assert journal.claim(Claim(target, target, name, b"t"), run) == name
        journal.saved(journal.job(key, target, target).id, output)
    with contextlib.closing(Journal.open(path)) as journal:
        run = journal.start_run(2.0)
        assert journal.claim(Claim(target, target, name, b"t"), run) == name
        (entry,) = journal.entries()
    assert (entry.key, entry.source, entry.target) == (key, target, target)
    assert entry.output == output


def test_what_keeps_a_name_is_text_wherever_it_can_be() -> None:
    """So the file can be read with other programs."""
    assert encode_path(Path("/photos/\u65c5.jpg")) == "/photos/\u65c5.jpg"
    assert encode_path("m\udcfc") == b"m\xfc"
    for name in (Path("/photos/\u65c5.jpg"), Path("m\udcfc")):
        assert decode_path(encode_path(name)) == name


# Transactions and runs


def test_what_was_not_committed_never_was(path: Path) -> None:
    """Undone, or cut off by a crash."""
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
        assert [entry.key.place for entry in again.entries()] == ["kept"]


def test_a_rehearsal_changes_nothing(path: Path) -> None:
    """It knows what the journal knows, or nothing without one."""
    with contextlib.closing(Journal.open(path)) as journal:
        _job(journal)
    with contextlib.closing(Journal.rehearsal(path)) as copy:
        assert [entry.id for entry in copy.entries()] == [1]
        _job(copy, "another")
    with contextlib.closing(Journal.rehearsal(path)) as copy:
        assert len(copy.entries()) == 1
    with contextlib.closing(Journal.rehearsal(None)) as empty:
        assert empty.entries() == []


def test_runs_are_told_of(journal: Journal) -> None:
    """The latest one, and whether it has ended."""
    assert journal.last_run() is None
    first = journal.start_run(1.0)
    journal.end_run(first, 2.0, {"spent": "3 \u00a5"})
    run = journal.last_run()
    assert run is not None
    assert (run.started_at, run.ended_at) == (1.0, 2.0)
    assert run.facts == {"spent": "3 \u00a5"}
    assert journal.start_run(3.0) == first + 1
    run = journal.last_run()
    assert run is not None
    assert (run.started_at, run.ended_at, run.facts) == (3.0, None, {})


def test_what_was_cut_short_is_unknown_in_the_next_run(journal: Journal) -> None:
    """It may be paid, at whatever server; all else stays as it was."""
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


def test_what_a_server_took_with_it_is_done_again(journal: Journal) -> None:
    """What is at home stays, with an id that means nothing any more taken off."""
    for place in ("sending", "sent", "lost", "done", "home", "bad"):
        journal.submitting(_job(journal, place).id, _submit("r", "m", 1.0))
    for place in ("sent", "done", "home", "bad"):
        journal.accepted(_job(journal, place).id, place)
    journal.unknown(_job(journal, "lost").id, "SubmitUnknownError: lost")
    for place in ("done", "home"):
        journal.succeeded(_job(journal, place).id, None, 2.0)
    journal.saved(_job(journal, "home").id, OUTPUT)
    journal.failed(_job(journal, "bad").id, "TaskFailedError: no face", 2.0)
    other = _job(journal, "sent", "https://b.example")
    journal.accepted(other.id, "7")
    journal.forget_unfinished(SERVER)
    after = {entry.key.place: entry for entry in journal.entries() if entry.id < 7}
    assert {entry.task_id for entry in after.values()} == {None}
    for place in ("sending", "sent", "lost", "done"):
        assert (after[place].state, after[place].error) == (JobState.PLANNED, None)
    assert (after["home"].state, after["home"].output) == (JobState.SAVED, OUTPUT)
    assert after["bad"].state is JobState.FAILED
    assert after["bad"].error == "TaskFailedError: no face"
    assert _now(journal, other).task_id == "7"


def test_what_is_unknown_began_with_its_first_submit(journal: Journal) -> None:
    """However often it was sent again; what was surely refused is not meant."""
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


def test_remarks_are_of_the_latest_run(journal: Journal) -> None:
    """They are read in pages, like jobs."""
    run = journal.start_run(1.0)
    for error in ("one", "two", "three"):
        journal.remark(run, ME, A, error)
    assert journal.remarks()[0] == Remark(1, ME, A, "one")
    assert [remark.error for remark in journal.remarks(1, 1)] == ["two"]
    assert journal.remarks(3) == []
    journal.start_run(2.0)
    assert journal.remarks() == []


# Questions


def test_jobs_are_read_in_pages(journal: Journal) -> None:
    """None is left out, none comes twice."""
    for number in range(7):
        job = _job(journal, f"p{number}")
        if number % 2:
            journal.submitting(job.id, _submit("r", "m", 1.0))
    assert [entry.id for entry in journal.entries()] == [1, 2, 3, 4, 5, 6, 7]
    assert [entry.id for entry in journal.entries(2, 3)] == [3, 4, 5]
    assert journal.entries(7) == []
    assert [entry.id for entry in journal.open_entries(SERVER)] == [2, 4, 6]
    assert [entry.id for entry in journal.open_entries(SERVER, 2, 1)] == [4]
    assert journal.open_entries(SERVER, 6) == []


def test_what_is_open_is_what_may_be_paid_and_is_not_at_home(journal: Journal) -> None:
    """At one server, or at any."""
    verbs: dict[JobState, Callable[[int], None]] = {
        JobState.PLANNED: lambda job: journal.planned(job, None),
        JobState.SUBMITTING: lambda _: None,
        JobState.SUBMITTED: lambda job: journal.accepted(job, "7"),
        JobState.SUCCEEDED: lambda job: journal.succeeded(job, None, 1.0),
        JobState.SAVED: lambda job: journal.saved(job, OUTPUT),
        JobState.FAILED: lambda job: journal.failed(job, "no", 1.0),
        JobState.UNKNOWN: lambda job: journal.unknown(job, "lost"),
    }
    for state, verb in verbs.items():
        job = _job(journal, state)
        journal.submitting(job.id, _submit("r", "m", 1.0))
        verb(job.id)
    assert {entry.state for entry in journal.entries()} == set(JobState)
    listed = [entry.state.value for entry in journal.open_entries(SERVER)]
    assert listed == ["submitting", "submitted", "succeeded", "unknown"]
    assert journal.open_entries("https://b.example") == []
    there = _job(journal, "there", "https://b.example")
    journal.unknown(there.id, "lost")
    assert len(journal.open_entries(None)) == 5


def test_witnesses_are_submits_that_were_accepted(journal: Journal) -> None:
    """By the request id that was, the latest first; ids are known by server."""
    for number, place in enumerate("abc"):
        job = _job(journal, place)
        journal.submitting(job.id, _submit(f"lost-{place}", "m", 1.0))
        journal.submitting(job.id, _submit(f"good-{place}", "m", 2.0 + number))
        journal.accepted(job.id, f"id-{place}")
    journal.submitting(_job(journal, "d").id, _submit("open", "m", 9.0))
    journal.accepted(_job(journal, "e").id, "without-a-request")
    other = _job(journal, "a", "https://b.example")
    journal.submitting(other.id, _submit("elsewhere", "m", 9.0))
    journal.accepted(other.id, "7")
    assert journal.witnesses(SERVER) == ["good-c", "good-b", "good-a"]
    assert journal.witnesses(SERVER, 1) == ["good-c"]
    assert journal.task_ids("https://b.example") == {"7"}
    assert journal.task_ids(SERVER) == {"id-a", "id-b", "id-c", "without-a-request"}


@pytest.mark.parametrize(
    "damage",
    [
        "state = 'plannec'",
        "changes = '[1,'",
        "changes = '3'",
        "state = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_damaged_row_is_an_error_of_the_file(path: Path, damage: str) -> None:
    """What a check of the pages cannot see shows when the job is read."""
    with contextlib.closing(Journal.open(path)) as journal:
        _job(journal)
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute(f"UPDATE jobs SET {damage}")  # noqa: S608 - our own words
        sql.commit()
    with (
        contextlib.closing(Journal.open(path)) as journal,
        pytest.raises(sqlite3.DatabaseError),
    ):
        journal.entries()


def test_the_file_says_whose_it_is(path: Path) -> None:
    """It can be told from others, and a newer one is refused."""
    Journal.open(path).close()
    assert path.read_bytes()[68:72] == b"EZLJ"
    with contextlib.closing(sqlite3.connect(path)) as sql:
        version = sql.execute("PRAGMA user_version").fetchone()[0]
        assert version == len(SCHEMA.migrations)
        sql.execute(f"PRAGMA user_version = {version + 1}")
        sql.commit()
    with pytest.raises(ConfigurationError, match="newer version"):
        Journal.open(path)


# Places


class Places:
    """Claims of several runs."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.next_run()

    def next_run(self) -> None:
        """Begin another run."""
        self._run = self._journal.start_run(1.0)

    def claim(
        self, target: str, wished: str = "a", content: str = "", source: str = "me"
    ) -> str:
        """Return the place; by default each target is a picture of its own."""
        content = content or target
        claim = Claim(Path(source), Path(target), wished, content.encode())
        return self._journal.claim(claim, self._run)


@pytest.fixture
def places(journal: Journal) -> Places:
    """Make claims in a new journal."""
    return Places(journal)


def test_a_pair_keeps_its_place(places: Places) -> None:
    """In the same run, in the next, in another order, and when it was changed."""
    assert [places.claim("x/a"), places.claim("y/a")] == ["a", "a-2"]
    assert places.claim("x/a") == "a"
    places.next_run()
    assert places.claim("z/a") == "a-3"
    assert [places.claim("y/a", content="new"), places.claim("x/a")] == ["a-2", "a"]


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
def test_places_that_some_file_systems_take_for_one_are_numbered(
    places: Places, alike: tuple[str, ...]
) -> None:
    """The later ones get ``-2``, ``-3``, in their own spelling."""
    found = [places.claim(str(number), name) for number, name in enumerate(alike)]
    numbers = ["", *(f"-{number}" for number in range(2, len(alike) + 1))]
    assert found == [name + number for name, number in zip(alike, numbers, strict=True)]


def test_numbers_step_over_places_that_are_taken(places: Places) -> None:
    """``a-2`` may be a wish of its own, before or after."""
    assert places.claim("1", "a-2") == "a-2"
    assert [places.claim(str(number)) for number in (2, 3, 4)] == ["a", "a-3", "a-4"]
    assert places.claim("5", "a-3") == "a-3-2"


def test_a_picture_that_was_moved_takes_its_place_along(places: Places) -> None:
    """In a later run; in the same run it is a copy, which gets its own."""
    assert places.claim("old/a", content="picture") == "a"
    assert places.claim("copy/a", content="picture") == "a-2"
    places.next_run()
    assert places.claim("new/a", content="picture") == "a"
    assert places.claim("newer/a", content="picture") == "a-2"
    places.next_run()
    # What stayed where it was is found by its path first.
    assert places.claim("newer/a", content="picture") == "a-2"
    assert places.claim("other/a", content="another") == "a-3"


def test_another_source_shares_the_place_of_a_later_run_only(places: Places) -> None:
    """Which of them is at home then is what ``existing`` decides."""
    assert places.claim("x/a", source="me") == "a"
    places.next_run()
    assert places.claim("x/a", source="you") == "a"
    assert places.claim("x/a", source="me") == "a-2"
    places.next_run()
    assert places.claim("x/a", source="me") == "a-2"
    assert places.claim("x/a", source="them") == "a"


def test_another_wish_is_another_place(places: Places) -> None:
    """The same pair may be wanted twice, in two places."""
    assert places.claim("x/a", "a") == "a"
    assert places.claim("x/a", "b") == "b"
    assert [places.claim("x/a", "b"), places.claim("x/a", "a")] == ["b", "a"]


def test_no_two_pairs_of_a_run_share_a_place(places: Places) -> None:
    """However the runs before went."""
    pairs = list(itertools.product("xyz", ("me", "you"), ("a", "A", "a-2")))
    for pick in (pairs[:5], pairs[::2], pairs[::-1], pairs[3::3], pairs):
        places.next_run()
        found = [
            places.claim(target, wished, content=target, source=source)
            for target, source, wished in pick
        ]
        assert len({place.casefold() for place in found}) == len(pick)
        again = [
            places.claim(target, wished, content=target, source=source)
            for target, source, wished in pick
        ]
        assert again == found
