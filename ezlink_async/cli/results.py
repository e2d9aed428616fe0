"""What became of each target, and of all of them: values, and how they are told."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async.errors import EzlinkError

Status = Literal["succeeded", "failed", "unknown", "skipped", "planned"]
"""``planned`` is what a dry run calls a target it would send."""


def named(error: EzlinkError, says: str | None = None) -> str:
    """Return an error as ``ErrorName: sentence``."""
    return f"{type(error).__name__}: {says or error}"


@attrs.frozen(kw_only=True)
class Result:
    """
    What became of one target.

    *request_id* helps to find an unknown one; *told_once* means that the error
    is met by many, so that it is enough to say it at the end.
    """

    target: Path
    status: Status
    output: Path | None = None
    task_id: str | None = None
    error: str | None = None
    maybe_charged: bool = False
    request_id: str | None = None
    told_once: bool = False

    def to_json(self) -> str:
        """Return the line that ``--json`` prints."""
        return json.dumps(
            {
                "target": str(self.target),
                "output": None if self.output is None else str(self.output),
                "task_id": self.task_id,
                "status": self.status,
                "error": self.error,
                "maybe_charged": self.maybe_charged,
            }
        )


@attrs.define
class Tally:
    """How many targets there are, and what became of how many."""

    total: int
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
        words = [f"{many} {status}" for status, many in self.counts.items() if many]
        return ", ".join(words) or "nothing to do"

    def to_json(self, seconds: float) -> str:
        """Return the last line that ``--json`` prints."""
        counts = {
            "total": self.total,
            "succeeded": self.counts["succeeded"],
            "failed": self.counts["failed"],
            "unknown": self.counts["unknown"],
            "skipped": self.counts["skipped"],
            "seconds": round(seconds, 3),
        }
        return json.dumps({"summary": counts})
