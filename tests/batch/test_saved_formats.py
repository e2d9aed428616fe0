"""Journals and handles that an earlier version wrote can be used."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from ezlink_async import TaskStatus
from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.pairs.pictures import path_of
from ezlink_async.report import report_on
from tests.support import old_journals
from tests.support.batch_harness import BatchHarness, Ended
from tests.support.pictures import jpeg

SAMPLES = Path(__file__).parents[1] / "samples"
SERVER = "http://127.0.0.1:44353"
NAMES = (
    *("saved", "submitted", "succeeded", "gone", "failed", "rejected"),
    *("unknown", "in_the_way", "budget", "cut_short", "damaged", "again_gone"),
)
AT_THE_SERVER = ("submitted", "succeeded", "damaged")
"""The jobs whose tasks are still at the server."""


async def _restore(batch: BatchHarness) -> None:
    """Lay out the pictures, the results and the journal; create the tasks."""
    for size, name in enumerate(NAMES, 4001):
        batch.photo(f"{name}.jpg", size)
    broken = batch.folder / "photos" / "broken.jpg"
    broken.write_bytes(jpeg(4013)[:-500])
    batch.journal.parent.mkdir(parents=True)
    shutil.copy(SAMPLES / "journal-1" / "journal.sqlite3", batch.journal)
    for name in ("saved.jpg", "again_gone.jpg"):
        shutil.copy(SAMPLES / "journal-1" / name, batch.output)
    (batch.output / "in_the_way.jpg").write_bytes(jpeg(5000))
    (batch.output / "damaged.jpg").write_bytes(b"cut off")
    tasks = {}
    async with batch.client() as ez:
        for name in AT_THE_SERVER:
            handle = await ez.swap_face(batch.face, batch.folder / f"photos/{name}.jpg")
            tasks[name] = (await handle).task_id
    _relocate(batch, tasks)


def _relocate(batch: BatchHarness, tasks: dict[str, str], server: str = SERVER) -> None:
    """Let the journal name this folder, this server and its tasks."""
    with contextlib.closing(sqlite3.connect(batch.journal)) as sql:
        for table in ("places", "jobs", "remarks"):
            for column in ("source", "target"):
                moved = f"replace({column}, '/album', :batch)"
                sql.execute(
                    f"UPDATE {table} SET {column} = iif(typeof({column}) = 'text', "  # noqa: S608
                    f"{moved}, CAST({moved} AS BLOB))",
                    {"batch": str(batch.folder)},
                )
        sql.execute(
            "UPDATE jobs SET server = replace(server, :old, :new), "
            "image_url = replace(image_url, :old, :new)",
            {"old": server, "new": batch.server.base_url},
        )
        for name, task_id in tasks.items():
            sql.execute(
                "UPDATE jobs SET task_id = :id, "
                "image_url = replace(image_url, task_id, :id) WHERE target LIKE :end",
                {"id": task_id, "end": f"%/photos/{name}.jpg"},
            )
        sql.commit()


async def _resume(batch: BatchHarness, *, again: bool = False) -> Ended:
    photos = [batch.folder / "photos"]
    return await batch.done(photos, retry_failed=again, resubmit_unknown=again)


@pytest.mark.parametrize("again", [False, True])
async def test_a_run_resumes_a_journal_of_version_1(
    batch: BatchHarness, *, again: bool
) -> None:
    """Each job is in the state it had; no swap is paid twice."""
    await _restore(batch)
    ended = await _resume(batch, again=again)
    found = {each.target.stem: each.status for each in ended.outcomes}
    lost, refused = ("succeeded",) * 2 if again else ("unknown", "failed")
    assert found == {
        **dict.fromkeys(("saved", "again_gone", "in_the_way"), "skipped"),
        **dict.fromkeys((*AT_THE_SERVER, "budget"), "succeeded"),
        **dict.fromkeys(("unknown", "cut_short"), lost),
        **dict.fromkeys(("failed", "rejected", "gone"), refused),
        "broken": "failed",
    }
    sent = 6 if again else 1
    assert batch.charges == len(AT_THE_SERVER) + sent


VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])
KEPT = ("saved", "m\udcfc", *old_journals.OPTIONS, "local")


async def _lay_out(batch: BatchHarness, version: int) -> None:
    """Do as :func:`_restore` with the journal of a *version*."""
    for name in old_journals.NAMES:
        batch.photo(f"{name}.jpg", old_journals.length_of(name))
    batch.photo("broken.jpg", 4_000).write_bytes(jpeg(4_000)[:-500])
    batch.journal.parent.mkdir(parents=True)
    shutil.copy(old_journals.journal_of(version), batch.journal)
    for name in KEPT:
        (batch.output / f"{name}.jpg").write_bytes(jpeg(old_journals.RESULT))
    (batch.output / "in_the_way.jpg").write_bytes(jpeg(5_000))
    tasks = {}
    async with batch.client() as ez:
        for name in AT_THE_SERVER:
            handle = await ez.swap_face(batch.face, batch.folder / f"photos/{name}.jpg")
            tasks[name] = (await handle).task_id
    _relocate(batch, tasks, old_journals.SERVER)


@VERSIONS
@pytest.mark.parametrize("again", [False, True])
async def test_a_run_resumes_every_state_of_every_older_version(
    batch: BatchHarness, version: int, *, again: bool
) -> None:
    """At the same output paths; what was paid is not sent again by itself."""
    await _lay_out(batch, version)
    ended = await _resume(batch, again=again)
    lost, refused = ("succeeded",) * 2 if again else ("unknown", "failed")
    unclear = ("unknown", "cut_short", "sent_twice", "refused_later", "other_tag")
    assert {each.target.stem: each.status for each in ended.outcomes} == {
        **dict.fromkeys((*KEPT, "in_the_way"), "skipped"),
        **dict.fromkeys((*AT_THE_SERVER, "planned", "budget"), "succeeded"),
        **dict.fromkeys(unclear, lost),
        **dict.fromkeys(("failed", "rejected", "gone"), refused),
        "broken": "failed",
    }
    assert batch.charges == len(AT_THE_SERVER) + (10 if again else 2)
    assert all(
        each.output == batch.output / each.target.name
        for each in ended.outcomes
        if each.status == "succeeded"
    )
    done = {each.target.stem for each in ended.outcomes if not each.error}
    assert done >= {"saved", "m\udcfc", "planned", "damaged"}


@VERSIONS
async def test_the_report_about_an_older_version_names_each_picture(
    batch: BatchHarness, version: int
) -> None:
    await _lay_out(batch, version)
    page = report_on(batch.output).read_text()
    for name in old_journals.NAMES[:-2]:
        assert f'"{name}.jpg"' in page
    for words in ("position and other metadata left out", "no face was found"):
        assert words in page
    assert page.count('"status": "succeeded"') + page.count(
        '"status":"succeeded"'
    ) == len(KEPT)


async def test_reasons_of_version_1_are_made_from_its_sentences(
    batch: BatchHarness,
) -> None:
    await _restore(batch)
    with contextlib.closing(Journal.open(batch.journal)) as journal:
        reasons = {
            each.path_of("target").stem: each.reason for each in journal.records()
        }
        remarks = {
            path_of(each.inputs, "target").stem: each.reason
            for each in journal.remarks()
        }
    assert {name: reason for name, reason in reasons.items() if reason} == {
        "gone": Reason.RESULT_GONE,
        "in_the_way": Reason.EXISTS,
    }
    assert remarks == {"broken": Reason.UNUSABLE}


async def test_the_sentences_of_version_1_are_reported(batch: BatchHarness) -> None:
    """Each is the one the earlier version wrote, with the same next step."""
    await _restore(batch)
    page = report_on(batch.output).read_text()
    for words in (
        "TaskFailedError: task 1795903001097911 failed",
        "RejectedError: HTTP 400",
        "SubmitUnknownError: the job was sent to",
        "the server no longer has the result",
        "the next run goes on with it",
        "is there already",
        "ImageError",
        "--existing replace",
        "--retry-failed",
        "--resubmit-unknown",
    ):
        assert words in page
    ended = await _resume(batch)
    assert (ended.of("failed.jpg").error or "").startswith(
        "TaskFailedError: task 1795903001097911 failed"
    )
    assert ended.of("failed.jpg").task_id == "1795903001097911"
    assert "may have been created" in (ended.of("cut_short.jpg").error or "")


async def test_handles_of_format_1_are_restored(batch: BatchHarness) -> None:
    """With and without a task record in them."""
    saved = json.loads((SAMPLES / "handles-1.json").read_text())
    async with batch.client() as ez:
        batch.photo("a.jpg", 4001)
        handle = await ez.swap_face(batch.face, batch.folder / "photos/a.jpg")
        task_id = (await handle).task_id
    for each in saved:
        each.update(origin=batch.server.base_url, task_id=task_id)
        if each["record"] is not None:
            each["record"]["task_id"] = task_id
        async with batch.client() as ez:
            again = ez.restore(each)
            assert (await again).status is TaskStatus.SUCCESS
            assert await again.read()
