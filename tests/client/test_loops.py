"""Every kind of program: which loop runs it, how it enters, and what it forgot."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async import AsyncEzlink, Pair, errors
from ezlink_async.batch import run_batch, run_jobs
from ezlink_async.emulator import in_thread
from ezlink_async.requests import AsyncImage, FaceSwap, Imagine, Kling
from tests.support.client_harness import POLL, beside_emulator
from tests.support.pictures import jpeg

SOURCE, TARGET = jpeg(20_000), jpeg(300_000)

KLING = Kling("a cat", model="kling-v1", seconds=5)

Use = Callable[[AsyncEzlink], object]

CALLS: dict[str, Use] = {
    "submit": lambda ez: ez.submit(FaceSwap(SOURCE, TARGET)),
    "submit_all": lambda ez: ez.submit_all([]),
    "swap_face": lambda ez: ez.swap_face(SOURCE, TARGET),
    "swap_faces": lambda ez: ez.swap_faces(SOURCE, [TARGET]),
    "task": lambda ez: ez.task("17"),
    "restore": lambda ez: ez.restore({}),
    "pending": lambda ez: ez.pending(),
    "stats": lambda ez: ez.stats(),
    "midjourney": lambda ez: ez.midjourney.imagine("a fox"),
    "stability": lambda ez: ez.stability.image_to_video(TARGET),
    "video": lambda ez: ez.video.generate(KLING),
    "images": lambda ez: ez.images.generate_async(AsyncImage("kling-v1", "a cat")),
    "flux": lambda ez: ez.flux.generate("flux-2-pro", "a cat"),
    "files": lambda ez: ez.files.upload(b"text", name="a.txt"),
    "models": lambda ez: ez.models(),
    "account": lambda ez: ez.account.balance(),
    "openai": lambda ez: ez.openai(),
    "fetch_task": lambda ez: ez.fetch_task("17"),
    "fetch_tasks": lambda ez: ez.fetch_tasks(["17"]),
    "fetch_image": lambda ez: ez.fetch_image("https://example.com/a.jpg"),
    "receive_image": lambda ez: ez.receive_image(asyncio.StreamReader()),
}
"""A use of every public call and property of the client."""

WITHOUT = {"aclose", "from_profile"}
"""What may be called at any time."""


async def _finish(found: object) -> None:
    if inspect.isawaitable(found):
        await found


def test_every_public_name_of_the_client_is_used_here() -> None:
    public = {name for name in dir(AsyncEzlink) if not name.startswith("_")}
    assert public == CALLS.keys() | WITHOUT


@pytest.mark.parametrize("call", CALLS)
async def test_client_that_was_not_entered_says_so(call: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="use `async with"):
        await _finish(CALLS[call](AsyncEzlink("sk-1")))


@pytest.mark.parametrize("call", CALLS)
async def test_client_that_was_closed_says_so(call: str) -> None:
    async with beside_emulator() as (ez, _):
        pass
    with pytest.raises(errors.ClientClosedError):
        await _finish(CALLS[call](ez))


@pytest.mark.parametrize("many", ["pairs", "jobs"])
async def test_batch_of_a_client_that_was_not_entered_says_so(
    many: str, tmp_path: Path
) -> None:
    ez = AsyncEzlink("sk-1")

    async def use() -> None:
        if many == "pairs":
            pair = Pair(source=SOURCE, target=TARGET, name="a")
            run = run_batch(ez, None, [pair], output=tmp_path)
        else:
            run = run_jobs(ez, [Imagine("a fox")], output=tmp_path)
        async with run:
            _ = [outcome async for outcome in run]

    with pytest.raises(errors.ConfigurationError, match="use `async with"):
        await use()


class LoopLikeProactor(asyncio.SelectorEventLoop):
    """A loop without what Windows' Proactor loop lacks."""

    def _missing(self, *_: object) -> None:
        raise NotImplementedError

    add_reader = add_writer = remove_reader = remove_writer = _missing  # type: ignore[assignment]
    add_signal_handler = remove_signal_handler = _missing  # type: ignore[assignment]


def _uvloop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop = uvloop.new_event_loop()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    return loop


LOOPS = {
    "usual": asyncio.new_event_loop,
    "proactor": LoopLikeProactor,
    "uvloop": _uvloop,
}


@pytest.mark.parametrize("loop", LOOPS)
def test_whole_swap_runs_in_each_loop(loop: str, tmp_path: Path) -> None:
    """An upload in parts, a poll, a verified download and a save in threads."""

    async def swap(key: str, url: str) -> Path:
        async with AsyncEzlink(key, base_url=url, poll=POLL) as ez:
            handle = await ez.swap_face(SOURCE, TARGET)
            async with await handle.open() as stream:
                assert sum([len(block) async for block in stream]) == stream.length
            return await handle.save(tmp_path / "a.jpg")

    with in_thread() as server, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        path = runner.run(swap(server.api_key, server.base_url))
        assert path.stat().st_size > len(TARGET)
        assert len(server.control.charges) == 1


def test_client_lives_from_cell_to_cell_of_a_notebook() -> None:
    """The loop stands still between two cells, as in IPython in a terminal."""
    with in_thread() as server, asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        client = AsyncEzlink(server.api_key, base_url=server.base_url, poll=POLL)
        runner.run(stack.enter_async_context(client))
        handle = runner.run(client.swap_face(SOURCE, TARGET))
        assert runner.run(handle.read())
        runner.run(stack.aclose())
        with pytest.raises(errors.ClientClosedError):
            runner.run(client.swap_face(SOURCE, TARGET))


async def test_client_of_another_loop_says_so() -> None:
    async with beside_emulator() as (ez, _):

        def other() -> None:
            asyncio.run(ez.swap_face(SOURCE, TARGET))

        with pytest.raises(errors.ConfigurationError, match="another event loop"):
            await asyncio.to_thread(other)


def test_call_outside_of_any_loop_says_so() -> None:
    with in_thread() as server, asyncio.Runner() as runner:
        ez = AsyncEzlink(server.api_key, base_url=server.base_url)
        runner.run(ez.__aenter__())
        with pytest.raises(errors.ConfigurationError, match="event loop"):
            ez.stats()
        runner.run(ez.aclose())
