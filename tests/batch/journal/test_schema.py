"""Journals of earlier versions become those of this one, or stay what they were."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.jobs import JobRecord, JobState, Reason
from ezlink_async.batch.journal.schema import SCHEMA
from ezlink_async.batch.journal.sqlite import Schema, open_database
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import digest_of
from ezlink_async.errors import ConfigurationError
from tests.support.journal_jobs import again, swap_claim
from tests.support.old_journals import (
    ALBUM,
    FACE,
    NAMES,
    OPTIONS,
    RESULT,
    SERVER,
    journal_of,
    length_of,
)
from tests.support.pictures import jpeg
from tests.support.programs import run_python

VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the journal."""
    return tmp_path / "journal.sqlite3"


def _opened(version: int, path: Path) -> Journal:
    shutil.copy(journal_of(version), path)
    return Journal.open(path)


def _records(journal: Journal) -> dict[str, JobRecord]:
    return {os.fsdecode(Path(each.key.output_path)): each for each in journal.records()}


def _digest(length: int, folder: Path) -> bytes:
    picture = folder / "picture"
    picture.write_bytes(jpeg(length))
    return digest_of(picture)[0]


def _old(version: int) -> sqlite3.Connection:
    """Open the journal of a version, and leave no file beside it."""
    address = f"{journal_of(version).as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True)


def _before(version: int) -> list[sqlite3.Row]:
    with contextlib.closing(_old(version)) as sql:
        sql.row_factory = sqlite3.Row
        return sql.execute("SELECT * FROM jobs ORDER BY id").fetchall()


@VERSIONS
def test_jobs_of_an_older_version_keep_all_that_was_known(
    path: Path, version: int
) -> None:
    with contextlib.closing(_opened(version, path)) as journal:
        records = journal.records()
    rows = _before(version)
    assert {each.state for each in records} == set(JobState)
    assert len(records) == len(NAMES)
    for old, new in zip(rows, records, strict=True):
        for name in ("id", "state", "task_id", "error", "since", "sent_at", "ended_at"):
            assert getattr(new, name) == old[name]
        assert new.state_tag == old["mark"]
        assert " ".join(new.request_ids) == old["request_ids"]
        assert (new.key.server, new.key.kind) == (old["server"], "swap")
        source, target = (os.fsdecode(old[name]) for name in ("source", "target"))
        assert [(each.role, str(each.path)) for each in new.inputs] == [
            ("source", source),
            ("target", target),
        ]
        assert new.family == "midjourney"
        assert (new.record or "").count(old["image_url"] or "{") == (
            old["image_url"] is not None
        )
        if old["output"] is None:
            assert new.outputs == ()
        else:
            (output,) = new.outputs
            assert os.fspath(output.path) == os.fsdecode(old["output"])
            assert (output.size, output.digest) == (RESULT, old["output_hash"])


@VERSIONS
def test_the_request_of_an_old_job_is_the_one_that_the_same_swap_has_now(
    path: Path, version: int
) -> None:
    """Byte for byte, or the swap would be paid again."""
    with contextlib.closing(_opened(version, path)) as journal:
        records = _records(journal)
    face = _digest(FACE, path.parent)
    for name in NAMES:
        given = OPTIONS.get(name, {})
        options = attrs.evolve(BatchOptions(output=Path()), **given)  # type: ignore[arg-type]
        photo = _digest(length_of(name), path.parent)
        order = Pair("me.jpg", "a.jpg").order()
        expected = order.identity((face, photo), options.job_options)
        assert records[name].key.request == expected


@VERSIONS
def test_pairs_of_an_older_version_keep_their_output_paths(
    path: Path, version: int
) -> None:
    """Another picture of the same name gets another path; a moved one has its own."""
    source = Path(f"{ALBUM}/me.jpg")
    with contextlib.closing(_opened(version, path)) as journal:
        run = journal.start_run(2_000.0)
        for name in NAMES:
            target = Path(f"{ALBUM}/photos/{name}.jpg")
            claim = swap_claim(source, target, name)
            assert journal.assign_output_path(claim, run) == name
        other = swap_claim(source, Path("/elsewhere/saved.jpg"), "saved", b"new")
        assert journal.assign_output_path(other, run) == "saved-2"
        run = journal.start_run(3_000.0)
        moved = swap_claim(source, Path("/moved/saved.jpg"), "saved", b"t")
        assert journal.assign_output_path(moved, run) == "saved"


@VERSIONS
def test_remarks_and_runs_of_an_older_version_are_kept(
    path: Path, version: int
) -> None:
    with contextlib.closing(_opened(version, path)) as journal:
        (remark,) = journal.remarks()
        (run,) = journal.runs()
        price = journal.price("swap")
    assert (remark.kind, remark.reason) == ("swap", Reason.UNUSABLE)
    assert [each.path.name for each in remark.inputs] == ["me.jpg", "broken.jpg"]
    assert remark.error == "ImageError: broken.jpg: it is cut off, or broken"
    assert (run.ended_at, run.facts["accepted"]) == (1_020.0, "10")
    assert price == pytest.approx(0.018)


@VERSIONS
def test_a_copy_named_by_its_version_stays_beside_a_migrated_journal(
    path: Path, version: int
) -> None:
    """Once: a journal of this version is not copied."""
    for _ in range(2):
        _opened(version, path).close()
    Journal.open(path).close()
    copy = path.with_name(f"journal.v{version}.sqlite3")
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "journal.sqlite3",
        copy.name,
    ]
    if os.name != "nt":
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with (
        contextlib.closing(_old(version)) as old,
        contextlib.closing(sqlite3.connect(copy)) as kept,
    ):
        assert list(kept.iterdump()) == list(old.iterdump())
        assert kept.execute("PRAGMA user_version").fetchone() == (version,)


def test_a_new_journal_leaves_no_copy(path: Path) -> None:
    Journal.open(path).close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@posix
def test_a_link_where_the_copy_goes_is_not_followed(tmp_path: Path) -> None:
    """A folder of results may come from somebody else."""
    own = tmp_path / ".ezlink"
    own.mkdir()
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("journal.v1.sqlite3", "journal.v1.sqlite3.part"):
        link = own / name
        link.symlink_to(mine)
        with pytest.raises(ConfigurationError, match="is a link"):
            _opened(1, own / "journal.sqlite3")
        link.unlink()
    assert mine.read_text() == "mine"


@VERSIONS
def test_a_rehearsal_with_an_older_version_changes_nothing(
    path: Path, version: int
) -> None:
    shutil.copy(journal_of(version), path)
    with contextlib.closing(Journal.rehearsal(path)) as journal:
        assert len(journal.records()) == len(NAMES)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == journal_of(version).read_bytes()


@pytest.mark.parametrize(
    "damage",
    ["jobs SET options = '{'", "jobs SET output_size = 'large' WHERE output > ''"],
)
def test_a_damaged_journal_of_an_older_version_stays_what_it_is(
    path: Path, damage: str
) -> None:
    shutil.copy(journal_of(3), path)
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute(f"UPDATE {damage}")
        sql.commit()
    with pytest.raises(ConfigurationError, match=r"cannot be used|is damaged"):
        Journal.open(path)
    with contextlib.closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (3,)


def test_the_errors_of_version_1_get_their_reasons(path: Path) -> None:
    first = Schema(SCHEMA.application, SCHEMA.migrations[:1])
    errors = {
        "FileExistsError: a.jpg is there already": Reason.EXISTS,
        "BudgetReached: the budget of this run is spent": Reason.BUDGET,
        "TooManyFailures: the intake stopped after 3": Reason.FAILURES,
        "Interrupted: nothing was sent": Reason.INTERRUPTED,
        "ImageError: a.jpg: is empty": Reason.UNUSABLE,
        "ConfigurationError: nothing can be saved": Reason.UNUSABLE,
        "DownloadError: cut off": None,
        "DownloadError: the server no longer has the result (404)": Reason.RESULT_GONE,
    }
    with contextlib.closing(open_database(path, first)) as sql:
        sql.executemany(
            "INSERT INTO remarks (run, source, target, error) VALUES (1, 's', 't', ?)",
            [(error,) for error in errors],
        )
    with contextlib.closing(Journal.open(path)) as journal:
        assert {each.error: each.reason for each in journal.remarks()} == errors


@pytest.mark.parametrize(
    ("version", "name", "state"),
    [
        (1, "sent_twice", JobState.UNKNOWN),
        (2, "sent_twice", JobState.UNKNOWN),
        (3, "sent_twice", JobState.PLANNED),
        (3, "other_tag", JobState.UNKNOWN),
    ],
)
def test_a_proof_covers_the_submits_whose_state_tags_were_stored(
    path: Path, version: int, name: str, state: JobState
) -> None:
    """Versions 1 and 2 did not store which ones the submits before carried."""
    with contextlib.closing(_opened(version, path)) as journal:
        record = _records(journal)[name]
        journal.not_created(record.id, "TransportError: it was never created")
        assert journal.find_or_add_job(again(record)).state is state


_KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from shutil import copy
import ezlink_async.batch.journal.sqlite as ours
from ezlink_async.batch.journal.store import Journal

old, folder, points = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
connect, steps = sqlite3.connect, 0

def opened(path, kill_at):
    def step():
        global steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    def counted(*given, **named):
        found = connect(*given, **named)
        found.set_progress_handler(step, 10)
        return found
    path.parent.mkdir()
    copy(old, path)
    sqlite3.connect = counted
    Journal.open(path).close()

opened(folder / "first" / "journal.sqlite3", -1)  # learns what a new one is like
steps = 0
opened(folder / "whole" / "journal.sqlite3", -1)
total, killed = steps, 0
for point in range(points):
    kill_at = 1 + total * point // points
    child = os.fork()
    if not child:
        steps = 0
        opened(folder / str(point) / "journal.sqlite3", kill_at)
        os._exit(0)
    killed += os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
print(killed)
"""


@posix
@VERSIONS
async def test_a_kill_in_the_middle_of_a_migration_loses_nothing(
    tmp_path: Path, version: int
) -> None:
    """At each of 15 points the next opening finds the old journal, or the new one."""
    points, old = 15, str(journal_of(version))
    said, _ = await run_python("-c", _KILLED, old, str(tmp_path), str(points))
    assert int(said) == points
    with contextlib.closing(Journal.open(tmp_path / "whole/journal.sqlite3")) as whole:
        expected = whole.records(), whole.remarks(), whole.runs()
    for point in range(points):
        path = tmp_path / str(point) / "journal.sqlite3"
        with contextlib.closing(Journal.open(path)) as journal:
            assert (journal.records(), journal.remarks(), journal.runs()) == expected
        copy = path.with_name(f"journal.v{version}.sqlite3")
        with contextlib.closing(sqlite3.connect(copy)) as kept:
            assert kept.execute("PRAGMA user_version").fetchone() == (version,)
            assert kept.execute("SELECT count(*) FROM jobs").fetchone() == (len(NAMES),)
        assert {each.name for each in path.parent.iterdir()} == {path.name, copy.name}


def test_the_journals_of_earlier_versions_name_one_server() -> None:
    """And the built-in one, whose tasks have ended with it."""
    for version in (1, 2, 3):
        assert {row["server"] for row in _before(version)} == {SERVER, "local"}
