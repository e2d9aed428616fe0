"""
Answers that are made to stop a client: each call meets each of them.

A call ends with a value or with an error of the package. Meanwhile no step of the
loop takes 50 ms of its own thread's time, a heartbeat of 5 ms misses no 150 ms,
and the process needs at most 64 MB more; of five tries the best counts, since the
machine has other work, too. As a program it is the client: it takes the server's
address, and prints its :class:`Cell` for each call and answer.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import attrs
import cattrs
import pytest

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, Timeouts
from ezlink_async._io.transport import Transport
from ezlink_async.errors import EzlinkError
from ezlink_async.services import billing
from tests.series.result import Environment, SeriesResult
from tests.support.pictures import jpeg
from tests.support.programs import run_strictly
from tests.support.raw_servers import Connection, answer, serving, trust_file
from tests.support.transports import settings

STEP = 0.050
"""Seconds of its thread's time that a step of the loop may take."""

GAP = 0.150
"""Seconds between two beats of the heart."""

MEMORY = 64.0
"""Megabytes that a call may need at its peak."""

TRIES = 5

_BEAT = 0.005
_MIB = 1024 * 1024
_IDS = [str(number) for number in range(100)]


def _task(**fields: object) -> dict[str, object]:
    """Return a body that is a task, an acceptance and a page of the account at once."""
    return {
        "code": 1,
        "result": "7",
        "id": "7",
        "status": "SUCCESS",
        "success": True,
        "total_usage": 1,
        "data": {"quota": 1, "used_quota": 1, "total": 1, "list": []},
        **fields,
    }


def _dumped(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _rows(count: int, size: int) -> list[dict[str, object]]:
    buttons = [{"customId": "x" * 20, "label": str(n)} for n in range(25)]
    return [
        {
            "id": str(n),
            "mj_id": str(n),
            "status": "IN_PROGRESS",
            "buttons": buttons,
            "prompt": "字" * (size // 6),
        }
        for n in range(count)
    ]


@cache
def answers() -> dict[str, bytes]:
    """Return every answer by its name, as it goes over the wire."""
    bodies = {
        "15 MB of tasks": _dumped(_rows(100, 150_000)),
        "a list of 6 MB": _dumped(_rows(100, 60_000)),
        "a page of 6 MB": _dumped({"success": True, "data": {
            "total": 100, "list": _rows(100, 60_000)}}),
        "depth 100,000": b"[" * 100_000,
        "brackets in texts": _dumped(_task(buttons="[" * 2_400, status="[" * 2_400)),
        "texts of 5 MB": _dumped(_task(failReason="x" * (5 * _MIB))),
        "texts of 900 KB": _dumped(_task(failReason=" \\" * 300_000)),
        "an id of 900 KB": _dumped(_task(id="7" * 900_000, result="7" * 900_000)),
        "4,900 buttons": _dumped(_task(buttons=[{}] * 4_900)),
        "59,000 keys": _dumped(_task(**{f"k{n}": 1 for n in range(59_000)})),
        "1 MiB of brackets": b"[" + b"[]," * (_MIB // 3 - 9) + b"[]]",
        "1 MiB of numbers": b"[" + b"1," * (_MIB // 2 - 9) + b"1]",
        "99,000 empty tasks": b"[" + b"{}," * 99_000 + b"{}]",
        "lone surrogates": _dumped(_task(failReason="\ud800", result="\udfff")),
        "GBK": json.dumps(
            _task(failReason="运砛"), ensure_ascii=False
        ).encode("gbk"),
        "NUL": _dumped(_task(failReason="@@")).replace(b"@", b"\0") + b"\0",
    }  # fmt: skip
    plain = {name: answer(200, body) for name, body in bodies.items()}
    refused = answer(500, bodies["1 MiB of brackets"])
    return plain | {
        "16 MB in 16 KB of gzip": _zipped(b"[" + b"[]," * (16 * _MIB // 3)),
        "16 MB of blanks in gzip": _zipped(b" " * 16 * _MIB + b"1"),
        "500 with 1 MiB of brackets": refused,
    }


def _zipped(body: bytes) -> bytes:
    return answer(200, gzip.compress(body, mtime=0), Content_Encoding="gzip")


async def serve(conn: Connection) -> None:
    """Give the answer that the first segment of the path numbers."""
    bodies = list(answers().values())
    while await conn.read_request():
        conn.send(bodies[int(conn.path.split("/")[1])])


def _client(url: str) -> AsyncEzlink:
    return AsyncEzlink(
        "sk-series",
        base_url=url,
        account_token="token",
        poll=PollPolicy(first=0.05, shortest=0.05, longest=0.05, deadline=0.15),
        retry=RetryPolicy(first=0.01, longest=0.02, attempts=2, timeout=0.05),
        timeouts=Timeouts(reconcile=0.02),
    )


async def _polls(ez: AsyncEzlink, _: str) -> object:
    handles = [ez.task(each) for each in _IDS[:32]]
    ended = await asyncio.gather(*handles, return_exceptions=True)
    failed = [each for each in ended if isinstance(each, BaseException)]
    if failed:
        raise failed[0]
    return ended


async def _billing(_: AsyncEzlink, url: str) -> object:
    transport = Transport(settings(url))
    await transport.open()
    try:
        pages = billing.subscription_request(), billing.usage_request()
        return billing.read_quota(*[await transport.send(page) for page in pages])
    finally:
        await transport.close()


CALLS: dict[str, Callable[[AsyncEzlink, str], Awaitable[object]]] = {
    "swap_face": lambda ez, _: ez.swap_face(jpeg(3_000), jpeg(4_000)),
    "fetch_task": lambda ez, _: ez.fetch_task("7"),
    "fetch_tasks": lambda ez, _: ez.fetch_tasks(_IDS),
    "task": lambda ez, _: ez.task("7").result(),
    "32 tasks": _polls,
    "billing": _billing,
    "account.balance": lambda ez, _: ez.account.balance(),
    "account.charged": lambda ez, _: ez.account.charged("r"),
    "account.find": lambda ez, _: ez.account.find(state="s"),
    "fetch_image": lambda ez, url: ez.fetch_image(f"{url}/a.jpg"),
}
"""Every call that reads an answer."""


@attrs.frozen(kw_only=True)
class Cell:
    """What one call made of one answer, and what that cost the process."""

    call: str
    answer: str
    ended: str
    step: float = 0.0
    gap: float = 0.0
    memory: float = 0.0

    @property
    def costs(self) -> bool:
        """Whether a bound was broken."""
        return self.step > STEP or self.gap > GAP or self.memory > MEMORY


async def outcome_of(call: str, url: str, number: int) -> str:
    """
    Return how *call* ended, which met answer *number*.

    Any error that is not the package's own is raised.
    """
    async with _client(f"{url}/{number}") as ez:
        try:
            await CALLS[call](ez, f"{url}/{number}")
        except EzlinkError as error:
            return type(error).__name__
        return "value"


@contextmanager
def _timed_steps(steps: list[float]) -> Iterator[None]:
    """Note the thread's time that each step of the loop takes."""
    run: Callable[[asyncio.Handle], None] = vars(asyncio.Handle)["_run"]

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - began)

    with pytest.MonkeyPatch.context() as patch:  # asyncio has no hook for this
        patch.setattr(asyncio.Handle, "_run", timed)
        yield


async def _beat(gaps: list[float]) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(_BEAT)
        now = time.monotonic()
        gaps.append(now - last)
        last = now


def _memory(name: str) -> float:
    """Return a figure of this process, in megabytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024


def _reset_peak() -> float:
    """Let the peak of the memory begin anew, and return the memory in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


async def _measured(call: str, url: str, number: int) -> Cell:
    gaps, steps = list[float](), list[float]()
    before = _reset_peak()
    heart = asyncio.create_task(_beat(gaps))
    with _timed_steps(steps):
        ended = await outcome_of(call, url, number)
    heart.cancel()
    return Cell(
        call=call,
        answer=list(answers())[number],
        ended=ended,
        step=max(steps),
        gap=max(gaps, default=0.0),
        memory=_memory("VmHWM") - before,
    )


async def _best(call: str, url: str, number: int) -> Cell:
    """Return the best of five tries; none follows one that keeps every bound."""
    best = await _measured(call, url, number)
    for _ in range(TRIES - 1):
        if not best.costs:
            break
        other = await _measured(call, url, number)
        best = attrs.evolve(
            best,
            step=min(best.step, other.step),
            gap=min(best.gap, other.gap),
            memory=min(best.memory, other.memory),
        )
    return best


async def heavy_answers(here: Environment) -> SeriesResult:
    """Let every call meet every answer, and measure what that costs the client."""
    result = SeriesResult()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(serve, tls=here.tls) as server:
            out = await run_strictly(
                *("-m", "tests.series.heavy_answers", server.url),
                SSL_CERT_FILE=str(trust_file(Path(folder))),
            )
    cells = cattrs.structure(json.loads(out), list[Cell])
    result.add(f"{len(cells)} cells")
    for name, unit, scale in (
        ("step", "ms", 1e3),
        ("gap", "ms", 1e3),
        ("memory", "MB", 1),
    ):
        worst = max(cells, key=lambda cell: float(getattr(cell, name)))
        figure = getattr(worst, name) * scale
        result.add(f"{name} {figure:.0f} {unit} ({worst.call}, {worst.answer})")
    result.expect(
        "every call meets every answer", len(cells), len(CALLS) * len(answers())
    )
    costly = [f"{each.call}, {each.answer}" for each in cells if each.costs]
    result.expect("no answer stops the loop or fills the memory", costly, [])
    return result


async def _main(url: str) -> None:
    logging.disable()
    await outcome_of("fetch_task", url, 0)  # what is loaded once
    cells = [
        await _best(call, url, number)
        for call in CALLS
        for number in range(len(answers()))
    ]
    json.dump([attrs.asdict(cell) for cell in cells], sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
