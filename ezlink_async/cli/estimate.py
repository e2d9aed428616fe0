"""
How many swaps a run will send, from the journal and the folders alone.

No picture is read, so thousands of targets take seconds. A target that has changed
since, or was moved, is judged by its name and its date: the run itself goes by the
content and may send a few more or less.
"""

from __future__ import annotations

import contextlib
import enum
import json
from collections.abc import Iterator
from pathlib import Path

import attrs

from ezlink_async.batch.journal.jobs import JobRecord, JobState, Step, next_step
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.pairs.orders import request_key
from ezlink_async.batch.pairs.output_paths import Existing, is_whole_result
from ezlink_async.cli.order_list import OrderList


class Expected(enum.StrEnum):
    """What a run will probably do about a pair."""

    NEW = "to swap"
    """It will be sent, and paid."""
    OPEN = "open from before"
    """An earlier run has paid it, or may have; its result is fetched."""
    DONE = "done before"
    """Its result is saved."""
    OTHER = "not to be sent"
    """It failed before, or a picture is in the way."""


@attrs.frozen(kw_only=True)
class Estimate:
    """
    How many pairs a run will send, and not send.

    *swaps* is how many it may pay for, at most the budget. *outside* counts the
    open jobs of earlier runs that no pair asks for.
    """

    total: int
    pairs: dict[Expected, int]
    swaps: int
    outside: int

    @property
    def idle(self) -> int:
        """The number of pairs that need no swap in this run."""
        return self.total - self.swaps - self.pairs.get(Expected.OPEN, 0)

    def __str__(self) -> str:
        targets = "1 target" if self.total == 1 else f"{self.total:,} targets"
        known = [
            f"{self.pairs[each]:,} {each}" for each in Expected if each in self.pairs
        ]
        if self.swaps < self.pairs.get(Expected.NEW, 0):
            known.append(f"the budget is for {self.swaps:,}")
        return f"{targets}: {', '.join(known)}"


def estimate(
    orders: OrderList, options: BatchOptions, server: str, journal: Path | None
) -> Estimate:
    """
    Return how many of the *orders* a run at *server* will send.

    *journal* is the file that tells what earlier runs did, ``None`` to forget it.
    """
    outside = 0
    with contextlib.closing(Journal.rehearsal(journal)) as earlier:
        if server == LOCAL:
            earlier.forget_unfinished(LOCAL)
        for record in _records(earlier, server, options):
            expected = _expected(record, options)
            key = request_key(record.key.kind, record.key.request)
            place = record.key.output_path
            known = orders.expect(key, record.inputs, place, expected)
            outside += not known and expected is Expected.OPEN
    existing = Existing()
    for order in orders.unexpected():
        path = options.output / order.wanted_path
        found = existing.at(path, pictures_only=order.by_paths)
        blocked = options.keeps_existing and any(map(is_whole_result, found))
        expected = Expected.OTHER if order.problem or blocked else Expected.NEW
        orders.expect(order.request_key, order.inputs, order.wanted_path, expected)
    pairs = {each: many for each in Expected if (many := orders.expected(each))}
    swaps = pairs.get(Expected.NEW, 0)
    if options.budget is not None:
        swaps = min(swaps, options.budget)
    total = orders.total
    return Estimate(total=total, pairs=pairs, swaps=swaps, outside=outside)


def _records(
    journal: Journal, server: str, options: BatchOptions
) -> Iterator[JobRecord]:
    after = 0
    while records := journal.records(after):
        after = records[-1].id
        for record in records:
            if record.key.server == server and _has_options(record, options):
                yield record


def _has_options(record: JobRecord, options: BatchOptions) -> bool:
    known: object = json.loads(record.key.request).get("options", {})
    return known == options.job_options or not record.inputs


def _expected(record: JobRecord, options: BatchOptions) -> Expected:
    saved = record.output if record.state is JobState.SAVED else None
    intact = saved is not None and _is_there(options.output / saved.path, saved.size)
    match next_step(record, options, intact=intact):
        case Step.SUBMIT:
            return Expected.NEW
        case Step.DONE if not _has_changed(record):
            return Expected.DONE
        case Step.DONE if not options.keeps_existing:
            return Expected.NEW
        case Step.DONE | Step.GIVE_UP:
            return Expected.OTHER
        case _:
            return Expected.OPEN


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _has_changed(record: JobRecord) -> bool:
    """Return whether a picture was written after the job was sent."""
    try:
        times = [each.path.stat().st_mtime for each in record.inputs]
    except OSError:
        return False  # the run says what is wrong with it
    return record.sent_at is not None and max(times) > record.sent_at
