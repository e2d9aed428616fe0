"""Whatever the order of events and crashes, the next run knows what to do."""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
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
    GONE,
    Entry,
    JobKey,
    JobState,
    Step,
    Submit,
    Wishes,
    next_step,
)
from ezlink_async.batch.journal.store import Claim, Journal
from ezlink_async.batch.pairs.output_paths import Output

_JOBS = 2
_jobs = st.integers(0, _JOBS - 1)
_wishes = st.builds(Wishes, retry_failed=st.booleans(), resubmit_unknown=st.booleans())
_OUTPUT = Output(Path("a.jpg"), 1, b"o")
_VERBS = ["noted", "succeeded", "saved", "damaged", "failed", "gone"]


@attrs.define(eq=False)
class Attempt:
    """One submit, as the imaginary server sees it, and as the client has noted it."""

    request_id: str
    wished: bool
    task_id: str | None = None
    """What the server has made of it, and charged."""
    refused: bool = False
    """It surely is not, and never will be."""
    told: str | None = None
    """The outcome that this client was told of."""
    noted: str | None = None
    """The outcome that is on disk."""
    ended: bool = False
    """The server would not do it: that is on disk."""

    @property
    def is_open(self) -> bool:
        """Whether it may be charged, with nobody knowing its id."""
        return not self.refused and self.noted != "accepted"

    def has_ended(self, verb: str) -> None:
        """Note what is on disk about its task."""
        self.ended = verb == "failed"


def _one_of(jobs: list[int], nth: int) -> int:
    return jobs[nth % len(jobs)]


class Crashes(RuleBasedStateMachine):
    """
    A client that notes what it does, and is cut off between any two moments.

    What is noted waits in a queue, as in :mod:`ezlink_async.batch.journal.writer`;
    a crash loses what is in it, and what was changed since the last commit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp())
        self._numbers = itertools.count(1)
        self._attempts: list[list[Attempt]] = [[] for _ in range(_JOBS)]
        self._alive: dict[int, Attempt] = {}  # those this client waits for
        self._queue: list[tuple[Callable[[Journal], None], Callable[[], None]]] = []

    @initialize()
    def open(self) -> None:
        """Begin the first run."""
        self._open(self._folder / "0")

    def _open(self, folder: Path) -> None:
        self._place = folder
        self._journal = Journal.open(folder / "journal")
        # Processes die here, not machines: the disk need not be waited for.
        self._journal._sql.execute("PRAGMA synchronous = OFF")
        self._journal.begin()
        run = self._journal.start_run(1.0)
        self._ids = []
        for number in range(_JOBS):
            target = Path(f"{number}.jpg")
            place = self._journal.claim(Claim(target, target, "a", b"%d" % number), run)
            key = JobKey("https://a.example", b"s", b"t", "{}", place)
            self._ids.append(self._journal.job(key, target, target).id)
        self._journal.commit()

    def _entry(self, job: int) -> Entry:
        return self._journal.entries(self._ids[job] - 1, 1)[0]

    def _note(
        self, work: Callable[[Journal], None], then: Callable[[], None] = lambda: None
    ) -> None:
        self._queue.append((work, then))

    # What the client does

    @precondition(lambda self: len(self._alive) < _JOBS)
    @rule(nth=_jobs, wishes=_wishes, intact=st.booleans(), arrives=st.booleans())
    def send(self, nth: int, wishes: Wishes, *, intact: bool, arrives: bool) -> None:
        """Send what may be sent: the intent is on disk before."""
        self.write_all()
        job = _one_of([job for job in range(_JOBS) if job not in self._alive], nth)
        step = next_step(self._entry(job), wishes, intact=intact)
        if step is not Step.SUBMIT:
            return
        before = self._attempts[job]
        plainly = next_step(self._entry(job), Wishes(), intact=intact) is Step.SUBMIT
        if plainly and before:
            assert before[-1].refused
            assert not any(each.is_open for each in before)
        # Who has wished it once is not asked again if it was refused then.
        wished = not plainly or any(each.wished for each in before)
        attempt = Attempt(f"r{next(self._numbers)}", wished)
        submit = Submit(request_id=attempt.request_id, mark=None, when=2.0, since=2.0)
        self._note(lambda journal: journal.submitting(self._ids[job], submit))
        self.write_all()
        before.append(attempt)
        self._alive[job] = attempt
        if arrives:
            self.make(job)
            self._hear(job, is_lost=False)

    @precondition(lambda self: self._told(None))
    @rule(nth=_jobs, is_lost=st.booleans())
    def hear(self, nth: int, *, is_lost: bool) -> None:
        """Hear the outcome of a submit, and note it."""
        self._hear(_one_of(self._told(None), nth), is_lost=is_lost)

    def _hear(self, job: int, *, is_lost: bool) -> None:
        attempt = self._alive[job]
        this = self._ids[job]
        made = attempt.task_id

        def noted() -> None:
            attempt.noted = outcome

        if is_lost:
            outcome = "unknown"
            self._note(lambda journal: journal.unknown(this, "lost"), noted)
            del self._alive[job]
        elif made is not None:
            outcome = "accepted"
            self._note(lambda journal: journal.accepted(this, made), noted)
        else:
            outcome, attempt.refused = "refused", True
            self._note(lambda journal: journal.planned(this, "BusyError: later"), noted)
            del self._alive[job]
        attempt.told = outcome

    def _told(self, outcome: str | None) -> list[int]:
        """Return the jobs under way of whose submit this is known."""
        return [job for job, each in self._alive.items() if each.told == outcome]

    @rule(job=_jobs)
    def follow(self, job: int) -> None:
        """Take up what has an id, as a later run does."""
        self.write_all()
        entry = self._entry(job)
        if next_step(entry, Wishes(), intact=False) in {Step.FOLLOW, Step.DOWNLOAD}:
            attempt = self._attempts[job][-1]
            assert entry.task_id == attempt.task_id
            attempt.told = "accepted"
            self._alive[job] = attempt

    @precondition(lambda self: self._told("accepted"))
    @rule(nth=_jobs, verbs=st.lists(st.sampled_from(_VERBS), min_size=1, max_size=3))
    def end(self, nth: int, verbs: list[str]) -> None:
        """Note what became of a task whose id is known."""
        job = _one_of(self._told("accepted"), nth)
        this, attempt = self._ids[job], self._alive[job]
        works: dict[str, Callable[[Journal], None]] = {
            "noted": lambda journal: journal.noted(this, "TaskTimeoutError: late"),
            "succeeded": lambda journal: journal.succeeded(this, None, 3.0),
            "saved": lambda journal: journal.saved(this, _OUTPUT),
            "damaged": lambda journal: journal.damaged(this),
            "failed": lambda journal: journal.failed(this, "TaskFailedError: no", 3.0),
            "gone": lambda journal: journal.noted(this, f"{GONE} (404)"),
        }
        for verb in verbs:
            self._note(works[verb], functools.partial(attempt.has_ended, verb))
            if verb in {"failed", "gone"}:
                del self._alive[job]
                return

    @precondition(lambda self: self._queue)
    @rule(many=st.integers(1, 4))
    def write(self, many: int) -> None:
        """Commit what came first."""
        group, self._queue = self._queue[:many], self._queue[many:]
        self._journal.begin()
        for work, _ in group:
            work(self._journal)
        self._journal.commit()
        for _, then in group:
            then()

    def write_all(self) -> None:
        """Commit all that waits."""
        while self._queue:
            self.write(4)

    # What happens to it

    @rule(job=_jobs)
    def make(self, job: int) -> None:
        """Have the server make, and charge, what may still reach it."""
        for attempt in self._attempts[job]:
            if attempt.task_id is None and not attempt.refused:
                attempt.task_id = f"id{next(self._numbers)}"
                return

    @rule(written=st.integers(0, 6), many=st.integers(0, 4))
    def crash(self, written: int, many: int) -> None:
        """Lose the process in the middle of a group, and begin another run."""
        self.write(written)
        if many:
            self._journal.begin()
            for work, _ in self._queue[:many]:
                work(self._journal)
        place = self._folder / str(next(self._numbers))
        shutil.copytree(self._place, place)  # what the disk has at this moment
        self._journal.close()
        self._queue.clear()
        self._alive.clear()
        self._open(place)
        self.check_all()

    def check_all(self) -> None:
        """Check what the new run would do with each job."""
        listed = {entry.id for entry in self._journal.open_entries(None)}
        for job, this in enumerate(self._ids):
            entry = self._entry(job)
            self._check(job, entry)
            step = next_step(entry, Wishes(), intact=False)
            taken_up = step in {Step.FOLLOW, Step.REPORT}
            assert (this in listed) >= taken_up

    def _check(self, job: int, entry: Entry) -> None:
        attempts = self._attempts[job]
        step = next_step(entry, Wishes(), intact=False)
        if not attempts:
            assert step is Step.SUBMIT
            return
        last = attempts[-1]
        # Nothing that may be charged is sent again unless that is wished.
        is_open = any(each.is_open for each in attempts)
        if not last.refused or is_open:
            assert step is not Step.SUBMIT
        elif last.noted == "refused":
            assert step is Step.SUBMIT
        # An id that is known is never lost, nor taken for another one.
        if last.noted == "accepted":
            assert entry.task_id == last.task_id
            wanted = {Step.GIVE_UP} if last.ended else {Step.FOLLOW, Step.DOWNLOAD}
            assert step in wanted
            assert next_step(entry, Wishes(resubmit_unknown=True), intact=False) is step
        elif entry.task_id is not None:
            assert entry.task_id == last.task_id
        assert entry.request_ids == tuple(each.request_id for each in attempts)
        assert entry.state is not JobState.SUBMITTING

    @invariant()
    def nothing_is_paid_twice_unless_wished(self) -> None:
        """Each job has at most one charge that nobody asked for in so many words."""
        for attempts in self._attempts:
            charged = [each for each in attempts if each.task_id is not None]
            assert sum(not each.wished for each in charged) <= 1

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
