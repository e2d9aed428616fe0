"""
Who keeps book of one job while it is submitted, and what may stop it there.

The last moment at which a submit can be held back is right before its first
byte: there it is asked whether anything more may be sent, and paid.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from collections.abc import Callable, Iterator
from typing import cast

import attrs

from ezlink_async.batch.journal.jobs import Submit
from ezlink_async.batch.journal.writer import JournalWriter
from ezlink_async.batch.outcomes import describe_error
from ezlink_async.batch.spending import Budget, UsageAudit
from ezlink_async.errors import (
    FATAL_ERRORS,
    BusyError,
    EzlinkError,
    RejectedError,
    TaskCancelledError,
    TaskFailedError,
    TransportError,
)

_WRONG_BY = 86_400.0
_NO_WAY_THERE = frozenset({"connect", "tls"})


ENDED_BADLY = (TaskFailedError, TaskCancelledError)
"""How the server says that it could not do a job."""


class Ended(enum.Enum):
    """Whether an error is the end of a job."""

    NOT = enum.auto()
    BADLY = enum.auto()
    UNKNOWN = enum.auto()


class HaltedError(EzlinkError):
    """Nothing more is sent in this run; nothing was."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_safe=True)


@attrs.frozen
class Clock:
    """
    The clock of this machine, and what is known of the server's.

    *ahead* is by how much the server's is ahead, ``None`` when that is not
    known: then ours may be wrong by a day.
    """

    now: Callable[[], float] = time.time
    ahead: float | None = None

    def since(self) -> float:
        """Return the server's time, or one that was before it."""
        return self.now() + (-_WRONG_BY if self.ahead is None else self.ahead)


class RunControl:
    """
    What the jobs of one run share while they are submitted.

    *halted* says why nothing more is sent, *stopped* that nothing else is begun
    either, *leaving* that the user wants to be gone. *outstanding* are those
    whose submit has not been told of.
    """

    def __init__(
        self,
        commits: JournalWriter,
        budget: Budget,
        audit: UsageAudit,
        clock: Clock,
    ) -> None:
        self.commits = commits
        self.budget = budget
        self.audit = audit
        self.clock = clock
        self.halted: str | None = None
        self.stopped = False
        self.leaving = False
        self.accepted = 0
        self.outstanding: set[JournalObserver] = set()
        self._in_line: dict[asyncio.Task[object], JournalObserver] = {}
        self._called_off: set[asyncio.Task[object]] = set()
        self._quiet = asyncio.Event()

    def halt(self, why: str, *, mild: bool = False) -> None:
        """Send nothing more; if *mild*, only that. The first reason counts."""
        self.halted = self.halted or why
        self.stopped = self.stopped or not mild
        self._let_go()

    def _let_go(self) -> None:
        """Have nobody wait for a submit that will not be made."""
        for task, book in self._in_line.items():
            if not book.is_under_way and task not in self._called_off:
                self._called_off.add(task)
                task.cancel()

    @contextlib.contextmanager
    def in_line(self, book: JournalObserver) -> Iterator[None]:
        """Let whoever waits here for its submit to begin go when the run is halted."""
        self.check()
        task = cast("asyncio.Task[object]", asyncio.current_task())
        before = task.cancelling()
        self._in_line[task] = book
        try:
            yield
        except asyncio.CancelledError:
            # Somebody else may want it gone, and for good.
            if task not in self._called_off or task.uncancel() > before:
                raise
            self.check()
        finally:
            del self._in_line[task]
            self._called_off.discard(task)

    def leave(self, why: str) -> None:
        """Send nothing more, and begin nothing that takes long."""
        self.halt(why)
        self.leaving = True

    def check(self) -> None:
        """Raise why nothing more is sent, if that is so."""
        if self.halted is not None:
            raise HaltedError(self.halted)

    def dooms(self, error: EzlinkError, task_id: str | None) -> bool:
        """Return whether *error* stands in the way of every job."""
        if isinstance(error, TransportError):
            no_way = error.stage in _NO_WAY_THERE and not error.maybe_charged
            return no_way and not self.accepted
        return isinstance(error, FATAL_ERRORS) and task_id is None

    def began(self, book: JournalObserver) -> None:
        """Note that a submit is under way."""
        self.outstanding.add(book)

    def ended(self, book: JournalObserver) -> None:
        """Note that it was told of."""
        self.outstanding.discard(book)
        if self.halted is not None and book.would_wait:
            self._let_go()
        if not self.outstanding:
            self._quiet.set()
            self._quiet = asyncio.Event()

    async def quiet(self) -> None:
        """Wait until every submit was told of."""
        while self.outstanding:
            await self._quiet.wait()


class JournalObserver:
    """
    The observer of one job; its changes go into the journal in their order.

    *unclear* says why it may be paid with no id known, by this run or an
    earlier one; *refusal* why its latest submit surely made nothing.
    """

    def __init__(self, desk: RunControl, job: int, unclear: str | None = None) -> None:
        self._desk = desk
        self._job = job
        self._on_its_way = False
        self.task_id: str | None = None
        self.request_id: str | None = None
        self.unclear = unclear
        self.refusal: EzlinkError | None = None

    @property
    def would_wait(self) -> bool:
        """Whether it is sent again as soon as there is room, or a way."""
        return isinstance(self.refusal, BusyError | TransportError)

    @property
    def is_under_way(self) -> bool:
        """Whether its submit has begun, or was accepted."""
        return self._on_its_way or self.task_id is not None

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Have the intent on disk, or raise why nothing more may be sent."""
        desk, this = self._desk, self._job
        await self._allowed()
        submit = Submit(
            request_id=request_id,
            mark=state,
            when=desk.clock.now(),
            since=desk.clock.since(),
        )
        self._on_its_way = True
        desk.began(self)
        try:
            await desk.commits.do(
                lambda journal: journal.submitting(this, submit), new=True
            )
        except asyncio.CancelledError:
            raise  # it may be on disk; what became of it is told
        except BaseException:
            self._over(paid=False)
            desk.audit.refused(self)
            raise
        self.request_id, self.refusal = request_id, None

    async def _allowed(self) -> None:
        """Have room in the budget, and the turn; or raise why nothing is sent."""
        desk = self._desk
        desk.check()
        if not await desk.budget.take():
            desk.halt("BudgetReached: the budget of this run is spent", mild=True)
            desk.check()
        try:
            desk.check()  # both may have taken long
            await desk.audit.wait(self)
            desk.check()
        except BaseException:
            desk.budget.give_back()
            desk.audit.refused(self)
            raise

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        self.task_id, self.unclear = task_id, None
        self._desk.accepted += 1
        self._desk.audit.accepted(self)
        self._desk.commits.note(lambda journal: journal.accepted(self._job, task_id))
        self._over(paid=True)

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists; one that was sent before may."""
        if not self._on_its_way:
            return  # it was cut off before its intent was noted
        self.refusal = error
        self._desk.audit.refused(self)
        if self.unclear is None:
            why = describe_error(error)
            self._desk.commits.note(lambda journal: journal.planned(self._job, why))
        else:
            self._note_unclear(self.unclear)
        self._over(paid=False)

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        if not self._on_its_way:
            return
        self._desk.audit.unknown(self)
        self._note_unclear(describe_error(error))
        self._over(paid=True)

    def weigh(self, error: EzlinkError, task_id: str | None) -> Ended:
        """Return what *error* means for the job; its *task_id* if it has one."""
        if task_id is not None:
            return Ended.BADLY if isinstance(error, ENDED_BADLY) else Ended.NOT
        if error.maybe_charged or self.unclear is not None:
            return Ended.UNKNOWN
        return Ended.BADLY if isinstance(error, RejectedError) else Ended.NOT

    def _note_unclear(self, why: str) -> None:
        self.unclear = why
        self._desk.commits.note(lambda journal: journal.unknown(self._job, why))

    def _over(self, *, paid: bool) -> None:
        self._on_its_way = False
        if paid:
            self._desk.budget.spend()
        else:
            self._desk.budget.give_back()
        self._desk.ended(self)
