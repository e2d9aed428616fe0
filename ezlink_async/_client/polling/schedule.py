"""
Which tasks are looked at next, and which together.

Rules:

1. A task is looked at when its own time has come: by the server's beat when
   that is known, by its progress, by how long others took, or in growing
   steps. Never sooner than ``PollPolicy.shortest`` after its last look.
2. One list request asks for many. So what is not yet due rides along, and the
   more tasks there are, the closer together such requests may be: about one for
   each task in the long run, and more only on the watch for a beat.
3. Of many that wait for their start, only the head of the line is looked at.

Pure: knows neither the clock nor the event loop. The caller sleeps.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import math
from collections.abc import Callable, Mapping

import attrs

from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.polling.durations import START, Durations, ProgressRate
from ezlink_async._client.polling.refresh_cycle import Interval, Probes, RefreshCycle
from ezlink_async._core.policies import PollPolicy
from ezlink_async.models import TaskRecord, TaskStatus

LIST_FROM = 3
"""How many must be due before one list request is cheaper."""

CHUNK = 100
"""How many ids go into one list request."""

_PER_TASK = 0.8  # list requests for each task, at most and in the long run

_PARTS = 2  # of all tasks, looked at in turns: where both look, a beat is narrower

_MANY = 8  # tasks: with fewer, looks in vain cost each of them too much

_WATCH = 3  # times the longest step is what a watch for a beat may take


class ListPacing:
    """The requests for all tasks of one client; *durations* are what it learned."""

    def __init__(self, policy: PollPolicy, durations: Durations) -> None:
        self._policy = policy
        self._durations = durations
        self._until: float | None = None
        self._parted = False
        self.watching = False
        """Whether every task is looked at as often as it may be."""

    def gap(self, active: int) -> float:
        """Return how far apart list requests for so many *active* tasks must be."""
        if active < LIST_FROM:
            return 0.0
        if self._parted and not self.watching:
            return self._policy.shortest  # once, and all look together again
        return min(self._policy.shortest / _PARTS, self.share(active))

    def share(self, active: int) -> float:
        """Return how far apart requests are when there is one for each task."""
        return self._durations.mean / (_PER_TASK * active)

    def watch(self, active: int, now: float, *, hopeful: bool) -> None:
        """Go on watching only while there is hope, enough tasks, and time."""
        if self._until is None and active >= _MANY:
            self._until = now + _WATCH * self._policy.longest
        in_time = self._until is not None and now < self._until
        self.watching = hopeful and in_time and active >= _MANY

    def room(self, listed: int, active: int) -> int:
        """Return how many may ride along with those that are *listed* anyway."""
        room, self._parted = -listed % CHUNK, self.watching
        if self.watching:
            room = min(room, max(0, math.ceil(active / _PARTS) - listed))
        return room


_NEVER = -1


@attrs.define(eq=False)
class FollowedTask:
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
    pace: ProgressRate | None = None
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


class DueQueue:
    """The next look at each task, and its deadline; *step* is a slot's length."""

    def __init__(self, step: float, deadline: float) -> None:
        self.entries: dict[str, FollowedTask] = {}
        self._fineness = 1.0 / step
        self._deadline = deadline
        self._slots: dict[int, list[str]] = {}
        self._order: list[int] = []  # a heap of the slots that are not empty
        # All have the same time to live, so they end in the order they came in.
        self._lives: collections.deque[tuple[str, float]] = collections.deque()

    def add(self, entry: FollowedTask) -> None:
        """Begin with a task."""
        self.entries[entry.task_id] = entry
        self._lives.append((entry.task_id, entry.since))

    def plan(self, entry: FollowedTask, due: float) -> None:
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

    def due(self, limit: float) -> list[FollowedTask]:
        """Take what is due by *limit*, soonest first."""
        taken: list[FollowedTask] = []
        # The same division as next_due(), or what is due now might not be taken.
        while self._order and self._order[0] / self._fineness <= limit:
            taken += self._pop(heapq.heappop(self._order))
        return taken

    def soonest(self) -> tuple[FollowedTask, float] | None:
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

    def _pop(self, slot: int) -> list[FollowedTask]:
        taken: list[FollowedTask] = []
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

    def ended(self, now: float) -> list[FollowedTask]:
        """Take what has reached its deadline."""
        over: list[FollowedTask] = []
        while (end := self.next_end()) is not None and end <= now:
            over.append(self.entries[self._lives.popleft()[0]])
        return over

    def _living(self, task_id: str, since: float) -> FollowedTask | None:
        # The same id may have ended and been taken up again.
        entry = self.entries.get(task_id)
        return entry if entry is not None and entry.since == since else None

    def forget(self, task_id: str) -> FollowedTask | None:
        """Forget a task; what is planned for it comes to nothing."""
        entry = self.entries.pop(task_id, None)
        if len(self._lives) > 2 * len(self.entries) + 64:
            self._lives = collections.deque(
                life for life in self._lives if self._living(*life)
            )
        return entry


HEAD_OF_LINE = 100
"""How many tasks that have not started are looked at; those behind wait."""

_HEAD = "head"

_BEHIND = "behind"


class Line:
    """The tasks of *entries* that have not started, in the order they came in."""

    def __init__(self, entries: Mapping[str, FollowedTask]) -> None:
        self._entries = entries
        self._order: collections.deque[str] = collections.deque()
        self._at_head = 0
        self._dissolved = False
        self._sampled = 0
        self.behind = 0

    def join(self, entry: FollowedTask) -> bool:
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

    def leave(self, entry: FollowedTask, *, started: bool) -> None:
        """Take *entry* out; one from behind that has started overtook the rest."""
        if entry.place == _HEAD:
            self._at_head -= 1
        elif entry.place == _BEHIND:
            self.behind -= 1
            self._dissolved = self._dissolved or started
        entry.place = ""

    def waits(self, entry: FollowedTask) -> bool:
        """Whether *entry* is behind the head, and not looked at."""
        return entry.place == _BEHIND

    def moves_up(self, before: float) -> list[FollowedTask]:
        """Return who is at the head now; whoever came *before* has to be."""
        up: list[FollowedTask] = []
        while (entry := self.first()) is not None and (
            self._dissolved or self._at_head < HEAD_OF_LINE or entry.since <= before
        ):
            self._order.popleft()
            self.behind -= 1
            self._at_head += 1
            entry.place = _HEAD
            up.append(entry)
        return up

    def first(self) -> FollowedTask | None:
        """Return the first one behind the head."""
        while self._order:
            entry = self._entries.get(self._order[0])
            if entry is not None and entry.place == _BEHIND:
                return entry
            self._order.popleft()
        return None

    def sample(self, count: int) -> list[FollowedTask]:
        """Return up to *count* of those behind, others every time."""
        start, length = self._sampled, len(self._order)
        self._sampled = start + count if start + count < length else 0
        ids = itertools.islice(self._order, start, start + count)
        found = [self._entries.get(task_id) for task_id in ids]
        return [entry for entry in found if entry is not None and self.waits(entry)]


Look = tuple[FollowedTask, TaskRecord, bool]
"""A record that came, for which task, and whether it is news."""

_FINE = 1 / 64  # of the shortest step: how exactly looks are planned

_SHORTEST_BEAT = 4  # times the shortest step: a quicker beat is as good as none

_LONGEST_BEAT = 4  # times the longest step: a rarer one too

_LONGEST_REST = 6  # times the longest step, whatever a server asks for

_FEW = 2  # ends for each beat on average: it may well bring none

_PART_WAY = 0.6  # of what seems to be left

_LOOKED_AT = 16  # entries that may not ride before the search for riders ends


class PollSchedule:
    """The times of all looks of one client."""

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._beat = RefreshCycle(
            policy.shortest * _SHORTEST_BEAT, policy.longest * _LONGEST_BEAT
        )
        self._durations = Durations()
        self._spacing = ListPacing(policy, self._durations)
        self._times = DueQueue(policy.shortest * _FINE, policy.deadline)
        self._line = Line(self._times.entries)
        self._sample_at = 0.0
        self._listed_at = 0.0
        self._hurry = 0.0
        self._scouts = Probes(policy.shortest)
        # A last look comes a little before the deadline, which ends it.
        self._life = policy.deadline - min(policy.shortest, policy.deadline / 10)

    @property
    def entries(self) -> Mapping[str, FollowedTask]:
        """What is followed, by id, oldest first."""
        return self._times.entries

    def add(self, entry: FollowedTask) -> None:
        """Begin with a task: one that is taken up may long have ended."""
        self._times.add(entry)
        if not entry.own:
            self._times.plan(entry, entry.since)
        elif self._line.join(entry):
            self._plan(entry, entry.since)

    def remove(self, task_id: str, now: float) -> FollowedTask | None:
        """Forget a task that has ended, and let the line move up."""
        entry = self._times.forget(task_id)
        if entry is not None:
            self._line.leave(entry, started=entry.handle.status.is_terminal)
            self._move_up(now)
        return entry

    def ended(self, now: float) -> list[FollowedTask]:
        """Take what has reached its deadline."""
        return self._times.ended(now)

    # What is due

    def next_due(self) -> float | None:
        """Return when there is something to do; ``None`` for never."""
        dues = [self._next_look(), self._times.next_end()]
        first = self._line.first()
        if first is not None:
            dues += [self._sample_at, first.since + self._life]
        return min((due for due in dues if due is not None), default=None)

    def _next_look(self) -> float | None:
        due = self._times.next_due()
        if due is None or self._hurry >= due:
            return None if due is None else 0.0
        if self._beat.period is not None:
            return due
        return max(due, self._listed_at + self._spacing.gap(self._active()))

    def _active(self) -> int:
        """Return how many are followed and do not wait behind the head."""
        return len(self.entries) - self._line.behind

    def _watch(self, now: float) -> None:
        hopeful = self._beat.hopeful and self._beat.period is None
        self._spacing.watch(self._active(), now, hopeful=hopeful)

    def take(self, now: float) -> list[FollowedTask]:
        """Return what is to be looked at now, each until it is planned anew."""
        taken = self._to_ask(now)
        for entry in taken:
            entry.asked = now
        return taken

    def _to_ask(self, now: float) -> list[FollowedTask]:
        taken = self._sample(now)
        due = self._next_look()
        if due is None or due > now:
            return taken
        taken += self._times.due(now)
        taken += self._hurried(now)
        listed = sum(not entry.by_id for entry in taken)
        if listed:
            self._listed_at = now
            if self._beat.period is None:  # else each has a time that is worth it
                self._watch(now)
                taken += self._riders(now, self._spacing.room(listed, self._active()))
        return taken

    def _hurried(self, now: float) -> list[FollowedTask]:
        """Take what was to wait for a beat that has come, unless just looked at."""
        hurried: list[FollowedTask] = []
        waiting, self._hurry = self._times.due(self._hurry), 0.0
        for entry in waiting:
            earliest = max(entry.asked + self._policy.shortest, entry.rests)
            if earliest > now:
                self._times.plan(entry, earliest)
            else:
                hurried.append(entry)
        return hurried

    def _riders(self, now: float, room: int) -> list[FollowedTask]:
        """Take what is not due, soonest first, for the rest of a request."""
        riders: list[FollowedTask] = []
        others: list[tuple[FollowedTask, float]] = []
        latest = now - self._policy.shortest
        while len(riders) < room and len(others) < _LOOKED_AT:
            head = self._times.soonest()
            if head is None:
                break
            entry = head[0]
            if entry.by_id or entry.rests > now or entry.asked > latest:
                others.append(head)
            else:
                riders.append(entry)
        for entry, due in others:
            self._times.plan(entry, due)
        return riders

    def _sample(self, now: float) -> list[FollowedTask]:
        """Return some of those that wait behind, now and then."""
        self._move_up(now)
        if not self._line.behind or now < self._sample_at:
            return []
        self._sample_at = now + self._policy.longest
        return self._line.sample(CHUNK)

    # What was seen

    def seen(self, answers: list[Look], sent: float, now: float) -> None:
        """
        Learn from the records of one answer, and plan the next looks.

        *sent* is when it was asked for.
        """
        expected = self._beat.next(now)
        overdue = self._is_overdue(answers, sent)
        going: list[FollowedTask] = []
        for entry, record, news in answers:
            if news:
                self._beat.saw(entry.seen, now)
            if entry.handle.done():
                self._learn_end(entry, record, now)
            else:
                self._learn_state(entry, record, sent)
                going.append(entry)
            entry.seen = sent
            entry.looks += 1
        self._follow_beat(expected, sent, now, overdue=overdue)
        self._watch(now)
        # Where many share one request, steps need not grow, nor differ.
        step = self._policy.jittered(0) if len(answers) >= LIST_FROM else None
        for entry in going:
            if not entry.place or not self._line.waits(entry):
                self._plan(entry, now, step)

    def missed(self, entry: FollowedTask, now: float, least: float = 0.0) -> None:
        """Plan another look after one that brought no record."""
        entry.looks += 1
        if not entry.handle.done() and not self._line.waits(entry):
            policy = self._policy
            rest = min(least, policy.longest * _LONGEST_REST)
            wait = max(policy.jittered(entry.looks), rest)
            due = self._not_too_late(entry, now, now + wait)
            entry.rests = due if rest > 0.0 else 0.0
            self._times.plan(entry, due)

    def at_once(self, entry: FollowedTask, now: float) -> None:
        """Plan a look right now."""
        if not entry.handle.done():
            self._times.plan(entry, now)

    def _learn_end(self, entry: FollowedTask, record: TaskRecord, now: float) -> None:
        if entry.own and record.status is TaskStatus.SUCCESS:
            self._durations.add((entry.seen + now) / 2 - entry.since)

    def _learn_state(
        self, entry: FollowedTask, record: TaskRecord, sent: float
    ) -> None:
        status = record.status
        if status is TaskStatus.EMPTY or status is TaskStatus.NOT_START:
            if not entry.own and not entry.looks:
                self._line.join(entry)
            return
        if record.progress or entry.pace is not None:
            pace = entry.pace or START
            entry.pace = pace.then(sent - entry.since, record.progress)
        if entry.place:
            self._line.leave(entry, started=True)
            self._move_up(sent)

    def _is_overdue(self, answers: list[Look], sent: float) -> bool:
        """Tell whether a beat was expected since the last look, and none came."""
        if len(answers) < LIST_FROM or any(news for _, _, news in answers):
            return False
        window = self._beat.next(max(entry.seen for entry, _, _ in answers))
        return window is not None and window.hi <= sent

    def _follow_beat(
        self, expected: Interval | None, sent: float, now: float, *, overdue: bool
    ) -> None:
        if overdue:
            ends = self._durations.ends(self._active(), self._beat.period or 0.0)
            again = sent + self._policy.shortest
            self._beat.missed(sent, again, surely=ends > _FEW)
            return
        coming, period = self._beat.next(now), self._beat.period
        if expected is None or coming is None or period is None:
            return
        if coming.middle - expected.middle > period / 2:
            # It came before its time: what was to wait for it need not.
            self._hurry = expected.hi + self._policy.shortest * _FINE

    def _move_up(self, now: float) -> None:
        for entry in self._line.moves_up(now - self._life):
            self._plan(entry, now)

    # When to look next

    def _plan(self, entry: FollowedTask, now: float, step: float | None = None) -> None:
        self._times.plan(
            entry, self._not_too_late(entry, now, self._due(entry, now, step))
        )

    def _not_too_late(self, entry: FollowedTask, now: float, due: float) -> float:
        """Return *due*, or the time of the last look, if that is still to come."""
        last = entry.since + self._life
        if due <= last or last <= now:
            return due
        may = not entry.looks or last >= entry.asked + self._policy.shortest
        return last if may else due

    def _due(self, entry: FollowedTask, now: float, step: float | None) -> float:
        """Return when *entry* is to be looked at next; by *step* if nothing tells."""
        earliest = entry.asked + self._policy.shortest
        latest = now + self._policy.longest
        period = self._beat.period
        if period is not None:
            # A beat may have shown the others' ends a period late.
            asleep = entry.since + self._durations.soonest - period
            window = self._beat.next(max(entry.seen, asleep))
            if window is not None:
                due = self._scouts.due(window, earliest, period, self._active())
                return max(earliest, min(due, latest))
        if entry.pace is not None:
            wait = entry.pace.left()
            if wait > 2 * self._policy.shortest:
                wait *= _PART_WAY  # to see better from nearer
        else:
            most = math.inf if entry.by_id else self._spacing.share(len(self.entries))
            learned = self._durations.wait(now - entry.since, most)
            wait = learned or step or self._policy.jittered(entry.looks)
        if self._spacing.watching and entry.looks and not entry.by_id:
            return earliest
        return max(earliest, min(now + wait, latest))
