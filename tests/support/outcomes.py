"""What a client makes of a recorded exchange, as a value to compare."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ezlink_async import errors
from ezlink_async.models import Record
from ezlink_async.services.base import Accepted


@attrs.frozen
class Outcome:
    """
    A value, or an error with its flags.

    ``safe`` means that the job surely was not created, ``paid`` that it may have been
    paid for, and ``fee`` is what a refusal costs.
    """

    what: object
    says: object = None
    safe: bool = False
    paid: bool = False
    fee: int = 0


def accepted(task_id: str, url: str | None = None) -> Outcome:
    """Expect an acceptance; *url* is the picture that came with it."""
    return Outcome("accepted", (task_id, url))


def record(status: str, reason: str = "", *urls: str) -> Outcome:
    """Expect a record with its reason to fail, and the addresses of its pictures."""
    return Outcome("record", (status, reason, urls))


def safe(kind: type[errors.EzlinkError]) -> Outcome:
    """Expect a refusal that surely made no job."""
    return Outcome(kind, safe=True)


def outcome_of(read: Callable[[], Accepted | Record]) -> Outcome:
    """Return what *read* returns or raises."""
    try:
        found = read()
    except errors.EzlinkError as error:
        fee = getattr(error, "fee", 0)
        return Outcome(type(error), None, error.retry_safe, error.maybe_charged, fee)
    if isinstance(found, Accepted):
        pictures = _urls(found.record) if found.record else (None,)
        return accepted(found.task_id, pictures[0])
    return record(str(found.status), found.fail_reason, *_urls(found))


def _urls(found: Record) -> tuple[str, ...]:
    return tuple(result.url or "" for result in found.results)
