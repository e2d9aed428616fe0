"""Journals whose rows are damaged: refused on opening, before anything is sent."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import Claim, Problem, Submit
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.errors import ConfigurationError
from tests.support.filesystems import quick_folder
from tests.support.journal_jobs import again, new_swap, swap_claim, swap_key

SAMPLE = Path(__file__).parents[2] / "samples" / "journal-1" / "journal.sqlite3"
KEY = swap_key(path="trip/a", request=json.dumps({"source": "s" * 64}))
ME, A = Path("/photos/me.jpg"), Path("/photos/a.jpg")
CLAIM = swap_claim(ME, A, "trip/a")
INPUTS = new_swap(KEY, ME, A).inputs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a journal with a row in each table."""
    path = tmp_path / "journal.sqlite3"
    with contextlib.closing(Journal.open(path)) as journal:
        run = journal.start_run(1.0)
        journal.assign_output_path(CLAIM, run)
        job = journal.find_or_add_job(new_swap(KEY, ME, A)).id
        journal.submitting(job, Submit(request_id="r", state_tag="m", when=1, since=1))
        journal.accepted(job, "7")
        journal.prepared(job, ["turned"])
        journal.succeeded(job, '{"task_id": "7"}', 2.0)
        journal.saved(job, [Output(Path("trip/a.jpg"), 20_000, b"o" * 32)])
        problem = Problem("ImageError: it is empty")
        journal.add_remark(run, "swap", "a.jpg", INPUTS, problem)
        journal.end_run(run, 2.0, {"charged_usd": "0.5", "accepted": "1"})
    return path


def _change(path: Path, change: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as sql:
        sql.execute(change)
        sql.commit()


def _check_refused(path: Path, says: str = "") -> None:
    for way in (Journal.open, Journal.rehearsal):
        with pytest.raises(ConfigurationError, match=f"is damaged .*{says}") as caught:
            way(path)
        assert ".recover" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        "jobs SET state = 'plannec'",
        "jobs SET state = CAST(x'ff' AS TEXT)",
        "jobs SET task_id = CAST(x'31ff32' AS TEXT)",
        "jobs SET task_id = x'31'",
        "jobs SET request = x'00'",
        "jobs SET record = '[1]'",
        "jobs SET record = '{'",
        "jobs SET reason = 'budgef'",
        "jobs SET changes = '[1,'",
        "jobs SET changes = '[1]'",
        "jobs SET changes = '3'",
        "jobs SET changes = x'00'",
        "jobs SET sent_at = 'soon'",
        "jobs SET ended_at = -9e300",
        "inputs SET path = 7",
        "inputs SET path = CAST(x'612f0062' AS TEXT)",
        "inputs SET role = x'00'",
        "outputs SET size = 'large'",
        "outputs SET digest = 'words'",
        "places SET content = 'words'",
        "places SET run = 'first'",
        "places SET subject = 'words'",
        "remark_inputs SET path = 7",
        "remarks SET reason = 'unusabl'",
        "remarks SET error = x'ff'",
        "runs SET started_at = 9e999",
        "runs SET facts = '['",
        "runs SET facts = '[]'",
        "runs SET facts = '{\"command\": 3}'",
        'runs SET facts = \'{"charged_usd": "many"}\'',
        'runs SET facts = \'{"charged_usd": "nan"}\'',
        'runs SET facts = \'{"accepted": "1.5"}\'',
        f"runs SET facts = '{'[' * 100_000}'",
    ],
    ids=lambda damage: damage[:50],
)
def test_a_damaged_row_is_refused(path: Path, damage: str) -> None:
    """SQLite takes any value in any column, and any bytes for a text."""
    _change(path, f"UPDATE {damage}")
    _check_refused(path)


@pytest.mark.parametrize(
    "place", ["'../../x'", "'/etc/x'", "'a/../../x'", "''", "x'2e2e'", "x'610062'"]
)
@pytest.mark.parametrize("column", ["jobs SET place", "outputs SET path", "places SET"])
def test_an_output_path_that_leads_out_of_the_folder_is_refused(
    path: Path, column: str, place: str
) -> None:
    """A journal may come from somebody else."""
    column = f"{column} place" if column.endswith("SET") else column
    _change(path, f"UPDATE {column} = {place}")
    _check_refused(path, "leads out of the output folder")


@pytest.mark.parametrize("place", ["'.hidden/a'", "'a..b'", "x'61fc'", "'10:30'"])
def test_an_unusual_output_path_is_taken(path: Path, place: str) -> None:
    _change(path, f"UPDATE jobs SET place = {place}")  # noqa: S608 - our own words
    Journal.open(path).close()


def test_a_remark_about_an_impossible_name_is_taken(path: Path) -> None:
    with contextlib.closing(Journal.open(path)) as journal:
        problem = Problem("ImageError: the name holds a null character")
        name = Path("a\0b.jpg")
        journal.add_remark(1, "swap", "a\0b", [Input("target", name)], problem)
    Journal.open(path).close()


def test_a_submit_at_a_clock_of_1970_is_taken(path: Path) -> None:
    _change(path, "UPDATE jobs SET since = -85200.0")
    Journal.open(path).close()


def test_an_index_without_the_row_of_a_job_is_refused(path: Path) -> None:
    """The job would not be found, and be paid again; a quick check is content."""
    content = path.read_bytes()
    assert content.count(b"s" * 64) == 2
    at = content.rindex(b"s" * 64)
    path.write_bytes(content[:at] + b"x" + content[at + 1 :])
    with contextlib.closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA quick_check").fetchone() == ("ok",)
    _check_refused(path)


@pytest.mark.parametrize(
    "change", ["DROP INDEX open_jobs", "ALTER TABLE jobs RENAME mark TO nark"]
)
def test_other_tables_are_refused(path: Path, change: str) -> None:
    _change(path, change)
    _check_refused(path, "other tables")


def _ask_everything(journal: Journal) -> None:
    for record in (*journal.records(), *journal.open_records(None)):
        key = record.key
        journal.find_or_add_job(again(record))
        claim = Claim(b"subject", key.output_path, b"content")
        journal.assign_output_path(claim, 99)
        journal.witnesses(key.server, [key.kind])
        journal.task_ids(key.server)
    journal.remarks()
    journal.runs()
    journal.price("swap")
    journal.start_run(3.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder in memory."""
    folder = quick_folder()
    yield folder
    shutil.rmtree(folder)


def test_random_bytes_in_a_journal_are_refused_or_harmless(folder: Path) -> None:
    """Each mutant is refused with one sentence, or answers every question."""
    path = folder / "journal.sqlite3"
    shutil.copy(SAMPLE, path)
    Journal.open(path).close()  # migrates it
    content, chance = path.read_bytes(), random.Random(7)  # noqa: S311 - repeatable
    refused = 0
    for _ in range(150):
        mutant = bytearray(content)
        at = chance.randrange(100, len(content) - 40)
        length = chance.choice((1, 2, 8, 40))
        mutant[at : at + length] = chance.randbytes(length)
        path.write_bytes(mutant)
        try:
            journal = Journal.open(path)
        except ConfigurationError:
            refused += 1
            continue
        with contextlib.closing(journal):
            _ask_everything(journal)
    assert 10 < refused < 150
