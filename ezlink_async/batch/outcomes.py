"""What became of each pair of a batch, and of all of them: values."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.spending import Charges
from ezlink_async.errors import EzlinkError

NOTHING_SENT = "Interrupted: nothing was sent"
"""The error of what is left over when a run is left."""

BatchStatus = Literal["succeeded", "failed", "unknown", "skipped"]


def describe_error(error: EzlinkError, says: str | None = None) -> str:
    """Return an error as ``ErrorName: sentence``."""
    return f"{type(error).__name__}: {says or error}"


@attrs.frozen(kw_only=True)
class BatchOutcome:
    """
    What became of one pair.

    ``skipped`` without an *error* was done in an earlier run. *error* is
    ``"ErrorName: sentence"``; *fault* the exception behind it, when it was met
    in this run. *resumable* says that the next run goes on with it by itself,
    *common* that what stands in the way stands in that of others, too.
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


def skipped(pair: Pair, why: str) -> BatchOutcome:
    """Return the outcome of a pair that was not taken in."""
    return BatchOutcome(
        source=pair.source,
        target=pair.target,
        status="skipped",
        error=why,
        resumable=True,
        common=True,
    )


@attrs.define
class BatchSummary:
    """
    How many ended how, so far.

    *accepted* counts the swaps this run has submitted and been given ids for,
    *resumable* what the next run goes on with by itself.
    """

    counts: collections.Counter[BatchStatus] = attrs.field(factory=collections.Counter)
    accepted: int = 0
    resumable: int = 0
    seconds: float = 0.0
    charges: Charges | None = None
    """What the server charged, once the run is over; not with an account token."""

    @property
    def total(self) -> int:
        """How many have ended, however."""
        return self.counts.total()

    def add(self, outcome: BatchOutcome) -> None:
        """Count one."""
        self.counts[outcome.status] += 1
        self.resumable += outcome.resumable
