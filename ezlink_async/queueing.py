"""
Which tasks may have started, when many wait in one line.

In a deep queue only the head of the line is looked at, and now and then a
sample of the rest: should one of those have started, there is no line. Pure.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping

from ezlink_async.timetable import Entry

HEAD_OF_LINE = 100
"""How many tasks that have not started are looked at; those behind wait."""

_HEAD = "head"
_BEHIND = "behind"


class Line:
    """The tasks of *entries* that have not started, in the order they came in."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._order: collections.deque[str] = collections.deque()
        self._at_head = 0
        self._dissolved = False
        self._sampled = 0
        self.behind = 0

    def join(self, entry: Entry) -> bool:
        """Let *entry* wait; tell whether it is at the head, to be looked at."""
        at_head = self._dissolved or self._at_head < HEAD_OF_LINE
        if at_head:
            entry.place = _HEAD
            self._at_head += 1
        else:
            entry.place = _BEHIND
            self.behind += 1
            self._order.append(entry.task_id)
        return at_head

    def leave(self, entry: Entry, *, started: bool) -> None:
        """Take *entry* out; one from behind that has started overtook the rest."""
        if entry.place == _HEAD:
            self._at_head -= 1
        elif entry.place == _BEHIND:
            self.behind -= 1
            self._dissolved = self._dissolved or started
        entry.place = ""

    def waits(self, entry: Entry) -> bool:
        """Whether *entry* is behind the head, and not looked at."""
        return entry.place == _BEHIND

    def moves_up(self, before: float) -> list[Entry]:
        """Return who is at the head now; whoever came *before* has to be."""
        up: list[Entry] = []
        while (entry := self.first()) is not None and (
            self._dissolved or self._at_head < HEAD_OF_LINE or entry.since <= before
        ):
            self._order.popleft()
            self.behind -= 1
            self._at_head += 1
            entry.place = _HEAD
            up.append(entry)
        return up

    def first(self) -> Entry | None:
        """Return the first one behind the head."""
        while self._order:
            entry = self._entries.get(self._order[0])
            if entry is not None and entry.place == _BEHIND:
                return entry
            self._order.popleft()
        return None

    def sample(self, count: int) -> list[Entry]:
        """Return up to *count* of those behind, others every time."""
        start, length = self._sampled, len(self._order)
        self._sampled = start + count if start + count < length else 0
        ids = itertools.islice(self._order, start, start + count)
        found = [self._entries.get(task_id) for task_id in ids]
        return [entry for entry in found if entry is not None and self.waits(entry)]
