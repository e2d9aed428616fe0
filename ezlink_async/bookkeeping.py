"""
Who keeps book of one job while it is submitted, and what may stop it there.

The last moment at which a submit can be held back is right before its first
byte: there it is asked whether anything more may be sent, and paid.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import attrs

from ezlink_async.audit import Audit
from ezlink_async.commits import Commits
from ezlink_async.errors import EzlinkError
from ezlink_async.jobs import Submit
from ezlink_async.journal import Journal
from ezlink_async.protocol import FaceSwapJob
from ezlink_async.results import named

_WRONG_BY = 86_400.0


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


class Budget:
    """How many swaps a run may pay for; ``None`` is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._spent = 0
        self._taken = 0
        self._changed = asyncio.Event()

    async def take(self) -> bool:
        """Take room for one swap; wait while the last may still come back."""
        if self._limit is None:
            return True
        while self._spent + self._taken >= self._limit:
            if not self._taken:
                return False
            await self._changed.wait()
        self._taken += 1
        return True

    def spend(self) -> None:
        """Note that what was taken is paid, or may be."""
        self._taken -= 1
        self._spent += 1
        self._notify()

    def give_back(self) -> None:
        """Note that what was taken was surely not paid."""
        self._taken -= 1
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Desk:
    """
    What the jobs of one run share while they are submitted.

    *halted* says why nothing more is sent. *outstanding* are those whose submit
    has not been told of.
    """

    def __init__(
        self,
        commits: Commits,
        budget: Budget,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self.commits = commits
        self.budget = budget
        self.audit = audit
        self.clock = clock
        self.halted: str | None = None
        self.accepted = 0
        self.outstanding: set[Bookkeeper] = set()
        self._quiet = asyncio.Event()

    def halt(self, why: str) -> None:
        """Send nothing more; the first reason counts."""
        self.halted = self.halted or why

    def began(self, book: Bookkeeper) -> None:
        """Note that a submit is under way."""
        self.outstanding.add(book)

    def ended(self, book: Bookkeeper) -> None:
        """Note that it was told of."""
        self.outstanding.discard(book)
        if not self.outstanding:
            self._quiet.set()
            self._quiet = asyncio.Event()

    async def quiet(self) -> None:
        """Wait until every submit was told of."""
        while self.outstanding:
            await self._quiet.wait()


class Bookkeeper:
    """The observer of one job; its changes go into the journal in their order."""

    def __init__(self, desk: Desk, job: int) -> None:
        self._desk = desk
        self._job = job
        self.task_id: str | None = None
        self.request_id: str | None = None
        self.unclear: EzlinkError | None = None
        """Why it may be paid, with no id known."""
        self.refusal: EzlinkError | None = None
        """Why it surely does not exist."""

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Have the intent on disk, or raise why nothing more may be sent."""
        del job
        desk, this = self._desk, self._job
        if desk.halted is None and not await desk.budget.take():
            desk.halt("BudgetReached: the budget of this run is spent")
        if desk.halted is not None:
            raise HaltedError(desk.halted)
        desk.began(self)
        submit = Submit(
            request_id=request_id,
            mark=state,
            when=desk.clock.now(),
            since=desk.clock.since(),
        )
        try:
            await desk.audit.wait(self)
            await desk.commits.do(
                lambda journal: journal.submitting(this, submit), new=True
            )
        except BaseException:
            desk.budget.give_back()
            desk.audit.refused(self)
            desk.ended(self)
            raise
        self.request_id, self.refusal = request_id, None

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        self.task_id, self.unclear = task_id, None
        self._desk.accepted += 1
        self._desk.budget.spend()
        self._desk.audit.accepted(self)
        self._note(lambda journal: journal.accepted(self._job, task_id))

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists."""
        self.refusal = error
        self._desk.budget.give_back()
        self._desk.audit.refused(self)
        self._note(lambda journal: journal.planned(self._job, named(error)))

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        self.unclear = error
        self._desk.budget.spend()
        self._desk.audit.unknown(self)
        self._note(lambda journal: journal.unknown(self._job, named(error)))

    def _note(self, work: Callable[[Journal], None]) -> None:
        self._desk.commits.note(work)
        self._desk.ended(self)
