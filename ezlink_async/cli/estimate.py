"""
How many jobs a run will send, from the journal and the folders alone.

No picture is read, so thousands of targets take seconds. A target that has changed
since, or was moved, is judged by its name and its date: the run itself goes by the
content and may send a few more or less. The button of a task counts as a job from the
beginning, although it is pressed only once the task is done.
"""

from __future__ import annotations

import contextlib
import enum
import json
from collections.abc import Iterator
from pathlib import Path

import attrs

from ezlink_async.batch.follow_ups import planned
from ezlink_async.batch.journal.jobs import JobRecord, JobState, Step, next_step
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.pairs.folders import LeftOut
from ezlink_async.batch.pairs.orders import Order, request_key
from ezlink_async.batch.pairs.output_paths import Existing, is_whole_result
from ezlink_async.batch.preflight import claim_of
from ezlink_async.cli.order_list import OrderList
from ezlink_async.services.balance_bars import BalanceBar


class Expected(enum.StrEnum):
    """What a run will probably do about an order."""

    NEW = "to send"
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
    How many orders a run will send, and not send.

    *paid* is how many it may pay for, at most the budget, and *price* what those cost
    by the server's default prices, in units of which 500,000 are a dollar. *bars*
    are the balances that they need. The budget leaves out *held_back*. *outside* counts
    the open jobs of earlier runs that no order asks for. *noun* is what an order is
    called.
    """

    total: int
    orders: dict[Expected, int]
    paid: int
    price: int
    bars: tuple[BalanceBar, ...]
    held_back: int
    outside: int
    noun: str = "job"

    @property
    def idle(self) -> int:
        """The number of orders that need no job in this run."""
        sent = self.orders.get(Expected.NEW, 0) - self.held_back
        return self.total - sent - self.orders.get(Expected.OPEN, 0)

    def __str__(self) -> str:
        known = [
            f"{self.orders[each]:,} {each}" for each in Expected if each in self.orders
        ]
        if self.held_back:
            known.append(f"the budget is for {self.paid:,}")
        return f"{counted(self.total, self.noun)}: {', '.join(known)}"


def counted(count: int, noun: str) -> str:
    """Return a number of things, in words."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def estimate(
    orders: OrderList,
    options: BatchOptions,
    server: str,
    journal: Path | None,
    noun: str = "job",
) -> Estimate:
    """
    Return how many of the *orders* a run at *server* will send.

    *journal* is the file that says what earlier runs did, ``None`` to forget it.
    *noun* is what an order is called.
    """
    if not orders.goes_on:
        outside = _expect(orders, options, server, journal)
        return _count(orders, options, outside, noun)
    every = OrderList(_with_buttons(orders, options), LeftOut())
    with contextlib.closing(every):
        outside = _expect(every, options, server, journal)
        for order in orders:
            if every.is_expected(order, Expected.OTHER):
                for button in _buttons(order, options):  # none is pressed
                    every.expect_for(button, Expected.OTHER)
        return _count(every, options, outside, noun)


def _with_buttons(orders: OrderList, options: BatchOptions) -> Iterator[Order]:
    """Yield the orders, each with those of its buttons behind it."""
    for order in orders:
        yield order
        yield from _buttons(order, options)


def _buttons(order: Order, options: BatchOptions) -> list[Order]:
    blank = [bytes(32)] * len(order.pictures)
    identity = order.identity(blank, options.job_options)
    return planned(order, identity, order.wanted_path)


def _expect(
    orders: OrderList, options: BatchOptions, server: str, journal: Path | None
) -> int:
    """Note what is expected of each order; return the number of other open jobs."""
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
            path = options.output / _place(order, options, earlier)
            found = existing.at(path, pictures_only=order.by_paths)
            blocked = options.keeps_existing and any(map(is_whole_result, found))
            expected = Expected.OTHER if order.problem or blocked else Expected.NEW
            orders.expect_for(order, expected)
    return outside


def _place(order: Order, options: BatchOptions, earlier: Journal) -> str:
    """Return where the results of a new order go; pictures are not read for it."""
    if order.pictures:
        return order.wanted_path
    identity = order.identity((), options.job_options)
    return earlier.assign_output_path(claim_of(order, (), identity), run=0)


def _count(
    orders: OrderList, options: BatchOptions, outside: int, noun: str
) -> Estimate:
    counts = {each: many for each in Expected if (many := orders.expected(each))}
    unlimited, _ = orders.prices(Expected.NEW, None)
    paid, price = orders.prices(Expected.NEW, options.budget)
    return Estimate(
        total=orders.total,
        orders=counts,
        paid=paid,
        price=price,
        bars=tuple(orders.bars(Expected.NEW)),
        held_back=unlimited - paid,
        outside=outside,
        noun=noun,
    )


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
    return record.sent_at is not None and max(times, default=0.0) > record.sent_at
