"""
The tasks that are polled: the state of each, the next polls, the next deadlines.

Without I/O or clock.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain, takewhile

import attrs

from ezlink_async._client.handle import AnyHandle
from ezlink_async._client.polling.durations import ProgressRate

UNPLANNED = -1
"""The slot of a task without a next poll: one is in flight, or the task has ended."""


@attrs.define(eq=False)
class Hook:
    """
    What the callbacks of one task have said, which may all be forged.

    One has said at *ended_at* that the task has ended; ``None`` before.
    """

    state: str | None = None  # that callbacks must carry, where it is known
    ended_at: float | None = None
    quick_until: float = 0.0  # polled in quick steps until then
    quick_times: int = 0  # how often that was begun


@attrs.define(eq=False, weakref_slot=False)
class FollowedTask:
    """The state of one task that is polled; small, since there may be many."""

    handle: AnyHandle
    own: bool  # the server gave the id to this very client
    since: float  # when it was accepted, or resumed
    deadline: float  # seconds after that
    by_id: bool = False  # may not be polled by list
    release: Callable[[], None] | None = None
    observed_at: float = 0.0  # when the latest poll that brought a record was sent
    earliest: float = 0.0  # no poll before
    slot: int = UNPLANNED  # of its next poll, unless a poll is in flight
    polls: int = 0
    rate: ProgressRate | None = None
    unknown: int = 0  # answers in a row that the id is unknown
    frozen: int = 0  # records in a row that show a frozen task
    is_expiring: bool = False  # polled for the last time
    has_previews: bool = False  # its picture may be there before its end
    hook: Hook | None = None  # None: no callback is expected, and none has come

    @property
    def shows_duration(self) -> bool:
        """Whether the time at which its end is seen shows how long it took."""
        return self.own and not self.is_expiring

    @property
    def is_planned(self) -> bool:
        """Whether another poll follows the one that has just ended."""
        return not self.is_expiring and not self.handle.done()

    @property
    def task_id(self) -> str:
        """The server's id of the task."""
        return self.handle.task_id

    @property
    def not_ended_at(self) -> float:
        """The latest time at which no poll and no callback showed an end."""
        announced = self.hook.ended_at if self.hook is not None else None
        return max(self.observed_at, announced or self.observed_at)


class DueQueue:
    """
    The next poll of each task, soonest first.

    Times are rounded up to slots of *step* seconds, so that planning one of
    100,000 polls appends to a list.
    """

    def __init__(self, step: float) -> None:
        self._per_second = 1.0 / step
        self._slots: dict[int, list[FollowedTask]] = {}
        self._order: list[int] = []  # a heap of the slots

    def plan(self, task: FollowedTask, due: float) -> None:
        """Plan the next poll of *task* not before *due*, in place of any other."""
        task.slot = slot = math.ceil(due * self._per_second)
        tasks = self._slots.get(slot)
        if tasks is None:
            self._slots[slot] = [task]
            heapq.heappush(self._order, slot)
        else:
            tasks.append(task)

    def plan_sooner(self, task: FollowedTask, due: float) -> None:
        """Plan the next poll of *task* at *due* unless it comes before, or is made."""
        if self.is_later(task, due):
            self.plan(task, due)

    def is_later(self, task: FollowedTask, due: float) -> bool:
        """Return whether the next poll of *task* is planned, and later than *due*."""
        return task.slot != UNPLANNED and due * self._per_second < task.slot

    def next_due(self) -> float | None:
        """Return when the next poll is due; ``None`` when none is planned."""
        while self._order:
            slot = self._order[0]
            tasks = self._slots[slot]
            while tasks and tasks[-1].slot != slot:  # planned anew, or forgotten
                tasks.pop()
            if tasks:
                return slot / self._per_second
            del self._slots[heapq.heappop(self._order)]
        return None

    def take(self, limit: float) -> list[FollowedTask]:
        """Take the tasks that are due by *limit*, soonest first."""
        taken: list[FollowedTask] = []
        while (due := self.next_due()) is not None and due <= limit:
            slot = heapq.heappop(self._order)
            for task in self._slots.pop(slot):
                if task.slot == slot:
                    task.slot = UNPLANNED
                    taken.append(task)
        return taken

    def take_one(self) -> FollowedTask:
        """Take a task whose poll :meth:`next_due` has just reported."""
        task = self._slots[self._order[0]].pop()
        task.slot = UNPLANNED
        return task


class TasksByDeadline:
    """Followed tasks by id, of which the next deadlines are found at once."""

    def __init__(self) -> None:
        self.count: int = 0
        # Those that live equally long are in the order of their deadlines.
        self._groups: dict[float, OrderedDict[str, FollowedTask]] = {}

    def __iter__(self) -> Iterator[FollowedTask]:
        return chain.from_iterable(group.values() for group in self._groups.values())

    def find(self, task_id: str) -> FollowedTask | None:
        """Return the task with this id."""
        found = (group.get(task_id) for group in self._groups.values())
        return next(filter(None, found), None)

    def add(self, task: FollowedTask) -> None:
        """Add *task*."""
        self._groups.setdefault(task.deadline, OrderedDict())[task.task_id] = task
        self.count += 1

    def remove(self, task: FollowedTask) -> None:
        """Remove *task*."""
        group = self._groups[task.deadline]
        del group[task.task_id]
        if not group:
            del self._groups[task.deadline]  # each request may have one of its own
        self.count -= 1

    def next_deadline(self) -> float:
        """Return when the next deadline is; infinite without tasks."""
        oldest = (next(iter(group.values()), None) for group in self._groups.values())
        return min(
            (task.since + task.deadline for task in oldest if task), default=math.inf
        )

    def expired(self, now: float) -> list[FollowedTask]:
        """Return the tasks that have reached their deadline."""

        def is_over(task: FollowedTask) -> bool:
            return task.since + task.deadline <= now

        groups = self._groups.values()
        return [task for each in groups for task in takewhile(is_over, each.values())]
