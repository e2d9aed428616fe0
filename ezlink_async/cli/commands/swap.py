"""``ezlink swap``: decide what to send, send it, say what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from ezlink_async.batch.journal.jobs import JobRecord, Step
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.outcomes import BatchOutcome, skipped
from ezlink_async.batch.pairs import matching
from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.batch.preflight import Job, Preflight
from ezlink_async.batch.run import BatchRun
from ezlink_async.cli.commands.report import make_report
from ezlink_async.cli.connect import Connection, connect, ready, server_of
from ezlink_async.cli.display import Display, Lines, Tally, display_for, noted
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.cli.pair_list import PairList
from ezlink_async.cli.printer import Teller
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.prepare import needs_preparing

_SHOWN = 10


def start_afresh(journal: Path) -> None:
    """Move *journal* aside; refuse while ids or unknowns in it are open."""
    if not journal.exists():
        return
    lock = FolderLock(journal.with_name("lock"))
    with contextlib.closing(lock):
        with contextlib.closing(Journal.open(journal, locking=lock.is_real)) as old:
            check_fresh(old)
        journal.replace(_aside(journal))


def check_fresh(journal: Journal) -> None:
    """Raise what is open in *journal*, if anything is."""
    found = (record for record in _open(journal) if record.key.server != LOCAL)
    listed = "\n".join(map(_line, itertools.islice(found, _SHOWN)))
    if not listed:
        return
    more = sum(1 for _ in found)
    rest = f"\n  and {more} more" if more else ""
    raise ConfigurationError(
        "--fresh would forget what is paid, or may be; run the command without it "
        f"first:\n{listed}{rest}"
    )


def _open(journal: Journal) -> Iterator[JobRecord]:
    after = 0
    while records := journal.open_records(None, after):
        after = records[-1].id
        yield from records


def _line(record: JobRecord) -> str:
    if record.task_id is not None:
        return f"  {record.target}: task {record.task_id} is not brought home"
    request = record.request_ids[-1] if record.request_ids else "none"
    return f"  {record.target}: may have been paid (request id: {request})"


def _aside(journal: Path) -> Path:
    names = (
        journal.with_name(f"{journal.stem}-{number}{journal.suffix}")
        for number in itertools.count(1)
    )
    return next(name for name in names if not name.exists())


_AT_ONCE = 64


def rehearse(
    plan: PairList, journal: Journal, preflight: Preflight, teller: Teller
) -> int:
    """Tell what would become of each pair, and return how many would be sent."""
    swaps = 0
    pairs = iter(plan)
    while few := list(itertools.islice(pairs, _AT_ONCE)):
        inspections = preflight.inspect(few)
        records = preflight.register(journal, inspections)
        for checked in preflight.plan(inspections, records):
            if checked.job is not None and checked.outcome is None:
                swaps += checked.job.step is Step.SUBMIT
                _tell(checked.job, teller)
            else:
                teller.tell(checked.left_over())
    return swaps


def _tell(job: Job, teller: Teller) -> None:
    outcome = job.outcome("skipped")
    teller.tell(attrs.evolve(outcome, output=job.output_path), "planned")


@attrs.frozen(kw_only=True)
class SwapOrder:
    """
    What the user asked for, apart from the way it is shown.

    *pairing* is how sources and targets go together: ``None`` for one source,
    ``zip``, ``product``, or the path of a manifest. *command* is what was
    typed.
    """

    source: Path | None
    targets: Sequence[Path]
    connection: Connection
    options: BatchOptions
    pairing: str | None = None
    fresh: bool = False
    dry_run: bool = False
    as_json: bool = False
    report: bool = True
    command: str = "the same command"


def swap(order: SwapOrder) -> int:
    """Do it, and return the exit code."""
    output = order.options.output
    if blocked := why_not_writable(output):
        raise ConfigurationError(f"results cannot go to {output}: {blocked}")
    if not order.dry_run:
        ready(order.connection, ", or try --local, which needs none")
    left_out = LeftOut()
    with contextlib.closing(PairList(_pairs(order, left_out), left_out)) as plan:
        options = attrs.evolve(order.options, is_given=plan.is_given)
        if order.fresh:
            options = attrs.evolve(options, existing="replace")
            if not order.dry_run:
                start_afresh(options.journal_path)
        order = attrs.evolve(order, options=options)
        tally = Tally(plan.total)
        display = Lines(counting=False) if order.dry_run else display_for(tally)
        with display:
            teller = Teller(display, tally, as_json=order.as_json)
            if left_out:
                counts = (f"{many} ({why})" for why, many in left_out.items())
                display.note(f"left out: {', '.join(counts)}")
            if order.dry_run:
                return _rehearse(order, plan, display, teller)
            return _Run(order, plan, display, tally, teller).through()


def _rehearse(
    order: SwapOrder, plan: PairList, display: Display, teller: Teller
) -> int:
    options = order.options
    server = options.server_name(server_of(order.connection))
    path = None if order.fresh else options.journal_path
    with contextlib.closing(Journal.rehearsal(path)) as journal:
        preflight = Preflight(options, server, journal.start_run(0))
        swaps = rehearse(plan, journal, preflight, teller)
    teller.end()
    budget = options.budget
    if budget is not None and budget < swaps:
        display.note(f"the budget leaves out {swaps - budget} of them")
        swaps = budget
    display.note(f"{swaps} swaps would be paid for")
    return teller.exit_code


def _pairs(order: SwapOrder, left_out: LeftOut) -> Iterator[Pair]:
    """Return the pairs that are meant; what is wrong with them all is raised."""
    source, targets, pairing = order.source, order.targets, order.pairing
    if pairing not in {None, "zip", "product"}:
        if source is not None:
            raise ConfigurationError("a manifest names the pictures: give no others")
        return matching.manifest(Path(pairing or ""))
    if source is None or not targets:
        raise ConfigurationError("give a SOURCE and at least one TARGET")
    search = Search(left_out=left_out, sources=[source], output=order.options.output)
    if pairing == "zip":
        return matching.by_name(source, targets, search)
    if pairing == "product":
        return matching.product(source, targets, search)
    needs_preparing(source)  # or raises why it cannot be sent
    return matching.one_to_many(source, targets, search)


@attrs.define
class _Run:
    """The part of the command that talks to a server."""

    order: SwapOrder
    plan: PairList
    display: Display
    tally: Tally
    teller: Teller
    run: BatchRun | None = None
    doom: EzlinkError | None = None
    interrupted: bool = False

    def through(self) -> int:
        """Swap all, tell all, and return the exit code."""
        try:
            asyncio.run(self._work())
        except EzlinkError as error:
            if self.run is None:  # nothing has begun: one sentence says it all
                raise
            self.doom = error
        finally:
            if self.run is not None or self.interrupted:
                self._end()
        if self.interrupted:
            return INTERRUPTED
        if self.doom is not None and not (self.run and self.run.accepted):
            return 2
        return self.teller.exit_code

    async def _work(self) -> None:
        # An id of the built-in server is of no use after it.
        least = logging.ERROR if self.order.connection.local else logging.WARNING
        with (
            Interrupts(self._wind_down),
            noted(self.display, least),
            # Nothing but the second signal cancels this.
            contextlib.suppress(asyncio.CancelledError),
        ):
            async with connect(self.order.connection) as ez:
                await self._swap(BatchRun(ez, self.plan, self.order.options))

    async def _swap(self, run: BatchRun) -> None:
        async with run:
            self.run = run
            if self.interrupted:
                run.halt()
            async for outcome in run:
                self.tally.total = self.plan.total + run.extra
                self.tally.in_progress = run.in_progress
                self.teller.tell(self.plan.as_given(outcome))

    def _wind_down(self) -> None:
        self.interrupted = True
        many = 0
        if self.run is not None:
            self.run.halt()
            many = self.run.in_progress
        self.display.note(
            f"nothing more is sent; waiting for {many} in progress "
            "(once more leaves at once)",
            "yellow",
        )

    def _end(self) -> None:
        """Tell what nobody has read, now that it is known how it stands."""
        self.tally.in_progress = 0
        for outcome in self._unread():
            self.teller.tell(self.plan.as_given(outcome))
        self.teller.stop()
        options = self.order.options
        if self.order.report and not self.interrupted:
            make_report(options, self.display, self.tally.total)
        resumable = self.run is not None and self.run.summary.resumable > 0
        go_on = self.interrupted or (resumable and self.doom is None)
        charges = self.run.summary.charges if self.run is not None else None
        self.teller.end(self.order.command if go_on else None, charges)

    def _unread(self) -> Iterator[BatchOutcome]:
        if self.run is not None:
            self.tally.total = self.plan.total + self.run.extra
            return self.run.unread()
        return map(skipped, self.plan)
