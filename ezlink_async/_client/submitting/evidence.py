"""
What the account's pages prove about a submit whose answer was lost. Pure.

Rules:

1. A task that carries the submit's own ``state``, and that is not known to be
   another job's, is the one.
2. A ``state`` that several open submits share proves nothing, however the
   tasks come in.
3. "Not created" needs all of it: the server can be at work no more, the list
   reaches back before the submit began, no unknown task in it is still without
   a state, the log has nothing under its request ids, and it does show a
   charged submit of this client (it may be off, or a proxy may change the ids).
4. Everything else stays unknown, and says why.
"""

from __future__ import annotations

import collections
import enum
import math
import uuid
from collections.abc import Callable, Iterable

import attrs

from ezlink_async.models import TaskRecord

SLACK = 15.0
"""Seconds by which the clocks of the server's parts may differ."""

_OWN = "ezlink-"


def new_state() -> str:
    """Return a state that no other job has."""
    return f"{_OWN}{uuid.uuid4().hex}"


def is_unique(state: str | None) -> bool:
    """Tell whether *state* was made here, so that no other job has it."""
    return state is not None and state.startswith(_OWN)


@attrs.frozen(kw_only=True)
class Lost:
    """
    A submit whose answer was lost.

    *state* is what it carried, *request_ids* are those of all its attempts that
    are unknown. *since* is a time, in seconds since 1970, at which it surely
    had not begun: the server's, or ours minus all that ours may be wrong by.
    ``None`` is a time that is not known.
    """

    state: str | None
    request_ids: tuple[str, ...]
    since: float | None


class Fate(enum.Enum):
    """What became of a submit."""

    FOUND = "found"
    CHARGED = "charged"
    NOT_CREATED = "not created"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Finding:
    """
    What was found out about a submit, and in a sentence why.

    *charged* is what the log said of it, ``None`` when it proves nothing.
    *candidates* are the ids that may be the job's.
    """

    fate: Fate
    reason: str
    task_id: str | None = None
    charged: bool | None = None
    candidates: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ChargeLog:
    """
    What the log shows: was this submit charged, and is it to be trusted.

    It is *witnessed* when it shows a submit that surely was charged. *settled*
    says that whatever the server does with the submit is done by now.
    """

    charged: bool
    witnessed: bool
    settled: bool = True

    @property
    def proves(self) -> bool | None:
        """Whether the submit was charged, ``None`` when the log is no proof."""
        if self.charged:
            return True
        return False if self.witnessed and self.settled else None


class AccountTasks:
    """
    The tasks of the account that are nobody's yet, as one look showed them.

    *records* come newest first. The list is whole back to *reaches*, in the
    server's seconds since 1970; ``None`` when it has gaps.
    """

    def __init__(
        self,
        records: Iterable[TaskRecord],
        reaches: float | None,
        known: Callable[[str], bool],
    ) -> None:
        self.reaches = reaches
        self._stated: dict[str, list[tuple[float, str]]]
        self._stated = collections.defaultdict(list)
        self._mute: list[tuple[float, str]] = []
        time = math.inf
        for record in records:
            # Upstream may not tell a time: then it is that of the one before.
            if record.submit_time is not None:
                time = record.submit_time.timestamp()
            # Even one that is followed by its id: no other job has such a state.
            if known(record.task_id) and not is_unique(record.state):
                continue
            row = (time, record.task_id)
            (self._stated[record.state] if record.state else self._mute).append(row)

    def own(self, lost: Lost) -> tuple[str, ...]:
        """Return the ids that carry its state, newest first."""
        rows = self._stated.get(lost.state or "", ())
        # Ours are nobody else's; a caller's may have been used before.
        unique = is_unique(lost.state)
        found = (name for time, name in rows if unique or _within(time, lost))
        return tuple(dict.fromkeys(found))

    def mute(self, lost: Lost) -> tuple[str, ...]:
        """Return the ids that may yet show its state."""
        found = (name for time, name in self._mute if _within(time, lost))
        return tuple(dict.fromkeys(found))

    def covers(self, lost: Lost) -> bool:
        """Tell whether its task would be here, if there was one."""
        if self.reaches is None or lost.since is None:
            return False
        return self.reaches <= lost.since - SLACK


def _within(time: float, lost: Lost) -> bool:
    return lost.since is not None and time >= lost.since - SLACK


def find(lost: Lost, sheet: AccountTasks, *, shared: bool) -> Finding | None:
    """Return the task of *lost*, if the list shows it beyond doubt."""
    ids = sheet.own(lost)
    if not ids or shared or len(ids) > len(lost.request_ids):
        return None
    return Finding(
        fate=Fate.FOUND, task_id=ids[0], reason=f"task {ids[0]} carries its state"
    )


def is_open(lost: Lost, sheet: AccountTasks, *, shared: bool) -> bool:
    """Tell whether a task that has no state yet may turn out to be the one."""
    return bool(sheet.mute(lost)) and not _doubt(lost, sheet.own(lost), shared=shared)


def conclude(
    lost: Lost, sheet: AccountTasks, log: ChargeLog, *, shared: bool
) -> Finding:
    """Return what is proven when the task was not found in time."""
    candidates = sheet.own(lost)
    doubt = _doubt(lost, candidates, shared=shared)
    if is_open(lost, sheet, shared=shared):
        candidates = sheet.mute(lost)
        doubt = "a task in the account's list never showed whose it is"
    if not doubt and not sheet.covers(lost):
        doubt = "the account's task list could not be read far enough back"
    if doubt:
        return Finding(
            fate=Fate.UNKNOWN,
            reason=_naming(doubt, candidates),
            charged=log.proves,
            candidates=candidates,
        )
    if log.charged:
        return Finding(
            fate=Fate.CHARGED,
            reason="the account's log shows that it was paid, and there is no task",
            charged=True,
        )
    if not log.witnessed:
        return unknown("the account's log shows no submit of this client at all")
    if not log.settled:
        return unknown("the server may still be at work on it")
    return Finding(
        fate=Fate.NOT_CREATED,
        reason="the account's log and its task list show that no job was created",
        charged=False,
    )


def unknown(reason: str, *, charged: bool | None = None) -> Finding:
    """Return a finding that is none."""
    return Finding(fate=Fate.UNKNOWN, reason=reason, charged=charged)


def _doubt(lost: Lost, own: tuple[str, ...], *, shared: bool) -> str:
    if lost.state is None:
        return "it was sent without a state, so its task cannot be told from others"
    if shared:
        return f"several open submits share the state {lost.state!r}"
    if own:
        return f"several tasks carry the state {lost.state!r}"
    return ""


def _naming(doubt: str, candidates: tuple[str, ...]) -> str:
    return f"{doubt}; it may be task {' or '.join(candidates)}" if candidates else doubt
