"""The stream of ``swap_faces()``: lazy, bounded, and no outcome is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from ezlink_async import SwapOutcome, errors
from ezlink_async._client import swap_stream
from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.job_stream import AnyPipeline, JobPipeline, PendingJob, Submit
from ezlink_async._client.swap_stream import SwapStream
from ezlink_async._core.images import ImageLike
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.base import JobRequest
from ezlink_async.services.face_swap import FaceSwap, SwapOptions
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.loop import turns
from tests.support.scripted_transport import (
    BASE,
    PollerHarness,
    poller_harness,
    reply,
    row,
)

WINDOW = 3
_NONE = errors.EzlinkError("no error")


async def _ready(_: ImageLike) -> None:
    """Prepare nothing."""


def target_of(request: JobRequest) -> str:
    """Return the name of the target of a swap."""
    assert isinstance(request, FaceSwap)
    return str(request.target)


class Swaps:
    """Swaps that are accepted at once and end when the test calls ``finish``."""

    def __init__(self, here: PollerHarness) -> None:
        self.here = here
        self.handles: dict[ImageLike, FollowedHandle] = {}
        self.errors: dict[ImageLike, errors.EzlinkError] = {}
        self.most = 0

    async def __call__(
        self, request: JobRequest, *, observer: PendingJob
    ) -> FollowedHandle:
        """Accept the target, or refuse it."""
        await asyncio.sleep(0)
        target = target_of(request)
        if target in self.errors:
            raise self.errors[target]
        observer.accepted(str(target))
        handle = FollowedHandle(str(target), MIDJOURNEY, self.here)
        self.handles[target] = handle
        self.most = max(self.most, sum(not h.done() for h in self.handles.values()))
        return handle

    def finish(self, target: ImageLike) -> None:
        """End the task of *target* with success."""
        self.handles[target].receive(
            TaskRecord(
                task_id=str(target), status=TaskStatus.SUCCESS, image_url=f"{BASE}/x"
            )
        )


async def _collect(stream: SwapStream, outcomes: list[SwapOutcome]) -> None:
    async for outcome in stream:
        outcomes.append(outcome)  # noqa: PERF401 - what came before an error is kept


def _pipeline(
    here: PollerHarness,
    swap: Submit,
    targets: object,
    source: ImageLike | None = "me",
    ready: Callable[[ImageLike], Awaitable[None]] = _ready,
) -> AnyPipeline:
    swaps = swap_stream.Swaps(source, targets, SwapOptions(), ready)  # type: ignore[arg-type]
    return JobPipeline(swaps, swap, here.background, WINDOW)


def _stream(
    here: PollerHarness,
    swap: Submit,
    targets: object,
    source: ImageLike | None = "me",
    ready: Callable[[ImageLike], Awaitable[None]] = _ready,
) -> SwapStream:
    return SwapStream(_pipeline(here, swap, targets, source, ready))


def _idle(_: HttpRequest) -> HttpResponse:
    return reply(row("x"))


async def test_outcomes_come_in_completion_order() -> None:
    """Each outcome has its source, target, handle and record."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, ["a", "b"]) as stream:
            first = asyncio.create_task(anext(stream))
            await turns(10)
            swaps.finish("b")
            outcome = await first
            assert (outcome.source, outcome.target) == ("me", "b")
            assert outcome.handle is swaps.handles["b"]
            assert outcome.record is not None
            assert outcome.error is None
            swaps.finish("a")
            assert [o.target async for o in stream] == ["a"]


async def test_targets_are_taken_only_while_the_window_has_room() -> None:
    """Unread outcomes count against the window, too."""
    taken: list[int] = []

    def targets() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield str(number)

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, targets()) as stream:
            reader = asyncio.create_task(anext(stream))
            await turns(10)
            assert len(taken) == WINDOW
            for number in range(WINDOW):
                swaps.finish(str(number))
            await reader
            await turns(10)
            # One outcome was read, two wait: one more target was taken.
            assert len(taken) == WINDOW + 1
            assert swaps.most == WINDOW


async def test_error_of_one_target_does_not_stop_the_others() -> None:
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        bad = errors.ImageError("broken", path="b")
        swaps.errors["b"] = bad
        stream = _stream(here, swaps, ["a", "b", "c"])
        found = {}
        async for outcome in stream:
            found[outcome.target] = outcome.error
            if outcome.target == "b":
                await turns(10)
                swaps.finish("a")
                swaps.finish("c")
        assert found == {"a": None, "b": bad, "c": None}


async def test_fatal_error_is_raised_after_the_last_outcome() -> None:
    """A refused key stops the intake; each target taken still has its outcome."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        swaps.errors["b"] = errors.AuthenticationError("no key")
        stream = _stream(here, swaps, map(str, "abcdefgh"))
        seen = [await anext(stream)]
        swaps.finish("a")
        swaps.finish("c")
        with pytest.raises(errors.AuthenticationError, match="no key"):
            await _collect(stream, seen)
        assert sorted(str(outcome.target) for outcome in seen) == ["a", "b", "c"]
        assert set(swaps.handles) == {"a", "c"}


async def test_fatal_error_does_not_wait_for_the_next_target() -> None:
    """An iterable that yields nothing for long does not delay a refused key."""
    left = asyncio.Event()

    async def targets() -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        swaps.errors["a"] = errors.AuthenticationError("no key")
        seen: list[SwapOutcome] = []
        with pytest.raises(errors.AuthenticationError, match="no key"):
            await _collect(_stream(here, swaps, targets()), seen)
        assert [outcome.error for outcome in seen] == [swaps.errors["a"]]
        await left.wait()


async def test_target_after_a_fatal_error_is_not_submitted() -> None:
    """Even if the iterable ignores its cancellation and yields once more."""

    async def targets() -> AsyncIterator[str]:
        yield "a"
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield "b"

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        swaps.errors["a"] = errors.QuotaError("empty")
        stream = _stream(here, swaps, targets())
        await anext(stream)
        with pytest.raises(errors.QuotaError):
            await anext(stream)
        await turns(10)
        assert swaps.handles == {}


async def test_unexpected_exception_becomes_the_error_of_its_outcome() -> None:
    """The error chains the exception, and keeps ids and money facts."""

    async def swap(request: JobRequest, *, observer: PendingJob) -> FollowedHandle:
        target = target_of(request)
        if target == "sent":
            await observer.before_submit("request-1", None)
        if target == "paid":
            observer.accepted("7")
        if target == "left":
            raise asyncio.CancelledError
        raise KeyError(target)

    async with poller_harness(_idle) as here:
        names = ["early", "sent", "paid", "left"]
        found = {o.target: o.error or _NONE async for o in _stream(here, swap, names)}
    assert list(found) == names
    early, sent, paid, left = (found[name] for name in names)
    for error in (early, sent, paid):
        assert type(error) is errors.EzlinkError
        assert isinstance(error.__cause__, KeyError)
    assert early.retry_safe
    assert (sent.maybe_charged, sent.request_id) == (True, "request-1")
    assert paid.task_id == "7"
    assert isinstance(left, errors.ClientClosedError)
    assert left.retry_safe


class UnusualError(BaseException):
    """An exception that ``except Exception`` does not catch."""


@pytest.mark.parametrize("own", [asyncio.CancelledError, UnusualError])
async def test_base_exception_of_the_iterable_is_raised(
    own: type[BaseException],
) -> None:
    """The reader learns that the targets are incomplete."""

    async def targets() -> AsyncIterator[str]:
        yield "a"
        raise own

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        swaps.errors["a"] = errors.ImageError("broken")
        stream = _stream(here, swaps, targets())
        await anext(stream)
        with pytest.raises(own):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_unusable_source_is_raised_before_any_target_is_taken() -> None:

    async def ready(_: ImageLike) -> None:
        raise errors.ImageError("no face", path="me")

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        with pytest.raises(errors.ImageError, match="no face"):
            await anext(_stream(here, swaps, ["a"], ready=ready))
        assert swaps.handles == {}


async def test_error_of_the_iterable_is_raised_after_running_swaps() -> None:

    def targets() -> Iterator[str]:
        yield "a"
        raise LookupError("my own fault")

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, targets())
        reader = asyncio.create_task(anext(stream))
        await turns(10)
        swaps.finish("a")
        assert (await reader).target == "a"
        with pytest.raises(LookupError, match="my own fault"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_leaving_the_stream_stops_the_intake_and_keeps_accepted_tasks() -> None:
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, map(str, range(99))) as stream:
            reader = asyncio.create_task(anext(stream))
            await turns(10)
            swaps.finish("1")
            await reader
        taken = len(swaps.handles)
        await turns(10)
        assert len(swaps.handles) == taken
        assert not swaps.handles["0"].done()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_dropped_outcomes_are_given_as_they_stand() -> None:
    """Read or not, accepted or in mid-submit: each target taken is accounted for."""
    sent = asyncio.Event()

    class Slow(Swaps):
        async def __call__(
            self, request: JobRequest, *, observer: PendingJob
        ) -> FollowedHandle:
            if target_of(request) == "c":
                self.late = observer
                await observer.before_submit("request-1", None)
                await sent.wait()
            return await super().__call__(request, observer=observer)

    async with poller_harness(_idle) as here:
        swaps = Slow(here)
        async with _stream(here, swaps, iter("abcd")) as stream:
            reader = asyncio.create_task(anext(stream))
            await turns(10)
            swaps.errors["d"] = errors.ImageError("broken")
            swaps.finish("a")
            await reader
            await turns(10)
            assert stream.dropped() == ()
        d, b, c = stream.dropped()
        assert (d.target, d.error) == ("d", swaps.errors["d"])
        assert (b.target, b.handle) == ("b", swaps.handles["b"])
        assert isinstance(b.error, errors.ClientClosedError)
        assert b.error.task_id == "b"
        assert isinstance(c.error, errors.SubmitUnknownError)
        assert (c.error.request_id, c.error.target) == ("request-1", "c")
        swaps.late.accepted("9")
        *_, c = stream.dropped()
        assert (c.handle, c.error and c.error.task_id) == (None, "9")
        swaps.late.refused(errors.BusyError("full"))
        *_, c = stream.dropped()
        assert isinstance(c.error, errors.BusyError)
        swaps.late.unknown(errors.SubmitUnknownError("lost"))
        *_, c = stream.dropped()
        assert c.error is not None
        assert c.error.maybe_charged


async def test_iterable_may_close_the_stream_it_feeds() -> None:
    """A target it yields after that is dropped."""
    closed: list[str] = []

    async def targets() -> AsyncIterator[str]:
        yield "a"
        await stream.aclose()
        closed.append("by the targets")
        yield "b"

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, targets())
        assert [o async for o in stream] == []
        await turns(10)
        assert closed == ["by the targets"]
        assert list(swaps.handles) in ([], ["a"])


async def test_collected_stream_stops_the_intake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its pipeline is collected too, and the log names the accepted tasks once."""

    async def read_one() -> weakref.ref[AnyPipeline]:
        pipeline = _pipeline(here, swaps, map(str, range(99)))
        async for _ in SwapStream(pipeline):
            break
        return weakref.ref(pipeline)

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        reader = asyncio.create_task(read_one())
        await turns(10)
        swaps.finish("1")
        pipeline = await reader
        await turns(10)
        taken = len(swaps.handles)
        gc.collect()
        await turns(10)
        assert pipeline() is None
        assert len(swaps.handles) == taken
        assert not swaps.handles["0"].done()
        (entry,) = caplog.records
        assert "task 0 (target Image('0'))" in entry.message
        assert "task 1 " not in entry.message


async def test_stream_may_be_abandoned_after_the_client_closed() -> None:
    async with poller_harness(_idle) as here:
        pipeline = _pipeline(here, Swaps(here), ["a"])
    pipeline.abandon()
    with pytest.raises(StopAsyncIteration):
        await pipeline.next()


def test_stream_may_be_collected_after_its_loop_closed() -> None:

    async def keep() -> SwapStream:
        async with poller_harness(_idle) as here:
            return _stream(here, Swaps(here), ["a"])

    stream = asyncio.run(keep())
    dead = weakref.ref(stream)
    del stream
    gc.collect()
    assert dead() is None


async def _three_accepted(here: PollerHarness) -> tuple[Swaps, AnyPipeline]:
    """Return a pipeline whose three targets were accepted and not read."""
    swaps = Swaps(here)
    pipeline = _pipeline(here, swaps, ["a", "b", "c"])
    reader = asyncio.create_task(pipeline.next())
    await turns(10)
    reader.cancel()
    await turns(10)
    return swaps, pipeline


async def test_unread_paid_outcomes_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line names every paid task that was neither read nor awaited."""
    async with poller_harness(_idle) as here:
        swaps, pipeline = await _three_accepted(here)
        swaps.finish("a")
        await pipeline.close()
        asked = asyncio.create_task(swaps.handles["b"].result())
        await turns(10)
        for _ in range(2):
            pipeline.log_unread()
        asked.cancel()
    (entry,) = caplog.records
    assert entry.levelno == logging.WARNING
    assert "2 outcomes" in entry.message
    assert "task a (target Image('a')), task c (target Image('c'))" in entry.message


async def test_unread_unknown_submit_is_logged_with_its_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An outcome that costs nothing, such as a broken photo, is not logged."""

    async def swap(request: JobRequest, *, observer: PendingJob) -> FollowedHandle:
        del observer
        if target_of(request) == "a":
            raise errors.SubmitUnknownError("lost", request_id="request-1")
        raise errors.ImageError("broken")

    async with poller_harness(_idle) as here:
        pipeline = _pipeline(here, swap, ["b", "a", "c"])
        await pipeline.next()
        await turns(10)
        await pipeline.drain()
        pipeline.log_unread()
        # All had ended before the client was closed: so does the iteration.
        assert [(await pipeline.next()).target for _ in range(2)] == ["a", "c"]
        with pytest.raises(StopAsyncIteration):
            await pipeline.next()
    (entry,) = caplog.records
    assert ": request request-1 (target Image('a')). Resume" in entry.message


async def test_outcomes_given_by_dropped_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with poller_harness(_idle) as here:
        _, pipeline = await _three_accepted(here)
        await pipeline.close()
        assert len(pipeline.dropped()) == 3
        pipeline.log_unread()
    assert caplog.records == []


async def test_outcomes_read_while_the_client_closes_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only those that the reader leaves unread are logged in the end."""
    async with poller_harness(_idle) as here:
        swaps, pipeline = await _three_accepted(here)
        reader = asyncio.create_task(pipeline.next())
        await turns(10)
        for handle in swaps.handles.values():
            handle.end(errors.ClientClosedError(task_ids=[handle.task_id]))
        await pipeline.drain()
        pipeline.log_unread()
        assert (await reader).target == "a"
        assert caplog.records == []
        pipeline.abandon()
    (entry,) = caplog.records
    assert "task b (target Image('b')), task c" in entry.message


async def test_closing_client_does_not_wait_for_a_swap_that_closes_it() -> None:
    """That swap has the outcome that is known by then."""
    async with poller_harness(_idle) as here:
        _, pipeline = await _three_accepted(here)
        await pipeline.drain()
        seen = [await pipeline.next() for _ in range(3)]
        assert [o.error and o.error.task_id for o in seen] == ["a", "b", "c"]
        with pytest.raises(errors.ClientClosedError):
            await pipeline.next()


async def test_stream_that_is_left_unread_takes_no_target() -> None:
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, ["a"]):
            pass
        assert swaps.handles == {}


async def test_closing_client_ends_the_stream_with_client_closed_error() -> None:
    """Each target taken has its outcome before that."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        pipeline = _pipeline(here, swaps, map(str, range(9)))
        stream = SwapStream(pipeline)
        reader = asyncio.create_task(anext(stream))
        await turns(10)
        for handle in swaps.handles.values():
            handle.end(errors.ClientClosedError(task_ids=[handle.task_id]))
        await pipeline.drain()
        seen = [await reader]
        with pytest.raises(errors.ClientClosedError):
            await _collect(stream, seen)
        assert [o.error.task_id for o in seen if o.error] == ["0", "1", "2"]


async def test_stream_first_read_after_the_close_raises_and_takes_nothing() -> None:
    async with poller_harness(_idle) as here:
        pipeline = _pipeline(here, Swaps(here), ["a"])
        stream = SwapStream(pipeline)
        await pipeline.drain()
        with pytest.raises(errors.ClientClosedError):
            await anext(stream)


async def test_pairs_may_come_from_an_async_iterable() -> None:

    async def pairs() -> AsyncIterator[tuple[str, str]]:
        yield "me", "a"
        yield "you", "b"

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, pairs(), source=None)
        reader = asyncio.create_task(anext(stream))
        await turns(10)
        swaps.finish("a")
        swaps.finish("b")
        first = await reader
        rest = [o async for o in stream]
        assert {(o.source, o.target) for o in [first, *rest]} == {
            ("me", "a"),
            ("you", "b"),
        }


async def test_target_that_is_no_pair_is_refused_with_the_reason() -> None:
    async with poller_harness(_idle) as here:
        with pytest.raises(errors.ConfigurationError, match="pairs"):
            await anext(_stream(here, Swaps(here), ["a"], source=None))


@pytest.mark.parametrize("targets", ["photos", b"photo", 7, None])
def test_path_in_place_of_an_iterable_of_targets_is_refused(targets: object) -> None:
    with pytest.raises(errors.ConfigurationError, match="iterable"):
        swap_stream.Swaps("me", targets, SwapOptions(), _ready)  # type: ignore[arg-type]
