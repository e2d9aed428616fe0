"""
The submits of one client: those whose answer was lost, and those that are known.

Without I/O. The clock is the event loop's.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator

import attrs

from ezlink_async._client.submitting import evidence
from ezlink_async._client.submitting.evidence import SLACK, Fate, Finding, Lost
from ezlink_async.services.account import LogEvidence

_WITNESSES = 8


@attrs.define(eq=False, kw_only=True)
class LostSubmit:
    """
    One submit in the search. Times are the loop's.

    The whole body had left at *sent*. *begun* is ``None`` for a submit of an
    earlier process. The account's side has not answered since *failing_since*; the
    search goes on for *patience* seconds without an answer. The log has shown a
    refusal since *refused_since*, and is asked again at *log_due*.
    """

    lost: Lost
    sent: float
    begun: float | None = None
    patience: float = 0.0
    failing_since: float | None = None
    refused_since: float | None = None
    log_due: float = 0.0
    finding: asyncio.Future[Finding] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )

    def learn_clock(self, offset: float | None) -> None:
        """Translate *begun* to the server's clock, *offset* ahead of the loop's."""
        if self.lost.since is None and self.begun is not None and offset is not None:
            self.lost = attrs.evolve(self.lost, since=self.begun + offset)

    def plan_log(self, begun: float, lag: float) -> None:
        """Ask the log again *lag* seconds after *begun*, and then ever more rarely."""
        self.log_due = begun + max(lag, begun - self.sent)

    def is_refused(self, shown: LogEvidence, begun: float, lag: float) -> bool:
        """
        Learn what the log has *shown* in the poll that began at *begun*.

        Return whether an earlier poll, at least *lag* seconds ago, showed a refusal,
        and the log has not changed: rule 4 of the evidence.
        """
        if not shown.is_refusal:
            self.refused_since = None
            return False
        if self.refused_since is None:
            self.refused_since = asyncio.get_running_loop().time()
        self.log_due = self.refused_since + lag
        return begun > self.refused_since and begun >= self.log_due


class KnownSubmits:
    """
    The submits that a client knows of: ids, charges, and those in progress.

    *is_followed* returns whether the client follows the task with an id.
    """

    def __init__(self, is_followed: Callable[[str], bool]) -> None:
        self._is_followed = is_followed
        self._ids: dict[str, float] = {}
        self._in_progress: list[tuple[str | None, float]] = []
        self._charged: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._found: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._rows: collections.deque[str] = collections.deque(maxlen=_WITNESSES)
        self._doubtful: set[str | None] = set()

    def is_known(self, task_id: str) -> bool:
        """Return whether *task_id* belongs to a known job."""
        return task_id in self._ids or self._is_followed(task_id)

    def learn(self, task_ids: Iterable[str], now: float) -> None:
        """Add ids of known jobs; drop ids older than every submit in progress."""
        self._ids.update(dict.fromkeys(task_ids, now))
        begun = min((begun for _, begun in self._in_progress), default=now)
        for task_id, time in tuple(self._ids.items()):
            if time >= begun - 2 * SLACK:
                break
            del self._ids[task_id]

    def add_charged(self, request_ids: Iterable[str]) -> None:
        """Add submits that surely were charged, the latest last."""
        self._charged.extend(request_ids)

    def add_rows(self, request_ids: Iterable[str]) -> None:
        """Add submits that surely have rows of their own, the latest last."""
        self._rows.extend(request_ids)

    @property
    def with_rows(self) -> tuple[str, ...]:
        """The request ids of the latest submits that surely have rows of their own."""
        return tuple(self._rows)

    def add_finding(self, lost: Lost, finding: Finding, now: float) -> None:
        """Learn from a finding: an id, or a state whose task may still appear."""
        if finding.task_id is not None:
            if lost.traces.rows is not None:
                self.add_rows(lost.request_ids)
            self.learn([finding.task_id], now)
            self._found.extend(lost.request_ids)  # it may have been charged
        elif finding.fate is Fate.UNKNOWN and not evidence.is_unique(lost.state):
            self._doubtful.add(lost.state)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """The request ids that the log should show, the likeliest first."""
        return (*reversed(self._charged), *reversed(self._found))

    @contextlib.contextmanager
    def in_progress(self, state: str | None, begun: float) -> Iterator[None]:
        """Count a submit with *state* as in progress, since *begun*."""
        submit = (state, begun)
        self._in_progress.append(submit)
        try:
            yield
        finally:
            self._in_progress.remove(submit)

    def is_shared(self, submit: LostSubmit) -> bool:
        """Return whether another submit in progress has the state of *submit*."""
        own = submit.begun is not None  # else it is an earlier process's
        return sum(submit.lost.state == state for state, _ in self._in_progress) > own

    def is_doubtful(self, state: str | None) -> bool:
        """Return whether an earlier submit with *state* stayed unknown."""
        return state is not None and state in self._doubtful
