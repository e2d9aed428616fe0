"""
The run of a command with jobs: what it says, asks, sends, and prints at the end.

The commands differ in the orders they make; all that comes after is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import math
import shlex
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial

import attrs

from ezlink_async._io.concurrency import cancel_and_wait, run_in_any_thread
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import BatchOutcome, BatchSummary, skipped
from ezlink_async.batch.pairs.folders import LeftOut
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.reader import OrderReader
from ezlink_async.batch.run import BatchRun
from ezlink_async.batch.running_jobs import Waits
from ezlink_async.buttons import REGION
from ezlink_async.cli.commands.report import make_report
from ezlink_async.cli.connect import (
    Faces,
    check_engine,
    connect,
    server_of,
    settings_sources,
    unknown_advice,
    would_be,
)
from ezlink_async.cli.display import Display, agree, logs_shown_on
from ezlink_async.cli.dry_run import DryRun
from ezlink_async.cli.estimate import counted, estimate
from ezlink_async.cli.fresh import archive_journal, finished
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.cli.order_list import OrderList
from ezlink_async.cli.printer import OutcomePrinter
from ezlink_async.cli.quote import Quote, quote
from ezlink_async.cli.tally import Tally
from ezlink_async.errors import EzlinkError, ModalNeededError
from ezlink_async.models import TaskRecord
from ezlink_async.report.escaping import shown
from ezlink_async.services.face_swap import FaceSwap

_MANY = 100  # jobs; a run that pays for more asks first

_TWO_MINUTES = 120


@attrs.frozen(kw_only=True)
class JobPlan:
    """
    The orders of a command, and what is its own about them.

    *left_out* counts the files that are no orders. *none* is the sentence where there
    is no order at all. An order is called *order_noun*, its job *job_noun*. With
    *one_price* all jobs cost the same, which the account or the journal says. *doubt*
    returns why the user is asked before anything is paid. *finish* completes each
    outcome before it is printed; it runs in a thread.
    """

    orders: Iterable[Order]
    left_out: LeftOut = attrs.field(factory=LeftOut)
    none: str = "there is nothing to do"
    order_noun: str = "job"
    job_noun: str = "job"
    one_price: bool = False
    faces: Faces = "all"
    doubt: Callable[[], str | None] = lambda: None
    finish: Callable[[BatchOutcome], BatchOutcome] | None = None


def run_plan(options: JobOptions, plan: JobPlan) -> int:
    """Do the jobs of *plan*, or list them for a dry run, and return the exit code."""
    with contextlib.closing(OrderList(plan.orders, plan.left_out)) as orders:
        if options.local and FaceSwap.kind in orders.kinds and not options.dry_run:
            check_engine()
        batch = options.batch_options(orders, plan.faces)
        tally = Tally(orders.total, budget=options.budget)
        display = Display(None if options.dry_run else tally, quiet=options.quiet)
        if plan.left_out:
            counts = (f"{many:,} ({why})" for why, many in plan.left_out.items())
            display.inform(f"left out: {', '.join(counts)}")
        if not orders.total and not batch.journal_path.exists():
            display.note(plan.none)
            return 2
        printer = OutcomePrinter(display, tally, unknown_advice, as_json=options.json)
        run = _JobRun(options, plan, batch, orders, display, tally, printer)
        return run.rehearse() if options.dry_run else run.execute()


@attrs.define
class _JobRun:
    """The part of a command that talks to a server, if only about the balance."""

    options: JobOptions
    plan: JobPlan
    batch: BatchOptions
    orders: OrderList
    display: Display
    tally: Tally
    printer: OutcomePrinter
    run: BatchRun | None = None
    error: EzlinkError | None = None
    interrupted: bool = False
    interrupts: Interrupts = attrs.field(init=False)

    def rehearse(self) -> int:
        """Print what a run would do and cost, and return the exit code."""
        options, display = self.options, self.display
        server = self.batch.server_name(server_of(options))
        dry_run = DryRun(self.batch, server, self.printer, fresh=options.fresh)
        dry_run.run(self.orders)
        jobs, _ = dry_run.paid(None)
        paid, price = dry_run.paid(options.budget)
        if paid < jobs:
            display.note(f"the budget leaves out {self._counted(jobs - paid)}")
        display.note(f"{self._counted(paid)} {would_be(local=options.local)}")
        if not paid or options.local:
            return self.printer.exit_code
        has_key = settings_sources().text("api_key")
        money = asyncio.run(self._quote()) if has_key else Quote()
        self._warn(money.doubt(dry_run.bars))
        if has_key:
            display.note(self._price(money, paid, price))
        return self.printer.exit_code

    def execute(self) -> int:
        """Do all jobs, print their outcomes, and return the exit code."""
        try:
            begun = self._begin()
        except KeyboardInterrupt:  # before anything was sent
            self.interrupted = begun = True
        except EzlinkError as error:
            if self.run is None:  # nothing has begun: the error says it all
                raise
            self.error, begun = error, True
        finally:
            if self.run is not None or self.interrupted:
                self._finish()
        if self.interrupted:
            return INTERRUPTED
        if self.error is not None and not (self.run and self.run.accepted):
            return 2
        return self.printer.exit_code if begun else 1

    def _begin(self) -> bool:
        """Run the batch if the user agrees to it, and return whether that is so."""
        if not self._agreed():
            self.display.note("nothing was sent")
            return False
        if self.options.fresh:
            archive_journal(self.batch.journal_path)
        with self.display:
            asyncio.run(self._run())
        return True

    def _agreed(self) -> bool:
        """Show what the run will cost; ask before it pays for much, or again."""
        options, journal = self.options, self.batch.journal_path
        again = options.fresh and journal.exists()
        if again:
            with finished(journal):
                pass  # refused before anything is asked
        forgotten = None if options.fresh else journal
        server = self.batch.server_name(server_of(options))
        noun = self.plan.order_noun
        found = estimate(self.orders, self.batch, server, forgotten, noun)
        self.tally.total = found.total + found.outside
        self.tally.idle = found.idle
        self.display.inform(str(found))
        if options.local or not found.paid:
            return True
        money = asyncio.run(self._quote())
        self.display.inform(self._price(money, found.paid, found.price))
        is_doubtful = self._warn(money.doubt(found.bars))
        if options.yes or not (again or is_doubtful or found.paid > _MANY):
            return True
        return agree(f"Pay for {self._counted(found.paid)}{' again' if again else ''}?")

    def _counted(self, jobs: int) -> str:
        return counted(jobs, self.plan.job_noun)

    def _warn(self, about_money: str | None) -> bool:
        """Say why the jobs may fail, and return whether there is such a reason."""
        doubts = [each for each in (self.plan.doubt(), about_money) if each]
        for doubt in doubts:
            self.display.note(shown(doubt), "yellow")
        return bool(doubts)

    def _price(self, money: Quote, jobs: int, units: int) -> str:
        return money.describe(jobs, None if self.plan.one_price else units)

    async def _quote(self) -> Quote:
        async with connect(self.options) as ez:
            return await quote(ez, self.batch.journal_path)

    async def _run(self) -> None:
        # Warnings name task ids, and those of the built-in server end with it.
        level = logging.ERROR if self.options.local else logging.WARNING
        with (
            Interrupts(self._halt) as self.interrupts,
            logs_shown_on(self.display, level),
            # Only the second signal cancels this task.
            contextlib.suppress(asyncio.CancelledError),
        ):
            async with (
                connect(self.options, self.plan.faces) as ez,
                BatchRun(ez, OrderReader(self.orders), self.batch) as self.run,
                _ticking(self._update),
            ):
                if self.interrupted:
                    self.run.halt()
                async for outcome in self.run:
                    self._count()
                    self._print(await self._finished(outcome))

    async def _finished(self, outcome: BatchOutcome) -> BatchOutcome:
        finish = self.plan.finish
        if finish is None:
            return outcome
        return await run_in_any_thread(partial(finish, outcome))

    def _print(self, outcome: BatchOutcome) -> None:
        given = self.orders.as_given(outcome) or outcome
        self.printer.print(_with_command(given, self.options))

    def _update(self) -> None:
        """Show how far the run is."""
        self._count()
        self.display.update()

    def _count(self) -> None:
        """Take from the run what the bar shows beside the outcomes."""
        run, tally = self.run, self.tally
        if run is None:
            return
        # A job that waits for the server to take it is not in progress.
        tally.paid, tally.in_progress = run.accepted, run.in_progress
        if not self.interrupted:
            tally.state = run.server_wait

    def _halt(self) -> None:
        """Send nothing more, and say what is waited for; that wait is bounded."""
        self.interrupted = True
        waits = Waits()
        if self.run is not None:
            self.run.halt()
            waits = self.run.waits()
            loop = asyncio.get_running_loop()
            loop.call_later(waits.seconds, self._give_up, waits)
        self.tally.state = _stopping(waits)
        self._update()
        again = "; press Ctrl-C again to quit now" if waits.jobs else ""
        says = _in_words(waits, self.plan.job_noun)
        self.display.note(f"Stopping. {says}{again}.", "yellow")

    def _give_up(self, waits: Waits) -> None:
        if waits.seconds:
            self.display.note(f"not waiting any longer than {_lasts(waits.seconds)}")
            self.interrupts.leave()

    def _finish(self) -> None:
        """Print the outcomes that were not read, the report, and the summary."""
        self.tally.in_progress = 0
        self.tally.stop()
        self.display.end_progress()  # what was not begun is no progress
        for outcome in self._unread():
            self._print(outcome)
        if self.options.report and not self.interrupted:
            make_report(self.batch, self.display, self.tally.total)
        summary = BatchSummary() if self.run is None else self.run.summary
        left = self.orders.total if self.run is None else summary.resumable
        resume = left and (self.interrupted or self.error is None)
        self.printer.finish(self.batch.command if resume else None, summary.charges)

    def _unread(self) -> Iterator[BatchOutcome]:
        if self.run is None:
            return map(skipped, self.orders)
        return self.run.unread()


def _with_command(outcome: BatchOutcome, options: JobOptions) -> BatchOutcome:
    """Add the command that sends its input to a task that waits for some."""
    if not isinstance(outcome.fault, ModalNeededError):
        return outcome
    words = ["ezlink", "modal", str(outcome.task_id), "--prompt", "WORDS"]
    record = outcome.fault.record
    if isinstance(record, TaskRecord) and record.action == REGION:
        words += ["--mask", "FILE"]
    words += ["--output", str(options.output)]
    if options.base_url is not None:
        words += ["--base-url", options.base_url]
    error = (
        f"ModalNeededError: task {outcome.task_id} waits for input: "
        f"{shlex.join(words)}; this input is charged, also where the button was"
    )
    return attrs.evolve(outcome, error=error)


@contextlib.asynccontextmanager
async def _ticking(update: Callable[[], None]) -> AsyncIterator[None]:
    """Call *update* once a second, since a run may be at work without an outcome."""

    async def tick() -> None:
        while True:
            update()
            await asyncio.sleep(1)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        await cancel_and_wait([task])


def _stopping(waits: Waits) -> str:
    """Return what the bar says while a halted run waits."""
    if not waits.seconds:
        return "stopping"
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=waits.seconds)
    is_short = waits.seconds <= _TWO_MINUTES
    return f"stopping by {end.astimezone():{'%H:%M:%S' if is_short else '%H:%M'}}"


def _in_words(waits: Waits, noun: str) -> str:
    """Return what a halted run waits for, and how long at most."""
    stages = {
        "running at the server": waits.running,
        "being sent": waits.sending,
        "being saved": waits.saving,
    }
    words = [f"{count:,} {stage}" for stage, count in stages.items() if count]
    if not words:
        return "Nothing is in progress"
    nouns = f" {noun} " if words[0][:2] == "1 " else f" {noun}s "
    words[0] = words[0].replace(" ", nouns, 1)
    return f"Waiting up to {_lasts(waits.seconds)} for {' and '.join(words)}"


def _lasts(seconds: float) -> str:
    if seconds <= _TWO_MINUTES:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min"
