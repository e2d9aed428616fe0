"""How the outcomes of a run are counted and written down."""

from __future__ import annotations

import collections
import json
from typing import Literal

import attrs

from ezlink_async.batch.outcomes import BatchOutcome, BatchStatus
from ezlink_async.batch.spending import Charges

Status = BatchStatus | Literal["planned"]
"""``planned`` is what a dry run calls a target it would send."""


_ORDER: tuple[Status, ...] = ("succeeded", "failed", "unknown", "skipped", "planned")


def to_json(outcome: BatchOutcome, status: Status) -> str:
    """Return the line that ``--json`` prints."""
    return json.dumps(
        {
            "target": str(outcome.target),
            "output": None if outcome.output is None else str(outcome.output),
            "task_id": outcome.task_id,
            "status": status,
            "error": outcome.error,
            "maybe_charged": outcome.maybe_charged,
        }
    )


@attrs.define
class Tally:
    """How many targets there are, how many are under way, what became of others."""

    total: int
    in_progress: int = 0
    counts: collections.Counter[Status] = attrs.field(factory=collections.Counter)

    @property
    def ended(self) -> int:
        """How many are through, however."""
        return self.counts.total()

    @property
    def worked_on(self) -> int:
        """How many took work in this run: those left out of it took none."""
        return self.ended - self.counts["skipped"]

    def __str__(self) -> str:
        words = [f"{self.counts[word]} {word}" for word in _ORDER if self.counts[word]]
        return ", ".join(words) or "nothing to do"

    def to_json(self, seconds: float, charges: Charges | None = None) -> str:
        """
        Return the last line that ``--json`` prints.

        ``charged`` is a number of swaps, where their price is known.
        """
        counts: dict[str, float] = {
            "total": self.total,
            "succeeded": self.counts["succeeded"],
            "failed": self.counts["failed"],
            "unknown": self.counts["unknown"],
            "skipped": self.counts["skipped"],
            "seconds": round(seconds, 3),
        }
        if charges is not None:
            counts["charged_usd"] = charges.dollars
            if charges.swaps is not None:
                counts["charged"] = charges.swaps
            counts["accounted"] = charges.accepted
        return json.dumps({"summary": counts})
