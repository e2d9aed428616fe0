"""
How the client reads a recorded answer, written by hand beside the name of its sample.

``safe`` means that the job surely was not created, ``paid`` that it may have been paid.
"""

from __future__ import annotations

from typing import Self

import attrs

from ezlink_async.errors import EzlinkError


@attrs.frozen
class RecordedOutcome:
    """A value, or an error with its code and its two flags."""

    what: object
    says: object = None
    safe: bool = False
    paid: bool = False

    @classmethod
    def of_error(cls, error: EzlinkError) -> Self:
        """Return what *error* says of a job."""
        code = getattr(error, "code", None)
        return cls(type(error), code, error.retry_safe, error.maybe_charged)


def accepted(task_id: str, code: int = 1) -> RecordedOutcome:
    """Expect an acceptance."""
    return RecordedOutcome("accepted", (task_id, code))


def safe(kind: type[EzlinkError], code: int | None = None) -> RecordedOutcome:
    """Expect an error about a job that surely was not created."""
    return RecordedOutcome(kind, code, safe=True)
