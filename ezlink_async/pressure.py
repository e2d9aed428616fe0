"""
Back-pressure: how many jobs may be in progress, and when new ones may start.

:class:`Slots` is the one semaphore of a client. :class:`Gate` is shut by a
busy answer or a dead network, for all submits of the client at once.
"""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ezlink_async.errors import SlotTimeoutError
from ezlink_async.pacing import RetryPolicy


class Slots:
    """
    A fair semaphore whose size may change while it is in use.

    Who waits longest goes first. Cancelling a waiter loses no slot.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()

    async def acquire(self, timeout: float | None = None) -> None:
        """Take a slot, or raise :exc:`SlotTimeoutError` after *timeout*."""
        if self.taken < self.limit and not self._queue:
            self.taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                raise SlotTimeoutError(
                    f"all {self.limit} slots were taken for {timeout:g} s; "
                    "nothing was sent"
                ) from None
            raise

    def release(self) -> None:
        """Give a slot back; the next waiter has it before this returns."""
        self.taken -= 1
        self._grant()

    def resize(self, limit: int) -> None:
        """Change the size; slots above it are not taken away, only not renewed."""
        self.limit = limit
        self._grant()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.release()  # it was granted while its waiter was leaving
        elif turn in self._queue:
            self._queue.remove(turn)

    def _grant(self) -> None:
        while self._queue and self.taken < self.limit:
            turn = self._queue.popleft()
            if not turn.done():  # a waiter that is leaving has cancelled it
                self.taken += 1
                turn.set_result(None)


class Passage:
    """
    One submit's way through the gate; it reports what it met.

    A busy answer counts once, however many submits were on their way.
    """

    def __init__(self, gate: Gate, *, probe: bool) -> None:
        self._gate = gate
        self._probe = probe
        self._age = gate.age

    def through(self) -> None:
        """Say that the server had room: more may go at once than before."""
        if self._age == self._gate.age:
            self._gate.open()

    def shut(self, hint: float | None = None) -> None:
        """Say that it had none, or that nothing got there at all."""
        self._gate.shut(hint, age=self._age)

    def leave(self) -> None:
        """Let the next one try, if this one was the only one let through."""
        if self._probe and self._age == self._gate.age:
            self._gate.probe_over()


class Gate:
    """
    Open, shut for a while, or letting one submit through to see.

    After a pause one submit goes first; when it gets in, others follow. How
    many may be under way at once is halved by shutting and grows by one with
    each that got in: what the server has no room for is not uploaded in vain.
    Pauses grow with each one that did not help. Who waits longest goes first.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._strikes = 0
        self._opens_at = 0.0
        self._probing = False
        self._under_way = 0
        self._room = math.inf
        self._changed = asyncio.Event()
        self._head_of_line = asyncio.Lock()
        self.age = 0

    @property
    def is_open(self) -> bool:
        """Whether submits pass freely."""
        return not self._strikes

    def open(self) -> None:
        """Let others follow, one more at once than before."""
        self._strikes = 0
        self._room += 1
        self.probe_over()

    def shut(self, hint: float | None, *, age: int) -> None:
        """Shut for a growing pause, at least for *hint* seconds."""
        now = asyncio.get_running_loop().time()
        if age != self.age:  # old news, except for what it asks for
            self._opens_at = max(self._opens_at, now + (hint or 0.0))
            return
        self._strikes += 1
        self.age += 1
        self._opens_at = now + self._policy.pause(self._strikes, hint)
        self._room = max(1, self._under_way // 2)
        self.probe_over()

    def probe_over(self) -> None:
        """Let another one try, and wake everybody who waits."""
        self._probing = False
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[Passage]:
        """Wait until a submit may go out; the caller bounds the wait."""
        async with self._head_of_line:
            probe = await self._wait()
            self._under_way += 1
        passage = Passage(self, probe=probe)
        try:
            yield passage
        finally:
            self._under_way -= 1
            passage.leave()
            self._wake()

    async def _wait(self) -> bool:
        loop = asyncio.get_running_loop()
        while self._strikes or self._under_way >= self._room:
            delay = self._opens_at - loop.time() if self._strikes else 0.0
            if self._strikes and delay <= 0 and not self._probing:
                self._probing = True
                return True
            changed = self._changed
            try:
                async with asyncio.timeout(delay if delay > 0 else None):
                    await changed.wait()
            except TimeoutError:
                continue
        return False
