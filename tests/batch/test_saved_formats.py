"""Journals and handles that an earlier version wrote open, and go on."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from ezlink_async import TaskStatus
from ezlink_async.batch.run import run_batch
from ezlink_async.report import report_on
from tests.support.batch_harness import Ended, Studio, read, studio
from tests.support.pictures import jpeg

SAMPLES = Path(__file__).parents[1] / "samples"
SERVER = "http://127.0.0.1:44353"
SIZES = {
    "saved": 4001,
    "submitted": 4002,
    "succeeded": 4003,
    "gone": 4004,
    "failed": 4005,
    "rejected": 4006,
    "unknown": 4007,
    "in_the_way": 4008,
    "budget": 4009,
    "cut_short": 4010,
    "damaged": 4011,
    "again_gone": 4012,
}
AT_THE_SERVER = ("submitted", "succeeded", "damaged")
"""The jobs whose tasks are at the server still."""


async def _restored(here: Studio) -> None:
    """Lay out the pictures, the results and the journal; have the tasks exist."""
    for name, size in SIZES.items():
        here.photo(f"{name}.jpg", size)
    broken = here.folder / "photos" / "broken.jpg"
    broken.write_bytes(jpeg(4013)[:-500])
    here.journal.parent.mkdir(parents=True)
    shutil.copy(SAMPLES / "journal-1" / "journal.sqlite3", here.journal)
    for name in ("saved.jpg", "again_gone.jpg"):
        shutil.copy(SAMPLES / "journal-1" / name, here.output)
    (here.output / "in_the_way.jpg").write_bytes(jpeg(5000))
    (here.output / "damaged.jpg").write_bytes(b"cut off")
    tasks = {}
    async with here.client() as ez:
        for name in AT_THE_SERVER:
            handle = await ez.swap_face(here.face, here.folder / f"photos/{name}.jpg")
            tasks[name] = (await handle).task_id
    _move(here, tasks)


def _move(here: Studio, tasks: dict[str, str]) -> None:
    """Have the journal name this folder, this server and its tasks."""
    with contextlib.closing(sqlite3.connect(here.journal)) as sql:
        for table in ("places", "jobs", "remarks"):
            sql.execute(
                f"UPDATE {table} SET source = replace(source, '/album', :here), "  # noqa: S608
                "target = replace(target, '/album', :here)",
                {"here": str(here.folder)},
            )
        sql.execute(
            "UPDATE jobs SET server = :new, image_url = replace(image_url, :old, :new)",
            {"old": SERVER, "new": here.server.base_url},
        )
        for name, task_id in tasks.items():
            sql.execute(
                "UPDATE jobs SET task_id = :id, "
                "image_url = replace(image_url, task_id, :id) WHERE target LIKE :end",
                {"id": task_id, "end": f"%/photos/{name}.jpg"},
            )
        sql.commit()


async def _go_on(here: Studio, *, again: bool = False) -> Ended:
    async with here.client() as ez:
        run = run_batch(
            ez,
            here.face,
            [here.folder / "photos"],
            output=here.output,
            retry_failed=again,
            resubmit_unknown=again,
        )
        async with run:
            return await read(run)


@pytest.mark.parametrize("again", [False, True])
async def test_a_journal_of_version_1_goes_on(tmp_path: Path, *, again: bool) -> None:
    """Each job is in the state it was left in; no swap is paid for twice."""
    async with studio(tmp_path) as here:
        await _restored(here)
        ended = await _go_on(here, again=again)
        found = {each.target.stem: each.status for each in ended.outcomes}
        lost = "succeeded" if again else "unknown"
        refused = "succeeded" if again else "failed"
        assert found == {
            "saved": "skipped",
            "again_gone": "skipped",
            "in_the_way": "skipped",
            "submitted": "succeeded",
            "succeeded": "succeeded",
            "damaged": "succeeded",
            "budget": "succeeded",
            "unknown": lost,
            "cut_short": lost,
            "failed": refused,
            "rejected": refused,
            "gone": refused,
            "broken": "failed",
        }
        sent = 6 if again else 1
        assert here.charges == len(AT_THE_SERVER) + sent


async def test_the_reasons_of_a_journal_of_version_1_are_told(tmp_path: Path) -> None:
    """Each sentence is the one the earlier version wrote, and so is the next step."""
    async with studio(tmp_path) as here:
        await _restored(here)
        page = report_on(here.output).read_text()
        for told in (
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
            assert told in page
        ended = await _go_on(here)
        assert (ended.of("failed.jpg").error or "").startswith(
            "TaskFailedError: task 1795903001097911 failed"
        )
        assert ended.of("failed.jpg").task_id == "1795903001097911"
        assert "may have been created" in (ended.of("cut_short.jpg").error or "")


async def test_handles_of_format_1_are_restored(tmp_path: Path) -> None:
    """The handle of a task goes on at its server, with and without a record."""
    async with studio(tmp_path) as here:
        saved = json.loads((SAMPLES / "handles-1.json").read_text())
        async with here.client() as ez:
            here.photo("a.jpg", 4001)
            handle = await ez.swap_face(here.face, here.folder / "photos/a.jpg")
            task_id = (await handle).task_id
        for each in saved:
            each.update(origin=here.server.base_url, task_id=task_id)
            if each["record"] is not None:
                each["record"]["task_id"] = task_id
            async with here.client() as ez:
                again = ez.restore(each)
                assert (await again).status is TaskStatus.SUCCESS
                assert await again.read()
