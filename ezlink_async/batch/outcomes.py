"""How each pair of a batch ended, and the counts of all of them: values."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.batch.journal.jobs import Problem, Reason
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.spending import Charges
from ezlink_async.errors import EzlinkError

NOTHING_SENT = "Interrupted: nothing was sent"
"""The error of the pairs that are left when a run is left."""

INTERRUPTED = Problem(NOTHING_SENT, Reason.INTERRUPTED)

BatchStatus = Literal["succeeded", "failed", "unknown", "skipped"]


def describe_error(error: EzlinkError, sentence: str | None = None) -> str:
    """Return an error as ``ErrorName: sentence``."""
    return f"{type(error).__name__}: {sentence or error}"


@attrs.frozen(kw_only=True)
class BatchOutcome:
    """
    How one pair ended.

    ``skipped`` without an *error* was done in an earlier run. *error* is
    ``"ErrorName: sentence"``; *fault* the exception behind it, if it was raised
    in this run; *reason* names the errors that decide what to do next.
    *resumable* says that the next run continues it by itself, *common* that the
    error is not this pair's own: it stops other pairs, too.
    """

    source: Path
    target: Path
    status: BatchStatus
    output: Path | None = None
    task_id: str | None = None
    request_id: str | None = None
    error: str | None = None
    maybe_charged: bool = False
    fault: EzlinkError | None = None
    resumable: bool = False
    common: bool = False
    reason: Reason | None = None


def skipped(pair: Pair, problem: Problem = INTERRUPTED) -> BatchOutcome:
    """Return the outcome of a pair that the run did not begin."""
    return BatchOutcome(
        source=pair.source,
        target=pair.target,
        status="skipped",
        error=problem.sentence,
        reason=problem.reason,
        resumable=True,
        common=True,
    )


@attrs.define
class BatchSummary:
    """
    How many pairs ended how, so far.

    *accepted* counts the swaps this run has submitted and been given ids for,
    *resumable* the outcomes that the next run continues by itself. *charges* is
    what the server charged, once the run has ended, if its pages say that.
    """

    counts: collections.Counter[BatchStatus] = attrs.field(factory=collections.Counter)
    accepted: int = 0
    resumable: int = 0
    seconds: float = 0.0
    charges: Charges | None = None

    @property
    def total(self) -> int:
        """The number of outcomes."""
        return self.counts.total()

    def add(self, outcome: BatchOutcome) -> None:
        """Count *outcome*."""
        self.counts[outcome.status] += 1
        self.resumable += outcome.resumable
