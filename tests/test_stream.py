"""Many swaps as one stream: lazy, bounded, and no outcome is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from ezlink_async import errors
from ezlink_async.families import MIDJOURNEY
from ezlink_async.images import ImageLike
from ezlink_async.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.stream import Pairs, SwapStream
from ezlink_async.tasks import SwapOutcome, TaskHandle
from tests.scripted import BASE, World, reply, row, world

WINDOW = 3


async def _ready() -> None:
    """Have nothing to prepare."""


class Swaps:
    """Swaps that are accepted at once and done when the test says so."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.handles: dict[ImageLike, TaskHandle] = {}
        self.errors: dict[ImageLike, errors.EzlinkError] = {}
        self.most = 0

    async def __call__(self, _: ImageLike, target: ImageLike) -> TaskHandle:
        """Accept *target*, or refuse it."""
        await asyncio.sleep(0)
        if target in self.errors:
            raise self.errors[target]
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


def _stream(
    here: World,
    swap: Callable[[ImageLike, ImageLike], Awaitable[TaskHandle]],
    targets: object,
    source: ImageLike | None = "me",
    ready: Callable[[], Awaitable[None]] = _ready,
) -> SwapStream:
    pairs = Pairs(source, targets)  # type: ignore[arg-type]
    return SwapStream(pairs, swap, here.nursery, WINDOW, ready)


def _idle(_: HttpRequest) -> HttpResponse:
    return reply(row("x"))


async def test_outcomes_come_as_they_finish() -> None:
    """Completion order, with source, target, handle and record in each outcome."""
    async with world(_idle) as here:
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

    async with world(_idle) as here:
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
    async with world(_idle) as here:
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
    async with world(_idle) as here:
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


async def test_a_source_that_cannot_be_used_ends_it_before_any_target() -> None:
    """The source is looked at first: its error is raised, no target is taken."""

    async def ready() -> None:
        raise errors.ImageError("no face", path="me")

    async with world(_idle) as here:
        swaps = Swaps(here)
        with pytest.raises(errors.ImageError, match="no face"):
            await anext(_stream(here, swaps, ["a"], ready=ready))
        assert swaps.handles == {}


async def test_an_error_of_the_iterable_comes_after_what_runs() -> None:
    """What the caller's own iterable raises is raised, after the outcomes."""

    def targets() -> Iterator[str]:
        yield "a"
        raise LookupError("my own fault")

    async with world(_idle) as here:
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
    async with world(_idle) as here:
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


async def test_a_stream_left_before_it_began_takes_nothing() -> None:
    """Opening and leaving a stream without reading it takes no target."""
    async with world(_idle) as here:
        swaps = Swaps(here)
        async with _stream(here, swaps, ["a"]):
            pass
        assert swaps.handles == {}


async def test_a_closing_client_ends_the_stream_with_its_error() -> None:
    """Each target taken has its outcome; then ClientClosedError is raised."""
    async with world(_idle) as here:
        swaps = Swaps(here)
        stream = _stream(here, swaps, map(str, range(9)))
        reader = asyncio.create_task(anext(stream))
        await _turns()
        for handle in swaps.handles.values():
            handle.end(errors.ClientClosedError(task_ids=[handle.task_id]))
        await stream.wind_down()
        seen = [await reader]
        with pytest.raises(errors.ClientClosedError):
            await _collect(stream, seen)
        assert [o.error.task_id for o in seen if o.error] == ["0", "1", "2"]


async def test_a_stream_never_begun_ends_with_the_client() -> None:
    """A stream first read after close raises, and takes nothing."""
    async with world(_idle) as here:
        stream = _stream(here, Swaps(here), ["a"])
        await stream.wind_down()
        with pytest.raises(errors.ClientClosedError):
            await anext(stream)


async def test_targets_may_be_pairs_and_async() -> None:
    """Without a source, an async iterable of pairs says both."""

    async def pairs() -> AsyncIterator[tuple[str, str]]:
        yield "me", "a"
        yield "you", "b"

    async with world(_idle) as here:
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
    async with world(_idle) as here:
        with pytest.raises(errors.ConfigurationError, match="pairs"):
            await anext(_stream(here, Swaps(here), ["a"], source=None))


@pytest.mark.parametrize("targets", ["photos", b"photo", 7, None])
def test_one_path_is_not_many_targets(targets: object) -> None:
    """A path where an iterable is due is refused before it is taken apart."""
    with pytest.raises(errors.ConfigurationError, match="iterable"):
        Pairs("me", targets)  # type: ignore[arg-type]
