"""
A customer: orders photos through the public client, and tells how each ended.

As a program it takes its order as JSON and prints its receipt, so that client
and server share neither a process nor an interpreter's lock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from types import SimpleNamespace

import aiohttp
import attrs
import cattrs

from ezlink_async import SwapOutcome, TaskHandle
from ezlink_async.errors import EzlinkError
from tests.series.dials import dials
from tests.series.noise import noise
from tests.series.orders import KEY, Bought, Order, Receipt
from tests.series.photos import SOURCE, digest_of, number_of, photo, result_of


async def buy(order: Order, *traces: aiohttp.TraceConfig) -> Receipt:
    """Order, with hooks if some are given, and bring everything home."""
    gaps: list[float] = []
    if order.timed:
        traces = (*traces, hooks(gaps))
    began, dialled = time.monotonic(), dials(order.url)
    with noise() as heard, told_losses() as losses:
        if order.lanes:
            lanes = (_one_by_one(order, lane) for lane in range(order.lanes))
            bought = list(itertools.chain(*await asyncio.gather(*lanes)))
        else:
            bought = await _all_at_once(order, list(traces))
    return Receipt(
        bought=bought,
        gaps=gaps,
        dials=dials(order.url) - dialled,
        noise=len(heard),
        losses=len(losses),
        seconds=time.monotonic() - began,
    )


async def _all_at_once(order: Order, traces: list[aiohttp.TraceConfig]) -> list[Bought]:
    bought: list[Bought] = []

    async def home(outcome: SwapOutcome) -> None:
        assert isinstance(outcome.target, bytes)
        bought.append(await _ended(outcome.target, outcome.handle, outcome.error))

    async with AsyncExitStack() as stack:
        http = None
        if traces:  # a session like the client's own, but for them
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
            http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector, trace_configs=traces)
            )
        ez = await stack.enter_async_context(order.client(http))
        async with asyncio.TaskGroup() as group:
            async for outcome in ez.swap_faces(SOURCE, order.photos()):
                group.create_task(home(outcome))
    return bought


async def _one_by_one(order: Order, lane: int) -> list[Bought]:
    """Be one of several customers, and pause between two submits."""
    bought: list[Bought] = []
    pause = random.Random(lane).uniform  # noqa: S311 - pauses, no secrets
    key = f"{KEY}-{lane}"

    async def home(
        target: bytes,
        handle: TaskHandle | None,
        error: EzlinkError | None,
        submit: tuple[float, float],
    ) -> None:
        found = await _ended(target, handle, error)
        began, ended = submit
        bought.append(attrs.evolve(found, key=key, began=began, ended=ended))

    async with order.client(key=key) as ez, asyncio.TaskGroup() as group:
        for number in range(lane, order.count, order.lanes):
            target = photo(number, order.length)
            began, handle, error = time.monotonic(), None, None
            try:
                handle = await ez.swap_face(SOURCE, target)
            except EzlinkError as fault:
                error = fault
            ended = time.monotonic()
            group.create_task(home(target, handle, error, (began, ended)))
            if order.pauses[1]:
                await asyncio.sleep(pause(*order.pauses))
    return bought


async def _ended(
    target: bytes, handle: TaskHandle | None, error: EzlinkError | None
) -> Bought:
    """Bring the result home if there is one, and say how it ended."""
    right = False
    if handle is not None and error is None:
        try:
            right = await handle.read() == result_of(digest_of(target))
        except EzlinkError as fault:
            error = fault
    return Bought(
        number=number_of(target),
        error=type(error).__name__ if error else "",
        says=str(error or ""),
        request_id=(error and error.request_id) or "",
        right=right,
    )


class _Losses(logging.Handler):
    """Keeps what the client tells of lost connections; all else is a complaint."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, or show it."""
        says = record.getMessage()
        if says.endswith("requests wait until the connection is back"):
            self.told.append(says)
        elif says != "the connection is back":
            sys.stderr.write(f"{says}\n")


@contextmanager
def told_losses() -> Iterator[list[str]]:
    """Collect what the client tells of lost connections."""
    log, losses = logging.getLogger("ezlink_async"), _Losses()
    log.addHandler(losses)
    try:
        yield losses.told
    finally:
        log.removeHandler(losses)


def hooks(gaps: list[float]) -> aiohttp.TraceConfig:
    """Return hooks that note the seconds between a submit's end and its answer."""

    async def chunk(_: object, at: SimpleNamespace, __: object) -> None:
        at.last = time.monotonic()

    async def end(
        _: object, at: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        if told.url.path.endswith("/swap"):
            gaps.append(time.monotonic() - at.last)

    config = aiohttp.TraceConfig()
    config.on_request_chunk_sent.append(chunk)
    config.on_request_end.append(end)
    return config


def _main() -> None:
    order = cattrs.structure(json.loads(sys.argv[1]), Order)
    json.dump(attrs.asdict(asyncio.run(buy(order))), sys.stdout)


if __name__ == "__main__":
    _main()
