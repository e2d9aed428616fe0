"""
Requests of a web application that are cancelled at random moments: nothing is lost.

Each request receives two uploads, submits a swap, waits for it and streams the result,
as a handler does. It is cancelled after a number of turns of the event loop by chance,
from its first step to past its last one. Promises: each charge has an id that was in
``pending()``; and once the tasks have ended, no slot is held, nothing waits, and
neither a task of asyncio, a connection nor a temporary file is left.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from ezlink_async import AsyncEzlink, PollPolicy
from ezlink_async.emulator import Emulator, EmulatorSettings, serving
from tests.series.result import Environment, SeriesResult
from tests.support.pictures import jpeg
from tests.support.raw_servers import client_tls
from tests.support.uploads import ReadUpload, temporary_files

_POLL = PollPolicy(first=0.01, shortest=0.01, longest=0.05)

_AT_ONCE = 20

_LENGTHS = (20_000, 300_000, 1_200_000)
"""Two in three of the targets stay in memory."""


async def cancelled_requests(here: Environment, count: int = 1000) -> SeriesResult:
    """Make requests until *count* were cancelled, and check what is left of them."""
    result, before = SeriesResult(), asyncio.all_tasks()
    settings = EmulatorSettings(
        concurrency=_AT_ONCE, engine_seconds=0.01, ssl_context=here.tls
    )
    sockets = _sockets()
    with _temporary_folder() as folder:
        async with (
            serving(settings) as server,
            aiohttp.ClientSession(connector=_connector(here)) as session,
            AsyncEzlink(
                server.api_key,
                base_url=server.base_url,
                max_concurrency=_AT_ONCE // 2,
                poll=_POLL,
                http=session,
            ) as ez,
        ):
            await _cancel_all(ez, server, result, count)
            result.expect("no file while open", temporary_files(folder), [])
        result.expect("no temporary file", temporary_files(folder), [])
    result.expect("no task of asyncio", asyncio.all_tasks() - before, set())
    result.expect("no connection", _sockets() - sockets, 0)
    return result


async def _cancel_all(
    ez: AsyncEzlink, server: Emulator, result: SeriesResult, count: int
) -> None:
    ids, chance = set[str](), random.Random(count)  # noqa: S311 - moments, no secrets
    watching = asyncio.create_task(_note_ids(ez, ids))
    alone = (_turns_of(_Request(ez, number)) for number in range(_AT_ONCE))
    whole = round(statistics.median(await asyncio.gather(*alone)))
    ends = collections.Counter[str]()
    while ends.total() - ends["done"] < count:
        begun = _AT_ONCE + ends.total()
        requests = [_Request(ez, begun + number) for number in range(_AT_ONCE)]
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(_cancel_after(request, chance.randrange(whole)))
        ends.update(request.stage for request in requests)
    while ez.pending() or ez.stats().in_progress:
        await asyncio.sleep(0)
    watching.cancel()
    stats, charged = ez.stats(), server.control.charges
    result.add(f"{ends.total()} requests", f"{len(charged)} charges")
    result.add(", ".join(f"{ends[name]} {name}" for name in sorted(ends)))
    nameless = {charge.task_id for charge in charged} - ids
    result.expect("each charge has an id", nameless, set())
    result.expect("no task is paid twice", len(charged), len(server.control.tasks))
    left = (stats.in_progress, stats.waiting, stats.pending)
    result.expect("no slot, caller or task", left, (0, 0, 0))


def _connector(here: Environment) -> aiohttp.TCPConnector:
    """Return connections like the client's own, which trust the tests' authority."""
    trusting = client_tls() if here.tls else True
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=2, ssl=trusting)


class _Request:
    """One request of the application; *stage* is how far it came."""

    def __init__(self, ez: AsyncEzlink, number: int) -> None:
        self._ez = ez
        self._number = number
        self.stage = "unbegun"

    async def answer(self) -> None:
        """Do what a handler does."""
        number = self._number + 1
        length = _LENGTHS[number % len(_LENGTHS)]
        source, target = jpeg(10_000), jpeg(length + number)
        self.stage = "submitting"
        handle = await self._ez.swap_face(ReadUpload(source), ReadUpload(target))
        self.stage = "waiting"
        await handle
        self.stage = "opening"
        async with await handle.open() as stream:
            self.stage = "streaming"
            async for _ in stream:
                await asyncio.sleep(0)
        self.stage = "done"


async def _turns_of(request: _Request) -> int:
    """Return how many turns of the loop a request takes that is left alone."""
    task, turns = asyncio.create_task(request.answer()), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    task.result()
    return turns


async def _cancel_after(request: _Request, turns: int) -> None:
    task = asyncio.create_task(request.answer())
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _note_ids(ez: AsyncEzlink, ids: set[str]) -> None:
    while True:
        ids.update(handle.task_id for handle in ez.pending())
        await asyncio.sleep(0)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Have the temporary files of this process be made in a folder of their own."""
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = name
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = usual


def _sockets() -> int:
    """Return how many sockets this process has open, where the system tells."""
    found, folder = 0, Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # the folder itself was open meanwhile
            found += str(entry.readlink()).startswith("socket:")
    return found
