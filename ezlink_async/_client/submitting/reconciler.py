"""
Finds out, with the account's token, what became of submits whose answer was lost.

Two ask: a live submit, right after its loss, and a batch that takes up what an
earlier process left in the middle of a submit. Nothing here waits without an
end, and no trouble on the account's side is raised: it leaves the submit
unknown, and stands in the reason.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractContextManager

import attrs

from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import (
    SLACK,
    AccountTasks,
    ChargeLog,
    Fate,
    Finding,
    Lost,
)
from ezlink_async._core.error_mapping import server_time
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.transport import Transport
from ezlink_async.errors import AuthenticationError, ClientClosedError, EzlinkError
from ezlink_async.models import TaskRecord
from ezlink_async.services import account
from ezlink_async.services.base import Accepted

_WITNESSES = 8


@attrs.define(eq=False, kw_only=True)
class LostSubmit:
    """
    One submit that is looked for. Times are the loop's, *since* is the server's.

    It is *due* when something may be concluded, and *settled* by then if the
    server is sure to be done with it; *last* is how long a task without a state
    keeps it open. With *shared* its state is that of others, too.
    """

    state: str | None
    request_ids: tuple[str, ...]
    due: float
    last: float
    settles: float = 0.0
    begun: float | None = None
    since: float | None = None
    shared: bool = False
    failures: int = 0
    told: asyncio.Future[Finding] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )

    def lost(self, offset: float | None) -> Lost:
        """Return it as evidence knows it; *offset* is from our clock to theirs."""
        since = self.since
        if since is None and self.begun is not None and offset is not None:
            since = self.begun + offset
        return Lost(state=self.state, request_ids=self.request_ids, since=since)

    def tell(self, finding: Finding) -> None:
        """Say what was found out, unless nobody waits for it any more."""
        if not self.told.done():
            self.told.set_result(finding)


class KnownSubmits:
    """
    What a client knows of its own submits: ids, charges, what is under way.

    *followed* tells of an id whether the client follows that task.
    """

    def __init__(self, followed: Callable[[str], bool]) -> None:
        self._followed = followed
        self._ids: dict[str, float] = {}
        self._under_way: dict[object, tuple[str | None, float]] = {}
        self._charged: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._found: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._doubtful: set[str] = set()

    def knows(self, task_id: str) -> bool:
        """Tell whether an id is that of a known job."""
        return task_id in self._ids or self._followed(task_id)

    def learn(self, task_ids: Iterable[str], now: float) -> None:
        """Note ids of known jobs; what nothing open can be mistaken for is dropped."""
        self._ids.update(dict.fromkeys(task_ids, now))
        begun = min((begun for _, begun in self._under_way.values()), default=now)
        for task_id, time in tuple(self._ids.items()):
            if time >= begun - 2 * SLACK:
                break
            del self._ids[task_id]

    def charged(self, request_ids: Iterable[str]) -> None:
        """Note submits that surely were charged, the latest last."""
        self._charged.extend(request_ids)

    def found(self, case: LostSubmit, task_id: str, now: float) -> None:
        """Note the id of a submit that was lost; it may have been charged."""
        self.learn([task_id], now)
        self._found.extend(case.request_ids)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """The request ids of submits that the log must show, the likeliest first."""
        return (*reversed(self._charged), *reversed(self._found))

    @contextlib.contextmanager
    def under_way(self, state: str | None, begun: float) -> Iterator[None]:
        """Note that a submit is being made, and until when."""
        mark = object()
        self._under_way[mark] = (state, begun)
        try:
            yield
        finally:
            del self._under_way[mark]

    def is_shared(self, case: LostSubmit) -> bool:
        """Tell whether another submit under way has the same state."""
        mine = case.begun is not None  # else it is an earlier process's
        there = sum(case.state == each for each, _ in self._under_way.values())
        return case.shared or there > mine

    def gave_up(self, case: LostSubmit) -> None:
        """Note a submit that stayed unknown: its task may yet come in."""
        if case.state is not None and not evidence.is_unique(case.state):
            self._doubtful.add(case.state)

    def doubts(self, case: LostSubmit) -> bool:
        """Tell whether an earlier submit with its state stayed unknown."""
        return case.state in self._doubtful


PATIENCE = 3
"""Looks that may fail after a submit was due, and refusals of the token in a row."""

_AT_ONCE = 4  # questions to the log


class Search:
    """Looks for cases as long as there are any."""

    def __init__(
        self, transport: Transport, background: BackgroundTasks, memory: KnownSubmits
    ) -> None:
        self._transport = transport
        self._background = background
        self._memory = memory
        self._poll = transport.settings.poll
        self._open: dict[LostSubmit, None] = {}
        self._looks = self._refusals = 0
        self._running = False
        self._news = asyncio.Event()
        self.offset: float | None = None
        """What the server's clock is ahead of the loop's."""

    def add(self, case: LostSubmit) -> None:
        """Look for *case*; who has the same state makes each other doubtful."""
        twins = [each for each in self._open if each.state == case.state]
        case.shared |= bool(twins) or self._memory.doubts(case)
        for twin in twins:
            twin.shared = True
        self._open[case] = None
        self._looks = 0
        self._news.set()
        if not self._running:
            self._background.start_soon(self._run())
            self._running = True

    def drop(self, case: LostSubmit) -> None:
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
            await self._weigh(AccountTasks(records, reaches, self._memory.knows), begun)

    def _failed(self, cases: list[LostSubmit], says: str) -> None:
        """Give up those that are due, when it fails again and again."""
        for case in cases:
            case.failures += 1
        self._give_up([case for case in cases if case.failures >= PATIENCE], says)

    def _give_up(self, cases: Iterable[LostSubmit], says: str) -> None:
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

    async def _weigh(self, sheet: AccountTasks, begun: float) -> None:
        ripe: list[LostSubmit] = []
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

    async def _conclude(
        self, ripe: list[LostSubmit], sheet: AccountTasks, begun: float
    ) -> None:
        try:
            witnessed = await self._is_witnessed()
            answers = await _in_turn(self._was_charged, ripe)
        except EzlinkError as fault:
            self._failed(ripe, str(fault))
            return
        for case, charged in zip(ripe, answers, strict=True):
            log = ChargeLog(
                charged=charged, witnessed=witnessed, settled=begun >= case.settles
            )
            lost, shared = case.lost(self.offset), self._memory.is_shared(case)
            self._tell(case, evidence.conclude(lost, sheet, log, shared=shared))

    async def _is_witnessed(self) -> bool:
        for request_id in self._memory.witnesses:
            if await self.shows(request_id):
                return True
        return False

    async def _was_charged(self, case: LostSubmit) -> bool:
        for request_id in case.request_ids:
            if await self.shows(request_id):
                return True
        return False

    async def shows(self, request_id: str) -> bool:
        """Tell whether the log has a charge under *request_id*."""
        response = await self.ask(account.log_request(request_id))
        return account.read_charge(response, request_id) is not None

    def _tell(self, case: LostSubmit, finding: Finding) -> None:
        self.drop(case)
        if finding.task_id is not None:
            now = asyncio.get_running_loop().time()
            self._memory.found(case, finding.task_id, now)
        elif finding.fate is Fate.UNKNOWN:
            self._memory.gave_up(case)
        case.tell(finding)


async def _in_turn(
    ask: Callable[[LostSubmit], Awaitable[bool]], cases: Sequence[LostSubmit]
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


AT_WORK = 65.0
"""
Seconds that the server may work on a submit, and its log be late.

Before that no submit is called "not created", whatever ``Timeouts.reconcile``
says, but for a server on this very machine: that one is the caller's own.
"""


_CHARGED = 1  # the code of the answer; 21 and 22 are not


class Reconciler:
    """
    What one client knows of its submits, and the search for those it lost.

    *followed* tells of an id whether the client follows that task. Without an
    account token nothing is noted and nothing looked for: it is not *able*.
    """

    def __init__(
        self,
        transport: Transport,
        background: BackgroundTasks,
        followed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        settings = transport.settings
        self.able = settings.account_token is not None
        self._poll = settings.poll
        self._timeouts = settings.timeouts
        self._at_work = 0.0 if settings.on_loopback else AT_WORK
        self._memory = KnownSubmits(followed)
        self._search = Search(transport, background, self._memory)

    def under_way(
        self, state: str | None, begun: float
    ) -> AbstractContextManager[None]:
        """Note that a submit with *state* is being made, since *begun*."""
        if not self.able:
            return contextlib.nullcontext()
        return self._memory.under_way(state, begun)

    def accepted(self, submission: Accepted, request_id: str) -> None:
        """Note an id that is a known job's, and which request it was paid by."""
        if not self.able:
            return
        now = asyncio.get_running_loop().time()
        self._memory.learn([submission.task_id], now)
        if submission.code == _CHARGED:
            self._memory.charged([request_id])

    def hurry(self) -> None:
        """Look once more, soon: the client is closing."""
        self._search.hurry()

    async def look_for(
        self,
        state: str | None,
        request_ids: Sequence[str],
        *,
        begun: float,
        sent: float,
    ) -> Finding:
        """
        Find out about a submit of this client.

        It began at *begun*, and its body had left whole at *sent*; both are
        times of the event loop.
        """
        now = asyncio.get_running_loop().time()
        case = LostSubmit(
            state=state,
            request_ids=tuple(request_ids),
            begun=begun,
            due=max(now, sent + self._timeouts.reconcile),
            settles=sent + self._at_work,
            last=sent + self._poll.deadline,
        )
        (finding,) = await self._settle([case])
        return finding

    async def resume(
        self,
        lost: Sequence[Lost],
        *,
        known: Collection[str] = (),
        witnesses: Sequence[str] = (),
    ) -> tuple[Finding, ...]:
        """
        Find out about submits of an earlier process, in the order given.

        *known* are the ids of other jobs; *witnesses* the request ids of some
        that were accepted with code 1, so charged, the latest last. The server
        may be at work on them until now: so it takes ``Timeouts.reconcile``,
        unless all are found before.
        """
        now = asyncio.get_running_loop().time()
        self._memory.charged(witnesses)
        cases = [
            LostSubmit(
                state=each.state or None,
                request_ids=each.request_ids,
                since=each.since,
                due=now + self._timeouts.reconcile,
                settles=now + self._at_work,
                last=now + self._poll.deadline,
            )
            for each in lost
        ]
        # As long as they are open, no known id may be forgotten.
        with self._memory.under_way(None, now):
            self._memory.learn(known, now)
            return await self._settle(cases)

    async def was_charged(self, request_id: str) -> bool | None:
        """Look into the log once; ``None`` when it shows nothing: it may be late."""
        with contextlib.suppress(EzlinkError):
            if self.able and await self._search.shows(request_id):
                return True
        return None

    async def server_time(self) -> float | None:
        """Return the server's clock, in seconds since 1970; ``None`` if not told."""
        if self._search.offset is None and self.able:
            with contextlib.suppress(EzlinkError):
                await self._search.ask(account.tasks_request(1))
        if self._search.offset is None:
            return None
        return asyncio.get_running_loop().time() + self._search.offset

    async def _settle(self, cases: list[LostSubmit]) -> tuple[Finding, ...]:
        """Look for *cases* until each is told, or far too late."""
        if not self.able:
            reason = "there is no account token to look it up with"
            return tuple(evidence.unknown(reason) for _ in cases)
        reason = "the account's side took too long"
        try:
            for case in cases:
                self._search.add(case)
            if cases:
                told = [case.told for case in cases]
                await asyncio.wait(told, timeout=self._patience(cases))
        except ClientClosedError:
            reason = "the client was closed"
        finally:
            for case in cases:
                self._search.drop(case)
                case.tell(evidence.unknown(reason))
        return tuple(case.told.result() for case in cases)

    def _patience(self, cases: list[LostSubmit]) -> float:
        """Return the seconds after which even the slowest looks are over."""
        end = max(max(case.due, case.last) for case in cases)
        slack = (PATIENCE + 1) * (3 * self._timeouts.fetch + self._poll.longest)
        return end - asyncio.get_running_loop().time() + slack
