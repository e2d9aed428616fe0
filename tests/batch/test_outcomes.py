"""Outcomes of pairs, and the counts of all of them."""

from __future__ import annotations

from pathlib import Path

import attrs

from ezlink_async.batch.journal.jobs import Problem, Reason
from ezlink_async.batch.outcomes import (
    BatchOutcome,
    BatchSummary,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.errors import ImageError, JournalError

PAIR = Pair(Path("me.jpg"), Path("a.jpg"), "a")


def test_an_error_is_described_by_its_name_and_a_sentence() -> None:
    error = ImageError("is empty", path=Path("a.jpg"))
    assert describe_error(error) == f"ImageError: {error}"
    assert describe_error(error, "nothing was sent") == "ImageError: nothing was sent"


def test_a_pair_that_was_not_begun_is_skipped_and_resumable() -> None:
    assert skipped(PAIR.order()) == BatchOutcome(
        source=PAIR.source,
        target=PAIR.target,
        status="skipped",
        kind="swap",
        label=str(PAIR.target.absolute()),
        error="Interrupted: nothing was sent",
        reason=Reason.INTERRUPTED,
        resumable=True,
        common=True,
    )


def test_a_summary_counts_outcomes_by_status_and_those_to_resume() -> None:
    summary = BatchSummary()
    assert (summary.total, summary.resumable, summary.accepted) == (0, 0, 0)
    good = BatchOutcome(source=PAIR.source, target=PAIR.target, status="succeeded")
    failed = attrs.evolve(good, status="failed", fault=JournalError("full"))
    for outcome in (
        good,
        good,
        failed,
        attrs.evolve(failed, resumable=True),
        attrs.evolve(good, status="unknown", maybe_charged=True),
        skipped(PAIR.order(), Problem("BudgetReached: spent", Reason.BUDGET)),
    ):
        summary.add(outcome)
    assert summary.counts == {"succeeded": 2, "failed": 2, "unknown": 1, "skipped": 1}
    assert (summary.total, summary.resumable) == (6, 2)
    assert BatchSummary().total == 0
