"""
Back-pressure: when a submit may be sent.

A busy answer or a dead network closes the :class:`Gate` for all submits of the
client at once; the gate also learns how many tasks the server has room for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math

import attrs

from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.policies import RetryPolicy

_log = get_logger()

_MANY_CLOSURES = 3  # about two seconds with the usual policy


@attrs.define(eq=False)
class Admission:
    """
    One submit that the gate let through, until it is released.

    *age* counts the times that the gate had closed before; the report of a submit
    from before the latest time says nothing about now.
    """

    age: int
    is_probe: bool


class Gate:
    """
    Open, closed for a pause, or waiting for one submit that probes the server.

    Rules:

    1. A busy answer or a dead network closes the gate for all submits; the busy
       answers of one burst count once. Pauses grow while none of them helps.
       After a pause one submit is sent as a probe; when the server answers it,
       the others follow, the longest waiter first.
    2. A busy server has no room for more tasks than it has. That number is the
       limit from then on, so that no submit above it is uploaded in vain.
    3. The limit is a guess. When no task started or ended and no submit was
       refused for the longest pause, one submit is sent above the limit.
    4. Each accepted task raises the limit: by 2 if the server was filled by
       others, else by 1/limit (additive increase), growing while no busy answer
       comes. A busy answer sets it to the number of tasks running.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._age = 0  # times closed
        self._closures = 0  # the same, since the server last answered otherwise
        self._closed_since = 0.0
        self._opens_at = 0.0
        self._changed_at = 0.0  # when a task started or ended, or a submit failed
        self._probing = False
        self._admitted = 0
        self._accepted = 0  # tasks since the latest busy answer
        self._filled_by_us = False
        self._is_full = False  # closed by a busy answer
        self.hint: float = 0.0
        """How long the latest busy answer asked to wait, in seconds."""
        self._first_in_queue = asyncio.Lock()
        self._changed = asyncio.Event()
        self.running: int = 0
        """How many accepted tasks have not ended."""
        self.limit: float = math.inf
        """How many tasks the server seems to have room for."""

    @property
    def is_open(self) -> bool:
        """Whether submits pass without a pause."""
        return not self._closures

    @property
    def pause(self) -> float:
        """Seconds until the gate opens; 0 if it is open or about to."""
        if self.is_open:
            return 0.0
        return max(0.0, self._opens_at - asyncio.get_running_loop().time())

    @property
    def is_full_for_long(self) -> bool:
        """Whether the server was busy in each of the latest three attempts."""
        return self._is_full and self._closures >= _MANY_CLOSURES

    def deadline(self, start: float) -> float:
        """Return when a submit that began at *start* gives up a closed gate."""
        return max(start, self._closed_since) + self._policy.timeout

    async def admit(self, start: float = math.inf) -> Admission:
        """
        Wait until a submit may be sent. The caller must :meth:`release` it.

        Raises :exc:`TimeoutError` when the gate stays closed until the deadline of
        a submit that began at *start*, a time of the event loop. The wait for one
        of the client's own tasks to end has no bound.
        """
        async with self._first_in_queue:
            is_probe = await self._wait(start)
            self._admitted += 1
        return Admission(self._age, is_probe)

    def release(self, admission: Admission) -> None:
        """End an admission, after any outcome of the submit."""
        self._admitted -= 1
        self.end_probe(admission)
        self._changed.set()

    def end_probe(self, admission: Admission) -> None:
        """Let another submit probe the server, if this one is the probe."""
        is_probe, admission.is_probe = admission.is_probe, False
        if is_probe and admission.age == self._age:
            self._probing = False
            self._changed.set()

    def answered(self, admission: Admission) -> None:
        """Open the gate: the server answered, and was not busy."""
        if admission.age == self._age:
            self._closures = 0
            self._probing = False
            self._changed.set()

    def task_started(self, admission: Admission) -> None:
        """Open the gate and count a task, which takes room until it ends."""
        self.running += 1
        self._changed_at = asyncio.get_running_loop().time()
        if admission.age == self._age:
            self._accepted += 1
            growth = 1 + self._accepted / self.limit
            self.limit += growth / self.limit if self._filled_by_us else 2
        self.limit = max(self.limit, self.running)
        self.answered(admission)

    def task_ended(self) -> None:
        """Give the room of a task to the next submit."""
        self.running -= 1
        self._changed_at = asyncio.get_running_loop().time()
        self._changed.set()

    def close(
        self,
        admission: Admission | None = None,
        hint: float | None = None,
        *,
        full: bool,
    ) -> float | None:
        """
        Close for a growing pause, at least for *hint* seconds, and return it.

        ``None`` where the reason has closed the gate already. *full* says that the
        server has no room, else it cannot be reached. The reason may be a submit of
        another gate, which has no *admission* here.
        """
        now = asyncio.get_running_loop().time()
        if (
            admission is not None and admission.age != self._age
        ):  # already counted, but for the hint
            self.hint = max(self.hint, hint or 0.0)
            self._opens_at = max(self._opens_at, now + self._policy.capped_hint(hint))
            return None
        if self.is_open:
            self._closed_since = now
        self._age += 1
        self._closures += 1
        self._changed_at = now
        pause = self._policy.busy_pause(self._closures, hint)
        self._opens_at = now + pause
        reason = "the server is full" if full else "the server cannot be reached"
        _log.info("new submits wait %.1f s: %s", pause, reason)
        self._is_full, self.hint = full, hint or 0.0
        if full:
            self.limit = max(1, self.running)
            self._filled_by_us = self.running > 0
            self._accepted = 0
        self._probing = False
        self._changed.set()
        return pause

    async def _wait(self, start: float) -> bool:
        """Wait for an admission; return whether it is a probe."""
        while self._closures or not self._has_room():
            now, has_room = asyncio.get_running_loop().time(), self._has_room()
            if self._may_probe(now):
                # A probe that succeeds above the limit shows a limit too low.
                self._filled_by_us = self._filled_by_us and has_room
                self._probing = True
                self._changed_at = now
                return True
            if self._closures and has_room and self.deadline(start) <= now:
                raise TimeoutError
            await self._change(now, start)
        return False

    def _has_room(self) -> bool:
        return self.running + self._admitted + 1 <= self.limit

    def _may_probe(self, now: float) -> bool:
        """Return whether the pause is over, and there is room or a long standstill."""
        if self._probing or (self._closures and self._opens_at > now):
            return False
        return self._has_room() or now >= self._changed_at + self._policy.longest

    async def _change(self, now: float, start: float) -> None:
        """Wait for a change, at most until time alone may change the decision."""
        standstill = self._changed_at + self._policy.longest
        last = self.deadline(start) if self._has_room() else standstill
        times = [time for time in (self._opens_at, last) if now < time < math.inf]
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(times, default=None)):
                await self._changed.wait()
