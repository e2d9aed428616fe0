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
from ezlink_async.report import report_on
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


def _relocate(batch: BatchHarness, tasks: dict[str, str]) -> None:
    """Let the journal name this folder, this server and its tasks."""
    with contextlib.closing(sqlite3.connect(batch.journal)) as sql:
        for table in ("places", "jobs", "remarks"):
            sql.execute(
                f"UPDATE {table} SET source = replace(source, '/album', :batch), "  # noqa: S608
                "target = replace(target, '/album', :batch)",
                {"batch": str(batch.folder)},
            )
        sql.execute(
            "UPDATE jobs SET server = :new, image_url = replace(image_url, :old, :new)",
            {"old": SERVER, "new": batch.server.base_url},
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


async def test_reasons_of_version_1_are_made_from_its_sentences(
    batch: BatchHarness,
) -> None:
    await _restore(batch)
    with contextlib.closing(Journal.open(batch.journal)) as journal:
        reasons = {each.target.stem: each.reason for each in journal.records()}
        remarks = {each.target.stem: each.reason for each in journal.remarks()}
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
