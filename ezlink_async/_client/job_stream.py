"""
Many jobs as one stream of outcomes, in order of arrival.

The pipeline takes a job only while fewer than ``max_concurrency`` of them are in
progress or wait to be read, so a slow reader stops the intake. It holds no
reference to the stream, so an abandoned stream is collected, and that stops the
intake too.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Generic, Protocol, Self, TypeVar, cast

import attrs

from ezlink_async._client.handle import AnyHandle
from ezlink_async._client.outcomes import Outcome
from ezlink_async._core.log_lines import get_logger
from ezlink_async._io.concurrency import BackgroundTasks, cancel_and_wait
from ezlink_async.errors import (
    FATAL_ERRORS,
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    SubmitUnknownError,
)
from ezlink_async.services.base import AnyRecord, JobRequest

AnyRequest = JobRequest[AnyRecord]

AnyOutcome = Outcome[AnyRequest, AnyRecord]

GivenT = TypeVar("GivenT")

OutcomeT = TypeVar("OutcomeT")

OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)


@attrs.define(eq=False)
class PendingJob:
    """
    One job that has begun, as it was *given*; says at any time how it stands.

    It observes its own submit, so the id is known even if the server accepted
    the job after the caller had left.
    """

    given: object
    target: object
    handle: AnyHandle | None = None
    record: AnyRecord | None = None
    left: bool = False  # dropped during its submit, which logs how it ends
    _request_id: str | None = None  # of the latest attempt
    _task_id: str | None = None
    _error: EzlinkError | None = None

    async def before_submit(self, request_id: str, state: str | None) -> None:
        """Count as unknown until the answer arrives."""
        del state
        self._request_id, self._error = request_id, None

    def accepted(self, task_id: str) -> None:
        """Keep the id."""
        self._task_id, self._error = task_id, None

    def refused(self, error: EzlinkError) -> None:
        """Keep the error: no job exists."""
        self.fail(error)

    def unknown(self, error: EzlinkError) -> None:
        """Keep the error: the job may exist, and may be paid."""
        self.fail(error)

    def fail(self, error: EzlinkError) -> None:
        """Keep the error that ended this job."""
        self._error = error

    @property
    def error(self) -> EzlinkError:
        """Why there is no record; made on first use."""
        if self._error is None:
            self._error = self._unfinished()
        return self._error

    def _unfinished(self) -> EzlinkError:
        if self._task_id is not None:
            return ClientClosedError(
                f"the stream was closed; task {self._task_id} runs on at the server",
                task_ids=(self._task_id,),
            )
        if self._request_id is not None:
            return SubmitUnknownError(
                "the stream was closed while the server had the job but had not "
                "answered: it may have been created and paid",
                request_id=self._request_id,
                target=self.target,
            )
        return ClientClosedError("nothing was sent", retry_safe=True)

    def crash(self, bug: Exception) -> None:
        """Wrap an exception of another kind; ids and money facts are kept."""
        known = self.error
        error = EzlinkError(
            f"{type(bug).__name__}: {bug}",
            task_id=known.task_id,
            request_id=known.request_id,
            retry_safe=known.retry_safe,
            maybe_charged=known.maybe_charged,
        )
        error.__cause__ = bug
        self.fail(error)

    @property
    def paid_trace(self) -> str | None:
        """Task or request by which to find a job that is paid, or may be."""
        handle, error = self.handle, self.error
        if self.left or (handle is not None and handle.was_awaited):
            return None
        task_id = handle.task_id if handle is not None else error.task_id
        if task_id is not None:
            return f"task {task_id}"
        return f"request {error.request_id}" if error.maybe_charged else None


_log = get_logger()

_DRAIN = 0.25  # seconds a closing client waits for outcomes that are almost there


class Intake(Protocol[GivenT, OutcomeT_co]):
    """The jobs of one stream: how they are taken, asked for, and given back."""

    name: str
    """The call that made the stream, for log lines."""

    async def ready(self) -> None:
        """Prepare what all jobs share, before the first is taken."""
        return

    async def take(self) -> GivenT:
        """Take the next one; :exc:`StopAsyncIteration` after the last."""
        ...

    def request(self, given: GivenT) -> AnyRequest:
        """Return the job request of what was *given*, or raise what is wrong."""
        ...

    def target(self, given: GivenT) -> object:
        """Return what a submit with an unknown outcome names."""
        ...

    def label(self, given: GivenT) -> str:
        """Return the name of what was *given* in log lines."""
        ...

    def outcome(
        self,
        given: GivenT,
        handle: AnyHandle | None,
        record: AnyRecord | None,
        error: EzlinkError | None,
    ) -> OutcomeT_co:
        """Return how the job of what was *given* has ended."""
        ...


class Submit(Protocol):
    """Submits one request, which *observer* is notified of."""

    async def __call__(self, request: AnyRequest, *, observer: PendingJob) -> AnyHandle:
        """Return the handle of the accepted job."""
        ...


class JobPipeline(Generic[GivenT, OutcomeT]):
    """
    Takes jobs from *intake*, submits each, and keeps the outcomes until they are read.

    At most *window* jobs are in progress or wait to be read.
    """

    def __init__(
        self,
        intake: Intake[GivenT, OutcomeT],
        submit: Submit,
        background: BackgroundTasks,
        window: int,
    ) -> None:
        self._intake = intake
        self._submit = submit
        self._window = window
        self._background = background
        self._running: dict[PendingJob, asyncio.Task[None]] = {}
        self._ready: collections.deque[PendingJob] = collections.deque()
        self._dropped: list[PendingJob] = []
        self._changed = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._over = False
        self._end: BaseException | None = None
        self._readers = 0
        self._has_reader = False
        self._reported = False

    async def next(self) -> OutcomeT:
        """Return the next outcome; the error that stopped the intake comes last."""
        if self._taking is None and not self._over:
            self._taking = self._background.start(self._take_in())
        self._readers += 1
        try:
            while not self._ready:
                if self._over and not self._running:
                    raise self._ending()
                await self._changed.wait()
        finally:
            self._readers -= 1
        job = self._ready.popleft()
        self._notify()
        return self._outcome(job)

    def _outcome(self, job: PendingJob) -> OutcomeT:
        """Return the outcome; of an unfinished job, as it stands now."""
        error = None if job.record is not None else job.error
        given = cast("GivenT", job.given)
        return self._intake.outcome(given, job.handle, job.record, error)

    def dropped(self) -> tuple[OutcomeT, ...]:
        """Return the unread outcomes as they stand now, and log them no more."""
        self._reported = True
        return tuple(map(self._outcome, self._dropped))

    def _label(self, job: PendingJob) -> str:
        return self._intake.label(cast("GivenT", job.given))

    async def close(self) -> None:
        """Stop the intake, cancel unsent jobs, and wait for both."""
        await self._cancel(self._drop())

    def abandon(self) -> None:
        """Do as :meth:`close` does, without waiting: the stream was collected."""
        self._has_reader = False
        with contextlib.suppress(ClientClosedError):
            self._background.start_soon(self._cancel(self._drop()))
        self.log_unread()

    async def drain(self) -> None:
        """Stop the intake and collect outcomes: the client is closing."""
        if self._running or not self._over:
            self._stop(ClientClosedError())
        self._has_reader = self._readers > 0
        if self._running:
            # Bounded: one of these tasks may be the one that closes the client.
            await asyncio.wait(self._running.values(), timeout=_DRAIN)
        for job in tuple(self._running):
            self._finish(job)

    def log_unread(self) -> None:
        """Log, once, the unread outcomes that are paid or may be."""
        unread = [
            f"{trace} (target {self._label(job)})"
            for job in (*self._dropped, *self._ready)
            if (trace := job.paid_trace)
        ]
        if unread and not self._reported and not self._has_reader:
            self._reported = True
            _log.warning(
                "%d outcomes of %s() were not read; their tasks are paid or "
                "may be: %s. Resume one with client.task(id).",
                len(unread),
                self._intake.name,
                ", ".join(unread),
            )

    async def _take_in(self) -> None:
        try:
            await self._intake.ready()
            while not self._over:
                if len(self._running) + len(self._ready) >= self._window:
                    await self._changed.wait()
                    continue
                try:
                    given = await self._intake.take()
                except StopAsyncIteration:
                    return
                if not self._over:  # a fatal error may have come meanwhile
                    self._begin(given)
        except BaseException as error:
            # A CancelledError that was not requested is an error of the iterable:
            # it does not end the stream quietly but is raised to the reader.
            if not _is_requested(error):
                self._stop(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._over = True
            self._notify()

    def _begin(self, given: GivenT) -> None:
        job = PendingJob(given, self._intake.target(given))
        self._running[job] = self._background.start(self._one(given, job))

    async def _one(self, given: GivenT, job: PendingJob) -> None:
        try:
            await asyncio.sleep(0)  # an eager task would end before it is registered
            request = self._intake.request(given)
            job.handle = await self._submit(request, observer=job)
            job.record = await job.handle.wait()
        except EzlinkError as error:
            job.fail(error)
            if isinstance(error, FATAL_ERRORS):
                self._stop(error)
                self._interrupt()
        except Exception as bug:  # noqa: BLE001 - each job has an outcome
            job.crash(bug)
        finally:
            self._finish(job)

    def _finish(self, job: PendingJob) -> None:
        """Queue the outcome, unless it was dropped."""
        if self._running.pop(job, None) is not None:
            self._ready.append(job)
            self._notify()

    def _stop(self, end: BaseException) -> None:
        """Stop the intake; the first *end* is raised after the last outcome."""
        self._over = True
        self._end = end if self._end is None else self._end
        self._notify()

    def _interrupt(self) -> None:
        """Cancel the wait for a further target, which may never come."""
        if self._taking is not None and self._taking not in self._background.exempt:
            self._taking.cancel()

    def _drop(self) -> list[asyncio.Task[None]]:
        """Drop all unread jobs, and return the tasks to cancel."""
        left = list(self._running.values())
        if self._taking is not None and self._taking not in self._background.exempt:
            left.append(self._taking)
        for job in self._running:
            job.left = job.handle is None
        self._dropped += [*self._ready, *self._running]
        self._running.clear()
        self._ready.clear()
        self._over, self._end = True, StopAsyncIteration()
        self._notify()
        return left

    async def _cancel(self, left: list[asyncio.Task[None]]) -> None:
        # Tasks that ignore their cancellation are in the log; closing skips them.
        self._background.exempt |= await cancel_and_wait(left)

    def _ending(self) -> BaseException:
        """Return the exception that ends the iteration."""
        end, self._end = self._end, StopAsyncIteration()
        if isinstance(end, EzlinkError):
            return end.for_awaiter()  # an outcome has the same error
        return end or StopAsyncIteration()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _is_requested(error: BaseException) -> bool:
    this = asyncio.current_task()
    cancelled = this is not None and this.cancelling() > 0
    return cancelled and isinstance(error, asyncio.CancelledError)


class JobStream(AsyncIterator[OutcomeT]):
    """
    The outcomes of ``submit_all()``, in the order in which jobs end.

    It is also an async context manager: leaving it stops the intake at once and
    cancels unsent jobs; accepted tasks stay in ``pending()``. A stream that is
    garbage-collected is left in the same way.
    """

    def __init__(self, pipeline: JobPipeline[GivenT, OutcomeT]) -> None:
        self._pipeline = pipeline
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _abandon, loop, pipeline).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> OutcomeT:
        """Return the next outcome; a fatal error is raised after the last one."""
        return await self._pipeline.next()

    async def aclose(self) -> None:
        """Stop the intake, cancel unsent jobs, and wait for both."""
        await self._pipeline.close()

    def dropped(self) -> tuple[OutcomeT, ...]:
        """
        Return the outcomes that were not read before the stream was closed.

        Each is given as it stands now: the :exc:`ClientClosedError` of an accepted
        task carries its id, even if the acceptance came after the close. Without
        this call the log names every job that is paid or may be.
        """
        return self._pipeline.dropped()


AnyPipeline = JobPipeline[AnyRecord, AnyRecord]


def _abandon(loop: asyncio.AbstractEventLoop, pipeline: AnyPipeline) -> None:
    # The last reference may go in another thread, or after the loop has closed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(pipeline.abandon)


class Items(Generic[GivenT]):
    """The items of an iterable or an async iterable, one at a time."""

    def __init__(self, items: Iterable[GivenT] | AsyncIterable[GivenT]) -> None:
        self._async = aiter(items) if isinstance(items, AsyncIterable) else None
        self._plain = iter(items) if isinstance(items, Iterable) else iter(())

    async def take(self) -> GivenT:
        """Take the next one; :exc:`StopAsyncIteration` after the last."""
        if self._async is not None:
            return await anext(self._async)
        for item in self._plain:
            return item
        raise StopAsyncIteration


class Requests(Intake[AnyRequest, AnyOutcome]):
    """The job requests of ``submit_all()``, from an iterable of any kind."""

    name = "submit_all"

    def __init__(
        self,
        requests: Iterable[AnyRequest] | AsyncIterable[AnyRequest],
    ) -> None:
        if not isinstance(requests, Iterable | AsyncIterable):
            raise ConfigurationError(
                "requests is an iterable of job requests such as Imagine('a fox'), "
                f"not {type(requests).__name__}"
            )
        self._items = Items(requests)

    async def take(self) -> AnyRequest:
        """Take the next request."""
        return await self._items.take()

    def request(self, given: AnyRequest) -> AnyRequest:
        """Return the request as it is; :exc:`ConfigurationError` if it is none."""
        if not isinstance(given, JobRequest):
            raise ConfigurationError(f"this is no job request: {given!r:.200}")
        return given

    def target(self, given: AnyRequest) -> object:
        """Return the request itself."""
        return given

    def label(self, given: AnyRequest) -> str:
        """Return the request's own label."""
        return given.label

    def outcome(
        self,
        given: AnyRequest,
        handle: AnyHandle | None,
        record: AnyRecord | None,
        error: EzlinkError | None,
    ) -> AnyOutcome:
        """Return how the job of this request has ended."""
        return Outcome(given, handle, record, error)
