"""What became of each pair, and of all of them."""

from __future__ import annotations

from pathlib import Path

import attrs

from ezlink_async.batch.outcomes import (
    BatchOutcome,
    BatchSummary,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.errors import ImageError, JournalError

PAIR = Pair(Path("me.jpg"), Path("a.jpg"), "a")


def test_an_error_is_named_with_its_sentence() -> None:
    """Its own, or another one."""
    error = ImageError("is empty", path=Path("a.jpg"))
    assert describe_error(error) == f"ImageError: {error}"
    assert describe_error(error, "nothing was sent") == "ImageError: nothing was sent"


def test_what_was_not_taken_in_is_skipped() -> None:
    """The next run goes on with it, and it is not the pair's own fault."""
    assert skipped(PAIR, "Interrupted: nothing was sent") == BatchOutcome(
        source=PAIR.source,
        target=PAIR.target,
        status="skipped",
        error="Interrupted: nothing was sent",
        resumable=True,
        common=True,
    )


def test_outcomes_are_counted() -> None:
    """By status, and by whether the next run goes on with them."""
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
        skipped(PAIR, "BudgetReached: spent"),
    ):
        summary.add(outcome)
    assert summary.counts == {"succeeded": 2, "failed": 2, "unknown": 1, "skipped": 1}
    assert (summary.total, summary.resumable) == (6, 2)
    assert BatchSummary().total == 0
