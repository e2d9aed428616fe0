"""
Back-pressure: when new jobs may start.

:class:`Gate` is shut by a busy answer or a dead network, for all submits of the
client at once, and learns how many tasks the server has room for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Self

from ezlink_async._core.policies import RetryPolicy


class Admission:
    """
    One submit's way through the gate, waited for by entering it.

    It reports what it met; a busy answer counts once, however many submits were
    on their way.
    """

    _probe = False
    _age = 0

    def __init__(
        self,
        gate: Gate,
        start: float | None,
        too_late: Callable[[], Exception],
    ) -> None:
        self._gate = gate
        self._start = start
        self._too_late = too_late

    async def __aenter__(self) -> Self:
        try:
            self._probe = await self._gate.come_in(self._start)
        except TimeoutError:
            raise self._too_late() from None
        self._age = self._gate.age
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gate.go_out(self)

    def through(self) -> None:
        """Say that the server answered, and not that it is busy."""
        if self._age == self._gate.age:
            self._gate.open()

    def accepted(self) -> None:
        """Say that the server has the task: it takes room there until it ends."""
        self._gate.enter(grows=self._age == self._gate.age)
        self.through()

    def busy(self, hint: float | None = None) -> None:
        """Say that the server had no room."""
        self._gate.shut(hint, age=self._age, full=True)

    def lost(self) -> None:
        """Say that nothing gets there at all."""
        self._gate.shut(None, age=self._age, full=False)

    def leave(self) -> None:
        """Let the next one try, if this one was the only one let through."""
        probe, self._probe = self._probe, False
        if probe and self._age == self._gate.age:
            self._gate.probe_over()


class Gate:
    """
    Open, shut for a while, or letting one submit through to see.

    Rules:

    1. A busy answer, or a dead network, shuts it for all. Pauses grow with
       each one that did not help. After a pause one submit goes first; when
       it gets in, others follow, who waits longest first.
    2. A busy server has no room for more than it has got: there is a limit
       from then on, and no submit is uploaded in vain above it.
    3. The limit is a guess. When nothing has moved for the longest pause, one
       submit goes above it to see.
    4. Each task that gets in raises the limit: fast, if nothing of ours was
       there when the server was full; else by one for a whole round of them,
       and by more the longer there was no busy answer.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._strikes = 0
        self._opens_at = 0.0
        self._shut_since = 0.0
        self._moved_at = 0.0  # when anything last got in, ended or was refused
        self._probing = False
        self._under_way = 0
        self._changed: asyncio.Future[None] | None = None  # when somebody waits
        self._head_of_line = asyncio.Lock()
        self._entered = 0  # tasks since the latest busy answer
        self._full_of_ours = False
        self.age = 0
        self.running = 0
        """How many accepted tasks have not ended."""
        self.limit = math.inf
        """How many tasks the server seems to have room for."""

    @property
    def is_open(self) -> bool:
        """Whether submits pass freely."""
        return not self._strikes

    def open(self) -> None:
        """Let others follow."""
        self._strikes = 0
        self.probe_over()

    def enter(self, *, grows: bool) -> None:
        """Count a task that the server has; *grows* if it had room since."""
        self.running += 1
        self._moved_at = asyncio.get_running_loop().time()
        if grows:
            self._entered += 1
            rounds = 1 + self._entered / self.limit
            self.limit += rounds / self.limit if self._full_of_ours else 2
        self.limit = max(self.limit, self.running)

    def leave(self) -> None:
        """Count off a task that has ended: there is room for another."""
        self.running -= 1
        self._moved_at = asyncio.get_running_loop().time()
        self._wake()

    def shut(self, hint: float | None, *, age: int, full: bool) -> None:
        """Shut for a growing pause, at least for *hint* seconds."""
        now = asyncio.get_running_loop().time()
        if age != self.age:  # old news, except for what it asks for
            self._opens_at = max(self._opens_at, now + self._policy.capped_hint(hint))
            return
        if not self._strikes:
            self._shut_since = now
        self._strikes += 1
        self._moved_at = now
        self.age += 1
        self._opens_at = now + self._policy.busy_pause(self._strikes, hint)
        if full:
            self.limit = max(1, self.running)
            self._full_of_ours = self.running > 0
            self._entered = 0
        self.probe_over()

    def until(self, start: float | None) -> float:
        """Return when to give up whoever began at *start*, if it stays shut."""
        if start is None:
            return math.inf
        return max(start, self._shut_since) + self._policy.timeout

    def probe_over(self) -> None:
        """Let another one try, and wake everybody who waits."""
        self._probing = False
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def passage(
        self,
        start: float | None = None,
        too_late: Callable[[], Exception] = TimeoutError,
    ) -> Admission:
        """
        Return what is entered when a submit may go out.

        *too_late* is raised when the gate was shut all the time that the policy
        allows one that began at *start*; who waits for a task of our own to
        end is not bounded.
        """
        return Admission(self, start, too_late)

    async def come_in(self, start: float | None) -> bool:
        """Wait until one may pass, and tell whether it is the only one."""
        async with self._head_of_line:
            probe = await self._wait(start)
            self._under_way += 1
        return probe

    def go_out(self, passage: Admission) -> None:
        """Let others follow."""
        self._under_way -= 1
        passage.leave()
        self._wake()

    async def _wait(self, start: float | None) -> bool:
        loop = asyncio.get_running_loop()
        while self._strikes or not self._has_room():
            now = loop.time()
            if self._may_probe(now):
                # Above the limit: should it get in, the limit is no good guess.
                self._full_of_ours = self._full_of_ours and self._has_room()
                self._probing = True
                self._moved_at = now
                return True
            if self._strikes and self._has_room() and self.until(start) <= now:
                raise TimeoutError
            await self._change(self._next_chance(now, start))
        return False

    def _may_probe(self, now: float) -> bool:
        """Tell whether one may go first: there is room, or nothing has moved long."""
        if self._probing or (self._strikes and self._opens_at > now):
            return False
        return self._has_room() or now >= self._moved_at + self._policy.longest

    def _next_chance(self, now: float, start: float | None) -> float | None:
        """Return when to look again, unless something happens before."""
        last = (
            self.until(start)
            if self._has_room()
            else self._moved_at + self._policy.longest
        )
        chances = [time for time in (self._opens_at, last) if now < time < math.inf]
        return min(chances, default=None)

    def _has_room(self) -> bool:
        return self.running + self._under_way + 1 <= self.limit

    async def _change(self, until: float | None) -> None:
        # Only who is at the head of the line waits here.
        self._changed = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(until):
                await self._changed
        except TimeoutError:
            return
