"""
Finds out, with the account's token, what became of submits whose answer was lost.

A live submit asks right after it lost its answer; a batch asks about submits that
an earlier process left unfinished. Every wait has a bound. An error of the
account's pages is not raised: they are asked again, for ``RetryPolicy.timeout``
without an answer. Then the submit stays unknown, and the finding gives the error as
its reason.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import attrs

from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import SLACK, Fate, Finding, Lost
from ezlink_async._core.error_mapping import server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.transport import Transport
from ezlink_async.errors import AuthenticationError, ClientClosedError, EzlinkError
from ezlink_async.models import TaskRecord
from ezlink_async.services import account
from ezlink_async.services.base import Accepted

# The server may work so long on a submit, and its log may be so late. Before that
# no submit is called "not created", even with a shorter Timeouts.reconcile. A
# server on this very machine is the caller's own and exempt.
_WORK_SECONDS = 65.0

_MAX_REFUSALS = 3  # polls in a row that refuse the account's token

_LOG_REQUESTS = 4  # at the same time

_WITNESSES = 8

_CHARGED = 1  # the code of an acceptance that is in the log; 21 and 22 are not


@attrs.define(eq=False, kw_only=True)
class LostSubmit:
    """
    One submit in the search. Times are the loop's.

    The whole body had left at *sent*. *begun* is ``None`` for a submit of an
    earlier process. The account's side has not answered since *failing_since*; the
    search goes on for *patience* seconds without an answer.
    """

    lost: Lost
    sent: float
    begun: float | None = None
    patience: float = 0.0
    failing_since: float | None = None
    finding: asyncio.Future[Finding] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )

    def learn_clock(self, offset: float | None) -> None:
        """Translate *begun* to the server's clock, *offset* ahead of the loop's."""
        if self.lost.since is None and self.begun is not None and offset is not None:
            self.lost = attrs.evolve(self.lost, since=self.begun + offset)


class KnownSubmits:
    """
    The submits that a client knows of: ids, charges, and those in progress.

    *is_followed* returns whether the client follows the task with an id.
    """

    def __init__(self, is_followed: Callable[[str], bool]) -> None:
        self._is_followed = is_followed
        self._ids: dict[str, float] = {}
        self._in_progress: list[tuple[str | None, float]] = []
        self._charged: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._found: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._doubtful: set[str | None] = set()

    def is_known(self, task_id: str) -> bool:
        """Return whether *task_id* belongs to a known job."""
        return task_id in self._ids or self._is_followed(task_id)

    def learn(self, task_ids: Iterable[str], now: float) -> None:
        """Add ids of known jobs; drop ids older than every submit in progress."""
        self._ids.update(dict.fromkeys(task_ids, now))
        begun = min((begun for _, begun in self._in_progress), default=now)
        for task_id, time in tuple(self._ids.items()):
            if time >= begun - 2 * SLACK:
                break
            del self._ids[task_id]

    def add_charged(self, request_ids: Iterable[str]) -> None:
        """Add submits that surely were charged, the latest last."""
        self._charged.extend(request_ids)

    def add_finding(self, lost: Lost, finding: Finding, now: float) -> None:
        """Learn from a finding: an id, or a state whose task may still appear."""
        if finding.task_id is not None:
            self.learn([finding.task_id], now)
            self._found.extend(lost.request_ids)  # it may have been charged
        elif finding.fate is Fate.UNKNOWN and not evidence.is_unique(lost.state):
            self._doubtful.add(lost.state)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """The request ids that the log should show, the likeliest first."""
        return (*reversed(self._charged), *reversed(self._found))

    @contextlib.contextmanager
    def in_progress(self, state: str | None, begun: float) -> Iterator[None]:
        """Count a submit with *state* as in progress, since *begun*."""
        submit = (state, begun)
        self._in_progress.append(submit)
        try:
            yield
        finally:
            self._in_progress.remove(submit)

    def is_shared(self, submit: LostSubmit) -> bool:
        """Return whether another submit in progress has the state of *submit*."""
        own = submit.begun is not None  # else it is an earlier process's
        return sum(submit.lost.state == state for state, _ in self._in_progress) > own

    def is_doubtful(self, state: str | None) -> bool:
        """Return whether an earlier submit with *state* stayed unknown."""
        return state is not None and state in self._doubtful


class NoReconciler:
    """The reconciler of a client without an account token; it sends no request."""

    can_search: Literal[False] = False
    """Whether lost submits are searched for at all."""

    def new_state(self) -> None:
        """Return ``None``: no job needs a state."""

    def in_progress(
        self, _state: str | None, _begun: float
    ) -> AbstractContextManager[None]:
        """Record nothing."""
        return contextlib.nullcontext()

    def accepted(self, _accepted: Accepted, _request_id: str) -> None:
        """Record nothing."""

    def poll_soon(self) -> None:
        """Do nothing."""

    def end_patience(self) -> None:
        """Do nothing."""

    async def reconcile(
        self, _lost: Lost, *, begun: float, sent: float, out_of_reach: bool = False
    ) -> None:
        """Return ``None``: there is no finding."""

    async def server_time(self) -> None:
        """Return ``None``: the server's clock is not known."""


class Reconciler:
    """
    The submits that one client knows of, and one search for all lost ones.

    *is_followed* returns whether the client follows the task with an id.
    """

    can_search: Literal[True] = True

    def __init__(
        self,
        transport: Transport,
        background: BackgroundTasks,
        is_followed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._transport = transport
        self._background = background
        self._poll = transport.settings.poll
        self._patience = transport.settings.retry.timeout
        self._timeouts = transport.settings.timeouts
        self._work_seconds = 0.0 if transport.settings.on_loopback else _WORK_SECONDS
        self._known = KnownSubmits(is_followed)
        self._lost: dict[LostSubmit, None] = {}
        self._polls = 0
        self._refusals = 0
        self._running = False
        self._news = asyncio.Event()
        self._offset: float | None = None  # of the server's clock to the loop's

    def new_state(self) -> str:
        """Return a state for a job without one; it identifies a lost submit."""
        return evidence.new_state()

    def in_progress(
        self, state: str | None, begun: float
    ) -> AbstractContextManager[None]:
        """Count a submit with *state* as in progress, since *begun*."""
        return self._known.in_progress(state, begun)

    def accepted(self, accepted: Accepted, request_id: str) -> None:
        """Learn the id of an accepted job, and the request that was charged."""
        self._known.learn([accepted.task_id], _now())
        if accepted.code == _CHARGED:
            self._known.add_charged([request_id])

    def poll_soon(self) -> None:
        """Poll once more without delay: the client is closing."""
        self._news.set()

    def end_patience(self) -> None:
        """Wait for no outage of the account's side: a batch was halted."""
        for each in self._lost:
            each.patience = 0.0

    async def reconcile(
        self, lost: Lost, *, begun: float, sent: float, out_of_reach: bool = False
    ) -> Finding:
        """
        Find out about a submit of this client.

        The submit began at *begun*, and its whole body had left at *sent*; both
        are times of the event loop. One that is *out_of_reach* was accepted and
        has no task to search for: the log alone is asked, once, about the latest
        attempt.
        """
        if out_of_reach:
            charged = None  # the log may be late, so its silence proves nothing
            with contextlib.suppress(EzlinkError):
                charged = await self._shows_charge(lost.request_ids[-1:]) or None
            return evidence.unknown("its task is out of reach", charged=charged)
        (finding,) = await self._search([LostSubmit(lost=lost, sent=sent, begun=begun)])
        return finding

    async def resume(
        self,
        lost: Sequence[Lost],
        *,
        known: Collection[str] = (),
        witnesses: Sequence[str] = (),
    ) -> tuple[Finding, ...]:
        """
        Find out about submits of an earlier process; findings are in their order.

        *known* are the ids of other jobs; *witnesses* the request ids of some
        that were accepted with code 1, so charged, the latest last. The server
        may still be working on the submits, so the search takes
        ``Timeouts.reconcile`` unless it finds all of them before.
        """
        now = _now()
        submits = [
            LostSubmit(lost=attrs.evolve(each, state=each.state or None), sent=now)
            for each in lost
        ]
        self._known.add_charged(witnesses)
        # While they are open, no known id may be dropped.
        with self._known.in_progress(None, now):
            self._known.learn(known, now)
            return await self._search(submits)

    async def server_time(self) -> float | None:
        """Return the server's clock, in seconds since 1970; ``None`` if unknown."""
        if self._offset is None:
            with contextlib.suppress(EzlinkError):
                await self._ask(account.tasks_request(1))
        return None if self._offset is None else _now() + self._offset

    async def _search(self, submits: list[LostSubmit]) -> tuple[Finding, ...]:
        """Search for *submits* until each has a finding, at most until a bound."""
        reason = "the account's side took too long"
        try:
            for each in submits:
                self._add(each)
            if submits:
                findings = [each.finding for each in submits]
                await asyncio.wait(findings, timeout=self._longest_search(submits))
        except ClientClosedError:
            reason = "the client was closed"
        finally:
            for each in submits:
                self._report(each, evidence.unknown(reason))
        return tuple(each.finding.result() for each in submits)

    def _longest_search(self, submits: list[LostSubmit]) -> float:
        """Return the seconds after which even the slowest polls have ended."""
        left = max(each.sent for each in submits) + self._poll.deadline - _now()
        slowest_poll = 3 * self._timeouts.fetch + self._poll.longest
        return max(left, self._timeouts.reconcile) + self._patience + 2 * slowest_poll

    def _add(self, submit: LostSubmit) -> None:
        """Start the search, or join it; submits with one state are all doubtful."""
        state = submit.lost.state
        same = [submit, *(each for each in self._lost if each.lost.state == state)]
        if len(same) > 1 or self._known.is_doubtful(state):
            for each in same:
                each.lost = attrs.evolve(each.lost, shared=True)
        submit.learn_clock(self._offset)
        submit.patience = self._patience
        self._lost[submit] = None
        self._polls = 0
        self._news.set()
        if not self._running:
            self._background.start_soon(self._run())
            self._running = True

    def _report(self, submit: LostSubmit, finding: Finding) -> None:
        self._lost.pop(submit, None)
        if not submit.finding.done():
            self._known.add_finding(submit.lost, finding, _now())
            submit.finding.set_result(finding)

    async def _run(self) -> None:
        self._refusals = 0
        try:
            while self._lost:
                begun = _now()
                await self._poll_account(begun)
                if self._lost:
                    await self._pause(begun)
        finally:
            self._running = False

    def _due(self, submit: LostSubmit) -> float:
        """Return when a conclusion about *submit* is allowed."""
        return submit.sent + self._timeouts.reconcile

    async def _pause(self, begun: float) -> None:
        now = _now()
        step, self._polls = self._poll.jittered(self._polls), self._polls + 1
        dues = [time for time in map(self._due, self._lost) if time > now]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min([now + step, *dues])):
                await self._news.wait()
        self._news.clear()
        # Submits are often lost many at a time, and one poll serves them all.
        await asyncio.sleep(max(0.0, begun + self._poll.shortest - _now()))

    async def _poll_account(self, begun: float) -> None:
        """Read the account's pages and report the findings, or note that they fail."""
        try:
            async with asyncio.timeout(self._timeouts.fetch * 2):
                tasks = await self._read_tasks()
            await self._weigh(tasks, begun)
        except (TimeoutError, EzlinkError) as fault:
            self._note_failure(fault, begun)
        else:
            self._refusals = 0
            for each in self._lost:
                each.failing_since = None

    def _note_failure(self, fault: Exception, begun: float) -> None:
        """Report the submits about which the account's side was silent for too long."""
        why = str(fault) or "its task list takes too long"
        finding = evidence.unknown(f"the account's side could not be asked: {why}")
        is_refusal = isinstance(fault, AuthenticationError)
        self._refusals = self._refusals + 1 if is_refusal else 0
        for each in tuple(self._lost):
            if each.failing_since is None:
                each.failing_since = begun
            end = max(self._due(each), each.failing_since + each.patience)
            if begun >= end or self._refusals >= _MAX_REFUSALS:
                self._report(each, finding)

    async def _ask(self, request: HttpRequest) -> HttpResponse:
        """Send *request* to the account's pages, and learn the server's clock."""
        response = await self._transport.send(request)
        now = server_time(response)
        if now is not None:
            self._offset = now - _now()
            for each in self._lost:
                each.learn_clock(self._offset)
        return response

    async def _read_tasks(self) -> evidence.AccountTasks:
        """Read the task list, newest first, back to before the oldest lost submit."""
        records: list[TaskRecord] = []
        reaches: float | None = None
        for number in range(1, account.PAGES + 1):
            response = await self._ask(account.tasks_request(number))
            page = await self._transport.read(response, account.read_tasks)
            records += page.records
            if page.is_last(number):
                reaches = -math.inf
                break
            if page.rows < account.PAGE:
                break  # the server shows fewer rows than it was asked for
            floor = self._floor()
            times = [each.submit_time for each in page.records if each.submit_time]
            if floor is not None and times and max(times).timestamp() < floor:
                reaches = floor
                break
        return evidence.AccountTasks(records, reaches, self._known.is_known)

    def _floor(self) -> float | None:
        """Return the time that the list must reach back to."""
        begins = [each.lost.since for each in self._lost]
        known = [begin for begin in begins if begin is not None]
        return min(known) - SLACK if known else None

    async def _weigh(self, tasks: evidence.AccountTasks, begun: float) -> None:
        """Report each task that was found, and conclusions about due submits."""
        due: list[LostSubmit] = []
        for each in tuple(self._lost):
            lost = self._evidence(each)
            finding = evidence.find(lost, tasks)
            late = begun >= each.sent + self._poll.deadline
            if finding is not None:
                self._report(each, finding)
            elif begun >= self._due(each) and (
                late or not evidence.is_open(lost, tasks)
            ):
                due.append(each)
        witnessed = bool(due) and await self._shows_charge(self._known.witnesses)
        charges = await self._charges(due)
        for each, charged in zip(due, charges, strict=True):
            if isinstance(charged, BaseException):
                continue
            settled = begun >= each.sent + self._work_seconds
            log = evidence.ChargeLog(
                charged=charged, witnessed=witnessed, settled=settled
            )
            self._report(each, evidence.conclude(self._evidence(each), tasks, log))
        for charged in charges:
            if isinstance(charged, BaseException):
                raise charged

    def _evidence(self, submit: LostSubmit) -> Lost:
        shared = submit.lost.shared or self._known.is_shared(submit)
        return attrs.evolve(submit.lost, shared=shared)

    async def _charges(self, submits: list[LostSubmit]) -> list[bool | BaseException]:
        """Ask the log about each, a few at a time; return answers and errors."""
        charges: list[bool | BaseException] = []
        for start in range(0, len(submits), _LOG_REQUESTS):
            few = submits[start : start + _LOG_REQUESTS]
            asked = (self._shows_charge(each.lost.request_ids) for each in few)
            charges += await asyncio.gather(*asked, return_exceptions=True)
        return charges

    async def _shows_charge(self, request_ids: Iterable[str]) -> bool:
        """Return whether the log has a charge under one of *request_ids*."""
        for request_id in request_ids:
            response = await self._ask(account.log_request(request_id))
            if account.read_charge(response, request_id) is not None:
                return True
        return False


AnyReconciler = Reconciler | NoReconciler


def _now() -> float:
    return asyncio.get_running_loop().time()
