"""
When each task is looked at next, and until when it is followed at all.

Times are kept in slots, a fraction of the shortest step long: planning a look
costs the same however many tasks there are. Ids are kept, not entries: what
has ended is not held until its time has come. Pure.
"""

from __future__ import annotations

import collections
import heapq
import math
from collections.abc import Callable

import attrs

from ezlink_async.forecast import Pace
from ezlink_async.tasks import TaskHandle

_NEVER = -1


@attrs.define(eq=False)
class Entry:
    """What is remembered of a followed task; small, since there may be many."""

    handle: TaskHandle
    own: bool  # the server gave this very client the id
    since: float  # when it was accepted, or taken up
    seen: float  # when the latest look that brought a record was sent
    asked: float = attrs.field(init=False)  # when the latest look was sent at all
    by_id: bool = False
    release: Callable[[], None] | None = None
    slot: int = _NEVER  # when it is looked at next, unless a look is in flight
    looks: int = 0
    pace: Pace | None = None
    unknown: int = 0
    frozen: int = 0
    place: str = ""  # in the line of those that have not started
    rests: float = 0.0  # was told to be left alone until then
    task_id: str = attrs.field(init=False)

    @asked.default
    def _asked(self) -> float:
        return self.since

    @task_id.default
    def _task_id(self) -> str:
        return self.handle.task_id


class Timetable:
    """The next look at each task, and its deadline; *step* is a slot's length."""

    def __init__(self, step: float, deadline: float) -> None:
        self.entries: dict[str, Entry] = {}
        self._fineness = 1.0 / step
        self._deadline = deadline
        self._slots: dict[int, list[str]] = {}
        self._order: list[int] = []  # a heap of the slots that are not empty
        # All have the same time to live, so they end in the order they came in.
        self._lives: collections.deque[tuple[str, float]] = collections.deque()

    def add(self, entry: Entry) -> None:
        """Begin with a task."""
        self.entries[entry.task_id] = entry
        self._lives.append((entry.task_id, entry.since))

    def plan(self, entry: Entry, due: float) -> None:
        """Plan a look not before *due*, in place of any other."""
        entry.slot = slot = math.ceil(due * self._fineness)
        ids = self._slots.get(slot)
        if ids is None:
            self._slots[slot] = [entry.task_id]
            heapq.heappush(self._order, slot)
        else:
            ids.append(entry.task_id)

    def next_due(self) -> float | None:
        """Return when the next look is due; ``None`` when none is planned."""
        while self._order and not self._any(self._order[0]):
            del self._slots[heapq.heappop(self._order)]
        return self._order[0] / self._fineness if self._order else None

    def _any(self, slot: int) -> bool:
        entries = self.entries
        return any(
            (entry := entries.get(task_id)) is not None and entry.slot == slot
            for task_id in self._slots[slot]
        )

    def due(self, limit: float) -> list[Entry]:
        """Take what is due by *limit*, soonest first."""
        taken: list[Entry] = []
        # The same division as next_due(), or what is due now might not be taken.
        while self._order and self._order[0] / self._fineness <= limit:
            taken += self._pop(heapq.heappop(self._order))
        return taken

    def soonest(self) -> tuple[Entry, float] | None:
        """Take whatever is due next, and return it with its time."""
        while self._order:
            slot = self._order[0]
            ids = self._slots[slot]
            while ids:
                entry = self.entries.get(ids.pop())
                if entry is not None and entry.slot == slot:
                    entry.slot = _NEVER
                    return entry, slot / self._fineness
            del self._slots[heapq.heappop(self._order)]
        return None

    def _pop(self, slot: int) -> list[Entry]:
        taken: list[Entry] = []
        entries = self.entries
        for task_id in self._slots.pop(slot):
            entry = entries.get(task_id)
            if entry is not None and entry.slot == slot:
                entry.slot = _NEVER
                taken.append(entry)
        return taken

    def next_end(self) -> float | None:
        """Return the next deadline; ``None`` when nothing is followed."""
        while self._lives and self._living(*self._lives[0]) is None:
            self._lives.popleft()
        return self._lives[0][1] + self._deadline if self._lives else None

    def ended(self, now: float) -> list[Entry]:
        """Take what has reached its deadline."""
        over: list[Entry] = []
        while (end := self.next_end()) is not None and end <= now:
            over.append(self.entries[self._lives.popleft()[0]])
        return over

    def _living(self, task_id: str, since: float) -> Entry | None:
        # The same id may have ended and been taken up again.
        entry = self.entries.get(task_id)
        return entry if entry is not None and entry.since == since else None

    def forget(self, task_id: str) -> Entry | None:
        """Forget a task; what is planned for it comes to nothing."""
        entry = self.entries.pop(task_id, None)
        if len(self._lives) > 2 * len(self.entries) + 64:
            self._lives = collections.deque(
                life for life in self._lives if self._living(*life)
            )
        return entry
