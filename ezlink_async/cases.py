"""
A submit that is looked for, and what its client knows of all the others.

Knows no network; what is told of is kept only while something open could be
mistaken for it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator

import attrs

from ezlink_async import evidence
from ezlink_async.evidence import SLACK, Finding, Lost

_WITNESSES = 8


@attrs.define(eq=False, kw_only=True)
class Case:
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


class Memory:
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

    def found(self, case: Case, task_id: str, now: float) -> None:
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

    def is_shared(self, case: Case) -> bool:
        """Tell whether another submit under way has the same state."""
        mine = case.begun is not None  # else it is an earlier process's
        there = sum(case.state == each for each, _ in self._under_way.values())
        return case.shared or there > mine

    def gave_up(self, case: Case) -> None:
        """Note a submit that stayed unknown: its task may yet come in."""
        if case.state is not None and not evidence.is_unique(case.state):
            self._doubtful.add(case.state)

    def doubts(self, case: Case) -> bool:
        """Tell whether an earlier submit with its state stayed unknown."""
        return case.state in self._doubtful
