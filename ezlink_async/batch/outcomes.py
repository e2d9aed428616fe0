"""How each order of a batch ended, and the counts of all of them: values."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.batch.journal.jobs import Problem, Reason
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.pictures import path_of
from ezlink_async.batch.spending import Charges
from ezlink_async.errors import EzlinkError
from ezlink_async.services.face_swap import FaceSwap

NOTHING_SENT = "Interrupted: nothing was sent"
"""The error of the orders that are left when a run is left."""

INTERRUPTED = Problem(NOTHING_SENT, Reason.INTERRUPTED)

BatchStatus = Literal["succeeded", "failed", "unknown", "skipped"]


def describe_error(error: EzlinkError, sentence: str | None = None) -> str:
    """Return an error as ``ErrorName: sentence``."""
    return f"{type(error).__name__}: {sentence or error}"


@attrs.frozen(kw_only=True)
class BatchOutcome:
    """
    How one order ended: a swap of a batch, or a job of another *kind*.

    *label* is its name for a person; *source* and *target* are those of a swap. The
    results are the files *outputs*, the first of which is *output*; *text* is that of
    a job that makes one.

    ``skipped`` without an *error* was done in an earlier run. *error* is
    ``"ErrorName: sentence"``; *fault* the exception behind it, if it was raised
    in this run; *reason* names the errors that decide what to do next.
    *resumable* says that the next run continues it by itself, *common* that the
    error is not this order's own: it stops other orders, too.
    """

    source: Path = Path()
    target: Path = Path()
    status: BatchStatus
    kind: str = FaceSwap.kind
    label: str = ""
    output: Path | None = None
    outputs: tuple[Path, ...] = ()
    text: str = ""
    task_id: str | None = None
    request_id: str | None = None
    error: str | None = None
    maybe_charged: bool = False
    fault: EzlinkError | None = None
    resumable: bool = False
    common: bool = False
    reason: Reason | None = None

    @property
    def is_swap(self) -> bool:
        """Whether it is about a swap."""
        return self.kind == FaceSwap.kind

    @property
    def name(self) -> str:
        """Its name for a person: of a swap the target, as it was given."""
        return str(self.target) if self.is_swap else self.label


def outcome_of(order: Order, status: BatchStatus) -> BatchOutcome:
    """Return an outcome that names what *order* is about."""
    return BatchOutcome(
        source=path_of(order.inputs, "source"),
        target=path_of(order.inputs, "target"),
        status=status,
        kind=order.kind,
        label=order.label,
    )


def skipped(order: Order, problem: Problem = INTERRUPTED) -> BatchOutcome:
    """Return the outcome of an order that the run did not begin."""
    return attrs.evolve(
        outcome_of(order, "skipped"),
        error=problem.sentence,
        reason=problem.reason,
        resumable=True,
        common=True,
    )


@attrs.define
class BatchSummary:
    """
    How many orders ended how, so far.

    *accepted* counts the jobs this run has submitted and been given ids for,
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
