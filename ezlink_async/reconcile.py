"""
Finds out, with the account's token, what became of submits whose answer was lost.

Two ask: a live submit, right after its loss, and a batch that takes up what an
earlier process left in the middle of a submit. Nothing here waits without an
end, and no trouble on the account's side is raised: it leaves the submit
unknown, and stands in the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

from ezlink_async import evidence
from ezlink_async._io.concurrency import Nursery
from ezlink_async._io.transport import Transport
from ezlink_async.cases import Case, Memory
from ezlink_async.errors import ClientClosedError, EzlinkError
from ezlink_async.evidence import Finding, Lost
from ezlink_async.search import PATIENCE, Search
from ezlink_async.services import account
from ezlink_async.services.base import Submission

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
        nursery: Nursery,
        followed: Callable[[str], bool] = lambda _: False,
    ) -> None:
        settings = transport.settings
        self.able = settings.account_token is not None
        self._poll = settings.poll
        self._timeouts = settings.timeouts
        self._at_work = 0.0 if settings.on_loopback else AT_WORK
        self._memory = Memory(followed)
        self._search = Search(transport, nursery, self._memory)

    def under_way(
        self, state: str | None, begun: float
    ) -> AbstractContextManager[None]:
        """Note that a submit with *state* is being made, since *begun*."""
        if not self.able:
            return contextlib.nullcontext()
        return self._memory.under_way(state, begun)

    def accepted(self, submission: Submission, request_id: str) -> None:
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
        case = Case(
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
            Case(
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

    async def _settle(self, cases: list[Case]) -> tuple[Finding, ...]:
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

    def _patience(self, cases: list[Case]) -> float:
        """Return the seconds after which even the slowest looks are over."""
        end = max(max(case.due, case.last) for case in cases)
        slack = (PATIENCE + 1) * (3 * self._timeouts.fetch + self._poll.longest)
        return end - asyncio.get_running_loop().time() + slack
