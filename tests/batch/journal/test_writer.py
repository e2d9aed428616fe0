"""Commits that many callers share, and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import JobState
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.schema import SCHEMA
from ezlink_async.batch.journal.sqlite import open_database
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_writer
from ezlink_async.errors import ConfigurationError, JournalError
from tests.support.cancelling import cancel
from tests.support.journal_jobs import new_swap, swap_key

FULL = "database or disk is full"


class CountingJournal(Journal):
    """A journal that counts its commits; its disk is full while *full* says so."""

    commits = 0
    full: Callable[[], bool] = staticmethod(lambda: False)
    at_close: Callable[[], object] = staticmethod(lambda: None)

    def commit(self) -> None:
        """Fail on a full disk, or count."""
        if self.full():
            raise sqlite3.OperationalError(FULL)
        self.commits += 1
        super().commit()

    def close(self) -> None:
        """Call *at_close* first."""
        self.at_close()
        super().close()


class OpenWriter:
    """A writer, and its files."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite3"
        self.lock = folder / "lock"
        self.reserve = folder / "reserve"
        self.sql = open_database(self.path, SCHEMA)
        self.journal = CountingJournal(self.sql)
        self.writer = JournalWriter(self.journal, FolderLock(self.lock), self.reserve)

    @contextlib.asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Keep the thread busy, so that the changes made meanwhile are one group."""
        begun, go_on = threading.Event(), threading.Event()

        def wait(_: Journal) -> None:
            begun.set()
            go_on.wait()

        busy = asyncio.create_task(self.writer.execute(wait))
        await asyncio.to_thread(begun.wait)
        yield
        go_on.set()
        with contextlib.suppress(JournalError):
            await busy

    def output_paths(self) -> list[str]:
        """Return the output paths of the jobs in the closed file."""
        journal = Journal.open(self.path)
        found = [record.key.output_path for record in journal.records(most=1000)]
        journal.close()
        return found


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenWriter]:
    """Start a writer, and close it."""
    opened = OpenWriter(tmp_path)
    opened.writer.start()
    yield opened
    await opened.writer.close()


def adding(path: str) -> Callable[[Journal], int]:
    """Return a change that adds a job, and returns its id."""
    key = swap_key(path=path)
    return lambda journal: (
        journal.find_or_add_job(new_swap(key, Path("me.jpg"), Path("a.jpg"))).id
    )


def failing(_: Journal) -> None:
    """Be a change with a bug."""
    raise LookupError("a bug")


async def _settled(*waiting: asyncio.Task[int]) -> list[int | BaseException]:
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_changes_made_during_a_commit_share_the_next_one(
    opened: OpenWriter,
) -> None:
    """Each caller gets the result of its own change, in the order of the calls."""
    async with opened.held_up():
        calls = [
            asyncio.create_task(opened.writer.execute(adding(str(n)), new=True))
            for n in range(50)
        ]
        await asyncio.sleep(0)
        opened.writer.execute_soon(adding("noted"))
        before = opened.journal.commits
    assert await asyncio.gather(*calls) == list(range(1, 51))
    assert opened.journal.commits == before + 2
    await opened.writer.close()
    assert opened.output_paths() == [*map(str, range(50)), "noted"]


async def test_a_commit_has_at_most_256_changes(opened: OpenWriter) -> None:
    async with opened.held_up():
        for number in range(600):
            opened.writer.execute_soon(adding(str(number)))
        before = opened.journal.commits
    await opened.writer.close()
    assert opened.journal.commits == before + 4
    assert len(opened.output_paths()) == 600


async def test_a_bug_in_one_change_is_raised_to_its_caller_only(
    opened: OpenWriter,
) -> None:
    async with opened.held_up():
        calls = [
            asyncio.create_task(opened.writer.execute(work))
            for work in (adding("a"), failing, adding("b"))
        ]
        await asyncio.sleep(0)
    first, bug, second = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, second) == (1, 2)
    assert isinstance(bug, LookupError)
    assert opened.writer.fault is None
    assert await opened.writer.execute(adding("c"), new=True) == 3


async def test_a_failed_change_that_is_not_awaited_stops_new_submits(
    opened: OpenWriter, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal has a gap: it is logged and told, and old work goes on."""
    losses: list[JournalError] = []
    opened.writer.on_loss = losses.append
    opened.writer.execute_soon(failing, losses.clear)
    assert await opened.writer.execute(adding("a")) == 1
    with pytest.raises(JournalError, match="LookupError: a bug"):
        await opened.writer.execute(adding("b"), new=True)
    await opened.writer.close()
    assert opened.output_paths() == ["a"]
    assert ["LookupError: a bug" in str(error) for error in losses] == [True]
    assert [record.message for record in caplog.records] == [
        "a change is missing from the journal: a bug"
    ]


async def test_a_cancelled_caller_does_not_undo_its_change(opened: OpenWriter) -> None:
    async with opened.held_up():
        for work in (adding("a"), failing):
            call = asyncio.create_task(opened.writer.execute(work))
            await asyncio.sleep(0)
            await cancel(call)
    await opened.writer.close()
    assert opened.output_paths() == ["a"]


async def test_on_a_full_disk_begun_work_is_written_and_new_work_refused(
    opened: OpenWriter,
) -> None:
    """The reserve file makes room for it."""
    assert await opened.writer.execute(adding("before"), new=True) == 1
    assert opened.reserve.stat().st_size == 5 * 1024 * 1024
    opened.journal.full = opened.reserve.exists
    async with opened.held_up():
        opened.writer.execute_soon(adding("in flight"))
        call = asyncio.create_task(opened.writer.execute(adding("asked for")))
        await asyncio.sleep(0)
    assert await call == 3
    assert not opened.reserve.exists()
    assert FULL in str(opened.writer.fault)
    for _ in range(2):
        with pytest.raises(JournalError, match=FULL) as caught:
            await opened.writer.execute(adding("new"), new=True)
        assert caught.value is not opened.writer.fault
        assert caught.value.retry_safe
    assert await opened.writer.execute(adding("still begun")) == 4
    await opened.writer.close()
    assert opened.output_paths() == ["before", "in flight", "asked for", "still begun"]


async def test_late_changes_wait_for_room_and_are_not_overtaken(
    opened: OpenWriter,
) -> None:
    """An awaited change after a late one fails, since it would be written first."""
    room = False
    opened.journal.full = lambda: not room
    async with opened.held_up():
        opened.writer.execute_soon(adding("late"))
        calls = [
            asyncio.create_task(opened.writer.execute(adding(path)))
            for path in ("x", "y")
        ]
        await asyncio.sleep(0)
        opened.writer.execute_soon(adding("later"))
    for error in await _settled(*calls):
        assert isinstance(error, JournalError)
        assert error is not opened.writer.fault
    with pytest.raises(JournalError, match=FULL):
        await opened.writer.execute(adding("z"))
    room = True
    assert await opened.writer.execute(adding("in time")) == 3
    await opened.writer.close()
    assert opened.output_paths() == ["late", "later", "in time"]


async def test_changes_that_never_found_room_are_logged_at_the_end(
    opened: OpenWriter, caplog: pytest.LogCaptureFixture
) -> None:
    opened.journal.full = lambda: True
    opened.writer.execute_soon(adding("a"))
    opened.writer.execute_soon(adding("b"))
    await opened.writer.close()
    message = f"the journal cannot be written: {FULL}"
    assert [record.getMessage() for record in caplog.records] == [
        f"a change is missing from the journal: {message}"
    ] * 2
    assert opened.output_paths() == []


async def test_sqlites_own_error_for_a_full_disk_is_translated(
    opened: OpenWriter,
) -> None:
    """The file is whole afterwards."""
    assert await opened.writer.execute(adding("a")) == 1
    await opened.writer.execute(
        lambda _: opened.sql.execute("PRAGMA max_page_count = 1")
    )
    with pytest.raises(JournalError, match=FULL):
        await opened.writer.execute(adding("b" * 100_000))
    opened.writer.execute_soon(adding("c" * 100_000))
    with pytest.raises(JournalError, match=FULL):
        await opened.writer.execute(adding("d"), new=True)
    await opened.writer.close()
    assert opened.output_paths() == ["a"]


async def test_a_closed_writer_refuses_every_change(
    opened: OpenWriter, caplog: pytest.LogCaptureFixture
) -> None:
    await opened.writer.close()
    await opened.writer.close()
    for new in (False, True):
        with pytest.raises(JournalError, match="the journal is closed"):
            await opened.writer.execute(adding("late"), new=new)
    opened.writer.execute_soon(adding("late"))
    assert "the journal is closed" in caplog.text
    assert not opened.reserve.exists()
    assert opened.output_paths() == []


async def test_the_lock_is_released_after_the_journal_is_closed(
    opened: OpenWriter,
) -> None:
    refused: list[str] = []

    def try_lock() -> None:
        with pytest.raises(ConfigurationError) as caught:
            FolderLock(opened.lock)
        refused.append(str(caught.value))

    opened.journal.at_close = try_lock
    await opened.writer.close()
    assert len(refused) == 1
    FolderLock(opened.lock).close()


def test_a_writer_outlives_its_event_loop(tmp_path: Path) -> None:
    """The changes of the loop are written, and the lock is released."""

    async def leave() -> OpenWriter:
        opened = OpenWriter(tmp_path)
        opened.writer.start()
        assert await opened.writer.execute(adding("a")) == 1
        return opened

    opened = asyncio.run(leave())
    opened.writer.execute_soon(adding("b"))
    opened.writer.stop()
    for thread in threading.enumerate():
        if thread.name == "ezlink-journal":
            thread.join()
    FolderLock(opened.lock).close()
    assert opened.output_paths() == ["a", "b"]


def overwrite(path: Path) -> None:
    """Replace the journal by a text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Dear diary, " * 100)


# Opening


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "out" / ".ezlink" / "journal.sqlite3"


async def test_a_second_run_is_refused_until_the_first_has_ended(path: Path) -> None:
    first = await open_writer(path)
    with pytest.raises(ConfigurationError, match="another run is at work in"):
        await open_writer(path)
    assert await first.execute(adding("a")) == 1
    await first.close()
    second = await open_writer(path)
    (record,) = await second.execute(lambda journal: journal.records())
    assert (record.key.output_path, record.state) == ("a", JobState.PLANNED)
    await second.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, "lock"]


async def test_other_files_beside_the_journal_stay(path: Path) -> None:
    path.parent.mkdir(parents=True)
    theirs = path.with_name("reserve")
    theirs.write_text("table for two at eight")
    writer = await open_writer(path)
    await writer.execute(adding("a"))
    await writer.close()
    assert theirs.read_text() == "table for two at eight"


async def test_a_damaged_journal_leaves_the_folder_unlocked(path: Path) -> None:
    """The second try has the same error, not one about another run."""
    overwrite(path)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="is damaged"):
            await open_writer(path)


async def test_cancelling_an_open_leaves_the_folder_unlocked(path: Path) -> None:
    for is_damaged in (False, True):
        if is_damaged:
            overwrite(path)
        opening = asyncio.create_task(open_writer(path))
        await asyncio.sleep(0)
        await cancel(opening)
        if not is_damaged:
            await (await open_writer(path)).close()
    FolderLock(path.with_name("lock")).close()


async def test_without_file_locks_a_warning_is_logged(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING):
        writer = await open_writer(path)
    assert f"{path.parent.parent} is on a file system without locks" in caplog.text
    with pytest.raises(ConfigurationError, match="another run is at work"):
        await open_writer(path)
    assert await writer.execute(adding("a")) == 1
    await writer.close()
    await (await open_writer(path)).close()


async def test_rights_are_not_changed_through_a_link(tmp_path: Path) -> None:
    path, mine = tmp_path / ".ezlink" / "journal.sqlite3", tmp_path / "mine"
    mine.write_bytes(b"")
    mine.chmod(0o644)
    path.parent.mkdir()
    path.with_name(f"{path.name}-wal").symlink_to(mine)
    with pytest.raises(ConfigurationError, match=r"is a link.*remove it"):
        await open_writer(path)
    assert mine.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["journal.sqlite3", "journal.sqlite3-reserve"])
async def test_no_file_is_written_through_a_link(tmp_path: Path, name: str) -> None:
    """In place of the reserve it is replaced, in place of the journal refused."""
    path, mine = tmp_path / ".ezlink" / "journal.sqlite3", tmp_path / "mine"
    mine.write_bytes(b"")
    path.parent.mkdir()
    path.with_name(name).symlink_to(mine)
    if path.is_symlink():
        with pytest.raises(ConfigurationError, match=r"is a link.*remove it"):
            await open_writer(path)
    else:
        await (await open_writer(path)).close()
    assert mine.read_bytes() == b""


def _rights(folder: Path) -> dict[str, str]:
    return {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="another kind of rights")
@pytest.mark.parametrize("earlier", [None, 0o644])
async def test_only_the_owner_may_read_the_files_of_a_run(
    tmp_path: Path, earlier: int | None
) -> None:
    """A task id in the journal opens its picture without a key."""
    path = tmp_path / "journal.sqlite3"
    lock, reserve = tmp_path / "lock", tmp_path / "journal.sqlite3-reserve"
    before = os.umask(0)
    try:
        if earlier is not None:  # the files of an earlier version
            Journal.open(path).close()
            lock.touch()
            for file in (path, lock):
                file.chmod(earlier)
        writer = await open_writer(path)
        await writer.execute(lambda journal: journal.start_run(1))
        files = _rights(tmp_path)
        await writer.close()
    finally:
        os.umask(before)
    assert {path.name, f"{path.name}-wal", lock.name, reserve.name} <= files.keys()
    assert set(files.values()) == {"0o600"}
