"""
When each task is polled, and which tasks are polled together.

Rules:

1. The next poll of a task follows from the server's refresh cycle while that is
   known, else from the task's progress, else from how long other tasks took,
   else from growing steps. Two polls of one task are at least
   ``PollPolicy.shortest`` apart, or half of it while an id is unknown.
2. One list request polls up to 100 tasks, so tasks that are not due yet fill it
   up. The more tasks there are, the more often they are polled: with about one
   list request for each task in the long run.
3. Tasks with a hook are polled by what their callbacks say; see :mod:`.callbacks`.

Without I/O or clock: the poller passes the time in, and sleeps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from ezlink_async._client.polling.callbacks import Callbacks
from ezlink_async._client.polling.durations import START, Durations
from ezlink_async._client.polling.followed_tasks import (
    UNPLANNED,
    DueQueue,
    FollowedTask,
    Hook,
    TasksByDeadline,
)
from ezlink_async._client.polling.refresh_cycle import Interval, Probes, RefreshCycle
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import Record, TaskStatus

_COMPARED = 3  # records of one answer: fewer show no beat

LIST_SIZE = 100
"""How many tasks one list request is filled up to."""

_PER_TASK = 0.8  # list requests for each task in the long run

_RESOLUTION = 1 / 64  # of the shortest step: how exactly polls are planned

_SHORTEST_PERIOD = 4  # times the shortest step: a quicker cycle is as good as none

_LONGEST_PERIOD = 4  # times the longest step: a rarer refresh is too

_LONGEST_RETRY_AFTER = 6  # times the longest step, however long a server asks for

_FEW = 2  # ends for each refresh on average: a refresh may well bring none

_PART_WAY = 0.6  # of the time that seems to be left

_CONFIRMATION = 0.5  # of the shortest step: five polls of an unknown id are soon over

_SKIPPED = 16  # tasks that may not be polled yet end the search for fill-ins


PolledRecord = tuple[FollowedTask, Record, bool]
"""A task, the record a poll brought, and whether that shows a change."""


class PollSchedule:
    """
    The times of all polls of one family, and the deadlines of its tasks.

    From *list_from* due tasks on they are polled by list. Tasks that share a queue
    are polled by the server's refresh cycle once that is known.
    """

    def __init__(
        self, policy: PollPolicy, *, list_from: int, shares_queue: bool
    ) -> None:
        self.tasks: TasksByDeadline = TasksByDeadline()
        """The followed tasks, without those in *expiring*."""
        self.expiring: dict[str, FollowedTask] = {}
        """Tasks whose deadline is over, and which are polled for the last time."""
        self.cycle: RefreshCycle = RefreshCycle(
            policy.shortest * _SHORTEST_PERIOD, policy.longest * _LONGEST_PERIOD
        )
        """The server's refresh cycle, as learned from these polls."""
        self._policy = policy
        self._list_from = list_from
        self._shares_queue = shares_queue
        self._probes = Probes(policy.shortest)
        self._callbacks = Callbacks(policy, self.cycle, self._probes)
        self._durations = Durations()
        self._queue = DueQueue(policy.shortest * _RESOLUTION)
        self._listed_at = 0.0
        self._refreshed_early = 0.0  # polls due by then waited for a past refresh

    def add(self, task: FollowedTask) -> None:
        """Plan the first poll of *task*: at once if it may long have ended."""
        self.tasks.add(task)
        task.observed_at = task.since
        task.earliest = task.since + self._policy.shortest
        if task.own:
            self._plan(task, task.since)
        else:
            self._queue.plan(task, task.since)

    def find(self, task_id: str) -> FollowedTask | None:
        """Return the followed task with this id."""
        return self.tasks.find(task_id) or self.expiring.get(task_id)

    def remove(self, task: FollowedTask) -> None:
        """Forget a task that has ended."""
        if task.is_expiring:
            del self.expiring[task.task_id]
        else:
            self.tasks.remove(task)
        task.slot = UNPLANNED

    def retire(self, task: FollowedTask) -> None:
        """Plan neither polls nor a deadline of *task*, which is polled once more."""
        self.remove(task)
        task.is_expiring = True
        self.expiring[task.task_id] = task

    def expired(self, now: float) -> list[FollowedTask]:
        """Return the tasks that have reached their deadline."""
        return self.tasks.expired(now)

    # Which polls are due

    def next_due(self) -> float | None:
        """Return when a poll or a deadline is due; ``None`` without tasks."""
        if not self.tasks.count:
            return None
        deadline, poll = self.tasks.next_deadline(), self._next_poll()
        return deadline if poll is None else min(poll, deadline)

    def _next_poll(self) -> float | None:
        due = self._queue.next_due()
        if due is None or self._refreshed_early >= due:
            return None if due is None else 0.0
        if self.cycle.period is not None or self.tasks.count < self._list_from:
            return due
        return max(due, self._listed_at + self._policy.shortest / 2)

    def take(self, now: float) -> list[FollowedTask]:
        """Return the tasks to poll now. Each is planned anew after its poll."""
        due = self._next_poll()
        if due is None or due > now:
            return []
        taken = self._queue.take(now) + self._take_refreshed(now)
        listed = sum(not task.by_id for task in taken)
        if listed:
            self._listed_at = now
            if self.cycle.period is None:  # else each has a time that is worth it
                taken += self._take_fill_ins(now, -listed % LIST_SIZE)
        earliest = now + self._policy.shortest
        for task in taken:
            task.earliest = earliest
        return taken

    def _take_refreshed(self, now: float) -> list[FollowedTask]:
        """Take the tasks that were to wait for a refresh which came early."""
        refreshed: list[FollowedTask] = []
        waiting, self._refreshed_early = self._queue.take(self._refreshed_early), 0.0
        for task in waiting:
            if task.earliest > now:
                self._queue.plan(task, task.earliest)
            else:
                refreshed.append(task)
        return refreshed

    def _take_fill_ins(self, now: float, room: int) -> list[FollowedTask]:
        """Take up to *room* tasks that are not due but may be polled by list."""
        fill_ins: list[FollowedTask] = []
        skipped: list[tuple[FollowedTask, float]] = []
        while len(fill_ins) < room and len(skipped) < _SKIPPED:
            due = self._queue.next_due()
            if due is None:
                break
            task = self._queue.take_one()
            if task.by_id or task.earliest > now:
                skipped.append((task, due))
            else:
                fill_ins.append(task)
        for task, due in skipped:
            self._queue.plan(task, due)
        return fill_ins

    # What polls bring

    def observe(self, records: Sequence[PolledRecord], sent: float, now: float) -> None:
        """
        Learn from the records of one answer, and plan the next polls.

        *sent* is when the request was sent.
        """
        expected = self.cycle.next(now)
        overdue = self._is_overdue(records, sent)
        pending: list[FollowedTask] = []
        self._observe_changes(records, now)
        for task, record, _ in records:
            self._observe_one(task, record, sent, now)
            if not task.handle.done():
                pending.append(task)
        if overdue:
            self._observe_no_refresh(sent)
        else:
            self._observe_refresh(expected, now)
        # Where many share one request, steps need neither grow nor differ.
        step = self._policy.shortest if len(records) >= self._list_from else None
        for task in pending:
            if not task.is_expiring:
                self._plan(task, now, step)

    def _observe_one(
        self, task: FollowedTask, record: Record, sent: float, now: float
    ) -> None:
        if not task.handle.done():
            self._observe_progress(task, record, sent)
        else:
            self._observe_end(task, record, now)
        if task.hook is not None:
            self._callbacks.observe(task.hook, sent, end=task.handle.done())
        task.observed_at = sent
        task.polls += 1

    def expect_callbacks(self, task: FollowedTask, state: str, now: float) -> None:
        """Learn that callbacks about *task* are to come, which carry *state*."""
        task.hook = task.hook or Hook(state)
        if self._due_by_callbacks(task, now) is not None and task.slot != UNPLANNED:
            self._plan(task, now)

    def observe_callback(self, task: FollowedTask, now: float, *, end: bool) -> None:
        """Take a callback about *task*, which may say that it has come to its *end*."""
        if task.is_expiring:
            return
        task.hook = task.hook or Hook()
        self._callbacks.announce(task.hook, now, end=end)
        is_due = end and self._due_by_callbacks(task, now) is not None
        rests = self._queue.is_later(task, now + self._policy.longest)
        if is_due or rests or task.handle.is_watched:
            self._queue.plan_sooner(task, self._next_poll_of(task, now))

    def plan_retry(self, task: FollowedTask, now: float, least: float = 0.0) -> None:
        """Plan the poll after a failed one, *least* seconds from now or later."""
        task.polls += 1
        if not task.is_planned:
            return
        policy = self._policy
        least = min(least, policy.longest * _LONGEST_RETRY_AFTER)
        wait = max(policy.jittered(task.polls), least)
        due = self._before_deadline(task, now, now + wait)
        if least > 0.0:
            task.earliest = due
        self._queue.plan(task, due)

    def plan_confirmation(self, task: FollowedTask, now: float) -> None:
        """Plan another poll of an id that may not exist: few decide, and soon."""
        if task.is_planned:
            due = now + self._policy.shortest * _CONFIRMATION
            self._queue.plan(task, self._before_deadline(task, now, due))

    def plan_by_id(self, tasks: Iterable[FollowedTask], now: float) -> None:
        """Plan polls by id right now, since a list left *tasks* out."""
        for task in tasks:
            task.by_id = True
            if task.is_planned:
                self._queue.plan(task, now)

    def _observe_changes(self, records: Sequence[PolledRecord], now: float) -> None:
        if self._shares_queue:
            unchanged_at = Counter(each.observed_at for each, _, new in records if new)
            self.cycle.observe_changes(unchanged_at, now)

    def _observe_end(self, task: FollowedTask, record: Record, now: float) -> None:
        if task.shows_duration and record.status is TaskStatus.SUCCESS:
            self._durations.add((task.not_ended_at + now) / 2 - task.since)

    @staticmethod
    def _observe_progress(task: FollowedTask, record: Record, sent: float) -> None:
        if record.progress or task.rate is not None:
            rate = task.rate or START
            task.rate = rate.then(sent - task.since, record.progress)

    def _is_overdue(self, records: Sequence[PolledRecord], sent: float) -> bool:
        """Return whether a refresh was due since the last polls, and none shows."""
        if len(records) < _COMPARED or any(changed for _, _, changed in records):
            return False
        interval = self.cycle.next(max(task.observed_at for task, _, _ in records))
        return interval is not None and interval.hi <= sent

    def _observe_no_refresh(self, sent: float) -> None:
        period = self.cycle.period or 0.0
        ends = self.tasks.count * period / self._durations.mean
        until = sent + self._policy.shortest
        self.cycle.observe_no_change(sent, until, surely=ends > _FEW)

    def _observe_refresh(self, expected: Interval | None, now: float) -> None:
        coming, period = self.cycle.next(now), self.cycle.period
        if expected is None or coming is None or period is None:
            return
        if coming.middle - expected.middle > period / 2:
            # It came before its time: tasks that wait for it need not.
            self._refreshed_early = expected.hi + self._policy.shortest * _RESOLUTION

    # When to poll next

    def _plan(self, task: FollowedTask, now: float, step: float | None = None) -> None:
        self._queue.plan(task, self._next_poll_of(task, now, step))

    def _next_poll_of(
        self, task: FollowedTask, now: float, step: float | None = None
    ) -> float:
        # Comparisons, since calls of min() and max() take a tenth of the time.
        due = None if task.hook is None else self._due_by_callbacks(task, now)
        if due is None:
            due, latest = self._due(task, now, step), now + self._policy.longest
            if due > latest:  # noqa: PLR1730
                due = latest
        if due < task.earliest:  # noqa: PLR1730
            due = task.earliest
        if due > task.since + task.deadline - self._policy.shortest:
            due = self._before_deadline(task, now, due)
        return due

    def _due_by_callbacks(self, task: FollowedTask, now: float) -> float | None:
        if task.hook is None:
            return None
        followed = self.tasks.count
        listed = followed >= self._list_from and not task.by_id
        return self._callbacks.due(task, task.hook, now, followed, listed=listed)

    def _before_deadline(self, task: FollowedTask, now: float, due: float) -> float:
        """Return *due*, or the time of the last poll if that comes first."""
        # The last poll comes a little before the deadline, which ends the task.
        margin = min(self._policy.shortest, task.deadline / 10)
        last = task.since + task.deadline - margin
        if due <= last or last <= now or (task.polls and last < task.earliest):
            return due
        return last

    def _due(self, task: FollowedTask, now: float, step: float | None) -> float:
        """Return when a poll of *task* is worth it; by *step* if nothing is known."""
        period = self.cycle.period
        if period is not None:
            # The refresh may have shown the ends of other tasks a period late.
            soonest = task.since + self._durations.soonest - period
            interval = self.cycle.next(max(task.observed_at, soonest))
            if interval is not None:
                followed = self.tasks.count
                return self._probes.due(interval, task.earliest, period, followed)
        if task.rate is not None:
            wait = task.rate.left()
            if wait > 2 * self._policy.shortest:
                wait *= _PART_WAY  # a later poll shows the end more exactly
            return now + wait
        learned = None
        if self._durations.mean < math.inf:
            # Of polls by list, one for each task in the long run is cheap enough.
            spacing = self._durations.mean / (_PER_TASK * self.tasks.count)
            most = math.inf if task.by_id else spacing
            learned = self._durations.wait(now - task.since, most)
        return now + (learned or step or self._policy.jittered(task.polls))
