"""Many swaps as one stream: lazy, bounded, and no outcome is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from ezlink_async import errors
from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.swap_stream import (
    Swap,
    SwapOutcome,
    SwapPipeline,
    SwapStream,
    _PendingSwap,
    _TargetPairs,
)
from ezlink_async._core.images import ImageLike
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.midjourney import MIDJOURNEY
from tests.support.scripted_transport import (
    BASE,
    PollerHarness,
    poller_harness,
    reply,
    row,
)

WINDOW = 3
_NONE = errors.EzlinkError("no error")


async def _ready() -> None:
    """Have nothing to prepare."""


class Swaps:
    """Swaps that are accepted at once and done when the test says so."""

    def __init__(self, here: PollerHarness) -> None:
        self.here = here
        self.handles: dict[ImageLike, TaskHandle] = {}
        self.errors: dict[ImageLike, errors.EzlinkError] = {}
        self.most = 0

    async def __call__(
        self, _: ImageLike, target: ImageLike, taken: _PendingSwap
    ) -> TaskHandle:
        """Accept *target*, or refuse it."""
        await asyncio.sleep(0)
        if target in self.errors:
            raise self.errors[target]
        taken.accepted(str(target))
        handle = TaskHandle(str(target), MIDJOURNEY, self.here)
        self.handles[target] = handle
        self.most = max(self.most, sum(not h.done() for h in self.handles.values()))
        return handle

    def finish(self, target: ImageLike) -> None:
        """Let the task of *target* succeed."""
        self.handles[target].receive(
            TaskRecord(
                task_id=str(target), status=TaskStatus.SUCCESS, image_url=f"{BASE}/x"
            )
        )


async def _collect(stream: SwapStream, outcomes: list[SwapOutcome]) -> None:
    async for outcome in stream:
        outcomes.append(outcome)  # noqa: PERF401 - what came before an error is kept


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _intake(
    here: PollerHarness,
    swap: Swap,
    targets: object,
    source: ImageLike | None = "me",
    ready: Callable[[], Awaitable[None]] = _ready,
) -> SwapPipeline:
    pairs = _TargetPairs(source, targets)  # type: ignore[arg-type]
    return SwapPipeline(pairs, swap, here.background, WINDOW, ready)


def _stream(
    here: PollerHarness,
    swap: Swap,
    targets: object,
    source: ImageLike | None = "me",
    ready: Callable[[], Awaitable[None]] = _ready,
) -> SwapStream:
    return SwapStream(_intake(here, swap, targets, source, ready))


def _idle(_: HttpRequest) -> HttpResponse:
    return reply(row("x"))


async def test_outcomes_come_as_they_finish() -> None:
    """Completion order, with source, target, handle and record in each outcome."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, ["a", "b"]) as stream:
            first = asyncio.create_task(anext(stream))
            await _turns()
            swaps.finish("b")
            outcome = await first
            assert (outcome.source, outcome.target) == ("me", "b")
            assert outcome.handle is swaps.handles["b"]
            assert outcome.record is not None
            assert outcome.error is None
            swaps.finish("a")
            assert [o.target async for o in stream] == ["a"]


async def test_the_intake_is_lazy_and_bounded_by_the_window() -> None:
    """Targets are taken as room comes free; unread outcomes count against it."""
    taken: list[int] = []

    def targets() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield str(number)

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, targets()) as stream:
            reader = asyncio.create_task(anext(stream))
            await _turns()
            assert len(taken) == WINDOW
            for number in range(WINDOW):
                swaps.finish(str(number))
            await reader
            await _turns()
            # One outcome was read, two wait: one more target was taken.
            assert len(taken) == WINDOW + 1
            assert swaps.most == WINDOW


async def test_one_bad_photo_is_an_outcome_not_an_end() -> None:
    """An error of one target is its outcome; the others go on."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        bad = errors.ImageError("broken", path="b")
        swaps.errors["b"] = bad
        stream = _stream(here, swaps, ["a", "b", "c"])
        found = {}
        async for outcome in stream:
            found[outcome.target] = outcome.error
            if outcome.target == "b":
                await _turns()
                swaps.finish("a")
                swaps.finish("c")
        assert found == {"a": None, "b": bad, "c": None}


async def test_what_dooms_the_rest_is_raised_after_the_last_outcome() -> None:
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


async def test_what_dooms_the_rest_does_not_wait_for_the_next_target() -> None:
    """A queue or an upload that yields nothing for long delays no refused key."""
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


async def test_a_target_that_comes_after_the_doom_is_not_begun() -> None:
    """Nor is one that an iterable yields although it was told to stop."""

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
        await _turns()
        assert swaps.handles == {}


async def test_each_target_has_an_outcome_whatever_was_raised() -> None:
    """A bug is an outcome's error that chains it; what is known is not forgotten."""

    async def swap(_: ImageLike, target: ImageLike, taken: _PendingSwap) -> TaskHandle:
        if target == "sent":
            await taken.before_submit("request-1", None)
        if target == "paid":
            taken.accepted("7")
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


class Odd(BaseException):
    """What no ``except Exception`` catches."""


@pytest.mark.parametrize("own", [asyncio.CancelledError, Odd])
async def test_a_cancellation_of_the_iterable_s_own_comes_out(
    own: type[BaseException],
) -> None:
    """It is no end of the targets: whoever reads learns that they are not all."""

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


async def test_a_source_that_cannot_be_used_ends_it_before_any_target() -> None:
    """The source is looked at first: its error is raised, no target is taken."""

    async def ready() -> None:
        raise errors.ImageError("no face", path="me")

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        with pytest.raises(errors.ImageError, match="no face"):
            await anext(_stream(here, swaps, ["a"], ready=ready))
        assert swaps.handles == {}


async def test_an_error_of_the_iterable_comes_after_what_runs() -> None:
    """What the caller's own iterable raises is raised, after the outcomes."""

    def targets() -> Iterator[str]:
        yield "a"
        raise LookupError("my own fault")

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, targets())
        reader = asyncio.create_task(anext(stream))
        await _turns()
        swaps.finish("a")
        assert (await reader).target == "a"
        with pytest.raises(LookupError, match="my own fault"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_leaving_early_stops_the_intake_and_keeps_what_was_accepted() -> None:
    """After ``async with`` nothing more is taken; accepted handles live on."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, map(str, range(99))) as stream:
            reader = asyncio.create_task(anext(stream))
            await _turns()
            swaps.finish("1")
            await reader
        taken = len(swaps.handles)
        await _turns()
        assert len(swaps.handles) == taken
        assert not swaps.handles["0"].done()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_what_was_dropped_is_told_as_it_stands() -> None:
    """Read or not, accepted or on its way: each target taken is accounted for."""
    sent = asyncio.Event()

    class Slow(Swaps):
        async def __call__(
            self, source: ImageLike, target: ImageLike, taken: _PendingSwap
        ) -> TaskHandle:
            if target == "c":
                self.late = taken
                await taken.before_submit("request-1", None)
                await sent.wait()
            return await super().__call__(source, target, taken)

    async with poller_harness(_idle) as here:
        swaps = Slow(here)
        async with _stream(here, swaps, iter("abcd")) as stream:
            reader = asyncio.create_task(anext(stream))
            await _turns()
            swaps.errors["d"] = errors.ImageError("broken")
            swaps.finish("a")
            await reader
            await _turns()
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


async def test_leaving_does_not_wait_for_an_iterable_that_waits_for_it() -> None:
    """Targets may close the stream they feed, and what they yield then is dropped."""
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
        await _turns()
        assert closed == ["by the targets"]
        assert list(swaps.handles) in ([], ["a"])


async def test_a_stream_nobody_holds_takes_nothing_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It ends by itself and keeps nothing; the log names what was accepted, once."""

    async def read_one() -> weakref.ref[SwapPipeline]:
        intake = _intake(here, swaps, map(str, range(99)))
        async for _ in SwapStream(intake):
            break
        return weakref.ref(intake)

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        reader = asyncio.create_task(read_one())
        await _turns()
        swaps.finish("1")
        intake = await reader
        await _turns()
        taken = len(swaps.handles)
        gc.collect()
        await _turns()
        assert intake() is None
        assert len(swaps.handles) == taken
        assert not swaps.handles["0"].done()
        (entry,) = caplog.records
        assert "task 0 (target Image('0'))" in entry.message
        assert "task 1 " not in entry.message


async def test_a_stream_let_go_after_the_client_is_harmless() -> None:
    """Nothing is left to be stopped by then."""
    async with poller_harness(_idle) as here:
        intake = _intake(here, Swaps(here), ["a"])
    intake.let_go()
    with pytest.raises(StopAsyncIteration):
        await intake.next()


def test_a_stream_let_go_after_its_loop_is_harmless() -> None:
    """The last reference to a stream may go when no loop is left."""

    async def keep() -> SwapStream:
        async with poller_harness(_idle) as here:
            return _stream(here, Swaps(here), ["a"])

    stream = asyncio.run(keep())
    dead = weakref.ref(stream)
    del stream
    gc.collect()
    assert dead() is None


async def _three_accepted(here: PollerHarness) -> tuple[Swaps, SwapPipeline]:
    """Return an intake whose three targets were accepted and read by nobody."""
    swaps = Swaps(here)
    intake = _intake(here, swaps, ["a", "b", "c"])
    reader = asyncio.create_task(intake.next())
    await _turns()
    reader.cancel()
    await _turns()
    return swaps, intake


async def test_what_nobody_was_told_of_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line names every paid task that was not read, nor asked about."""
    async with poller_harness(_idle) as here:
        swaps, intake = await _three_accepted(here)
        swaps.finish("a")
        await intake.close()
        asked = asyncio.create_task(swaps.handles["b"].result())
        await _turns()
        for _ in range(2):
            intake.tell_lost()
        asked.cancel()
    (entry,) = caplog.records
    assert entry.levelno == logging.WARNING
    assert "2 outcomes" in entry.message
    assert "task a (target Image('a')), task c (target Image('c'))" in entry.message


async def test_a_submit_that_may_be_paid_is_logged_with_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unknown that nobody read is not lost either; a bad photo is no news."""

    async def swap(_: ImageLike, target: ImageLike, __: _PendingSwap) -> TaskHandle:
        if target == "a":
            raise errors.SubmitUnknownError("lost", request_id="request-1")
        raise errors.ImageError("broken")

    async with poller_harness(_idle) as here:
        intake = _intake(here, swap, ["b", "a", "c"])
        await intake.next()
        await _turns()
        await intake.wind_down()
        intake.tell_lost()
        # All had ended before the client was closed: so does the iteration.
        assert [(await intake.next()).target for _ in range(2)] == ["a", "c"]
        with pytest.raises(StopAsyncIteration):
            await intake.next()
    (entry,) = caplog.records
    assert entry.message.endswith(": request request-1 (target Image('a'))")


async def test_whoever_asks_what_was_dropped_needs_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The command line tells each target itself."""
    async with poller_harness(_idle) as here:
        _, intake = await _three_accepted(here)
        await intake.close()
        assert len(intake.dropped()) == 3
        intake.tell_lost()
    assert caplog.records == []


async def test_whoever_waits_for_outcomes_while_the_client_closes_needs_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reader gets them; only what it leaves unread is logged in the end."""
    async with poller_harness(_idle) as here:
        swaps, intake = await _three_accepted(here)
        reader = asyncio.create_task(intake.next())
        await _turns()
        for handle in swaps.handles.values():
            handle.end(errors.ClientClosedError(task_ids=[handle.task_id]))
        await intake.wind_down()
        intake.tell_lost()
        assert (await reader).target == "a"
        assert caplog.records == []
        intake.let_go()
    (entry,) = caplog.records
    assert "task b (target Image('b')), task c" in entry.message


async def test_a_closing_client_does_not_wait_for_who_closes_it() -> None:
    """A swap that itself waits for the close has the outcome that is known by then."""
    async with poller_harness(_idle) as here:
        _, intake = await _three_accepted(here)
        await intake.wind_down()
        seen = [await intake.next() for _ in range(3)]
        assert [o.error and o.error.task_id for o in seen] == ["a", "b", "c"]
        with pytest.raises(errors.ClientClosedError):
            await intake.next()


async def test_a_stream_left_before_it_began_takes_nothing() -> None:
    """Opening and leaving a stream without reading it takes no target."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, ["a"]):
            pass
        assert swaps.handles == {}


async def test_a_closing_client_ends_the_stream_with_its_error() -> None:
    """Each target taken has its outcome; then ClientClosedError is raised."""
    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, map(str, range(9)))
        reader = asyncio.create_task(anext(stream))
        await _turns()
        for handle in swaps.handles.values():
            handle.end(errors.ClientClosedError(task_ids=[handle.task_id]))
        await stream._intake.wind_down()
        seen = [await reader]
        with pytest.raises(errors.ClientClosedError):
            await _collect(stream, seen)
        assert [o.error.task_id for o in seen if o.error] == ["0", "1", "2"]


async def test_a_stream_never_begun_ends_with_the_client() -> None:
    """A stream first read after close raises, and takes nothing."""
    async with poller_harness(_idle) as here:
        stream = _stream(here, Swaps(here), ["a"])
        await stream._intake.wind_down()
        with pytest.raises(errors.ClientClosedError):
            await anext(stream)


async def test_targets_may_be_pairs_and_async() -> None:
    """Without a source, an async iterable of pairs says both."""

    async def pairs() -> AsyncIterator[tuple[str, str]]:
        yield "me", "a"
        yield "you", "b"

    async with poller_harness(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, pairs(), source=None)
        reader = asyncio.create_task(anext(stream))
        await _turns()
        swaps.finish("a")
        swaps.finish("b")
        first = await reader
        rest = [o async for o in stream]
        assert {(o.source, o.target) for o in [first, *rest]} == {
            ("me", "a"),
            ("you", "b"),
        }


async def test_a_target_that_is_no_pair_says_so() -> None:
    """Without a source, a plain target is a clear error."""
    async with poller_harness(_idle) as here:
        with pytest.raises(errors.ConfigurationError, match="pairs"):
            await anext(_stream(here, Swaps(here), ["a"], source=None))


@pytest.mark.parametrize("targets", ["photos", b"photo", 7, None])
def test_one_path_is_not_many_targets(targets: object) -> None:
    """A path where an iterable is due is refused before it is taken apart."""
    with pytest.raises(errors.ConfigurationError, match="iterable"):
        _TargetPairs("me", targets)  # type: ignore[arg-type]
