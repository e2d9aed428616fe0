"""
``swap_faces()``: many swaps as one stream of outcomes, in order of arrival.

The pipeline takes a target only while fewer than ``max_concurrency`` swaps are
in progress or wait to be read, so a slow reader stops the intake. It holds no
reference to the stream, so an abandoned stream is collected, and that stops the
intake too.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, Self, cast

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.outcomes import SwapOutcome, TargetT_co
from ezlink_async._core.images import Image, ImageLike
from ezlink_async._core.log_lines import get_logger
from ezlink_async._io.concurrency import BackgroundTasks, cancel_and_wait
from ezlink_async.errors import (
    FATAL_ERRORS,
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    SubmitUnknownError,
)
from ezlink_async.models import TaskRecord


@attrs.define(eq=False)
class PendingSwap:
    """
    One target whose swap has begun; says at any time how it stands.

    It observes its own submit, so the id is known even if the server accepted
    the job after the caller had left.
    """

    source: ImageLike
    target: ImageLike
    handle: FollowedHandle | None = None
    record: TaskRecord | None = None
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
        """Keep the error that ended this swap."""
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
    def outcome(self) -> SwapOutcome:
        """The outcome; of an unfinished swap, as it stands now."""
        error = None if self.record is not None else self.error
        return SwapOutcome(self.source, self.target, self.handle, self.record, error)

    @property
    def paid_trace(self) -> str | None:
        """Task or request by which to find a swap that is paid, or may be."""
        handle, error = self.handle, self.error
        if self.left or (handle is not None and handle.was_awaited):
            return None
        task_id = handle.task_id if handle is not None else error.task_id
        if task_id is not None:
            return f"task {task_id} (target {Image.of(self.target)!r})"
        if error.maybe_charged:
            return f"request {error.request_id} (target {Image.of(self.target)!r})"
        return None


_log = get_logger()

_DRAIN = 0.25  # seconds a closing client waits for outcomes that are almost there

Pair = tuple[ImageLike, ImageLike]


Swap = Callable[[ImageLike, ImageLike, PendingSwap], Awaitable[FollowedHandle]]


class SwapPipeline:
    """
    Takes *pairs*, swaps each, and keeps the outcomes until they are read.

    At most *window* swaps are in progress or wait to be read. *ready* is awaited
    before the first pair is taken.
    """

    def __init__(
        self,
        pairs: AsyncIterator[Pair],
        swap: Swap,
        background: BackgroundTasks,
        window: int,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._pairs = pairs
        self._swap = swap
        self._window = window
        self._background = background
        self._prepare = ready
        self._running: dict[PendingSwap, asyncio.Task[None]] = {}
        self._ready: collections.deque[PendingSwap] = collections.deque()
        self._dropped: list[PendingSwap] = []
        self._changed = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._over = False
        self._end: BaseException | None = None
        self._readers = 0
        self._has_reader = False
        self._reported = False

    async def next(self) -> SwapOutcome:
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
        swap = self._ready.popleft()
        self._notify()
        return swap.outcome

    def dropped(self) -> tuple[SwapOutcome, ...]:
        """Return the unread outcomes as they stand now, and log them no more."""
        self._reported = True
        return tuple(swap.outcome for swap in self._dropped)

    async def close(self) -> None:
        """Stop the intake, cancel unsent swaps, and wait for both."""
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
        for swap in tuple(self._running):
            self._finish(swap)

    def log_unread(self) -> None:
        """Log, once, the unread outcomes that are paid or may be."""
        traces = [swap.paid_trace for swap in (*self._dropped, *self._ready)]
        unread = [trace for trace in traces if trace]
        if unread and not self._reported and not self._has_reader:
            self._reported = True
            _log.warning(
                "%d outcomes of swap_faces() were not read; their tasks are paid or "
                "may be: %s. Resume one with client.task(id).",
                len(unread),
                ", ".join(unread),
            )

    async def _take_in(self) -> None:
        try:
            await self._prepare()
            while not self._over:
                if len(self._running) + len(self._ready) >= self._window:
                    await self._changed.wait()
                    continue
                pair = await anext(self._pairs, None)
                if pair is None:
                    return
                if not self._over:  # a fatal error may have come meanwhile
                    self._begin(*pair)
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

    def _begin(self, source: ImageLike, target: ImageLike) -> None:
        swap = PendingSwap(source, target)
        self._running[swap] = self._background.start(self._one(swap))

    async def _one(self, swap: PendingSwap) -> None:
        try:
            await asyncio.sleep(0)  # an eager task would end before it is registered
            swap.handle = await self._swap(swap.source, swap.target, swap)
            swap.record = await swap.handle.wait()
        except EzlinkError as error:
            swap.fail(error)
            if isinstance(error, FATAL_ERRORS):
                self._stop(error)
                self._interrupt()
        except Exception as bug:  # noqa: BLE001 - each target has an outcome
            swap.crash(bug)
        finally:
            self._finish(swap)

    def _finish(self, swap: PendingSwap) -> None:
        """Queue the outcome, unless it was dropped."""
        if self._running.pop(swap, None) is not None:
            self._ready.append(swap)
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
        """Drop all unread swaps, and return the tasks to cancel."""
        left = list(self._running.values())
        if self._taking is not None and self._taking not in self._background.exempt:
            left.append(self._taking)
        for swap in self._running:
            swap.left = swap.handle is None
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


Targets = (
    Iterable[ImageLike]
    | AsyncIterable[ImageLike]
    | Iterable[Pair]
    | AsyncIterable[Pair]
)

_END = object()


class SwapStream(AsyncIterator[SwapOutcome[TargetT_co]], Generic[TargetT_co]):
    """
    The outcomes of ``swap_faces()``, in the order in which swaps end.

    It is also an async context manager: leaving it stops the intake at once and
    cancels unsent swaps; accepted tasks stay in ``pending()``. A stream that is
    garbage-collected is left in the same way.
    """

    def __init__(self, pipeline: SwapPipeline) -> None:
        self._pipeline = pipeline
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _abandon, loop, pipeline).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> SwapOutcome[TargetT_co]:
        """Return the next outcome; a fatal error is raised after the last one."""
        # The pipeline hands each target back as it was given, so its type is known.
        return cast("SwapOutcome[TargetT_co]", await self._pipeline.next())

    async def aclose(self) -> None:
        """Stop the intake, cancel unsent swaps, and wait for both."""
        await self._pipeline.close()

    def dropped(self) -> tuple[SwapOutcome[TargetT_co], ...]:
        """
        Return the outcomes that were not read before the stream was closed.

        Each is given as it stands now: the :exc:`ClientClosedError` of an accepted
        task carries its id, even if the acceptance came after the close. Without
        this call the log names every swap that is paid or may be.
        """
        return cast("tuple[SwapOutcome[TargetT_co], ...]", self._pipeline.dropped())


def _abandon(loop: asyncio.AbstractEventLoop, pipeline: SwapPipeline) -> None:
    # The last reference may go in another thread, or after the loop has closed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(pipeline.abandon)


def _check_targets(targets: object) -> None:
    if isinstance(targets, str | bytes) or not isinstance(
        targets, Iterable | AsyncIterable
    ):
        raise ConfigurationError(
            "targets is an iterable of pictures, such as Path('photos').glob('*.jpg')"
            f", not {type(targets).__name__}"
        )


class TargetPairs(AsyncIterator[Pair]):
    """Pairs, one at a time, from an iterable or async iterable of targets or pairs."""

    def __init__(self, source: ImageLike | None, targets: Targets) -> None:
        _check_targets(targets)
        self._source = source
        self._async = aiter(targets) if isinstance(targets, AsyncIterable) else None
        self._plain = iter(targets) if isinstance(targets, Iterable) else None

    async def __anext__(self) -> Pair:
        item: object
        if self._async is not None:
            item = await anext(self._async)
        else:
            item = next(self._plain or iter(()), _END)
            if item is _END:
                raise StopAsyncIteration
        if self._source is not None:
            return self._source, cast("ImageLike", item)
        if not isinstance(item, tuple) or len(item) != 2:  # noqa: PLR2004 - a pair
            raise ConfigurationError(
                f"without a source, targets are (source, target) pairs, not {item!r}"
            )
        return cast("Pair", item)
