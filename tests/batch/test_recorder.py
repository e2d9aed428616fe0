"""Who keeps book of a submit: what is on disk when, and what may stop it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.jobs import JobKey
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_commits
from ezlink_async.batch.recorder import (
    Clock,
    Ended,
    HaltedError,
    JournalObserver,
    RunControl,
)
from ezlink_async.batch.spending import Budget, UsageAudit
from ezlink_async.errors import (
    AuthenticationError,
    BusyError,
    ClientClosedError,
    DownloadError,
    EzlinkError,
    JournalError,
    QuotaError,
    RejectedError,
    SubmitUnknownError,
    TaskCancelledError,
    TaskFailedError,
    TaskTimeoutError,
    TransportError,
)


async def _no_usage() -> int:
    raise TransportError("nobody asks")


@attrs.frozen
class Books:
    """A journal with one job in it, and a desk."""

    path: Path
    commits: JournalWriter
    desk: RunControl
    job: int

    async def state(self) -> str:
        """Return the state of the job."""
        entry = await self.commits.do(lambda journal: journal.entries()[0])
        return str(entry.state)


@asynccontextmanager
async def books(tmp_path: Path, budget: int | None = None) -> AsyncIterator[Books]:
    """Open a journal for a while."""
    path = tmp_path / "out" / ".ezlink" / "journal.sqlite3"
    commits = await open_commits(path)
    desk = RunControl(
        commits, Budget(budget), UsageAudit(_no_usage), Clock(lambda: 1_000_000.0)
    )

    def make(journal: Journal) -> int:
        key = JobKey("here", b"a", b"b", "{}", "x")
        return journal.job(key, Path("/me.jpg"), Path("/x.jpg")).id

    try:
        yield Books(path, commits, desk, await commits.do(make))
    finally:
        await commits.close()


async def test_the_intent_is_on_disk_before_the_first_byte(tmp_path: Path) -> None:
    """And the server's time from which on it may have been made."""
    async with books(tmp_path) as here:
        book = JournalObserver(here.desk, here.job)
        await book.before_submit("req-1", "mark")
        entry = await here.commits.do(lambda journal: journal.entries()[0])
        assert (entry.state, entry.mark) == ("submitting", "mark")
        assert entry.request_ids == ("req-1",)
        assert entry.since == 1_000_000 - 86_400
        assert here.desk.outstanding == {book}
        book.accepted("77")
        entry = await here.commits.do(lambda journal: journal.entries()[0])
        assert (entry.state, entry.task_id) == ("submitted", "77")
        assert here.desk.accepted == 1
        await here.desk.quiet()


def test_the_servers_clock_is_believed_before_ours() -> None:
    """Where it is known by how much it is ahead."""
    assert Clock(lambda: 50.0, 7.5).since() == 57.5


async def test_a_sure_refusal_takes_the_intent_back(tmp_path: Path) -> None:
    """The job is planned again, with what stood in the way."""
    async with books(tmp_path) as here:
        book = JournalObserver(here.desk, here.job)
        await book.before_submit("req-1", None)
        book.refused(BusyError("full"))
        entry = await here.commits.do(lambda journal: journal.entries()[0])
        assert (entry.state, entry.error) == ("planned", "BusyError: full")
        assert not here.desk.outstanding


async def test_what_was_unknown_before_stays_so_when_it_is_refused(
    tmp_path: Path,
) -> None:
    """A refusal says nothing of an earlier submit."""
    async with books(tmp_path) as here:
        book = JournalObserver(here.desk, here.job, "SubmitUnknownError: long ago")
        await book.before_submit("req-2", None)
        book.refused(QuotaError("no money"))
        entry = await here.commits.do(lambda journal: journal.entries()[0])
        assert entry.state == "unknown"
        assert entry.error == "SubmitUnknownError: long ago"


@pytest.mark.parametrize("unclear", [None, "SubmitUnknownError: long ago"])
async def test_what_was_cut_off_before_its_intent_changes_nothing(
    tmp_path: Path, unclear: str | None
) -> None:
    """A failed job that was to be sent again has not become a planned one."""
    async with books(tmp_path, budget=1) as here:
        await here.commits.do(lambda j: j.failed(here.job, "RejectedError: no", 1.0))
        first = JournalObserver(here.desk, here.job)
        assert await here.desk.budget.take()
        book = JournalObserver(here.desk, here.job, unclear)
        waiting = asyncio.create_task(book.before_submit("req-1", None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        book.refused(ClientClosedError("cut off"))
        book.unknown(SubmitUnknownError("cut off"))
        assert await here.state() == "failed"
        here.desk.budget.give_back()
        await first.before_submit("req-2", None)  # the room is as it was
        first.unknown(SubmitUnknownError("lost"))
        assert not await here.desk.budget.take()


async def test_what_was_cut_off_while_its_intent_was_written_is_taken_back(
    tmp_path: Path,
) -> None:
    """It may be on disk already: what became of it is told, and noted, once."""
    async with books(tmp_path, budget=1) as here:
        book = JournalObserver(here.desk, here.job)
        writing = asyncio.create_task(book.before_submit("req-1", None))
        while not here.desk.outstanding:
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        book.refused(ClientClosedError("cut off"))
        book.refused(ClientClosedError("cut off"))
        assert await here.state() == "planned"
        assert not here.desk.outstanding
        assert await here.desk.budget.take()
        assert here.desk.budget._taken == 1


async def test_a_journal_that_cannot_be_written_stops_the_submit(
    tmp_path: Path,
) -> None:
    """Nothing goes out whose intent is not on disk, and nobody is waited for."""
    async with books(tmp_path, budget=1) as here:
        here.commits.fault = JournalError("disk full")
        book = JournalObserver(here.desk, here.job)
        with pytest.raises(JournalError):
            await book.before_submit("req-1", None)
        assert not here.desk.outstanding
        assert await here.desk.budget.take()


async def test_a_halt_is_heeded_to_the_last_moment(tmp_path: Path) -> None:
    """Whoever waited for the budget, or for the first submit, is not sent either."""
    async with books(tmp_path, budget=1) as here:
        assert await here.desk.budget.take()
        books_ = [JournalObserver(here.desk, here.job) for _ in range(3)]
        waiting = [
            asyncio.create_task(book.before_submit("req", None)) for book in books_
        ]
        await asyncio.sleep(0)
        here.desk.leave("Interrupted: by a test")
        here.desk.halt("another reason")
        here.desk.budget.give_back()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in told] == ["Interrupted: by a test"] * 3
        assert await here.state() == "planned"
        with pytest.raises(HaltedError):
            await books_[0].before_submit("req", None)


async def test_a_halt_while_the_first_submit_is_out(tmp_path: Path) -> None:
    """Those that waited for its price are not sent."""
    async with books(tmp_path) as here:

        async def usage() -> int:
            return 5

        here.desk.audit = UsageAudit(usage, alone=5)
        await here.desk.audit.begin()
        first, second = (JournalObserver(here.desk, here.job) for _ in range(2))
        await first.before_submit("req-1", None)
        waiting = asyncio.create_task(second.before_submit("req-2", None))
        await asyncio.sleep(0)
        here.desk.halt("Interrupted: by a test")
        first.refused(BusyError("full"))
        with pytest.raises(HaltedError):
            await waiting


async def test_a_spent_budget_stops_the_rest_and_only_them(tmp_path: Path) -> None:
    """It is a mild halt: what costs nothing may go on, until there is another."""
    async with books(tmp_path, budget=0) as here:
        with pytest.raises(HaltedError, match="budget"):
            await JournalObserver(here.desk, here.job).before_submit("req", None)
        stopped = [here.desk.stopped]
        here.desk.leave("Interrupted: by a test")
        stopped.append(here.desk.stopped)
        assert stopped == [False, True]
        assert str(here.desk.halted).startswith("BudgetReached")


@pytest.mark.parametrize(
    ("error", "task_id", "ended"),
    [
        (TaskTimeoutError("slow"), "7", Ended.NOT),
        (DownloadError("disk"), "7", Ended.NOT),
        (AuthenticationError("key"), "7", Ended.NOT),
        (RejectedError("odd"), "7", Ended.NOT),
        (TaskFailedError("bad"), "7", Ended.BADLY),
        (TaskCancelledError("no"), "7", Ended.BADLY),
        (RejectedError("banned"), None, Ended.BADLY),
        (SubmitUnknownError("lost"), None, Ended.UNKNOWN),
        (BusyError("full"), None, Ended.NOT),
        (AuthenticationError("key"), None, Ended.NOT),
        (TransportError("gone"), None, Ended.NOT),
    ],
)
async def test_what_an_error_means_for_a_job(
    tmp_path: Path, error: EzlinkError, task_id: str | None, ended: Ended
) -> None:
    """With an id it is followed; without one it is known, refused, or unknown."""
    async with books(tmp_path) as here:
        assert JournalObserver(here.desk, here.job).weigh(error, task_id) is ended
        again = JournalObserver(here.desk, here.job, "SubmitUnknownError: long ago")
        assert again.weigh(error, None) is Ended.UNKNOWN


@pytest.mark.parametrize(
    ("error", "accepted", "dooms"),
    [
        (TransportError("gone", stage="connect"), 0, True),
        (TransportError("gone", stage="connect"), 1, False),
        (TransportError("gone", stage="answer"), 0, False),
        (TransportError("?", stage="tls", maybe_charged=True), 0, False),
        (QuotaError("no money"), 5, True),
        (BusyError("full"), 0, False),
    ],
)
async def test_what_stands_in_the_way_of_every_job(
    tmp_path: Path,
    error: EzlinkError,
    accepted: int,
    dooms: bool,  # noqa: FBT001
) -> None:
    """An address where nobody ever answered does, an outage does not."""
    async with books(tmp_path) as here:
        here.desk.accepted = accepted
        assert here.desk.dooms(error, None) is dooms
        assert not here.desk.dooms(QuotaError("no money"), "7")


async def test_quiet_waits_for_all(tmp_path: Path) -> None:
    """Each submit that is out is waited for."""
    async with books(tmp_path) as here:
        first, second = (JournalObserver(here.desk, here.job) for _ in range(2))
        await first.before_submit("req-1", None)
        await second.before_submit("req-2", None)
        waiting = asyncio.create_task(here.desk.quiet())
        first.accepted("1")
        await asyncio.sleep(0)
        assert not waiting.done()
        second.accepted("2")
        await waiting
        assert not here.desk.outstanding
