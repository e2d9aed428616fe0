"""Commits that many wait for at once, and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import JobKey, JobState
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_commits
from ezlink_async.errors import ConfigurationError, JournalError

FULL = "database or disk is full"


class Watched(Journal):
    """A journal whose commits are counted, and fail while *full* says so."""

    commits = 0
    full: Callable[[], bool] = staticmethod(lambda: False)
    at_close: Callable[[], object] = staticmethod(lambda: None)

    def commit(self) -> None:
        """Fail on a full disk; else count."""
        if self.full():
            raise sqlite3.OperationalError(FULL)
        self.commits += 1
        super().commit()

    def close(self) -> None:
        """Look around first."""
        self.at_close()
        super().close()


class Desk:
    """Commits, and what they stand on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.sqlite3"
        self.lock = folder / "lock"
        self.reserve = folder / "reserve"
        self.journal = Watched.open(self.path)
        self.commits = JournalWriter(self.journal, FolderLock(self.lock), self.reserve)

    @contextlib.asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Keep the thread busy, so that what comes meanwhile is one group."""
        begun, go_on = threading.Event(), threading.Event()

        def wait(_: Journal) -> None:
            begun.set()
            go_on.wait()

        busy = asyncio.create_task(self.commits.do(wait))
        await asyncio.to_thread(begun.wait)
        yield
        go_on.set()
        with contextlib.suppress(JournalError):
            await busy

    def places(self) -> list[str]:
        """Return what the closed file holds."""
        journal = Journal.open(self.path)
        found = [entry.key.place for entry in journal.entries(most=1000)]
        journal.close()
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """Begin to work, and close."""
    desk = Desk(tmp_path)
    desk.commits.start()
    yield desk
    await desk.commits.close()


def adding(place: str) -> Callable[[Journal], int]:
    """Return work that notes a job, and gives its number."""
    key = JobKey("https://a.example", b"s", b"t", "{}", place)
    return lambda journal: journal.job(key, Path("me.jpg"), Path("a.jpg")).id


def failing(_: Journal) -> None:
    """Be work with a bug."""
    raise LookupError("a bug")


async def _settled(*waiting: asyncio.Task[int]) -> list[int | BaseException]:
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_comes_meanwhile_is_one_commit(desk: Desk) -> None:
    """Each caller gets what its own work gave, in the order of the calls."""
    async with desk.held_up():
        calls = [
            asyncio.create_task(desk.commits.do(adding(str(n)), new=True))
            for n in range(50)
        ]
        await asyncio.sleep(0)
        desk.commits.note(adding("noted"))
        before = desk.journal.commits
    assert await asyncio.gather(*calls) == list(range(1, 51))
    assert desk.journal.commits == before + 2
    await desk.commits.close()
    assert desk.places() == [*map(str, range(50)), "noted"]


async def test_a_commit_has_an_end(desk: Desk) -> None:
    """However many wait, the first are told before the last are done."""
    async with desk.held_up():
        for number in range(600):
            desk.commits.note(adding(str(number)))
        before = desk.journal.commits
    await desk.commits.close()
    assert desk.journal.commits == before + 4
    assert len(desk.places()) == 600


async def test_a_bug_of_one_is_told_to_that_one(desk: Desk) -> None:
    """The others' work is done, and none of it twice."""
    async with desk.held_up():
        calls = [
            asyncio.create_task(desk.commits.do(work))
            for work in (adding("a"), failing, adding("b"))
        ]
        await asyncio.sleep(0)
    first, bug, second = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, second) == (1, 2)
    assert isinstance(bug, LookupError)
    assert desk.commits.fault is None
    assert await desk.commits.do(adding("c"), new=True) == 3


async def test_a_note_that_fails_goes_into_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in it is not tried again; a good one says nothing."""
    desk.commits.note(failing)
    desk.commits.note(adding("a"))
    await desk.commits.close()
    assert desk.places() == ["a"]
    assert [record.message for record in caplog.records] == [
        "the journal lacks something: a bug"
    ]


async def test_a_caller_who_leaves_does_not_undo_it(desk: Desk) -> None:
    """Its work is done all the same, or fails with nobody to tell."""
    async with desk.held_up():
        for work in (adding("a"), failing):
            call = asyncio.create_task(desk.commits.do(work))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
    await desk.commits.close()
    assert desk.places() == ["a"]


async def test_on_a_full_disk_what_was_begun_is_noted(desk: Desk) -> None:
    """Room was kept for that; nothing new is taken on."""
    assert await desk.commits.do(adding("before"), new=True) == 1
    assert desk.reserve.stat().st_size == 5 * 1024 * 1024
    desk.journal.full = desk.reserve.exists
    async with desk.held_up():
        desk.commits.note(adding("in flight"))
        call = asyncio.create_task(desk.commits.do(adding("asked for")))
        await asyncio.sleep(0)
    assert await call == 3
    assert not desk.reserve.exists()
    assert FULL in str(desk.commits.fault)
    for _ in range(2):
        with pytest.raises(JournalError, match=FULL) as caught:
            await desk.commits.do(adding("new"), new=True)
        assert caught.value is not desk.commits.fault
        assert caught.value.retry_safe
    assert await desk.commits.do(adding("still begun")) == 4
    await desk.commits.close()
    assert desk.places() == ["before", "in flight", "asked for", "still begun"]


async def test_notes_wait_for_room_and_are_not_overtaken(desk: Desk) -> None:
    """What is asked for after a note that is late fails, or it would come first."""
    room = False
    desk.journal.full = lambda: not room
    async with desk.held_up():
        desk.commits.note(adding("late"))
        calls = [
            asyncio.create_task(desk.commits.do(adding(place))) for place in ("x", "y")
        ]
        await asyncio.sleep(0)
        desk.commits.note(adding("later"))
    for error in await _settled(*calls):
        assert isinstance(error, JournalError)
        assert error is not desk.commits.fault
    with pytest.raises(JournalError, match=FULL):
        await desk.commits.do(adding("z"))
    room = True
    assert await desk.commits.do(adding("in time")) == 3
    await desk.commits.close()
    assert desk.places() == ["late", "later", "in time"]


async def test_what_never_found_room_goes_into_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing tries it a last time, and says what the journal lacks."""
    desk.journal.full = lambda: True
    desk.commits.note(adding("a"))
    desk.commits.note(adding("b"))
    await desk.commits.close()
    said = [record.getMessage() for record in caplog.records]
    assert (
        said
        == [f"the journal lacks something: the journal cannot be written: {FULL}"] * 2
    )
    assert desk.places() == []


async def test_a_disk_that_is_really_full(desk: Desk) -> None:
    """SQLite's own fault is understood, and the file is whole afterwards."""
    assert await desk.commits.do(adding("a")) == 1
    sql = desk.journal._sql
    await desk.commits.do(lambda _: sql.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(JournalError, match=FULL):
        await desk.commits.do(adding("b" * 100_000))
    desk.commits.note(adding("c" * 100_000))
    with pytest.raises(JournalError, match=FULL):
        await desk.commits.do(adding("d"), new=True)
    await desk.commits.close()
    assert desk.places() == ["a"]


async def test_after_the_end_everything_is_refused(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing twice is harmless."""
    await desk.commits.close()
    await desk.commits.close()
    for new in (False, True):
        with pytest.raises(JournalError, match="the journal is closed"):
            await desk.commits.do(adding("late"), new=new)
    desk.commits.note(adding("late"))
    assert "the journal is closed" in caplog.text
    assert not desk.reserve.exists()
    assert desk.places() == []


async def test_the_lock_is_let_go_last(desk: Desk) -> None:
    """Until the journal is closed nobody else can have the folder."""
    refused: list[str] = []

    def look() -> None:
        with pytest.raises(ConfigurationError) as caught:
            FolderLock(desk.lock)
        refused.append(str(caught.value))

    desk.journal.at_close = look
    await desk.commits.close()
    assert len(refused) == 1
    FolderLock(desk.lock).close()


def test_a_loop_that_is_gone_is_told_nothing(tmp_path: Path) -> None:
    """What it left is noted, and the folder is free."""

    async def leave() -> Desk:
        desk = Desk(tmp_path)
        desk.commits.start()
        assert await desk.commits.do(adding("a")) == 1
        return desk

    desk = asyncio.run(leave())
    desk.commits.note(adding("b"))
    desk.commits._queue.put(None)
    desk.commits._thread.join()
    FolderLock(desk.lock).close()
    assert desk.places() == ["a", "b"]


def spoil(path: Path) -> None:
    """Put something else in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Dear diary, " * 100)


# Opening


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal of ``out`` is; nothing is there yet."""
    return tmp_path / "out" / ".ezlink" / "journal.sqlite3"


async def test_one_run_at_a_time(path: Path) -> None:
    """The second is refused until the first has ended."""
    first = await open_commits(path)
    with pytest.raises(ConfigurationError, match="another run is at work in"):
        await open_commits(path)
    assert await first.do(adding("a")) == 1
    await first.close()
    second = await open_commits(path)
    (entry,) = await second.do(lambda journal: journal.entries())
    assert (entry.key.place, entry.state) == ("a", JobState.PLANNED)
    await second.close()
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, "lock"]


async def test_files_of_other_people_beside_it_stay(path: Path) -> None:
    """A journal may be put among them by name."""
    path.parent.mkdir(parents=True)
    theirs = path.with_name("reserve")
    theirs.write_text("table for two at eight")
    commits = await open_commits(path)
    await commits.do(adding("a"))
    await commits.close()
    assert theirs.read_text() == "table for two at eight"


async def test_a_journal_that_cannot_be_used_leaves_the_folder_free(path: Path) -> None:
    """The sentence comes again, not one about another run."""
    spoil(path)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="is damaged"):
            await open_commits(path)


async def test_leaving_while_it_opens_leaves_the_folder_free(path: Path) -> None:
    """Whether it would have opened or not."""
    for is_spoilt in (False, True):
        if is_spoilt:
            spoil(path)
        opening = asyncio.create_task(open_commits(path))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        if not is_spoilt:
            await (await open_commits(path)).close()
    FolderLock(path.with_name("lock")).close()


async def test_without_locks_it_works_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what nobody else checks then."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING):
        commits = await open_commits(path)
    assert f"{path.parent.parent} lies on a file system without locks" in caplog.text
    with pytest.raises(ConfigurationError, match="another run is at work"):
        await open_commits(path)
    assert await commits.do(adding("a")) == 1
    await commits.close()
    await (await open_commits(path)).close()
