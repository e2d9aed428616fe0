"""
What is behind a stream of swaps: takes targets in, and knows of each how it stands.

The window is ``max_concurrency``: a target is taken only when fewer are in
progress or waiting to be read, so a slow reader stops the intake. Nothing here
holds the stream: when nobody does, it is let go, and takes nothing more.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Self, cast

import attrs

from ezlink_async._client.handle import TaskHandle
from ezlink_async._core.images import Image, ImageLike
from ezlink_async._io.concurrency import BackgroundTasks, cancel_and_wait
from ezlink_async.errors import (
    FATAL_ERRORS,
    ClientClosedError,
    ConfigurationError,
    EzlinkError,
    SubmitUnknownError,
)
from ezlink_async.models import TaskRecord
from ezlink_async.services.face_swap import FaceSwapJob


@attrs.frozen
class SwapOutcome:
    """
    How one swap of a batch ended: exactly one of *record* and *error* is set.

    *handle* is there as soon as the server had accepted the job, so its id is
    known whatever came after.
    """

    source: ImageLike
    target: ImageLike
    handle: TaskHandle | None = None
    record: TaskRecord | None = None
    error: EzlinkError | None = None


@attrs.define(eq=False)
class _PendingSwap:
    """
    One target that was taken in, and how it stands, at any time.

    It is the observer of its own submit: so the id is known even when it came
    after everybody had left.
    """

    source: ImageLike
    target: ImageLike
    handle: TaskHandle | None = None
    record: TaskRecord | None = None
    left: bool = False  # in mid-submit, whose end will be told by the submit
    _request_id: str | None = None  # of what was sent, and not answered yet
    _task_id: str | None = None  # of what was accepted
    _error: EzlinkError | None = None  # that ended it

    async def before_submit(
        self, job: FaceSwapJob, request_id: str, state: str | None
    ) -> None:
        """Expect the worst until the answer is there."""
        del job, state
        self._request_id, self._error = request_id, None

    def accepted(self, task_id: str) -> None:
        """Note the id."""
        self._task_id, self._error = task_id, None

    def refused(self, error: EzlinkError) -> None:
        """Note that no job exists."""
        self.ended(error)

    def unknown(self, error: EzlinkError) -> None:
        """Note that there may be one, and that it may be paid."""
        self.ended(error)

    def ended(self, error: EzlinkError) -> None:
        """Note what ended it."""
        self._error = error

    @property
    def error(self) -> EzlinkError:
        """What it means that there is no record, made when it is asked for."""
        if self._error is None:
            self._error = self._standing()
        return self._error

    def _standing(self) -> EzlinkError:
        if self._task_id is not None:
            return ClientClosedError(
                f"nobody waited for the end of task {self._task_id}; it runs on",
                task_ids=(self._task_id,),
            )
        if self._request_id is not None:
            return SubmitUnknownError(
                "it was given up while the server had the job but had not answered: "
                "it may have been created and paid",
                request_id=self._request_id,
                target=self.target,
            )
        return ClientClosedError("nothing was sent", retry_safe=True)

    def failed(self, bug: Exception) -> None:
        """Take what is no error of ours, without losing what is known."""
        known = self.error
        error = EzlinkError(
            f"{type(bug).__name__}: {bug}",
            task_id=known.task_id,
            request_id=known.request_id,
            retry_safe=known.retry_safe,
            maybe_charged=known.maybe_charged,
        )
        error.__cause__ = bug
        self.ended(error)

    @property
    def outcome(self) -> SwapOutcome:
        """How it ended, or how it stands."""
        error = None if self.record is not None else self.error
        return SwapOutcome(self.source, self.target, self.handle, self.record, error)

    @property
    def lost(self) -> str | None:
        """What to look for when nobody was told, if it was paid or may be."""
        handle, error = self.handle, self.error
        if self.left or (handle is not None and handle.asked):
            return None
        task_id = handle.task_id if handle is not None else error.task_id
        if task_id is not None:
            return f"task {task_id} (target {Image.of(self.target)!r})"
        if error.maybe_charged:
            return f"request {error.request_id} (target {Image.of(self.target)!r})"
        return None


_log = logging.getLogger("ezlink_async")

_LAST_WORDS = 0.25  # seconds that a closing client gives to outcomes at the door

Pair = tuple[ImageLike, ImageLike]


Swap = Callable[[ImageLike, ImageLike, _PendingSwap], Awaitable[TaskHandle]]


class SwapPipeline:
    """Takes *pairs* in, has each swapped, and keeps the outcomes to be read."""

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
        self._running: dict[_PendingSwap, asyncio.Task[None]] = {}
        self._ready: collections.deque[_PendingSwap] = collections.deque()
        self._dropped: list[_PendingSwap] = []
        self._changed = asyncio.Event()
        self._taking: asyncio.Task[None] | None = None
        self._over = False
        self._end: BaseException | None = None
        self._readers = 0
        self._listening = False
        self._told = False

    async def next(self) -> SwapOutcome:
        """Return the next outcome; what ended the intake is raised after the last."""
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
        taken = self._ready.popleft()
        self._notify()
        return taken.outcome

    def dropped(self) -> tuple[SwapOutcome, ...]:
        """Return what nobody read, as it stands now; it is not logged any more."""
        self._told = True
        return tuple(taken.outcome for taken in self._dropped)

    async def close(self) -> None:
        """Take nothing more, drop what is not sent yet, and wait until it is."""
        await self._see_off(self._drop())

    def let_go(self) -> None:
        """Do the same without waiting: nobody holds the stream any more."""
        self._listening = False
        with contextlib.suppress(ClientClosedError):
            self._background.start_soon(self._see_off(self._drop()))
        self.tell_lost()

    async def wind_down(self) -> None:
        """Take nothing more, and see the outcomes in: the client is closing."""
        if self._running or not self._over:
            self._stop(ClientClosedError())
        self._listening = self._readers > 0
        if self._running:
            # Not longer: it may be one of these that closes the client.
            await asyncio.wait(self._running.values(), timeout=_LAST_WORDS)
        for taken in tuple(self._running):
            self._through(taken)

    def tell_lost(self) -> None:
        """Log, once, which tasks nobody was told of, nor is waiting to be."""
        unread = [taken.lost for taken in (*self._dropped, *self._ready)]
        lost = [words for words in unread if words]
        if lost and not self._told and not self._listening:
            self._told = True
            _log.warning(
                "nobody has read %d outcomes of swap_faces that are paid, or may be; "
                "client.task(id) takes a task up again: %s",
                len(lost),
                ", ".join(lost),
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
                if not self._over:  # it may have come when all was lost already
                    self._begin(*pair)
        except BaseException as error:
            # A cancellation nobody asked for is the iterable's own, like any error
            # of it: no sign of its end, and told where the outcomes are read.
            if not _asked_for(error):
                self._stop(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._over = True
            self._notify()

    def _begin(self, source: ImageLike, target: ImageLike) -> None:
        taken = _PendingSwap(source, target)
        self._running[taken] = self._background.start(self._one(taken))

    async def _one(self, taken: _PendingSwap) -> None:
        try:
            await asyncio.sleep(0)  # an eager task would be through before it is known
            taken.handle = await self._swap(taken.source, taken.target, taken)
            taken.record = await taken.handle.ended()
        except EzlinkError as error:
            taken.ended(error)
            if isinstance(error, FATAL_ERRORS):
                self._stop(error)
                self._interrupt()
        except Exception as bug:  # noqa: BLE001 - each target has an outcome
            taken.failed(bug)
        finally:
            self._through(taken)

    def _through(self, taken: _PendingSwap) -> None:
        """Have the outcome read, unless it was dropped."""
        if self._running.pop(taken, None) is not None:
            self._ready.append(taken)
            self._notify()

    def _stop(self, end: BaseException) -> None:
        """Take nothing more; *end* is raised after what runs, if it is the first."""
        self._over = True
        self._end = end if self._end is None else self._end
        self._notify()

    def _interrupt(self) -> None:
        """Do not wait for a target that may never come, and is not wanted."""
        if self._taking is not None and self._taking not in self._background.exempt:
            self._taking.cancel()

    def _drop(self) -> list[asyncio.Task[None]]:
        """Give up what was not read, and return what is to be seen off."""
        left = list(self._running.values())
        if self._taking is not None and self._taking not in self._background.exempt:
            left.append(self._taking)
        for taken in self._running:
            taken.left = taken.handle is None
        self._dropped += [*self._ready, *self._running]
        self._running.clear()
        self._ready.clear()
        self._over, self._end = True, StopAsyncIteration()
        self._notify()
        return left

    async def _see_off(self, left: list[asyncio.Task[None]]) -> None:
        # What will not end was named in the log, and need not be waited for again.
        self._background.exempt |= await cancel_and_wait(left)

    def _ending(self) -> BaseException:
        """Return how the iteration ends."""
        end, self._end = self._end, StopAsyncIteration()
        if isinstance(end, EzlinkError):
            return end.for_awaiter()  # it is the error of an outcome, too
        return end or StopAsyncIteration()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _asked_for(error: BaseException) -> bool:
    this = asyncio.current_task()
    asked = this is not None and this.cancelling() > 0
    return asked and isinstance(error, asyncio.CancelledError)


Targets = (
    Iterable[ImageLike]
    | AsyncIterable[ImageLike]
    | Iterable[Pair]
    | AsyncIterable[Pair]
)

_END = object()


class SwapStream(AsyncIterator[SwapOutcome]):
    """
    Outcomes in the order in which they come.

    Also an async context manager: leaving it stops the intake at once and
    drops what is not yet sent; accepted tasks stay in ``pending()``. A stream
    that nobody holds any more is left like that too.
    """

    def __init__(self, intake: SwapPipeline) -> None:
        self._intake = intake
        loop = asyncio.get_running_loop()
        weakref.finalize(self, _let_go, loop, intake).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> SwapOutcome:
        """Return the next outcome; what dooms the rest is raised after the last."""
        return await self._intake.next()

    async def aclose(self) -> None:
        """Stop the intake, drop what is not sent yet, and wait until it is."""
        await self._intake.close()

    def dropped(self) -> tuple[SwapOutcome, ...]:
        """
        Return the outcomes that were not read before the stream was closed.

        Each as it stands now: an accepted task has its id in the error, which
        is a :exc:`ClientClosedError`; so has one whose acceptance came later.
        Whoever asks is told: otherwise the log names what was paid.
        """
        return self._intake.dropped()


def _let_go(loop: asyncio.AbstractEventLoop, intake: SwapPipeline) -> None:
    # The last reference may go anywhere: in another thread, or after the loop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(intake.let_go)


def _check_targets(targets: object) -> None:
    if isinstance(targets, str | bytes) or not isinstance(
        targets, Iterable | AsyncIterable
    ):
        raise ConfigurationError(
            "targets is an iterable of pictures, such as Path('photos').glob('*.jpg')"
            f", not {type(targets).__name__}"
        )


class _TargetPairs(AsyncIterator[Pair]):
    """The pairs to swap, taken one at a time from whatever was given."""

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
