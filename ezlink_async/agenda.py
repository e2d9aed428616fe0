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

import math
from collections.abc import Mapping

from ezlink_async._core.policies import PollPolicy
from ezlink_async.beat import Beat, Window
from ezlink_async.forecast import START, Durations
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.queueing import Line
from ezlink_async.scouts import Scouts
from ezlink_async.spacing import CHUNK, LIST_FROM, Spacing
from ezlink_async.timetable import Entry, Timetable

Look = tuple[Entry, TaskRecord, bool]
"""A record that came, for which task, and whether it is news."""

_FINE = 1 / 64  # of the shortest step: how exactly looks are planned
_SHORTEST_BEAT = 4  # times the shortest step: a quicker beat is as good as none
_LONGEST_BEAT = 4  # times the longest step: a rarer one too
_LONGEST_REST = 6  # times the longest step, whatever a server asks for
_FEW = 2  # ends for each beat on average: it may well bring none
_PART_WAY = 0.6  # of what seems to be left
_LOOKED_AT = 16  # entries that may not ride before the search for riders ends


class Agenda:
    """The times of all looks of one client."""

    def __init__(self, policy: PollPolicy) -> None:
        self._policy = policy
        self._beat = Beat(
            policy.shortest * _SHORTEST_BEAT, policy.longest * _LONGEST_BEAT
        )
        self._durations = Durations()
        self._spacing = Spacing(policy, self._durations)
        self._times = Timetable(policy.shortest * _FINE, policy.deadline)
        self._line = Line(self._times.entries)
        self._sample_at = 0.0
        self._listed_at = 0.0
        self._hurry = 0.0
        self._scouts = Scouts(policy.shortest)
        # A last look comes a little before the deadline, which ends it.
        self._life = policy.deadline - min(policy.shortest, policy.deadline / 10)

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is followed, by id, oldest first."""
        return self._times.entries

    def add(self, entry: Entry) -> None:
        """Begin with a task: one that is taken up may long have ended."""
        self._times.add(entry)
        if not entry.own:
            self._times.plan(entry, entry.since)
        elif self._line.join(entry):
            self._plan(entry, entry.since)

    def remove(self, task_id: str, now: float) -> Entry | None:
        """Forget a task that has ended, and let the line move up."""
        entry = self._times.forget(task_id)
        if entry is not None:
            self._line.leave(entry, started=entry.handle.status.is_terminal)
            self._move_up(now)
        return entry

    def ended(self, now: float) -> list[Entry]:
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

    def take(self, now: float) -> list[Entry]:
        """Return what is to be looked at now, each until it is planned anew."""
        taken = self._to_ask(now)
        for entry in taken:
            entry.asked = now
        return taken

    def _to_ask(self, now: float) -> list[Entry]:
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

    def _hurried(self, now: float) -> list[Entry]:
        """Take what was to wait for a beat that has come, unless just looked at."""
        hurried: list[Entry] = []
        waiting, self._hurry = self._times.due(self._hurry), 0.0
        for entry in waiting:
            earliest = max(entry.asked + self._policy.shortest, entry.rests)
            if earliest > now:
                self._times.plan(entry, earliest)
            else:
                hurried.append(entry)
        return hurried

    def _riders(self, now: float, room: int) -> list[Entry]:
        """Take what is not due, soonest first, for the rest of a request."""
        riders: list[Entry] = []
        others: list[tuple[Entry, float]] = []
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

    def _sample(self, now: float) -> list[Entry]:
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
        going: list[Entry] = []
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

    def missed(self, entry: Entry, now: float, least: float = 0.0) -> None:
        """Plan another look after one that brought no record."""
        entry.looks += 1
        if not entry.handle.done() and not self._line.waits(entry):
            policy = self._policy
            rest = min(least, policy.longest * _LONGEST_REST)
            wait = max(policy.jittered(entry.looks), rest)
            due = self._not_too_late(entry, now, now + wait)
            entry.rests = due if rest > 0.0 else 0.0
            self._times.plan(entry, due)

    def at_once(self, entry: Entry, now: float) -> None:
        """Plan a look right now."""
        if not entry.handle.done():
            self._times.plan(entry, now)

    def _learn_end(self, entry: Entry, record: TaskRecord, now: float) -> None:
        if entry.own and record.status is TaskStatus.SUCCESS:
            self._durations.add((entry.seen + now) / 2 - entry.since)

    def _learn_state(self, entry: Entry, record: TaskRecord, sent: float) -> None:
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
        self, expected: Window | None, sent: float, now: float, *, overdue: bool
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

    def _plan(self, entry: Entry, now: float, step: float | None = None) -> None:
        self._times.plan(
            entry, self._not_too_late(entry, now, self._due(entry, now, step))
        )

    def _not_too_late(self, entry: Entry, now: float, due: float) -> float:
        """Return *due*, or the time of the last look, if that is still to come."""
        last = entry.since + self._life
        if due <= last or last <= now:
            return due
        may = not entry.looks or last >= entry.asked + self._policy.shortest
        return last if may else due

    def _due(self, entry: Entry, now: float, step: float | None) -> float:
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
