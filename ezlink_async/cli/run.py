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
from ezlink_async.intake import DOOMS_THE_REST
from ezlink_async.outcomes import SwapOutcome
from ezlink_async.stream import SwapStream
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
    it ended, and *left_over* are the ids of tasks that were not brought home.
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
        self.left_over: list[str] = []
        self._coming_home: dict[Job, TaskHandle] = {}
        self._swaps: SwapStream | None = None

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
        swaps = ez.swap_faces(order.source, self._intake(), mode=order.mode)
        self._swaps = swaps
        try:
            async with swaps, asyncio.TaskGroup() as saves:
                await self._read(swaps, saves)
        finally:
            swaps.dropped()  # will be told here, so not in the log

    def settle(self) -> None:
        """
        End what has not ended, once the client is closed.

        Only then it is known what became of submits that were under way.
        """
        dropped = self._swaps.dropped() if self._swaps is not None else ()
        stands = {cast("Job", outcome.target): outcome for outcome in dropped}
        for job in tuple(self._open):
            self._end(job, self._left(job, stands.get(job)))

    def _left(self, job: Job, outcome: SwapOutcome | None) -> Result:
        """Return how *job* is left, by what its *outcome* knows of it."""
        why = self._halted or "Interrupted: nothing was sent"
        error = outcome.error if outcome else None
        handle = outcome.handle if outcome else self._coming_home.get(job)
        task_id = handle.task_id if handle else None
        if error is not None:
            task_id = task_id or error.task_id
        result = Result(target=job.target, status="failed", error=why, told_once=True)
        if task_id is not None and not self._order.free:
            self.left_over.append(task_id)
            says = f"Interrupted: not saved yet; {self._order.go_on(task_id)}"
            return attrs.evolve(result, task_id=task_id, error=says, told_once=False)
        if self._order.free and job in self.taken:
            return result
        if error is not None and error.maybe_charged:
            return attrs.evolve(
                result,
                status="unknown",
                error=named(error),
                maybe_charged=True,
                request_id=error.request_id,
            )
        return attrs.evolve(result, status="skipped", told_once=False)

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
                handle = cast("TaskHandle", outcome.handle)  # without an error
                self._coming_home[job] = handle
                await self._room.acquire()
                saves.create_task(self._bring_home(job, handle))
        except EzlinkError as doom:
            self.doom = self.doom or doom
            self.halt(named(doom))

    async def _bring_home(self, job: Job, handle: TaskHandle) -> None:
        try:
            path = await handle.save_fitting(job.place)
        except EzlinkError as error:
            self._failed(job, handle, error)
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
        self._coming_home.pop(job, None)
        self._tell(result)
