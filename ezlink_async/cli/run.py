"""
The swap loop: targets in, outcomes out, results home.

Rules:

1. Every job ends as exactly one result, whatever happens; what was not taken
   in ends as ``skipped`` and says why.
2. Results are saved beside the reading of outcomes, a bounded number at once,
   so that a slow disk or download stops the intake and not the polling.
3. Winding down stops the intake; what the server has is brought home.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import attrs

from ezlink_async import AsyncEzlink
from ezlink_async.cli.outputs import Job
from ezlink_async.cli.results import Result, named
from ezlink_async.errors import (
    EzlinkError,
    TaskError,
    TaskTimeoutError,
    TransportError,
)
from ezlink_async.stream import DOOMS_THE_REST, SwapStream
from ezlink_async.tasks import TaskHandle

_SAVES_AT_ONCE = 8
_NO_WAY_THERE = frozenset({"connect", "tls"})


@attrs.frozen(kw_only=True)
class Order:
    """
    What a run is to do.

    *go_on* says how to take up a task by its id; *free* that nobody pays.
    """

    source: Path
    jobs: Sequence[Job]
    mode: str | None
    max_failures: int | None
    go_on: Callable[[str], str]
    free: bool = False


class SwapRun:
    """
    One run over many jobs; *tell* is called with each result as it comes.

    Afterwards *doom* is what stands in the way of every job, if that is why
    it ended, and *left_running* are ids whose job is not known any more.
    """

    def __init__(self, order: Order, tell: Callable[[Result], None]) -> None:
        self._order = order
        self._tell = tell
        self._open: dict[Job, None] = dict.fromkeys(order.jobs)
        self._failures = 0
        self._halted: str | None = None
        self._room = asyncio.Semaphore(_SAVES_AT_ONCE)
        self.accepted = False
        self.doom: EzlinkError | None = None
        self.taken: set[Job] = set()
        self.left_running: tuple[str, ...] = ()

    def halt(self, why: str) -> None:
        """Take in nothing more; *why* becomes the error of what is left over."""
        self._halted = self._halted or why

    @property
    def in_progress(self) -> int:
        """How many jobs were taken in and have not ended."""
        return len(self.taken & self._open.keys())

    async def run(self, ez: AsyncEzlink) -> None:
        """Work until every job has ended; cancelling it leaves at once."""
        order = self._order
        try:
            async with (
                ez.swap_faces(order.source, self._intake(), mode=order.mode) as swaps,
                asyncio.TaskGroup() as saves,
            ):
                await self._read(swaps, saves)
        finally:
            self.left_running = tuple(
                handle.task_id for handle in ez.pending() if not handle.done()
            )

    def settle(self) -> None:
        """End what has not ended: jobs not taken in, and jobs lost sight of."""
        why = self._halted or "Interrupted: nothing was sent"
        for job in tuple(self._open):
            if job not in self.taken:
                end = Result(target=job.target, status="skipped", error=why)
            elif self._order.free:
                end = Result(
                    target=job.target, status="failed", error=why, told_once=True
                )
            else:
                end = Result(
                    target=job.target,
                    status="unknown",
                    error="Interrupted: it may have been sent, and may be paid",
                    maybe_charged=True,
                    told_once=True,
                )
            self._end(job, end)

    def _intake(self) -> Iterator[Job]:
        for job in self._order.jobs:
            if self._halted is not None:
                return
            self.taken.add(job)
            yield job

    async def _read(self, swaps: SwapStream, saves: asyncio.TaskGroup) -> None:
        try:
            async for outcome in swaps:
                job = cast("Job", outcome.target)
                self.accepted = self.accepted or outcome.handle is not None
                if outcome.error is not None:
                    self._failed(job, outcome.handle, outcome.error)
                    continue
                await self._room.acquire()
                handle = cast("TaskHandle", outcome.handle)  # without an error
                saves.create_task(self._bring_home(job, handle))
        except EzlinkError as doom:
            self.doom = self.doom or doom
            self.halt(named(doom))

    async def _bring_home(self, job: Job, handle: TaskHandle) -> None:
        try:
            path = await handle.save_fitting(job.place)
        except EzlinkError as error:
            self._failed(job, handle, error)
        except asyncio.CancelledError:
            says = f"Interrupted: not saved yet; {self._order.go_on(handle.task_id)}"
            lost = Result(
                target=job.target,
                status="failed",
                task_id=handle.task_id,
                error=says,
            )
            self._end(job, lost)
            raise
        else:
            good = Result(
                target=job.target,
                status="succeeded",
                output=path,
                task_id=handle.task_id,
            )
            self._end(job, good)
        finally:
            self._room.release()

    def _failed(self, job: Job, handle: TaskHandle | None, error: EzlinkError) -> None:
        task_id = error.task_id or (handle.task_id if handle else None)
        self.accepted = self.accepted or error.maybe_charged
        no_way = (
            not self.accepted
            and isinstance(error, TransportError)
            and error.stage in _NO_WAY_THERE
        )
        doomed = isinstance(error, DOOMS_THE_REST) and task_id is None
        result = Result(
            target=job.target,
            status="unknown" if error.maybe_charged else "failed",
            task_id=task_id,
            error=named(error, self._sentence(error, task_id)),
            maybe_charged=error.maybe_charged,
            request_id=error.request_id,
            told_once=doomed or no_way,
        )
        self._end(job, result)
        self._failures += 1
        limit = self._order.max_failures
        if limit is not None and self._failures >= limit:
            self.halt(f"TooManyFailures: the intake stopped after {limit}")
        if no_way:
            self.doom = self.doom or error
            self.halt(named(error))

    def _sentence(self, error: EzlinkError, task_id: str | None) -> str:
        """Return what *error* says to somebody at a command line."""
        over = isinstance(error, TaskError) and not isinstance(error, TaskTimeoutError)
        if task_id is None or over:
            return str(error)
        says = str(error)
        if isinstance(error, TaskTimeoutError):  # its own words are for programs
            word = str(error.record.status) if error.record else ""
            says = f"task {task_id} is not finished (last status: {word or 'none'})"
        return f"{says}; {self._order.go_on(task_id)}"

    def _end(self, job: Job, result: Result) -> None:
        del self._open[job]
        self._tell(result)
