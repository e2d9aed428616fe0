"""Disks that are full, or closed to the user: nothing is sent in vain, or lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.journal.store import Journal
from ezlink_async.emulator import Emulator, EmulatorSettings, in_thread, scripts
from ezlink_async.errors import JournalError
from tests.support.batch_harness import BatchHarness
from tests.support.filesystems import small_disk
from tests.support.pictures import jpeg

pytestmark = pytest.mark.skipif(os.name == "nt", reason="disks of another kind")

# More than the disk below has room for and than can be under way, however slow it is.
PHOTOS = 20
MIB = 1024 * 1024


_PROGRAM = """
import os, resource, sys
from ezlink_async.cli import run  # from here on the files may be out of reach
import ezlink_async.cli.commands.swap, ezlink_async.batch.run, ezlink_async.cli.connect
if {limit} is not None:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
if {user} is not None:
    os.setuid({user})
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def server() -> Iterator[Emulator]:
    """Run an emulator with room for everything."""
    with in_thread(EmulatorSettings(concurrency=50, queue=50)) as emulator:
        yield emulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay out photos of 1.6 MB each, and a folder for the results."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "me.jpg").write_bytes(jpeg(9_000))
    for number in range(PHOTOS):
        (tmp_path / "photos" / f"{number:02}.jpg").write_bytes(jpeg(1_600_000 + number))
    return tmp_path


def _swap(
    folder: Path, server: Emulator, *, limit: int | None = None, user: int | None = None
) -> tuple[int, dict[str, int], str]:
    """Run the command in a process of its own; return its code, sum and words."""
    words = ["swap", "me.jpg", "photos", "--output", "out", "--concurrency", "3"]
    program = _PROGRAM.format(limit=limit, user=user)
    done = subprocess.run(
        [sys.executable, "-c", program, *words, "--json", "--no-report"],
        cwd=folder,
        env={
            **os.environ,
            "EZLINK_API_KEY": server.api_key,
            "EZLINK_BASE_URL": server.base_url,
            "EZLINK_POLL_FIRST": "0.02",
            "EZLINK_POLL_SHORTEST": "0.02",
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    summary = json.loads(lines[-1])["summary"] if lines else {}
    return done.returncode, summary, done.stderr


def _all_is_well(folder: Path, server: Emulator) -> None:
    """Hold that the same command finishes, and each photo was paid once."""
    code, summary, err = _swap(folder, server)
    assert code == 0, err
    assert summary["failed"] == summary["unknown"] == 0
    assert len(list((folder / "out").glob("*.jpg"))) == PHOTOS
    assert len(server.control.charges) == PHOTOS


def test_a_disk_that_fills_up_stops_new_submits(folder: Path, server: Emulator) -> None:
    """It says so; with room made the same command brings home what is paid."""
    out = folder / "out"
    with small_disk(out, 12 * MIB):
        code, summary, err = _swap(folder, server)
        assert code == 1
        # A result or the journal is the first that does not fit.
        assert "No space left" in err or "disk is full" in err
        assert "resume with: ezlink swap" in err
        assert summary["unknown"] == 0
        paid = len(server.control.charges)
        assert paid < PHOTOS
        assert summary["succeeded"] <= paid
        shutil.copytree(out, folder / "kept")
    out.rmdir()
    (folder / "kept").rename(out)
    _all_is_well(folder, server)


def test_a_limit_on_files_is_a_full_disk(folder: Path, server: Emulator) -> None:
    """No result fits: those that were out are paid, and no more."""
    code, summary, err = _swap(folder, server, limit=1_200_000)
    assert code == 1, err
    assert summary["succeeded"] == 0
    assert "File too large" in err
    assert f"{summary['skipped']} not done: " in err
    assert len(server.control.charges) < PHOTOS
    _all_is_well(folder, server)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may be somebody else")
def test_somebody_who_may_not_write_pays_nothing(
    folder: Path, server: Emulator
) -> None:
    """One sentence, exit 2, nothing sent."""
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    code, _, err = _swap(folder, server, user=65_534)
    assert code == 2
    assert "is read-only" in err
    assert not server.control.attempts


# A disk that fails for good

_LOST_IDS = """
CREATE TRIGGER lost BEFORE UPDATE OF task_id ON jobs WHEN NEW.task_id IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END
"""


def _lose_ids(journal: Path) -> None:
    """Let the journal fail from the first accepted submit on."""
    Journal.open(journal).close()
    with contextlib.closing(sqlite3.connect(journal)) as sql:
        sql.execute(_LOST_IDS)


async def test_an_id_that_is_not_on_disk_stands_in_the_error(
    batch: BatchHarness,
) -> None:
    """No run can go on with it: the user is told what to do with the id."""
    _lose_ids(batch.journal)
    ended = await batch.done(batch.photos(1))
    assert isinstance(ended.error, JournalError)
    task_id = ended.only.task_id
    assert task_id is not None
    assert f"ezlink task {task_id} --output" in str(ended.only.error)
    assert "the next run" not in str(ended.only.error)
    assert "disk I/O error" in str(ended.only.error)
    assert not ended.only.resumable
    assert ended.only.maybe_charged
    assert ended.only.reason is Reason.STORAGE
    assert batch.states() == {"submitting": 1}


async def test_an_id_that_is_not_on_disk_is_named_when_the_run_is_left(
    batch: BatchHarness,
) -> None:
    _lose_ids(batch.journal)
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client() as ez:
        async with batch.run(ez, batch.photos(1)) as run:
            while not run.accepted:
                await asyncio.sleep(0)
        (left,) = run.unread()
    assert f"ezlink task {left.task_id} --output" in str(left.error)
    assert not left.resumable
    assert left.maybe_charged
