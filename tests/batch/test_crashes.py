"""After any order of events and crashes the next run knows what to do."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ezlink_async.batch.journal.jobs import (
    JobRecord,
    JobState,
    Problem,
    Reason,
    Step,
    Submit,
    next_step,
)
from ezlink_async.batch.journal.schema import SCHEMA
from ezlink_async.batch.journal.sqlite import open_database
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.output_paths import Output
from tests.support.filesystems import quick_folder
from tests.support.journal_jobs import new_swap, swap_claim, swap_key

_JOBS = 2
_jobs = st.integers(0, _JOBS - 1)
_PLAIN = BatchOptions(output=Path())
_options = st.builds(
    BatchOptions,
    output=st.just(Path()),
    retry_failed=st.booleans(),
    resubmit_unknown=st.booleans(),
)
_OUTPUT = Output(Path("a.jpg"), 1, b"o")
_EVENTS = ["late", "succeeded", "saved", "damaged", "failed", "gone"]


@attrs.define(eq=False)
class Attempt:
    """One submit, as the imaginary server has it, and as the client recorded it."""

    request_id: str
    requested: bool
    """The user asked for it by an option, so it may be a second payment."""
    task_id: str | None = None
    """The task that the server has created, and charged."""
    refused: bool = False
    """The server created no task, and never will."""
    known: str | None = None
    """The outcome that this client knows."""
    recorded: str | None = None
    """The outcome that is on disk."""
    ended: bool = False
    """Its failure is on disk."""

    @property
    def is_open(self) -> bool:
        """Whether it may be charged under an id that is not on disk."""
        return not self.refused and self.recorded != "accepted"

    def record(self, event: str) -> None:
        """Remember the last event of its task that is on disk."""
        self.ended = event == "failed"


def _one_of(jobs: list[int], nth: int) -> int:
    return jobs[nth % len(jobs)]


class Crashes(RuleBasedStateMachine):
    """
    A client that records what it does, and crashes between any two moments.

    Changes wait in a queue, as in :mod:`ezlink_async.batch.journal.writer`; a crash
    loses the queue, and the changes since the last commit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = quick_folder()
        self._numbers = itertools.count(1)
        self._attempts: list[list[Attempt]] = [[] for _ in range(_JOBS)]
        self._alive: dict[int, Attempt] = {}  # the submits this client waits for
        self._queue: list[tuple[Callable[[Journal], None], Callable[[], None]]] = []

    @initialize()
    def open(self) -> None:
        """Begin the first run."""
        self._open(self._folder / "0")

    def _open(self, folder: Path) -> None:
        self._run_folder = folder
        connection = open_database(folder / "journal", SCHEMA)
        # Processes die here, not machines: no need to wait for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        self._journal = Journal(connection)
        self._journal.begin()
        run = self._journal.start_run(1.0)
        self._ids = []
        for number in range(_JOBS):
            target = Path(f"{number}.jpg")
            output_path = self._journal.assign_output_path(
                swap_claim(target, target, "a", b"%d" % number), run
            )
            key = swap_key(path=output_path)
            job = self._journal.find_or_add_job(new_swap(key, target, target))
            self._ids.append(job.id)
        self._journal.commit()

    def _record(self, job: int) -> JobRecord:
        return self._journal.records(self._ids[job] - 1, 1)[0]

    def _enqueue(
        self, work: Callable[[Journal], None], then: Callable[[], None] = lambda: None
    ) -> None:
        self._queue.append((work, then))

    # What the client does

    @precondition(lambda self: len(self._alive) < _JOBS)
    @rule(nth=_jobs, options=_options, intact=st.booleans(), arrives=st.booleans())
    def send(
        self, nth: int, options: BatchOptions, *, intact: bool, arrives: bool
    ) -> None:
        """Send a job if that is its next step: the intent is on disk before."""
        self.write_all()
        job = _one_of([job for job in range(_JOBS) if job not in self._alive], nth)
        step = next_step(self._record(job), options, intact=intact)
        if step is not Step.SUBMIT:
            return
        before = self._attempts[job]
        is_plain = next_step(self._record(job), _PLAIN, intact=intact) is Step.SUBMIT
        if is_plain and before:
            assert before[-1].refused
            assert not any(each.is_open for each in before)
        # A requested submit that was refused needs no second request.
        requested = not is_plain or any(each.requested for each in before)
        attempt = Attempt(f"r{next(self._numbers)}", requested)
        submit = Submit(
            request_id=attempt.request_id, state_tag=None, when=2.0, since=2.0
        )
        self._enqueue(lambda journal: journal.submitting(self._ids[job], submit))
        self.write_all()
        before.append(attempt)
        self._alive[job] = attempt
        if arrives:
            self.make(job)
            self._receive(job, is_lost=False)

    @precondition(lambda self: self._with_outcome(None))
    @rule(nth=_jobs, is_lost=st.booleans())
    def receive(self, nth: int, *, is_lost: bool) -> None:
        """Receive the outcome of a submit, and record it."""
        self._receive(_one_of(self._with_outcome(None), nth), is_lost=is_lost)

    def _receive(self, job: int, *, is_lost: bool) -> None:
        attempt = self._alive[job]
        this = self._ids[job]
        made = attempt.task_id

        def recorded() -> None:
            attempt.recorded = outcome

        if is_lost:
            outcome = "unknown"
            self._enqueue(lambda journal: journal.unknown(this, "lost"), recorded)
            del self._alive[job]
        elif made is not None:
            outcome = "accepted"
            self._enqueue(lambda journal: journal.accepted(this, made), recorded)
        else:
            outcome, attempt.refused = "refused", True
            self._enqueue(
                lambda journal: journal.planned(this, "BusyError: later"), recorded
            )
            del self._alive[job]
        attempt.known = outcome

    def _with_outcome(self, outcome: str | None) -> list[int]:
        """Return the running jobs of whose submit *outcome* is known."""
        return [job for job, each in self._alive.items() if each.known == outcome]

    @rule(job=_jobs)
    def follow(self, job: int) -> None:
        """Resume a job that has an id, as a later run does."""
        self.write_all()
        record = self._record(job)
        if next_step(record, _PLAIN, intact=False) in {Step.FOLLOW, Step.DOWNLOAD}:
            attempt = self._attempts[job][-1]
            assert record.task_id == attempt.task_id
            attempt.known = "accepted"
            self._alive[job] = attempt

    @precondition(lambda self: self._with_outcome("accepted"))
    @rule(nth=_jobs, events=st.lists(st.sampled_from(_EVENTS), min_size=1, max_size=3))
    def end(self, nth: int, events: list[str]) -> None:
        """Record what happens to a task whose id is known."""
        job = _one_of(self._with_outcome("accepted"), nth)
        this, attempt = self._ids[job], self._alive[job]
        changes: dict[str, Callable[[Journal], None]] = {
            "late": lambda journal: journal.note_problem(this, Problem("late")),
            "succeeded": lambda journal: journal.succeeded(this, None, 3.0),
            "saved": lambda journal: journal.saved(this, [_OUTPUT]),
            "damaged": lambda journal: journal.damaged(this),
            "failed": lambda journal: journal.failed(this, Problem("no"), 3.0),
            "gone": lambda journal: journal.note_problem(
                this, Problem("gone", Reason.RESULT_GONE)
            ),
        }
        for event in events:
            self._enqueue(changes[event], functools.partial(attempt.record, event))
            if event in {"failed", "gone"}:
                del self._alive[job]
                return

    @precondition(lambda self: self._queue)
    @rule(many=st.integers(1, 4))
    def write(self, many: int) -> None:
        """Commit the first changes of the queue."""
        group, self._queue = self._queue[:many], self._queue[many:]
        self._journal.begin()
        for work, _ in group:
            work(self._journal)
        self._journal.commit()
        for _, then in group:
            then()

    def write_all(self) -> None:
        """Commit the whole queue."""
        while self._queue:
            self.write(4)

    # What happens to the client

    @rule(job=_jobs)
    def make(self, job: int) -> None:
        """Let the server create and charge a submit that may still arrive."""
        for attempt in self._attempts[job]:
            if attempt.task_id is None and not attempt.refused:
                attempt.task_id = f"id{next(self._numbers)}"
                return

    @rule(written=st.integers(0, 6), many=st.integers(0, 4))
    def crash(self, written: int, many: int) -> None:
        """Crash in the middle of a group of changes, and begin another run."""
        self.write(written)
        if many:
            self._journal.begin()
            for work, _ in self._queue[:many]:
                work(self._journal)
        folder = self._folder / str(next(self._numbers))
        shutil.copytree(self._run_folder, folder)  # the disk at this moment
        self._journal.close()
        self._queue.clear()
        self._alive.clear()
        self._open(folder)
        self.check_all()

    def check_all(self) -> None:
        """Check the next step of each job in the new run."""
        listed = {record.id for record in self._journal.open_records(None)}
        for job, this in enumerate(self._ids):
            record = self._record(job)
            self._check(job, record)
            step = next_step(record, _PLAIN, intact=False)
            if step in {Step.FOLLOW, Step.REPORT}:
                assert this in listed

    def _check(self, job: int, record: JobRecord) -> None:
        attempts = self._attempts[job]
        step = next_step(record, _PLAIN, intact=False)
        if not attempts:
            assert step is Step.SUBMIT
            return
        last = attempts[-1]
        # A submit that may be charged is sent again on request only.
        is_open = any(each.is_open for each in attempts)
        if not last.refused or is_open:
            assert step is not Step.SUBMIT
        elif last.recorded == "refused":
            assert step is Step.SUBMIT
        # A known id is never lost, nor replaced by another one.
        if last.recorded == "accepted":
            assert record.task_id == last.task_id
            wanted = {Step.GIVE_UP} if last.ended else {Step.FOLLOW, Step.DOWNLOAD}
            assert step in wanted
            resubmit = attrs.evolve(_PLAIN, resubmit_unknown=True)
            assert next_step(record, resubmit, intact=False) is step
        elif record.task_id is not None:
            assert record.task_id == last.task_id
        assert record.request_ids == tuple(each.request_id for each in attempts)
        assert record.state is not JobState.SUBMITTING

    @invariant()
    def no_job_is_paid_twice_unless_requested(self) -> None:
        """Check that each job has at most one charge without a request."""
        for attempts in self._attempts:
            charged = [each for each in attempts if each.task_id is not None]
            assert sum(not each.requested for each in charged) <= 1

    def teardown(self) -> None:
        """Crash a last time, and clean up."""
        if hasattr(self, "_journal"):
            self.crash(6, 0)
            self._journal.close()
        shutil.rmtree(self._folder)


Crashes.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),
)
TestCrashes = Crashes.TestCase
