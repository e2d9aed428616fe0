"""``ezlink swap``: decide what to send, send it, say what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs

from ezlink_async import disk
from ezlink_async.cli.connect import Connection, connect, ready
from ezlink_async.cli.display import Display, Lines, display_for
from ezlink_async.cli.interrupts import Interrupts
from ezlink_async.cli.logs import noted
from ezlink_async.cli.outputs import Existing, Job, is_whole, obstacle, plan
from ezlink_async.cli.results import Result, Tally, named
from ezlink_async.cli.run import Order, SwapRun
from ezlink_async.cli.targets import Found, Mark, find, marks_of
from ezlink_async.cli.telling import Teller
from ezlink_async.errors import ConfigurationError, EzlinkError
from ezlink_async.images import Image


@attrs.frozen(kw_only=True)
class SwapOrder:
    """What the user asked for, apart from the way it is shown."""

    source: Path
    targets: Sequence[Path]
    output: Path
    connection: Connection
    mode: str | None = None
    existing: Literal["skip", "replace"] = "skip"
    dry_run: bool = False
    max_failures: int | None = None
    as_json: bool = False

    def go_on(self, *task_ids: str) -> str:
        """Say how to take up tasks."""
        if self.connection.local:
            return "swap it again: the built-in server is gone with this command"
        folder = shlex.quote(str(self.output))
        return (
            f"take it up with: ezlink task {' '.join(task_ids)} --output {folder}"
            f"{self.connection.again}"
        )


@attrs.frozen
class _Decided:
    """What to send, and what needs no sending."""

    found: Found
    jobs: list[Job]
    settled: list[Result]


def swap(order: SwapOrder) -> int:
    """Do it, and return the exit code."""
    decided = _decide(order)
    if decided.jobs and not order.dry_run:
        ready(order.connection, ", or try --local, which needs none")
    tally = Tally(len(decided.jobs) + len(decided.settled))
    display = Lines(counting=False) if order.dry_run else display_for(tally)
    with display:
        teller = Teller(display, tally, as_json=order.as_json)
        if decided.found.left_out:
            display.note(str(decided.found))
        for result in decided.settled:
            teller.tell(result)
        if order.dry_run or not decided.jobs:
            return _list(decided.jobs, teller)
        return _Work(order, decided.jobs, display, teller).through()


def _decide(order: SwapOrder) -> _Decided:
    """Look at the disk only; :exc:`EzlinkError` when nothing can be done at all."""
    disk.prepare(Image.from_path(order.source))
    if blocked := obstacle(order.output):
        raise ConfigurationError(f"results cannot go to {order.output}: {blocked}")
    found = find(order.targets, source=order.source, output=order.output)
    own = marks_of([order.source, *(target.path for target in found.targets)])
    existing = Existing()
    decided = _Decided(found, [], [])
    for job in plan(found.targets, order.output):
        there = existing.at(job.place)
        if says := _refusal(order, job, there, own):
            decided.settled.append(
                Result(target=job.target, status="failed", error=says)
            )
        elif order.existing == "skip" and (
            whole := next(filter(is_whole, there), None)
        ):
            decided.settled.append(
                Result(target=job.target, status="skipped", output=whole)
            )
        else:
            decided.jobs.append(job)
    return decided


def _refusal(
    order: SwapOrder, job: Job, there: Sequence[Path], own: set[Mark]
) -> str | None:
    """Return why *job* is not even begun; a dry run looks as the client would."""
    try:
        if blocked := obstacle(job.place.parent):
            raise ConfigurationError(f"nothing can be saved: {blocked}")
        for path in there:
            if path.is_dir():
                raise ConfigurationError(f"the result would replace the folder {path}")
            if marks_of([path]) & own:
                raise ConfigurationError(
                    f"the result would replace {path}, a picture that was given: "
                    "choose another --output"
                )
        if order.dry_run:
            source = disk.prepare(Image.from_path(order.source))
            asyncio.run(disk.prepare_other(Image.from_path(job.target), source))
    except EzlinkError as error:
        return named(error)
    return None


def _list(jobs: Sequence[Job], teller: Teller) -> int:
    """Tell what would be sent."""
    for job in jobs:
        teller.tell(Result(target=job.target, status="planned", output=job.place))
    teller.end()
    return teller.exit_code


@attrs.define
class _Work:
    """The part of the command that talks to a server."""

    order: SwapOrder
    jobs: Sequence[Job]
    display: Display
    teller: Teller

    def through(self) -> int:
        """Swap all, tell all, and return the exit code."""
        order = self.order
        run = SwapRun(
            Order(
                source=order.source,
                jobs=self.jobs,
                mode=order.mode,
                max_failures=order.max_failures,
                go_on=order.go_on,
                free=order.connection.local,
            ),
            self.teller.tell,
        )
        interrupted = False
        try:
            interrupted = asyncio.run(self._work(run))
        except EzlinkError as error:  # on entering: nothing was sent
            run.doom = error
            run.halt(named(error))
        finally:
            run.settle()
            self.teller.end()
            if run.left_over and not order.connection.local:
                says = f"not brought home: {order.go_on(*run.left_over)}"
                self.display.note(says, "yellow")
        if interrupted:
            return 130
        if run.doom is not None and not run.accepted:
            return 2
        return self.teller.exit_code

    async def _work(self, run: SwapRun) -> bool:
        """Return whether it was interrupted."""

        def wind_down() -> None:
            run.halt("Interrupted: the same command goes on with it")
            self.display.note(
                f"nothing more is sent; waiting for {run.in_progress} in progress "
                "(once more leaves at once)",
                "yellow",
            )

        # An id of the built-in server is of no use after it.
        least = logging.ERROR if self.order.connection.local else logging.WARNING
        with Interrupts(wind_down) as interrupts, noted(self.display, least):
            # Nothing but the second signal cancels this.
            with contextlib.suppress(asyncio.CancelledError):
                async with connect(self.order.connection) as ez:
                    await run.run(ez)
            return interrupts.count > 0
