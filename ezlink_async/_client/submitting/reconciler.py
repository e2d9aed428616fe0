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
import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import attrs

from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.account_rows import (
    AccountRows,
    RowDoubts,
    conclude_rows,
    find_row,
)
from ezlink_async._client.submitting.evidence import SLACK, Fate, Finding, Lost
from ezlink_async._client.submitting.known_submits import KnownSubmits, LostSubmit
from ezlink_async._client.submitting.row_pages import read_rows
from ezlink_async._core.error_mapping import server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.transport import Transport
from ezlink_async.errors import AuthenticationError, ClientClosedError, EzlinkError
from ezlink_async.models import TaskRecord
from ezlink_async.services import account
from ezlink_async.services.account import LogEvidence
from ezlink_async.services.base import Accepted
from ezlink_async.services.traces import ALL_TRACES, SubmitRows, Traces

# The server may work so long on a submit, and its log may be so late. Before that
# no submit is called "not created", even with a shorter Timeouts.reconcile. A
# server on this very machine is the caller's own and exempt.
_WORK_SECONDS = 65.0

_MAX_REFUSALS = 3  # polls in a row that refuse the account's token

_LOG_REQUESTS = 4  # at the same time

_LOG_LAG = 10.0  # seconds: twice what the server's log may be late

_EARLY = 32  # submits that a poll asks the log about before a conclusion is due

_CHARGED = 1  # the code of an acceptance that is in the log; 21 and 22 are not


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

    def accepted(
        self, _accepted: Accepted, _request_id: str, _traces: Traces = ALL_TRACES
    ) -> None:
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
        self._task_deadline = self._poll.deadline or TASK_DEADLINE
        self._patience = transport.settings.retry.timeout
        self._impatient = -math.inf  # when the patience was last ended
        self._timeouts = transport.settings.timeouts
        self._work_seconds = 0.0 if transport.settings.on_loopback else _WORK_SECONDS
        self._log_lag = 0.0 if transport.settings.on_loopback else _LOG_LAG
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

    def accepted(
        self, accepted: Accepted, request_id: str, traces: Traces = ALL_TRACES
    ) -> None:
        """Learn the id of an accepted job, and the request that was charged."""
        if traces.rows is not None:
            self._known.add_rows([request_id])
            return
        self._known.learn([accepted.task_id], _now())
        if accepted.code == _CHARGED:
            self._known.add_charged([request_id])

    def poll_soon(self) -> None:
        """Poll once more without delay: the client is closing."""
        self._news.set()

    def end_patience(self) -> None:
        """
        Wait for no outage of the account's side: a batch was halted.

        That holds for the submits of the client that have begun by now, also for
        those whose answer is lost later. A halted batch begins no other; submits
        that begin later are those of other work, and have the whole time.
        """
        self._impatient = _now()
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
            shown = LogEvidence.NOTHING
            with contextlib.suppress(EzlinkError):
                shown = await self._read_log(lost.request_ids[-1:])
            # The log may be late, so its silence proves nothing.
            charged = True if shown is LogEvidence.CHARGED else None
            return evidence.unknown("its task is out of reach", charged=charged)
        (finding,) = await self._search([LostSubmit(lost=lost, sent=sent, begun=begun)])
        return finding

    async def resume(
        self,
        lost: Sequence[Lost],
        *,
        known: Collection[str] = (),
        witnesses: Sequence[str] = (),
        with_rows: Sequence[str] = (),
    ) -> tuple[Finding, ...]:
        """
        Find out about submits of an earlier process; findings are in their order.

        *known* are the ids of other jobs; *witnesses* the request ids of some
        that were accepted with code 1, so charged, the latest last, and *with_rows*
        of some whose families have rows of their own. The server
        may still be working on the submits, so the search takes
        ``Timeouts.reconcile`` unless it finds all of them before.
        """
        now = _now()
        submits = [
            LostSubmit(lost=attrs.evolve(each, state=each.state or None), sent=now)
            for each in lost
        ]
        self._known.add_charged(witnesses)
        self._known.add_rows(with_rows)
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
        left = max(each.sent for each in submits) + self._task_deadline - _now()
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
        has_patience = submit.begun is None or submit.begun > self._impatient
        submit.patience = self._patience if has_patience else 0.0
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
        by_page: dict[SubmitRows | None, list[LostSubmit]] = {}
        for each in self._lost:
            by_page.setdefault(each.lost.traces.rows, []).append(each)
        for rows, submits in by_page.items():
            try:
                await self._poll_page(rows, submits, begun)
            except (TimeoutError, EzlinkError) as fault:
                self._note_failure(submits, fault, begun)
            else:
                self._refusals = 0
                for each in submits:
                    each.failing_since = None

    async def _poll_page(
        self, rows: SubmitRows | None, submits: list[LostSubmit], begun: float
    ) -> None:
        """Read the page that shows *submits*: that of tasks, or *rows* of their own."""
        if rows is None:
            async with asyncio.timeout(self._timeouts.fetch * 2):
                tasks = await self._read_tasks()
            await self._weigh(submits, tasks, begun)
            return
        async with asyncio.timeout(self._timeouts.fetch * 2):
            found = await read_rows(self._transport, self._ask, rows, self._floor)
        due: list[LostSubmit] = []
        for each in submits:
            if (finding := find_row(each.lost, found)) is not None:
                self._report(each, finding)
            elif self._is_due(each, found, begun):
                due.append(each)
        await self._conclude_rows(due, found, begun)

    def _is_due(self, submit: LostSubmit, rows: AccountRows, begun: float) -> bool:
        """Return whether a conclusion from *rows*, which show no task, is due."""
        has_ended = rows.have_ended(submit.lost)
        shown = LogEvidence.REFUSED if has_ended else LogEvidence.NOTHING
        if submit.is_refused(shown, begun, self._log_lag):
            return True
        waits = self._task_deadline if rows.is_at_work(submit.lost) else 0.0
        return begun >= max(self._due(submit), submit.sent + waits)

    async def _conclude_rows(
        self, submits: list[LostSubmit], rows: AccountRows, begun: float
    ) -> None:
        """Report what is proven about *submits*; raise an error of the log at last."""
        answers = await self._ask_log(submits)
        for each, shown in answers.items():
            if isinstance(shown, LogEvidence):
                doubts = RowDoubts(
                    charged=shown is LogEvidence.CHARGED,
                    witnessed=rows.has_any(self._known.with_rows),
                    settled=begun >= each.sent + self._work_seconds,
                )
                self._report(each, conclude_rows(each.lost, rows, doubts))
        for shown in answers.values():
            if isinstance(shown, BaseException):
                raise shown

    def _note_failure(
        self, submits: list[LostSubmit], fault: Exception, begun: float
    ) -> None:
        """Report the submits about which the account's side was silent for too long."""
        why = str(fault) or "its task list takes too long"
        finding = evidence.unknown(f"the account's side could not be asked: {why}")
        is_refusal = isinstance(fault, AuthenticationError)
        self._refusals = self._refusals + 1 if is_refusal else 0
        for each in submits:
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

    async def _weigh(
        self, submits: list[LostSubmit], tasks: evidence.AccountTasks, begun: float
    ) -> None:
        """Report each task that was found, and conclusions about other submits."""
        due: list[LostSubmit] = []
        early: list[LostSubmit] = []
        for each in submits:
            lost = self._evidence(each)
            finding = evidence.find(lost, tasks)
            late = begun >= each.sent + self._task_deadline
            if finding is not None:
                self._report(each, finding)
            elif begun >= self._due(each) and (
                late or not evidence.is_open(lost, tasks)
            ):
                due.append(each)
            elif begun >= each.log_due:
                early.append(each)
        await self._conclude(due, tasks, begun)
        await self._find_refusals(early, tasks, begun)

    async def _conclude(
        self, submits: list[LostSubmit], tasks: evidence.AccountTasks, begun: float
    ) -> None:
        """Report what is proven about *submits*; raise an error of the log at last."""
        witnessed = bool(submits) and await self._has_witness()
        answers = await self._ask_log(submits)
        for each, shown in answers.items():
            if isinstance(shown, LogEvidence):
                log = evidence.ChargeLog(
                    charged=shown is LogEvidence.CHARGED,
                    witnessed=witnessed,
                    settled=begun >= each.sent + self._work_seconds,
                    refused=each.is_refused(shown, begun, self._log_lag),
                    may_run=shown is LogEvidence.MAY_RUN,
                )
                finding = evidence.conclude(self._evidence(each), tasks, log)
                self._report(each, finding)
        for shown in answers.values():
            if isinstance(shown, BaseException):
                raise shown

    async def _find_refusals(
        self, submits: list[LostSubmit], tasks: evidence.AccountTasks, begun: float
    ) -> None:
        """Report those that were surely refused, before a conclusion is due."""
        submits = sorted(submits, key=lambda each: each.log_due)[:_EARLY]
        for each in submits:
            each.plan_log(begun, self._log_lag)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.fetch):
                answers = await self._ask_log(submits)
                for each, shown in answers.items():
                    if isinstance(shown, LogEvidence):
                        self._report_refusal(each, shown, tasks, begun)

    def _report_refusal(
        self,
        submit: LostSubmit,
        shown: LogEvidence,
        tasks: evidence.AccountTasks,
        begun: float,
    ) -> None:
        if submit.is_refused(shown, begun, self._log_lag):
            log = evidence.ChargeLog(
                charged=False,
                witnessed=False,
                refused=True,
                may_run=shown is LogEvidence.MAY_RUN,
            )
            finding = evidence.conclude(self._evidence(submit), tasks, log)
            if finding.fate is Fate.NOT_CREATED:
                self._report(submit, finding)

    def _evidence(self, submit: LostSubmit) -> Lost:
        shared = submit.lost.shared or self._known.is_shared(submit)
        return attrs.evolve(submit.lost, shared=shared)

    async def _has_witness(self) -> bool:
        """Return whether the log shows a submit that surely was charged."""
        for request_id in self._known.witnesses:
            if await self._read_log([request_id]) is LogEvidence.CHARGED:
                return True
        return False

    async def _ask_log(
        self, submits: list[LostSubmit]
    ) -> dict[LostSubmit, LogEvidence | BaseException]:
        """Ask the log about each, a few at a time; return answers and errors."""
        answers: list[LogEvidence | BaseException] = []
        for start in range(0, len(submits), _LOG_REQUESTS):
            few = submits[start : start + _LOG_REQUESTS]
            asked = (self._read_log(each.lost.request_ids) for each in few)
            answers += await asyncio.gather(*asked, return_exceptions=True)
        return dict(zip(submits, answers, strict=True))

    async def _read_log(self, request_ids: Iterable[str]) -> LogEvidence:
        """Return whether one of *request_ids* was charged, or all were refused."""
        shown: set[LogEvidence] = set()
        for request_id in request_ids:
            response = await self._ask(account.log_request(request_id))
            shown.add(account.read_evidence(response, request_id))
            if LogEvidence.CHARGED in shown:
                return LogEvidence.CHARGED
        if not shown or not all(each.is_refusal for each in shown):
            return LogEvidence.NOTHING
        may_run = LogEvidence.MAY_RUN in shown
        return LogEvidence.MAY_RUN if may_run else LogEvidence.REFUSED


AnyReconciler = Reconciler | NoReconciler


def _now() -> float:
    return asyncio.get_running_loop().time()
