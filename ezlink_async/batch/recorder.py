"""
Records in the journal what happens to a submit, and stops submits of a halted run.

A submit can be held back until right before its first byte. There the observer
asks whether the run may still send and pay, and writes the intent to the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from collections.abc import Callable, Iterator
from typing import cast

import attrs

from ezlink_async.batch.journal.jobs import LATEST, JobState, Problem, Reason, Submit
from ezlink_async.batch.journal.writer import JournalWriter
from ezlink_async.batch.outcomes import describe_error
from ezlink_async.batch.spending import Budget
from ezlink_async.errors import (
    FATAL_ERRORS,
    BusyError,
    ContentRefusedError,
    EzlinkError,
    JournalError,
    RejectedError,
    ServerError,
    TaskCancelledError,
    TaskFailedError,
    TextLostError,
    TransportError,
)

_CLOCK_ERROR = 86_400.0  # seconds by which this machine's clock may be wrong
_NO_CONNECTION = frozenset({"connect", "tls"})
_BUDGET_SPENT = Problem("BudgetReached: the budget of this run is spent", Reason.BUDGET)

FAILED_TASK_ERRORS = (TaskFailedError, TaskCancelledError, TextLostError)
"""The errors of a task that has ended without a result, for good."""


class HaltedError(EzlinkError):
    """The run was halted before this submit; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_safe=True)


@attrs.frozen
class Clock:
    """
    The clock of this machine, and its difference to the server's.

    *ahead* is by how many seconds the server's clock is ahead; ``None`` is not
    known, then this machine's clock may be wrong by a day.
    """

    now: Callable[[], float] = time.time
    ahead: float | None = None

    def since(self) -> float:
        """Return the server's time, or a time that is surely before it."""
        since = self.now() + (-_CLOCK_ERROR if self.ahead is None else self.ahead)
        return min(max(0.0, since), LATEST)


class RunControl:
    """
    The state that the jobs of one run share while they are submitted.

    *halted* is the problem that ended the submits, *stopped* says that downloads
    are not begun either, *leaving* that the user wants to leave soon. *unanswered*
    are the submits whose outcome is not known yet. *loss* is the error by which the
    journal has lost a change of this run.
    """

    def __init__(self, writer: JournalWriter, budget: Budget, clock: Clock) -> None:
        self.writer = writer
        writer.on_loss = self._halt_after_loss
        self.loss: JournalError | None = None
        self.budget = budget
        self.clock = clock
        self.halted: Problem | None = None
        self.stopped: bool = False
        self.leaving: bool = False
        self.accepted = 0
        self.unanswered: set[JournalObserver] = set()
        self._submits: dict[asyncio.Task[object], JournalObserver] = {}
        self._cancelled: set[asyncio.Task[object]] = set()
        self._all_answered = asyncio.Event()

    def halt(self, problem: Problem, *, submits_only: bool = False) -> None:
        """Send nothing more, and begin no downloads unless *submits_only*."""
        self.halted = self.halted or problem  # the first one counts
        self.stopped = self.stopped or not submits_only
        self._cancel_queued()

    def _halt_after_loss(self, error: JournalError) -> None:
        self.loss = self.loss or error
        self.halt(Problem(describe_error(error), Reason.STORAGE))

    def leave(self, problem: Problem) -> None:
        """Halt, and resume no task that has timed out."""
        self.halt(problem)
        self.leaving = True

    def check(self) -> None:
        """Raise :exc:`HaltedError` if the run is halted."""
        if self.halted is not None:
            raise HaltedError(self.halted.sentence)

    def _cancel_queued(self) -> None:
        """Cancel the submits that have not begun."""
        for task, observer in self._submits.items():
            if not observer.has_begun and task not in self._cancelled:
                self._cancelled.add(task)
                task.cancel()

    @contextlib.contextmanager
    def queued(self, observer: JournalObserver) -> Iterator[None]:
        """Submit in here: a halt raises :exc:`HaltedError` if it has not begun."""
        self.check()
        task = cast("asyncio.Task[object]", asyncio.current_task())
        before = task.cancelling()
        self._submits[task] = observer
        try:
            yield
        except asyncio.CancelledError:
            # The task may have been cancelled by its owner, too.
            if task not in self._cancelled or task.uncancel() > before:
                raise
            self.check()
        finally:
            del self._submits[task]
            self._cancelled.discard(task)

    def is_fatal(self, error: EzlinkError, task_id: str | None) -> bool:
        """Return whether *error* stops every job."""
        if isinstance(error, TransportError):
            no_connection = error.stage in _NO_CONNECTION and not error.maybe_charged
            return no_connection and not self.accepted
        return isinstance(error, FATAL_ERRORS) and task_id is None

    def ended(self, observer: JournalObserver) -> None:
        """Remove a submit whose outcome is known from *unanswered*."""
        self.unanswered.discard(observer)
        if self.halted is not None and observer.will_retry:
            self._cancel_queued()
        if not self.unanswered:
            self._all_answered.set()
            self._all_answered = asyncio.Event()

    async def wait_for_answers(self) -> None:
        """Wait until the outcome of every submit is known."""
        while self.unanswered:
            await self._all_answered.wait()


class Stage(enum.Enum):
    """How far a job is that a run waits for, even after it was halted."""

    SENDING = enum.auto()
    """Being sent, or sent and not answered."""
    RUNNING = enum.auto()
    """Accepted: the server has it."""
    SAVING = enum.auto()
    """Finished at the server; its result is being downloaded."""


class JournalObserver:
    """
    The observer of one job's submits; writes what happens to them in order.

    *unclear* says why the job may be paid without a known id, by a submit of this
    run or an earlier one; *refusal* why its latest submit surely created nothing.
    *written_ids* are the ids of tasks of the job that are surely on disk. A submit
    that *is_free* is outside the budget.
    """

    def __init__(
        self,
        control: RunControl,
        job: int,
        unclear: str | None = None,
        known_id: str | None = None,
        *,
        is_free: bool = False,
    ) -> None:
        self._control = control
        self._job = job
        self._is_submitting = False
        self._is_free = is_free
        self.stage: Stage | None = None
        self.followed_at: float = 0.0  # the loop's time; its task is followed since
        self.task_id: str | None = None
        self.task_record: str | None = None  # as the journal has it, once it has ended
        self.request_id: str | None = None
        self.unclear = unclear
        self.written_ids: set[str] = {known_id} if known_id else set()
        self.refusal: EzlinkError | None = None

    @property
    def will_retry(self) -> bool:
        """Whether the job is sent again once the server can be reached and has room."""
        return isinstance(self.refusal, BusyError | ServerError | TransportError)

    @property
    def has_begun(self) -> bool:
        """Whether a submit has begun, or was accepted."""
        return self._is_submitting or self.task_id is not None

    def unwritten(self, task_id: str | None) -> Problem | None:
        """Return what to do about a task whose id cannot be written to the disk."""
        fault = self._control.writer.fault
        if fault is None or task_id is None or task_id in self.written_ids:
            return None
        return Problem(
            describe_error(
                fault,
                f"{fault}; task {task_id} is accepted and paid for, but no later run "
                f"knows its id: keep it, and fetch the result with `ezlink task "
                f"{task_id} --output FOLDER`",
            ),
            Reason.STORAGE,
        )

    def follows(self) -> None:
        """Note that the server has the job, from now on or from an earlier run."""
        self.stage = Stage.RUNNING
        self.followed_at = asyncio.get_running_loop().time()

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Write the intent to the disk, or raise why nothing may be sent."""
        control, this = self._control, self._job
        await self._reserve_budget()
        submit = Submit(
            request_id=request_id,
            state_tag=state,
            when=control.clock.now(),
            since=control.clock.since(),
        )
        self._is_submitting, self.stage = True, Stage.SENDING
        control.unanswered.add(self)
        try:
            await control.writer.execute(
                lambda journal: journal.submitting(this, submit), new=True
            )
        except asyncio.CancelledError:
            raise  # it may be on disk; the submitter reports the outcome
        except BaseException:
            self._end_submit(may_be_paid=False)
            raise
        self.request_id, self.refusal = request_id, None

    async def _reserve_budget(self) -> None:
        control = self._control
        control.check()
        if self._is_free:
            return
        if not await control.budget.reserve():
            control.halt(_BUDGET_SPENT, submits_only=True)
            control.check()
        try:
            control.check()  # the budget may have taken long
        except HaltedError:
            control.budget.give_back()
            raise

    def accepted(self, task_id: str) -> None:
        """Write the id."""
        self.task_id, self.unclear = task_id, None
        self.follows()
        self._control.accepted += 1
        self._control.writer.execute_soon(
            lambda journal: journal.accepted(self._job, task_id),
            lambda: self.written_ids.add(task_id),
        )
        self._end_submit(may_be_paid=True)

    def refused(self, error: EzlinkError) -> None:
        """Write that this submit created no job; an earlier one may have."""
        if not self._is_submitting:
            return  # it was cancelled before its intent was written
        self.refusal = error
        if self.unclear is None:
            sentence = describe_error(error)
            self._control.writer.execute_soon(
                lambda journal: journal.planned(self._job, sentence)
            )
        else:
            self._write_unknown(self.unclear)
        self._end_submit(may_be_paid=_fee(error) > 0)

    def unknown(self, error: EzlinkError) -> None:
        """Write that the job may exist, and may be paid."""
        if self._is_submitting:
            self._write_unknown(describe_error(error))
            self._end_submit(may_be_paid=True)

    def state_after(self, error: EzlinkError, task_id: str | None) -> JobState | None:
        """Return whether *error* leaves the job failed or unknown, or ``None``."""
        if task_id is not None:
            has_failed = isinstance(error, FAILED_TASK_ERRORS)
        elif error.maybe_charged or self.unclear is not None:
            return JobState.UNKNOWN
        else:
            has_failed = isinstance(error, RejectedError)
        return JobState.FAILED if has_failed else None

    def _write_unknown(self, sentence: str) -> None:
        self.unclear = sentence
        self._control.writer.execute_soon(
            lambda journal: journal.unknown(self._job, sentence)
        )

    def _end_submit(self, *, may_be_paid: bool) -> None:
        self._is_submitting = False
        if self.stage is Stage.SENDING:
            self.stage = None
        if self._is_free:
            pass
        elif may_be_paid:
            self._control.budget.spend()
        else:
            self._control.budget.give_back()
        self._control.ended(self)


def _fee(error: EzlinkError) -> int:
    """Return the units that the server charged for a refusal."""
    return error.fee if isinstance(error, ContentRefusedError) else 0
