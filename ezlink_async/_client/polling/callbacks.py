"""
What callbacks say about when a task is worth a poll.

The server's upstream posts the states of a task to its hook, without a signature: a
callback may be forged, doubled, late, or never come. So it only moves polls. Rules:

1. While callbacks come, a task with a hook is polled every three longest steps of
   the policy, until its own callback says that it has ended.
2. Such a callback often precedes the row that a poll shows. The task is due at the
   next refresh, and in quick steps while no cycle is known, or when that refresh has
   not shown the end: for one and a half longest steps after the callback.
3. A task has three such times in its life. Apart from them it is polled as one
   without a hook, or more rarely, and callbacks change nothing.
4. A list request polls many tasks at once, so saving a poll of one saves nothing:
   tasks that it covers are polled as those without a hook, unless rows show an end
   as soon as the callback says it.
5. Three ends in a row without a callback show that none come: then tasks are polled
   as those without a hook, until the next callback.

Pure: times are seconds of any one clock.
"""

from __future__ import annotations

from ezlink_async._client.polling.followed_tasks import FollowedTask, Hook
from ezlink_async._client.polling.refresh_cycle import Probes, RefreshCycle
from ezlink_async._core.policies import PollPolicy

_REST = 3.0  # times the longest step, between polls of a task whose callback is due

_QUICK = 1.5  # times the longest step, after a callback that announces an end

_GROWTH = 0.15  # of the time since the callback: the steps of a quick time grow so

_MOST_QUICK = 3  # quick times in the life of one task

_LAG = 1.0  # times the shortest step: a callback may come so long after the end

_MOST_MISSED = 3  # ends in a row without a callback

_MANY_SHOWN = 3  # ends in a row that the first poll after the callback has shown


class Callbacks:
    """
    How far the callbacks of one family's tasks are relied on.

    *cycle* is the refresh cycle as it is known, *probes* those of its refreshes.
    """

    def __init__(self, policy: PollPolicy, cycle: RefreshCycle, probes: Probes) -> None:
        self._cycle = cycle
        self._probes = probes
        self._shortest = policy.shortest
        self._longest = policy.longest
        self._lag = _LAG * policy.shortest
        self._missed = _MOST_MISSED
        self._shown = 0

    @property
    def are_coming(self) -> bool:
        """Whether callbacks have come, and the latest ends were announced."""
        return self._missed < _MOST_MISSED

    @property
    def are_early(self) -> bool:
        """Whether rows may show an end later than its callback says it."""
        return self._shown < _MANY_SHOWN or self._cycle.period is not None

    # What comes

    def announce(self, hook: Hook, now: float, *, end: bool) -> None:
        """Take a callback that came for the task of *hook*, perhaps about its *end*."""
        self._missed = 0
        if not end or now < hook.quick_until or hook.quick_times >= _MOST_QUICK:
            return
        hook.ended_at = now
        hook.quick_times += 1
        hook.quick_until = now + _QUICK * self._longest

    def observe(self, hook: Hook, sent: float, *, end: bool) -> None:
        """Learn from a poll, *sent* then, whether it showed the *end* of the task."""
        if hook.ended_at is None:
            self._missed += end
        elif sent >= hook.ended_at:
            self._shown = self._shown + 1 if end else 0

    # When to poll

    def due(
        self, task: FollowedTask, hook: Hook, now: float, followed: int, *, listed: bool
    ) -> float | None:
        """
        Return when to poll *task*, which has a *hook*; ``None``: as one without.

        It is one of so many *followed* tasks, which may be polled as one *listed*.
        """
        if listed and self.are_early:
            return None
        if hook.ended_at is not None:
            return self._announced_due(task, hook, hook.ended_at, now, followed)
        if self.are_coming and not task.handle.is_watched:
            return task.observed_at + _REST * self._longest
        return None

    def _announced_due(
        self,
        task: FollowedTask,
        hook: Hook,
        ended_at: float,
        now: float,
        followed: int,
    ) -> float | None:
        # Without a cycle the row may show the end at once.
        was_polled = task.observed_at >= ended_at
        turn = self._cycle.next(max(task.observed_at, ended_at - self._lag))
        if turn is not None and self._cycle.period is not None:
            if turn.hi - self._cycle.period <= ended_at:
                return self._probes.within(turn, task.earliest, followed)
            was_polled = True  # at a turn that came after the callback
        if now >= hook.quick_until:
            return None
        if not was_polled:
            return now
        return now + max(self._shortest, _GROWTH * (now - ended_at))
