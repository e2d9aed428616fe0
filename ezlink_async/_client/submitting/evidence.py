"""
What the account's pages prove about a submit whose answer was lost. Pure.

Rules:

1. A task that carries the submit's own ``state``, and that is not known to be
   another job's, is the submit's task.
2. A ``state`` that several open submits share proves nothing, in whatever order
   their tasks appear.
3. "Not created" needs every one of these: the server cannot be working on the
   submit any more; the list reaches back before the submit began; no unknown
   task in it still lacks a state; the log has no charge under its request ids;
   and the log shows a charged submit of this client (the log may be off, or a
   proxy may change the ids).
4. A refusal proves "not created" without the waits and the charged submit of rule
   3. Each request id must have entries of a refusal in the log and no others, and
   still have them ten seconds later; the list, read after that time, must reach back
   before the submit and show no task that may be its own. The server logs a refusal
   when its work on the submit is over, and never repeats a submit. The second look
   is for a charge that the log shows late, and for a task of a submit that was
   sent twice under one id: an accepted job has a row, unless its insert failed, and
   then the entry says so.
5. A submit that was not created is not sent again at once if an entry names a broken
   call to the upstream: the upstream may run the job, and would run it twice.
6. Everything else stays unknown, with the reason.
"""

from __future__ import annotations

import collections
import enum
import math
import uuid
from collections.abc import Callable, Iterable

import attrs

from ezlink_async.models import TaskRecord
from ezlink_async.services.traces import ALL_TRACES, Traces

SLACK = 15.0
"""Seconds by which the clocks of the server's parts may differ."""

_OWN = "ezlink-"


def new_state() -> str:
    """Return a state that no other job has."""
    return f"{_OWN}{uuid.uuid4().hex}"


def is_unique(state: str | None) -> bool:
    """Return whether *state* comes from :func:`new_state`."""
    return state is not None and state.startswith(_OWN)


@attrs.frozen(kw_only=True)
class Lost:
    """
    A submit whose answer was lost.

    *state* is the one it carried, *request_ids* are those of all its attempts
    that are unknown. *since* is a time, in seconds since 1970, at which it surely
    had not begun: the server's clock, or the local one minus its possible error;
    ``None`` when no such time is known. *shared* says that another open submit
    has the same state, *traces* what the account's pages show of such a submit.
    """

    state: str | None
    request_ids: tuple[str, ...]
    since: float | None
    shared: bool = False
    traces: Traces = ALL_TRACES


class Fate(enum.Enum):
    """What became of a submit."""

    FOUND = "found"
    CHARGED = "charged"
    NOT_CREATED = "not created"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Finding:
    """
    What the account's pages say about a submit, and the reason as a sentence.

    *charged* is ``None`` when the log proves nothing. *may_run* says of a submit that
    was not created that the upstream may run it all the same, at no charge.
    """

    fate: Fate
    reason: str
    task_id: str | None = None
    charged: bool | None = None
    may_run: bool = False


@attrs.frozen(kw_only=True)
class ChargeLog:
    """
    What the account's log says about one submit, and whether it can be trusted.

    The log is *witnessed* when it shows a submit that surely was charged. It is
    *settled* when the server must have finished its work on the submit. *refused*
    says that all its entries are those of a refusal, as rule 4 demands; *may_run*
    that one of them names a broken call to the upstream.
    """

    charged: bool
    witnessed: bool
    settled: bool = True
    refused: bool = False
    may_run: bool = False

    @property
    def proves(self) -> bool | None:
        """Whether the submit was charged; ``None`` when the log is no proof."""
        if self.charged:
            return True
        proven = self.refused or (self.witnessed and self.settled)
        return False if proven else None


class AccountTasks:
    """
    The tasks of the account that belong to no known job, from one poll.

    *records* come newest first. The list is complete back to *reaches*, in the
    server's seconds since 1970; ``None`` means that it has gaps.
    """

    def __init__(
        self,
        records: Iterable[TaskRecord],
        reaches: float | None,
        is_known: Callable[[str], bool],
    ) -> None:
        self.reaches = reaches
        self._by_state: dict[str, list[tuple[float, str]]]
        self._by_state = collections.defaultdict(list)
        time = math.inf
        for record in records:
            # The upstream may omit a time: then the row above gives the bound.
            if record.submit_time is not None:
                time = record.submit_time.timestamp()
            # A unique state identifies even a task that is followed by its id.
            if is_unique(record.state) or not is_known(record.task_id):
                self._by_state[record.state].append((time, record.task_id))

    def tagged(self, lost: Lost) -> tuple[str, ...]:
        """Return the ids of tasks that carry the state of *lost*, newest first."""
        return self._with_state(lost.state, lost) if lost.state else ()

    def untagged(self, lost: Lost) -> tuple[str, ...]:
        """Return the ids of tasks without a state that may still get that of *lost*."""
        return self._with_state("", lost)

    def _with_state(self, state: str, lost: Lost) -> tuple[str, ...]:
        # A caller's state may have been used before; a unique one was not.
        unique, rows = is_unique(state), self._by_state.get(state, ())
        found = (name for time, name in rows if unique or _is_recent(time, lost))
        return tuple(dict.fromkeys(found))

    def covers(self, lost: Lost) -> bool:
        """Return whether the list would show the task of *lost* if it existed."""
        if self.reaches is None or lost.since is None:
            return False
        return self.reaches <= lost.since - SLACK


def _is_recent(time: float, lost: Lost) -> bool:
    return lost.since is not None and time >= lost.since - SLACK


def find(lost: Lost, tasks: AccountTasks) -> Finding | None:
    """Return the task of *lost* if the list shows it beyond doubt."""
    ids = tasks.tagged(lost) if lost.traces.state else ()
    if not ids or lost.shared or len(ids) > len(lost.request_ids):
        return None
    reason = f"task {ids[0]} carries its state"
    return Finding(fate=Fate.FOUND, task_id=ids[0], reason=reason)


def is_open(lost: Lost, tasks: AccountTasks) -> bool:
    """Return whether a task without a state may still turn out to be that of *lost*."""
    if not lost.traces.state:
        return False
    return bool(tasks.untagged(lost)) and not _doubt(lost, tasks.tagged(lost))


def conclude(lost: Lost, tasks: AccountTasks, log: ChargeLog) -> Finding:
    """Return what is proven when the task was not found in time."""
    if not lost.traces.state:
        return _read(log, absence=lost.traces.proves_absence)
    candidates = tasks.tagged(lost)
    doubt = _doubt(lost, candidates)
    if is_open(lost, tasks):
        candidates = tasks.untagged(lost)
        doubt = "a task in the account's list never showed whose it is"
    if not doubt and not tasks.covers(lost):
        doubt = "the account's task list could not be read far enough back"
    if doubt:
        maybe = f"; it may be task {' or '.join(candidates)}" if candidates else ""
        return unknown(doubt + maybe, charged=log.proves)
    return _read(log, absence=lost.traces.proves_absence)


def _read(log: ChargeLog, *, absence: bool) -> Finding:
    """
    Return what the log proves of a submit that has no task.

    Without *absence* a submit that the log does not show may have been created.
    """
    if log.charged:
        return Finding(
            fate=Fate.CHARGED,
            reason="the account's log shows that it was paid, and there is no task",
            charged=True,
        )
    if not log.refused and not absence:
        return unknown(
            "the account's pages show nothing of it, but they do not show every job of "
            "this kind: it may have been paid"
        )
    if not log.refused and not log.witnessed:
        return unknown("the account's log shows no submit of this client at all")
    if not log.refused and not log.settled:
        return unknown("the server may still be at work on it")
    if log.may_run:
        reason = "the account's log shows a failed call to its upstream, and no charge"
    elif log.refused:
        reason = "the account's log shows that it was refused"
    else:
        reason = "the account's log and its task list show that no job was created"
    return Finding(
        fate=Fate.NOT_CREATED, reason=reason, charged=False, may_run=log.may_run
    )


def unknown(reason: str, *, charged: bool | None = None) -> Finding:
    """Return the finding that nothing is proven, but perhaps the charge."""
    return Finding(fate=Fate.UNKNOWN, reason=reason, charged=charged)


def _doubt(lost: Lost, tagged: tuple[str, ...]) -> str:
    if lost.state is None:
        return "it was sent without a state, so its task cannot be identified"
    if lost.shared:
        return f"several open submits share the state {lost.state!r}"
    if tagged:
        return f"several tasks carry the state {lost.state!r}"
    return ""
