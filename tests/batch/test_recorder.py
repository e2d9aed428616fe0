"""The observer of a submit: what it writes when, and what may stop the submit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.jobs import (
    LATEST,
    JobRecord,
    JobState,
    Problem,
    Reason,
)
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_writer
from ezlink_async.batch.recorder import Clock, HaltedError, JournalObserver, RunControl
from ezlink_async.batch.spending import Budget
from ezlink_async.errors import (
    AuthenticationError,
    BusyError,
    ClientClosedError,
    ContentRefusedError,
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
from tests.support.cancelling import cancel
from tests.support.journal_jobs import new_swap, swap_key

LONG_AGO = "SubmitUnknownError: long ago"
BY_TEST = Problem("Interrupted: by a test")


@attrs.frozen
class OneJob:
    """A journal with one job in it, and the control of a run."""

    writer: JournalWriter
    control: RunControl
    id: int

    def observer(self, unclear: str | None = None) -> JournalObserver:
        """Return an observer of the job."""
        return JournalObserver(self.control, self.id, unclear)

    def limit(self, budget: int) -> None:
        """Give the run a budget."""
        self.control.budget = Budget(budget)

    async def record(self) -> JobRecord:
        """Return the job as it is in the journal."""
        return await self.writer.execute(lambda journal: journal.records()[0])


@pytest.fixture
async def job(tmp_path: Path) -> AsyncIterator[OneJob]:
    """Open a journal with one planned job."""
    writer = await open_writer(tmp_path / "out" / ".ezlink" / "journal.sqlite3")
    control = RunControl(writer, Budget(None), Clock(lambda: 1_000_000.0))

    def make(journal: Journal) -> int:
        key = swap_key("server", "x")
        return journal.find_or_add_job(
            new_swap(key, Path("/me.jpg"), Path("/x.jpg"))
        ).id

    yield OneJob(writer, control, await writer.execute(make))
    await writer.close()


async def test_the_intent_is_on_disk_before_the_first_byte(job: OneJob) -> None:
    """So is the server's time from which on the task may exist."""
    observer = job.observer()
    await observer.before_submit("req-1", "tag")
    record = await job.record()
    assert (record.state, record.state_tag) == ("submitting", "tag")
    assert record.request_ids == ("req-1",)
    assert record.since == 1_000_000 - 86_400
    assert job.control.unanswered == {observer}
    observer.accepted("77")
    record = await job.record()
    assert (record.state, record.task_id) == ("submitted", "77")
    assert job.control.accepted == 1
    await job.control.wait_for_answers()


def test_a_known_difference_to_the_servers_clock_is_used() -> None:
    assert Clock(lambda: 50.0, 7.5).since() == 57.5
    assert Clock(lambda: 50.0).since() == 0.0
    assert Clock(lambda: 1e9, 1e12).since() == LATEST


async def test_a_refused_job_is_planned_again_with_the_error(job: OneJob) -> None:
    observer = job.observer()
    await observer.before_submit("req-1", None)
    observer.refused(BusyError("full"))
    record = await job.record()
    assert (record.state, record.error) == ("planned", "BusyError: full")
    assert not job.control.unanswered


@pytest.mark.parametrize(("fee", "left"), [(0, True), (25_000, False)])
async def test_a_refusal_with_a_fee_counts_in_the_budget(
    job: OneJob, fee: int, *, left: bool
) -> None:
    """No task exists, so the job is planned as after any other refusal."""
    job.limit(1)
    observer = job.observer()
    await observer.before_submit("req-1", None)
    error = ContentRefusedError("refused")
    error.fee = fee
    observer.refused(error)
    assert (await job.record()).state == "planned"
    assert await job.control.budget.reserve() is left


@pytest.mark.parametrize("outcome", ["accepted", "refused", "unknown"])
async def test_a_free_submit_is_outside_of_the_budget(
    job: OneJob, outcome: str
) -> None:
    job.limit(1)
    for number in range(2):
        observer = JournalObserver(job.control, job.id, is_free=True)
        await observer.before_submit(f"req-{number}", None)
        if outcome == "accepted":
            observer.accepted("77")
        elif outcome == "refused":
            observer.refused(BusyError("full"))
        else:
            observer.unknown(BusyError("lost"))
    assert await job.control.budget.reserve()


async def test_a_refusal_does_not_clear_an_earlier_unknown_submit(job: OneJob) -> None:
    observer = job.observer(LONG_AGO)
    await observer.before_submit("req-2", None)
    observer.refused(QuotaError("no money"))
    record = await job.record()
    assert (record.state, record.error) == ("unknown", LONG_AGO)


@pytest.mark.parametrize("unclear", [None, LONG_AGO])
async def test_a_submit_cancelled_before_its_intent_changes_nothing(
    job: OneJob, unclear: str | None
) -> None:
    """A failed job that was to be sent again stays failed, and the budget is whole."""
    job.limit(1)
    await job.writer.execute(lambda j: j.failed(job.id, Problem("no"), 1.0))
    assert await job.control.budget.reserve()
    observer = job.observer(unclear)
    waiting = asyncio.create_task(observer.before_submit("req-1", None))
    await asyncio.sleep(0)
    await cancel(waiting)
    observer.refused(ClientClosedError("cut off"))
    observer.unknown(SubmitUnknownError("cut off"))
    assert (await job.record()).state == "failed"
    job.control.budget.give_back()
    other = job.observer()
    await other.before_submit("req-2", None)
    other.unknown(SubmitUnknownError("lost"))
    assert not await job.control.budget.reserve()


async def test_a_submit_cancelled_while_its_intent_is_written_is_planned_again(
    job: OneJob,
) -> None:
    """The intent may be on disk already; the refusal counts once."""
    job.limit(1)
    observer = job.observer()
    writing = asyncio.create_task(observer.before_submit("req-1", None))
    while not job.control.unanswered:
        await asyncio.sleep(0)
    await cancel(writing)
    observer.refused(ClientClosedError("cut off"))
    observer.refused(ClientClosedError("cut off"))
    assert (await job.record()).state == "planned"
    assert not job.control.unanswered
    assert await job.control.budget.reserve()
    job.control.budget.spend()
    assert not await job.control.budget.reserve()


async def test_an_intent_that_cannot_be_written_stops_the_submit(job: OneJob) -> None:
    job.limit(1)
    job.writer.fault = JournalError("disk full")
    with pytest.raises(JournalError):
        await job.observer().before_submit("req-1", None)
    assert not job.control.unanswered
    assert await job.control.budget.reserve()


async def test_a_halt_stops_submits_that_wait_for_the_budget(job: OneJob) -> None:
    job.limit(1)
    assert await job.control.budget.reserve()
    observers = [job.observer() for _ in range(3)]
    waiting = [
        asyncio.create_task(each.before_submit("req", None)) for each in observers
    ]
    await asyncio.sleep(0)
    job.control.leave(BY_TEST)
    job.control.halt(Problem("another reason"))
    job.control.budget.give_back()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == [BY_TEST.sentence] * 3
    assert (await job.record()).state == "planned"
    with pytest.raises(HaltedError):
        await observers[0].before_submit("req", None)


async def test_a_spent_budget_stops_submits_and_nothing_else(job: OneJob) -> None:
    job.limit(0)
    with pytest.raises(HaltedError, match="budget"):
        await job.observer().before_submit("req", None)
    stopped = [job.control.stopped]
    job.control.leave(BY_TEST)
    stopped.append(job.control.stopped)
    assert stopped == [False, True]
    assert "BudgetReached" in str(job.control.halted)


@pytest.mark.parametrize(
    ("error", "task_id", "state"),
    [
        (TaskTimeoutError("slow"), "7", None),
        (DownloadError("disk"), "7", None),
        (AuthenticationError("key"), "7", None),
        (RejectedError("odd"), "7", None),
        (TaskFailedError("bad"), "7", JobState.FAILED),
        (TaskCancelledError("no"), "7", JobState.FAILED),
        (RejectedError("banned"), None, JobState.FAILED),
        (SubmitUnknownError("lost"), None, JobState.UNKNOWN),
        (BusyError("full"), None, None),
        (AuthenticationError("key"), None, None),
        (TransportError("gone"), None, None),
    ],
)
async def test_an_error_leaves_a_job_failed_unknown_or_open(
    job: OneJob, error: EzlinkError, task_id: str | None, state: JobState | None
) -> None:
    """After an earlier unknown submit every error without an id leaves it unknown."""
    assert job.observer().state_after(error, task_id) is state
    assert job.observer(LONG_AGO).state_after(error, None) is JobState.UNKNOWN


@pytest.mark.parametrize(
    ("error", "accepted", "is_fatal"),
    [
        (TransportError("gone", stage="connect"), 0, True),
        (TransportError("gone", stage="connect"), 1, False),
        (TransportError("gone", stage="answer"), 0, False),
        (TransportError("?", stage="tls", maybe_charged=True), 0, False),
        (QuotaError("no money"), 5, True),
        (BusyError("full"), 0, False),
    ],
)
async def test_errors_that_stop_every_job_are_fatal(
    job: OneJob,
    error: EzlinkError,
    accepted: int,
    is_fatal: bool,  # noqa: FBT001
) -> None:
    """An address that never answered is fatal, an outage is not."""
    job.control.accepted = accepted
    assert job.control.is_fatal(error, None) is is_fatal
    assert not job.control.is_fatal(QuotaError("no money"), "7")


async def test_waiting_for_answers_waits_for_every_submit(job: OneJob) -> None:
    first, second = job.observer(), job.observer()
    await first.before_submit("req-1", None)
    await second.before_submit("req-2", None)
    waiting = asyncio.create_task(job.control.wait_for_answers())
    first.accepted("1")
    await asyncio.sleep(0)
    assert not waiting.done()
    second.accepted("2")
    await waiting
    assert not job.control.unanswered


async def test_a_gap_in_the_journal_halts_the_run(job: OneJob) -> None:
    def broken(_: Journal) -> None:
        raise LookupError("a bug")

    job.writer.execute_soon(broken)
    await job.record()
    assert "a change cannot be written" in str(job.control.loss)
    assert job.control.halted is not None
    assert job.control.halted.reason is Reason.STORAGE
    with pytest.raises(HaltedError, match="LookupError: a bug"):
        job.control.check()


async def test_an_id_counts_as_written_once_it_is_on_disk(job: OneJob) -> None:
    observer = job.observer()
    await observer.before_submit("req-1", None)
    observer.accepted("77")
    assert observer.written_ids == set()
    await job.record()
    assert observer.written_ids == {"77"}
