"""
The search for submits whose answer was lost: one poller for all of them.

Each look reads the account's task list once, however many are lost. What the
pages prove is decided in ``evidence``; here is when they are read. Rules:

1. A submit is looked for from its loss until it is found. Nothing else is
   concluded from a look that began before it was due; its log is read then,
   and not before.
2. A task without a state keeps the question open, until it is too late.
3. When the account's side cannot be asked, the submit stays unknown.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ezlink_async import evidence
from ezlink_async._core.error_mapping import server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.concurrency import Nursery
from ezlink_async._io.transport import Transport
from ezlink_async.cases import Case, Memory
from ezlink_async.errors import AuthenticationError, EzlinkError
from ezlink_async.evidence import SLACK, Fate, Finding, Log, Sheet
from ezlink_async.models import TaskRecord
from ezlink_async.services import account

PATIENCE = 3
"""Looks that may fail after a submit was due, and refusals of the token in a row."""

_AT_ONCE = 4  # questions to the log


class Search:
    """Looks for cases as long as there are any."""

    def __init__(self, transport: Transport, nursery: Nursery, memory: Memory) -> None:
        self._transport = transport
        self._nursery = nursery
        self._memory = memory
        self._poll = transport.settings.poll
        self._open: dict[Case, None] = {}
        self._looks = self._refusals = 0
        self._running = False
        self._news = asyncio.Event()
        self.offset: float | None = None
        """What the server's clock is ahead of the loop's."""

    def add(self, case: Case) -> None:
        """Look for *case*; who has the same state makes each other doubtful."""
        twins = [each for each in self._open if each.state == case.state]
        case.shared |= bool(twins) or self._memory.doubts(case)
        for twin in twins:
            twin.shared = True
        self._open[case] = None
        self._looks = 0
        self._news.set()
        if not self._running:
            self._nursery.leave_alone(self._run())
            self._running = True

    def drop(self, case: Case) -> None:
        """Look for it no more."""
        self._open.pop(case, None)

    def hurry(self) -> None:
        """Look once more, soon: there is little time left."""
        self._news.set()

    async def ask(self, request: HttpRequest) -> HttpResponse:
        """Send a question to the account's side, and learn what time it is there."""
        response = await self._transport.send(request)
        now = server_time(response)
        if now is not None:
            self.offset = now - asyncio.get_running_loop().time()
        return response

    async def _run(self) -> None:
        try:
            while self._open:
                begun = asyncio.get_running_loop().time()
                await self._look(begun)
                if self._open:
                    await self._pause(begun)
        finally:
            self._running = False

    async def _pause(self, begun: float) -> None:
        now = asyncio.get_running_loop().time()
        step, self._looks = self._poll.jittered(self._looks), self._looks + 1
        due = min((case.due for case in self._open if case.due > now), default=math.inf)
        try:
            async with asyncio.timeout_at(min(now + step, due)):
                await self._news.wait()
        except TimeoutError:
            pass
        self._news.clear()
        # News come in crowds, and one look serves them all.
        rest = begun + self._poll.shortest - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, rest))

    async def _look(self, begun: float) -> None:
        try:
            async with asyncio.timeout(self._transport.settings.timeouts.fetch * 2):
                records, reaches = await self._read_list()
        except (TimeoutError, EzlinkError) as fault:
            refused = isinstance(fault, AuthenticationError)
            self._refusals = self._refusals + 1 if refused else 0
            says = str(fault) or "its task list takes too long"
            self._failed([case for case in self._open if begun >= case.due], says)
            if self._refusals >= PATIENCE:
                self._give_up(tuple(self._open), says)
        else:
            self._refusals = 0
            await self._weigh(Sheet(records, reaches, self._memory.knows), begun)

    def _failed(self, cases: list[Case], says: str) -> None:
        """Give up those that are due, when it fails again and again."""
        for case in cases:
            case.failures += 1
        self._give_up([case for case in cases if case.failures >= PATIENCE], says)

    def _give_up(self, cases: Iterable[Case], says: str) -> None:
        for case in cases:
            reason = f"the account's side could not be asked: {says}"
            self._tell(case, evidence.unknown(reason))

    async def _read_list(self) -> tuple[list[TaskRecord], float | None]:
        """Return the tasks, newest first, and how far back there are no gaps."""
        records: list[TaskRecord] = []
        for number in range(1, account.PAGES + 1):
            page = account.read_tasks(await self.ask(account.tasks_request(number)))
            records += page.records
            if page.is_last(number):
                return records, -math.inf
            if page.rows < account.PAGE:
                break  # the server shows less than it was asked for
            floor = self._floor()
            times = [each.submit_time for each in page.records if each.submit_time]
            if floor is not None and times and max(times).timestamp() < floor:
                return records, floor
        return records, None

    def _floor(self) -> float | None:
        """Return the time that the list must reach back to."""
        begins = [case.lost(self.offset).since for case in self._open]
        known = [begin for begin in begins if begin is not None]
        return min(known) - SLACK if known else None

    async def _weigh(self, sheet: Sheet, begun: float) -> None:
        ripe: list[Case] = []
        for case in tuple(self._open):
            lost, shared = case.lost(self.offset), self._memory.is_shared(case)
            finding = evidence.find(lost, sheet, shared=shared)
            waits = begun < case.last and evidence.is_open(lost, sheet, shared=shared)
            if finding is not None:
                self._tell(case, finding)
            elif begun >= case.due and not waits:
                ripe.append(case)
        if ripe:
            await self._conclude(ripe, sheet, begun)

    async def _conclude(self, ripe: list[Case], sheet: Sheet, begun: float) -> None:
        try:
            witnessed = await self._is_witnessed()
            answers = await _in_turn(self._was_charged, ripe)
        except EzlinkError as fault:
            self._failed(ripe, str(fault))
            return
        for case, charged in zip(ripe, answers, strict=True):
            log = Log(
                charged=charged, witnessed=witnessed, settled=begun >= case.settles
            )
            lost, shared = case.lost(self.offset), self._memory.is_shared(case)
            self._tell(case, evidence.conclude(lost, sheet, log, shared=shared))

    async def _is_witnessed(self) -> bool:
        for request_id in self._memory.witnesses:
            if await self.shows(request_id):
                return True
        return False

    async def _was_charged(self, case: Case) -> bool:
        for request_id in case.request_ids:
            if await self.shows(request_id):
                return True
        return False

    async def shows(self, request_id: str) -> bool:
        """Tell whether the log has a charge under *request_id*."""
        response = await self.ask(account.log_request(request_id))
        return account.read_charge(response, request_id) is not None

    def _tell(self, case: Case, finding: Finding) -> None:
        self.drop(case)
        if finding.task_id is not None:
            now = asyncio.get_running_loop().time()
            self._memory.found(case, finding.task_id, now)
        elif finding.fate is Fate.UNKNOWN:
            self._memory.gave_up(case)
        case.tell(finding)


async def _in_turn(
    ask: Callable[[Case], Awaitable[bool]], cases: Sequence[Case]
) -> list[bool]:
    """Ask about each, a few at a time; the first error ends it, and is raised."""
    answers: list[bool] = []
    for start in range(0, len(cases), _AT_ONCE):
        few = map(ask, cases[start : start + _AT_ONCE])
        for answer in await asyncio.gather(*few, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
    return answers
