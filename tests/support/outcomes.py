"""
How the client reads a recorded answer, as a value to compare.

Tests write one by hand beside the name of each sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import attrs

from ezlink_async import errors
from ezlink_async.models import Record
from ezlink_async.services.base import Accepted


@attrs.frozen
class Outcome:
    """
    A value, or an error with its flags; *says* are its facts.

    *safe* means that the job surely was not created, *paid* that it may have been
    paid for, and *fee* is what a refusal costs.
    """

    what: object
    says: object = None
    safe: bool = False
    paid: bool = False
    fee: int = 0

    @classmethod
    def of_error(cls, error: errors.EzlinkError, says: object = None) -> Self:
        """Return the outcome of an *error*."""
        fee = getattr(error, "fee", 0)
        return cls(type(error), says, error.retry_safe, error.maybe_charged, fee)


def accepted(task_id: str, url: str | None = None) -> Outcome:
    """Expect an acceptance; *url* is the picture that came with it."""
    return Outcome("accepted", (task_id, url))


def accepted_as(task_id: str, code: int = 1) -> Outcome:
    """Expect an acceptance with the *code* of the upstream."""
    return Outcome("accepted", (task_id, code))


def record(status: str, reason: str = "", *urls: str) -> Outcome:
    """Expect a record with its reason to fail, and the addresses of its pictures."""
    return Outcome("record", (status, reason, urls))


def safe(kind: type[errors.EzlinkError], code: int | None = None) -> Outcome:
    """Expect a refusal that surely made no job, perhaps with the upstream's *code*."""
    return Outcome(kind, code, safe=True)


def outcome_of(read: Callable[[], Accepted | Record]) -> Outcome:
    """Return what *read* returns or raises."""
    try:
        found = read()
    except errors.EzlinkError as error:
        return Outcome.of_error(error)
    if isinstance(found, Accepted):
        pictures = _urls(found.record) if found.record else (None,)
        return accepted(found.task_id, pictures[0])
    return record(str(found.status), found.fail_reason, *_urls(found))


def _urls(found: Record) -> tuple[str, ...]:
    return tuple(result.url or "" for result in found.results)
