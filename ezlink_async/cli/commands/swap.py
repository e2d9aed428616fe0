"""``ezlink swap``: find the pairs, swap them, print what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from ezlink_async._core.images import Image
from ezlink_async._core.policies import RetryPolicy
from ezlink_async._io.concurrency import cancel_and_wait
from ezlink_async.batch.journal.jobs import JobRecord, Step
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import LOCAL, BatchOptions
from ezlink_async.batch.outcomes import (
    BatchOutcome,
    BatchSummary,
    skipped,
)
from ezlink_async.batch.pairs import matching
from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import why_not_writable
from ezlink_async.batch.pairs.reader import OrderReader
from ezlink_async.batch.preflight import Preflight, check_source
from ezlink_async.batch.run import BatchRun
from ezlink_async.batch.running_jobs import Waits
from ezlink_async.cli import typed
from ezlink_async.cli.commands.report import make_report
from ezlink_async.cli.connect import (
    Connection,
    check_connection,
    connect,
    has_engine,
    server_of,
    settings_sources,
    unknown_advice,
)
from ezlink_async.cli.display import Display, agree, logs_shown_on
from ezlink_async.cli.estimate import estimate
from ezlink_async.cli.interrupts import INTERRUPTED, Interrupts
from ezlink_async.cli.order_list import OrderList, check_no_address, piped_paths
from ezlink_async.cli.printer import OutcomePrinter
from ezlink_async.cli.quote import Quote, quote
from ezlink_async.cli.source_face import check_face, doubt_about_face
from ezlink_async.cli.tally import Kind, Tally
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.report.escaping import shown
from ezlink_async.services.midjourney import Mode

_SHOWN = 10  # unfinished jobs named in an error

_STDIN = Path("-")  # the targets are read from a pipe

_MANY = 100  # swaps; a run that pays for more asks first

_TWO_MINUTES = 120

_AT_ONCE = 64  # orders of a dry run looked at together

_Switch = Parameter(negative=(), show_default=False)

_Count = Parameter(validator=Number(gte=1))

_Seconds = Parameter(validator=Number(gt=0))


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class SwapArguments(Connection):
    """
    The options of ``ezlink swap``.

    Attributes
    ----------
    output
        Folder for the results; made when it is missing.
    local
        Use the built-in server and engine: no key, no network, no cost.
    faces
        Faces of a group to swap, with --local only: the largest one, or all. The
        real server decides by itself. [default: all]
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    mode
        Queue of the server; the price is the same. [default: the server's]
    concurrency
        Swaps in progress at one time. [env: EZLINK_MAX_CONCURRENCY]
        [default: 8; with --local two more than processors]
    deadline
        Seconds a task may take, once accepted. [env: EZLINK_POLL_DEADLINE]
        [default: 900]
    existing
        What to do where another picture is there already.
    dry_run
        List what would be sent, and send nothing.
    pairs
        How sources and targets go together: zip (the two folders by name),
        product (each with each), or a file that lists them (CSV or JSON Lines,
        with source and target).
    yes
        Do not ask before a run that pays for more than 100 swaps, or again, or
        with a source whose face may not do. A script is never asked.
    fresh
        Begin anew: forget earlier runs, replace what is there, and pay again.
        Refused while a paid result is not saved.
    retry_failed
        Send again what the server called a failure in an earlier run.
    resubmit_unknown
        Send again what may have been paid already; it may be paid twice.
    max_failures
        Send nothing more after this many failures.
    budget
        Pay for at most this many swaps in this run.
    strip_metadata
        Send pictures without position, names and thumbnails.
    json
        Print one JSON object a line.
    quiet
        Print results and problems, and nothing else.
    report
        Write report.html into the folder of the results.

    """

    output: Annotated[Path, Parameter(("--output", "-o"))]
    local: Annotated[bool, _Switch] = False
    faces: Literal["largest", "all"] | None = None
    base_url: str | None = None
    mode: Literal["fast", "turbo", "relax"] | None = None
    concurrency: Annotated[int | None, _Count] = None
    deadline: Annotated[float | None, _Seconds] = None
    existing: Literal["skip", "replace"] = "skip"
    dry_run: Annotated[
        bool, Parameter(("--dry-run", "-n"), negative=(), show_default=False)
    ] = False
    pairs: str | None = None
    fresh: Annotated[bool, _Switch] = False
    yes: Annotated[
        bool, Parameter(("--yes", "-y"), negative=(), show_default=False)
    ] = False
    retry_failed: Annotated[bool, _Switch] = False
    resubmit_unknown: Annotated[bool, _Switch] = False
    max_failures: Annotated[int | None, _Count] = None
    budget: Annotated[int | None, _Count] = None
    strip_metadata: Annotated[bool, _Switch] = False
    json: Annotated[bool, _Switch] = False
    quiet: Annotated[
        bool, Parameter(("--quiet", "-q"), negative=(), show_default=False)
    ] = False
    report: bool = True

    def adapt(self, retry: RetryPolicy) -> RetryPolicy:
        """Return *retry* with the wish to send unknown submits again."""
        again = retry.resubmit_unknown or self.resubmit_unknown
        return attrs.evolve(super().adapt(retry), resubmit_unknown=again)

    def batch_options(self, orders: OrderList) -> BatchOptions:
        """Return how to do the batch; no result may replace a picture of a pair."""
        return BatchOptions(
            output=self.output,
            existing="replace" if self.fresh else self.existing,
            retry_failed=self.retry_failed,
            resubmit_unknown=self.resubmit_unknown,
            max_failures=self.max_failures,
            budget=self.budget,
            strip_metadata=self.strip_metadata,
            local=self.local,
            faces=self.faces or "all",
            is_given=orders.is_given,
            command=typed.get(),
        )


def swap(
    *pictures: Annotated[Path, Parameter(name="PICTURE")], options: SwapArguments
) -> int:
    """
    Put the face of a source into every target: SOURCE TARGET...

    The key comes from EZLINK_API_KEY or the profile file. The same command goes
    on where one has ended, and pays for nothing twice. Exit code 0: all done;
    1: some are not; 2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    pictures
        First the picture the face is taken from, then pictures or folders to
        put it into; - reads their names from a pipe, a line each or separated by
        NUL. With --pairs and a file: none.
    options
        See there.

    """
    _check_options(options)
    left_out = LeftOut()
    pairs = _find_pairs(options, pictures, left_out)
    mode = Mode.parse(options.mode)
    found = (pair.order(mode) for pair in pairs)
    source = None if options.pairs else _checked_source(options, pictures[0])
    with contextlib.closing(OrderList(found, left_out)) as orders:
        batch = options.batch_options(orders)
        tally = Tally(orders.total, budget=options.budget)
        display = Display(None if options.dry_run else tally, quiet=options.quiet)
        if left_out:
            counts = (f"{many} ({why})" for why, many in left_out.items())
            display.inform(f"left out: {', '.join(counts)}")
        if not orders.total and not batch.journal_path.exists():
            named = ", ".join(map(shown, pictures[1:])) or options.pairs
            display.note(f"there is no picture to swap in {named}")
            return 2
        printer = OutcomePrinter(display, tally, unknown_advice, as_json=options.json)
        command = _SwapCommand(options, batch, orders, display, tally, printer, source)
        return command.rehearse() if options.dry_run else command.execute()


def _check_options(options: SwapArguments) -> None:
    """Raise ConfigurationError for options that no run can have. Sends nothing."""
    if options.faces is not None and not options.local:
        raise ConfigurationError(
            "--faces is for --local: the real server decides by itself which faces "
            "it swaps"
        )
    if blocked := why_not_writable(options.output):
        raise ConfigurationError(f"results cannot go to {options.output}: {blocked}")
    if not options.dry_run:
        check_connection(options, ", or try --local, which needs none")


def _find_pairs(
    options: SwapArguments, pictures: tuple[Path, ...], left_out: LeftOut
) -> Iterator[Pair]:
    """Return the pairs; raise ConfigurationError if the arguments name none."""
    if options.pairs not in {None, "zip", "product"}:
        if pictures:
            raise ConfigurationError("a manifest names the pictures: give no others")
        return matching.manifest(Path(options.pairs or ""))
    if len(pictures) < 2:  # noqa: PLR2004 - one of each
        raise ConfigurationError("give a SOURCE and at least one TARGET")
    source, *targets = _named_pictures(pictures)
    search = Search(left_out=left_out, sources=[source], output=options.output)
    if options.pairs == "zip":
        return matching.by_name(source, targets, search)
    if options.pairs == "product":
        return matching.product(source, targets, search)
    return matching.one_to_many(source, targets, search)


def _checked_source(options: SwapArguments, source: Path) -> Image:
    """Return the source as it is sent; raise ImageError if no swap can use it."""
    image = check_source(source, strip_metadata=options.strip_metadata)
    if options.local and has_engine():
        check_face(image)
    return image


def _named_pictures(pictures: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the source and the targets; a dash stands for those on stdin."""
    for number, picture in enumerate(pictures):
        if picture != _STDIN:
            check_no_address(picture)
            yield picture
        elif number:
            yield from piped_paths()
        else:
            raise ConfigurationError("- stands for targets: name the SOURCE before it")


def archive_journal(journal: Path) -> None:
    """Rename *journal*, unless jobs in it are unfinished: those are raised."""
    if not journal.exists():
        return
    with finished(journal):
        names = (
            journal.with_name(f"{journal.stem}-{number}{journal.suffix}")
            for number in itertools.count(1)
        )
        journal.replace(next(name for name in names if not name.exists()))


@contextlib.contextmanager
def finished(journal: Path) -> Iterator[None]:
    """Lock *journal*; raise :exc:`ConfigurationError` with its unfinished jobs."""
    lock = FolderLock(journal.with_name("lock"))
    with contextlib.closing(lock):
        with contextlib.closing(Journal.open(journal, locking=lock.is_real)) as old:
            _check_finished(old)
        yield


def _check_finished(journal: Journal) -> None:
    found = (record for record in _open(journal) if record.key.server != LOCAL)
    first = list(itertools.islice(found, _SHOWN))
    if not first:
        return
    others = list(found)
    lines = [*map(_line, first), *([f"  and {len(others)} more"] if others else [])]
    advice = ["Run the command without --fresh first: it fetches what is paid."]
    if any(record.task_id is None for record in (*first, *others)):
        advice.append(f"To find out about the unknown ones: {unknown_advice()}.")
    raise ConfigurationError(
        "--fresh would forget swaps that are paid, or may be:\n"
        + "\n".join((*lines, *advice))
    )


def _open(journal: Journal) -> Iterator[JobRecord]:
    after = 0
    while records := journal.open_records(None, after):
        after = records[-1].id
        yield from records


def _line(record: JobRecord) -> str:
    if record.task_id is not None:
        return f"  {record.label}: the result of task {record.task_id} is not saved"
    request = record.request_ids[-1] if record.request_ids else "none"
    return f"  {record.label}: may have been paid (request id: {request})"


def _dry_run(
    options: SwapArguments,
    batch: BatchOptions,
    orders: OrderList,
    printer: OutcomePrinter,
) -> int:
    """Print what a run would do with each order, and return how many it would send."""
    path = None if options.fresh else batch.journal_path
    server = batch.server_name(server_of(options))
    swaps = 0
    with contextlib.closing(Journal.rehearsal(path)) as journal:
        preflight = Preflight(batch, server, journal.start_run(0))
        left = iter(orders)
        while few := list(itertools.islice(left, _AT_ONCE)):
            inspections = preflight.inspect(few)
            jobs = preflight.register(journal, inspections)
            for checked in preflight.plan(inspections, jobs):
                if checked.job is not None and checked.outcome is None:
                    swaps += checked.job.step is Step.SUBMIT
                    planned = checked.job.outcome("skipped")
                    planned = attrs.evolve(planned, output=checked.job.output_path)
                    printer.print(planned, Kind.PLANNED)
                else:
                    printer.print(checked.left_over())
    printer.finish()
    return swaps


@attrs.define
class _SwapCommand:
    """The part of the command that talks to a server, if only about the balance."""

    options: SwapArguments
    batch: BatchOptions
    orders: OrderList
    display: Display
    tally: Tally
    printer: OutcomePrinter
    source: Image | None  # of all pairs
    run: BatchRun | None = None
    error: EzlinkError | None = None
    interrupted: bool = False
    interrupts: Interrupts = attrs.field(init=False)

    def rehearse(self) -> int:
        """Print what a run would do and cost, and return the exit code."""
        options, display = self.options, self.display
        swaps = _dry_run(options, self.batch, self.orders, self.printer)
        if options.budget is not None and options.budget < swaps:
            display.note(f"the budget leaves out {_swaps(swaps - options.budget)}")
            swaps = options.budget
        display.note(f"{_swaps(swaps)} would be paid for")
        if not swaps or options.local:
            return self.printer.exit_code
        self._warn_of_face()
        if settings_sources().text("api_key"):
            display.note(asyncio.run(self._quote()).describe(swaps))
        return self.printer.exit_code

    def execute(self) -> int:
        """Swap and print all pairs, and return the exit code."""
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
            asyncio.run(self._swap())
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
        found = estimate(self.orders, self.batch, server, forgotten)
        self.tally.total += found.outside
        self.tally.idle = found.idle
        self.display.inform(str(found))
        if options.local or not found.swaps:
            return True
        self.display.inform(asyncio.run(self._quote()).describe(found.swaps))
        doubtful = self._warn_of_face()
        if options.yes or not (again or doubtful or found.swaps > _MANY):
            return True
        return agree(f"Pay for {_swaps(found.swaps)}{' again' if again else ''}?")

    def _warn_of_face(self) -> bool:
        """Say if the face of the source may not do, and return whether that is so."""
        doubt = None if self.source is None else doubt_about_face(self.source)
        if doubt is not None:
            self.display.note(shown(doubt), "yellow")
        return doubt is not None

    async def _quote(self) -> Quote:
        async with connect(self.options) as ez:
            return await quote(ez, self.batch.journal_path)

    async def _swap(self) -> None:
        # Warnings name task ids, and those of the built-in server end with it.
        level = logging.ERROR if self.options.local else logging.WARNING
        with (
            Interrupts(self._halt) as self.interrupts,
            logs_shown_on(self.display, level),
            # Only the second signal cancels this task.
            contextlib.suppress(asyncio.CancelledError),
        ):
            async with (
                connect(self.options) as ez,
                BatchRun(ez, OrderReader(self.orders), self.batch) as self.run,
                _ticking(self._update),
            ):
                if self.interrupted:
                    self.run.halt()
                async for outcome in self.run:
                    self._count()
                    self._print(outcome)

    def _print(self, outcome: BatchOutcome) -> None:
        given = self.orders.as_given(outcome)
        self.printer.print(given or outcome)

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
        self.display.note(f"Stopping. {_in_words(waits)}{again}.", "yellow")

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
        resume = self.interrupted or (summary.resumable and self.error is None)
        self.printer.finish(self.batch.command if resume else None, summary.charges)

    def _unread(self) -> Iterator[BatchOutcome]:
        if self.run is None:
            return map(skipped, self.orders)
        return self.run.unread()


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


def _in_words(waits: Waits) -> str:
    """Return what a halted run waits for, and how long at most."""
    stages = {
        "running at the server": waits.running,
        "being sent": waits.sending,
        "being saved": waits.saving,
    }
    words = [f"{count} {stage}" for stage, count in stages.items() if count]
    if not words:
        return "Nothing is in progress"
    words[0] = words[0].replace(" ", " swap " if words[0][:2] == "1 " else " swaps ", 1)
    return f"Waiting up to {_lasts(waits.seconds)} for {' and '.join(words)}"


def _lasts(seconds: float) -> str:
    if seconds <= _TWO_MINUTES:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min"


def _swaps(count: int) -> str:
    return "1 swap" if count == 1 else f"{count:,} swaps"
