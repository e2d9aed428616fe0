"""``--dry-run``: what a run would do with each order; nothing is sent or written."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Sequence

import attrs

from ezlink_async.batch.follow_ups import planned
from ezlink_async.batch.journal.jobs import Step
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.preflight import CheckedOrder, Preflight
from ezlink_async.cli.order_list import price_of
from ezlink_async.cli.printer import OutcomePrinter
from ezlink_async.cli.tally import Kind
from ezlink_async.services.balance_bars import BalanceBar

_AT_ONCE = 64  # orders looked at together


class DryRun:
    """
    A run that only looks: it reads the pictures, and a copy of the journal.

    *paid* is how many jobs it would pay for, *price* what they cost by the server's
    default prices, in units. With *fresh* what earlier runs did is forgotten.
    """

    def __init__(
        self, batch: BatchOptions, server: str, printer: OutcomePrinter, *, fresh: bool
    ) -> None:
        self._batch = batch
        self._server = server
        self._printer = printer
        self._path = None if fresh else batch.journal_path
        self._prices: list[int] = []
        self.bars: set[BalanceBar] = set()
        """The balances that the server wants for the jobs it would pay for."""

    def run(self, orders: Iterable[Order]) -> None:
        """Print what would become of each of the *orders*."""
        with contextlib.closing(Journal.rehearsal(self._path)) as journal:
            preflight = Preflight(self._batch, self._server, journal.start_run(0))
            left = iter(orders)
            while few := list(itertools.islice(left, _AT_ONCE)):
                self._look_at(few, preflight, journal)
        self._printer.finish()

    def paid(self, budget: int | None) -> tuple[int, int]:
        """
        Return how many jobs it would pay for within *budget*, and their price.

        The price is 0 if only the server knows that of one of them.
        """
        dearest = sorted(self._prices, key=lambda each: each or math.inf, reverse=True)
        bought = dearest[:budget]
        return len(bought), sum(bought) if all(bought) else 0

    def _look_at(
        self, orders: Sequence[Order], preflight: Preflight, journal: Journal
    ) -> None:
        inspections = preflight.inspect(orders)
        jobs = preflight.register(journal, inspections)
        for checked in preflight.plan(inspections, jobs):
            self._print(checked)
            if checked.job is not None and checked.order.then and _goes_on(checked):
                key = checked.job.record.key
                buttons = planned(checked.order, key.request, key.output_path)
                self._look_at(buttons, preflight, journal)

    def _print(self, checked: CheckedOrder) -> None:
        job = checked.job
        if job is None or checked.outcome is not None:
            self._printer.print(checked.left_over())
            return
        if job.step is Step.SUBMIT and not job.order.is_free:
            self._note_price(job.order)
        outcome = attrs.evolve(job.outcome("skipped"), output=job.output_path)
        self._printer.print(outcome, Kind.PLANNED)

    def _note_price(self, order: Order) -> None:
        """Note what a job that would be sent costs, and needs on the account."""
        self._prices.append(price_of(order))
        bar = None if order.request is None else order.request.bar
        if bar is not None:
            self.bars.add(bar)


def _goes_on(checked: CheckedOrder) -> bool:
    """Return whether the buttons of an order would be pressed."""
    outcome = checked.outcome
    return outcome is None or (outcome.status == "skipped" and outcome.error is None)
