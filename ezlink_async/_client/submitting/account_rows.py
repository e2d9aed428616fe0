"""
What the rows of an account's page prove about a lost submit, by its request id. Pure.

Rules:

1. A row with a task is the submit's task; of several rows of one id it counts.
2. A row that is at work may still get a task, so nothing is concluded from it.
3. Rows that have all ended without a task prove that there is none, once they are seen
   twice, ten seconds apart: the server may call its upstream again. They cost nothing,
   unless they or the log show a fee.
4. No row proves "not created" once the server must have written it, if the page
   reaches back before the submit and has a row of another submit of this client (a
   proxy may change the ids).
5. Everything else stays unknown, with the reason.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable

import attrs

from ezlink_async._client.submitting.evidence import (
    SLACK,
    Fate,
    Finding,
    Lost,
    unknown,
)
from ezlink_async.services.traces import RowState, SubmitRow

_MAY_RUN = frozenset({RowState.MAY_RUN, RowState.OUT_OF_REACH})


class AccountRows:
    """
    The rows of one poll, newest first.

    They are complete back to *reaches*, in the server's seconds since 1970; ``None``
    means that there are gaps.
    """

    def __init__(self, rows: Iterable[SubmitRow], reaches: float | None) -> None:
        self.reaches = reaches
        self._by_id: dict[str, list[SubmitRow]] = collections.defaultdict(list)
        for row in rows:
            self._by_id[row.request_id].append(row)

    def of(self, lost: Lost) -> list[SubmitRow]:
        """Return the rows of all attempts of *lost*."""
        ids = (each for each in lost.request_ids if each)
        return [row for each in ids for row in self._by_id.get(each, ())]

    def covers(self, lost: Lost) -> bool:
        """Return whether the page would show a row of *lost* if there were one."""
        if self.reaches is None or lost.since is None:
            return False
        return self.reaches <= lost.since - SLACK

    def has_any(self, request_ids: Collection[str]) -> bool:
        """Return whether one of these submits has a row."""
        return any(each in self._by_id for each in request_ids)

    def is_at_work(self, lost: Lost) -> bool:
        """Return whether a row of *lost* may still get a task."""
        return any(row.state is RowState.AT_WORK for row in self.of(lost))

    def have_ended(self, lost: Lost) -> bool:
        """Return whether each attempt of *lost* has rows, none of which is at work."""
        are_there = all(each in self._by_id for each in lost.request_ids)
        return are_there and not self.is_at_work(lost)


@attrs.frozen(kw_only=True)
class RowDoubts:
    """
    What else is known when a conclusion is due.

    *charged*: the log shows a charge. *witnessed*: another submit of this client has a
    row. *settled*: the server must have written a row by now.
    """

    charged: bool
    witnessed: bool
    settled: bool


def find_row(lost: Lost, rows: AccountRows) -> Finding | None:
    """Return the task of *lost* if a row shows it."""
    tasks = [row for row in rows.of(lost) if row.state is RowState.ACCEPTED]
    if not tasks:
        return None
    newest = max(tasks, key=lambda row: row.time)
    reason = f"task {newest.task_id} has its request id"
    return Finding(fate=Fate.FOUND, task_id=newest.task_id, reason=reason)


def conclude_rows(lost: Lost, rows: AccountRows, doubts: RowDoubts) -> Finding:
    """Return what is proven when no row shows a task in time."""
    states = {row.state for row in rows.of(lost)}
    if doubts.charged or RowState.FEE in states:
        return Finding(
            fate=Fate.CHARGED,
            reason="the account's pages show that it was refused for a fee, or paid, "
            "and there is no task",
            charged=True,
        )
    if RowState.AT_WORK in states:
        return unknown("the server is still at work on it")
    if not rows.have_ended(lost):
        doubt = _doubt_of_absence(lost, rows, doubts)
        if doubt:
            return unknown(doubt)
    reason = "the account's page has no row of it, so no job was created"
    if states:
        reason = "the account's page shows that it has no task, and it costs nothing"
    return Finding(
        fate=Fate.NOT_CREATED,
        reason=reason,
        charged=False,
        may_run=not _MAY_RUN.isdisjoint(states),
    )


def _doubt_of_absence(lost: Lost, rows: AccountRows, doubts: RowDoubts) -> str:
    if not rows.covers(lost):
        return "the account's page could not be read far enough back"
    if not doubts.witnessed:
        return "the account's page shows no submit of this client at all"
    if not doubts.settled:
        return "the server may still be at work on it"
    return ""
