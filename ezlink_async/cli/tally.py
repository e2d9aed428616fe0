"""How the orders of a run ended, how fast, and how long the others will take."""

from __future__ import annotations

import collections
import enum
import json
import time
from collections.abc import Callable
from typing import get_args

import attrs

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.outcomes import BatchOutcome, BatchStatus
from ezlink_async.batch.spending import Charges

_RECENT = 100  # jobs that the rate is taken from: it follows a change of pace

_MINUTE = 60


class Kind(enum.StrEnum):
    """How one order ended, in the words of the terminal."""

    SUCCEEDED = "succeeded"
    """Its result is saved."""
    FAILED = "failed"
    """It was refused, or something went wrong; the reason says what to do."""
    UNUSABLE = "cannot be used"
    """Its picture is broken, or was refused; only another picture helps."""
    UNKNOWN = "unknown"
    """It may have been paid, and its id is not known."""
    RUNNING = "still running"
    """The server has it, and the run was left."""
    DONE = "done before"
    """An earlier run saved it."""
    LEFT = "not done"
    """Nothing was sent: the run was left, the source is broken, the place taken."""
    PLANNED = "planned"
    """A dry run would send it."""


def kind_of(outcome: BatchOutcome) -> Kind:
    """Return how *outcome* is counted on the terminal."""
    if outcome.status == "skipped":
        return Kind.LEFT if outcome.error else Kind.DONE
    if outcome.reason is Reason.RUNNING:
        return Kind.RUNNING
    if outcome.status == "failed" and outcome.common:
        return Kind.LEFT  # like all the others, by what ended the run
    if outcome.status == "failed" and outcome.reason is Reason.UNUSABLE:
        return Kind.LEFT if outcome.common else Kind.UNUSABLE
    return Kind(outcome.status)


@attrs.define
class Tally:
    """
    How many orders there are, are in progress, and ended how; and the time.

    *total* may grow by jobs that earlier runs left open, and never shrinks.
    *idle* is how many of the orders need no job, as far as that is known
    beforehand. *state* is why the run stands still or ends, and until when; then no
    time is foretold. *budget* is how many jobs the run may pay for, *paid* how
    many it has.
    """

    total: int
    idle: int = 0
    in_progress: int = 0
    state: str = ""
    budget: int | None = None
    paid: int = 0
    clock: Callable[[], float] = time.monotonic
    kinds: collections.Counter[Kind] = attrs.field(
        init=False, factory=collections.Counter
    )
    _statuses: collections.Counter[BatchStatus] = attrs.field(
        init=False, factory=collections.Counter
    )
    settled: int = attrs.field(init=False, default=0)
    """How many were done or decided; what the run did not come to is not."""
    ended: int = attrs.field(init=False, default=0)
    """How many jobs of this run have ended, well or not."""
    _idled: int = attrs.field(init=False, default=0)  # orders without a job
    _ends: collections.deque[float] = attrs.field(init=False)  # of the latest jobs
    _started: float = attrs.field(init=False)
    _stopped: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock()
        self._ends = collections.deque([self._started], maxlen=_RECENT + 1)

    def add(self, outcome: BatchOutcome, kind: Kind) -> None:
        """Count *outcome* as *kind*."""
        self.kinds[kind] += 1
        if kind is not Kind.PLANNED:
            self._statuses[outcome.status] += 1
        self.total = max(self.total, self.kinds.total())
        self.settled += not (outcome.common or kind is Kind.RUNNING)
        is_refused = kind in {Kind.UNUSABLE, Kind.LEFT} and outcome.task_id is None
        took_time = outcome.fault is not None and not is_refused
        if kind is Kind.SUCCEEDED or took_time:
            self._ends.append(self.clock())
            self.ended += 1
        else:
            self._idled += 1

    @property
    def seconds(self) -> float:
        """How long the run has taken, or took until it was stopped."""
        now = self.clock() if self._stopped is None else self._stopped
        return now - self._started

    @property
    def _rate(self) -> float:
        """Swaps a second, of the latest ones; 0 while none has ended."""
        now = self.clock() if self._stopped is None else self._stopped
        return (len(self._ends) - 1) / max(now - self._ends[0], 1e-9)

    @property
    def speed(self) -> str:
        """Jobs a second or a minute; what took no job does not count."""
        if not (rate := self._rate):
            return ""
        return f"{rate * _MINUTE:.1f}/min" if rate < 1 else f"{rate:.1f}/s"

    @property
    def time_left(self) -> str:
        """The time that the jobs still to be done will take; may be empty."""
        idle = max(0, self.idle - self._idled)
        jobs = self.total - self.kinds.total() - idle
        if self.state or not (rate := self._rate) or jobs <= 0:
            return ""
        minutes, seconds = divmod(round(jobs / rate), _MINUTE)
        if minutes < _MINUTE:
            return f"{minutes}:{seconds:02} left"
        return f"{minutes // _MINUTE}:{minutes % _MINUTE:02}:{seconds:02} left"

    def stop(self) -> None:
        """Stop the time: what follows is no work of the run."""
        self._stopped = self.clock()

    def __str__(self) -> str:
        words = [f"{self.kinds[kind]:,} {kind}" for kind in Kind if self.kinds[kind]]
        return ", ".join(words) or "nothing to do"

    def to_json(self, charges: Charges | None = None) -> str:
        """
        Return the last line that ``--json`` prints.

        The jobs that still run at the server are counted as failed, as in their
        own lines, and once more as running.
        """
        counts: dict[str, float] = {"total": self.kinds.total()}
        counts |= {status: self._statuses[status] for status in get_args(BatchStatus)}
        counts["seconds"] = round(self.seconds, 3)
        if running := self.kinds[Kind.RUNNING]:
            counts["running"] = running
        if charges is not None:
            counts["charged_usd"] = charges.dollars
            counts["accounted"] = charges.accepted
        return json.dumps({"summary": counts})
