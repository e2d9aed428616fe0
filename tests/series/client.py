"""
A client process: swaps photos through the public client, and reports each result.

As a program it takes its :class:`Workload` as JSON and prints its
:class:`ClientReport`, so that client and server share neither a process nor an
interpreter's lock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import attrs
import cattrs

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskHandle, Timeouts
from ezlink_async.errors import EzlinkError
from tests.series.observers import (
    asyncio_complaints,
    connection_losses,
    connects,
    time_answers,
)
from tests.series.photos import SOURCE, digest_of, photo, result_of
from tests.support.programs import run_strictly
from tests.support.raw_servers import trust_file

KEY = "sk-series"
UNKNOWN = "SubmitUnknownError"


@attrs.frozen(kw_only=True)
class Workload:
    """
    What a client process does: swap *count* photos of about *length* bytes.

    *slots* are in progress at once. *retry*, *poll* and *timeouts* are what
    differs from the defaults. With *timed*, hooks in a session of the caller's
    measure each answer. With *clients* that many clients, each with a key of its
    own, submit one photo after another, and pause *pauses* seconds between two
    submits, the shortest and the longest.
    """

    url: str = ""
    count: int
    length: int
    slots: int = 8
    uploads: int | None = None
    retry: dict[str, float] = attrs.field(factory=dict)
    poll: dict[str, float] = attrs.field(factory=dict)
    timeouts: dict[str, float] = attrs.field(factory=dict)
    timed: bool = False
    clients: int = 0
    pauses: tuple[float, float] = (0.0, 0.0)

    def client(
        self, http: aiohttp.ClientSession | None = None, key: str = KEY
    ) -> AsyncEzlink:
        """Return a client with these settings."""
        return AsyncEzlink(
            key,
            base_url=self.url,
            max_concurrency=self.slots,
            max_uploads=self.uploads,
            retry=RetryPolicy(**self.retry),  # type: ignore[arg-type]  # seconds only
            poll=PollPolicy(**self.poll),
            timeouts=Timeouts(**self.timeouts),
            http=http,
        )

    def photos(self) -> Iterator[bytes]:
        """Yield the photos, each made when it is asked for."""
        return (photo(number, self.length) for number in range(self.count))


@attrs.frozen(kw_only=True)
class JobResult:
    """
    What became of one photo, by its digest: *right* when its own result came back.

    *began* and *ended* are the seconds at which its submit did, and *key* is the
    client's, of a workload with several clients.
    """

    photo: str
    error: str = ""
    request_id: str = ""
    right: bool = False
    key: str = KEY
    began: float = 0.0
    ended: float = 0.0


@attrs.frozen(kw_only=True)
class ClientReport:
    """
    What became of all photos, and what the process saw meanwhile.

    *gaps* are the seconds from each last byte sent to its answer, of a timed
    workload; *connects* counts the attempts to connect, *complaints* asyncio's
    complaints about itself, and *losses* the connection losses that the client
    reported: see :mod:`tests.series.observers`.
    """

    results: list[JobResult]
    gaps: list[float]
    connects: int
    complaints: int
    losses: int
    seconds: float

    @property
    def unknown(self) -> list[JobResult]:
        """The photos whose submit is unknown."""
        return [each for each in self.results if each.error == UNKNOWN]

    @property
    def failed(self) -> list[JobResult]:
        """The photos that failed in any other way."""
        return [each for each in self.results if each.error not in {"", UNKNOWN}]


async def run_client(work: Workload, *traces: aiohttp.TraceConfig) -> ClientReport:
    """Do *work* in this process; *traces* are hooks of the caller's session."""
    gaps: list[float] = []
    if work.timed:
        traces = (*traces, time_answers(gaps))
    began, connected = time.monotonic(), connects(work.url)
    with asyncio_complaints() as complaints, connection_losses() as losses:
        if work.clients:
            each = (_swap_in_turn(work, number) for number in range(work.clients))
            results = list(itertools.chain(*await asyncio.gather(*each)))
        else:
            results = await _swap_as_stream(work, list(traces))
    return ClientReport(
        results=results,
        gaps=gaps,
        connects=connects(work.url) - connected,
        complaints=len(complaints),
        losses=len(losses),
        seconds=time.monotonic() - began,
    )


async def run_client_process(work: Workload) -> ClientReport:
    """Do *work* in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = await run_strictly(
            *("-m", "tests.series.client", json.dumps(attrs.asdict(work))),
            SSL_CERT_FILE=str(trust_file(Path(folder))),
        )
    return cattrs.structure(json.loads(out), ClientReport)


async def _swap_as_stream(
    work: Workload, traces: list[aiohttp.TraceConfig]
) -> list[JobResult]:
    async with AsyncExitStack() as stack:
        http = None
        if traces:  # a session like the client's own, but for the hooks
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
            http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=connector, trace_configs=traces)
            )
        ez = await stack.enter_async_context(work.client(http))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        downloads = [
            group.create_task(_result(outcome.target, outcome.handle, outcome.error))
            async for outcome in ez.swap_faces(SOURCE, work.photos())
        ]
    return [download.result() for download in downloads]


async def _swap_in_turn(work: Workload, number: int) -> list[JobResult]:
    """Swap the share of client *number*, pausing between two submits."""
    pause = random.Random(number).uniform  # noqa: S311 - pauses, no secrets
    key, downloads = f"{KEY}-{number}", list[asyncio.Task[JobResult]]()
    async with work.client(key=key) as ez, asyncio.TaskGroup() as group:
        for target in itertools.islice(work.photos(), number, None, work.clients):
            began, handle, error = time.monotonic(), None, None
            try:
                handle = await ez.swap_face(SOURCE, target)
            except EzlinkError as failure:
                error = failure
            times = began, time.monotonic()
            result = _result(target, handle, error, key, times)
            downloads.append(group.create_task(result))
            if work.pauses[1]:
                await asyncio.sleep(pause(*work.pauses))
    return [download.result() for download in downloads]


async def _result(
    target: object,
    handle: TaskHandle | None,
    error: EzlinkError | None,
    key: str = KEY,
    times: tuple[float, float] = (0.0, 0.0),
) -> JobResult:
    """Download the result if there is one, and report what became of the job."""
    assert isinstance(target, bytes)
    digest, right = digest_of(target), False
    if handle is not None and error is None:
        try:
            right = await handle.read() == result_of(digest)
        except EzlinkError as failure:
            error = failure
    return JobResult(
        photo=digest,
        error=type(error).__name__ if error else "",
        request_id=(error and error.request_id) or "",
        right=right,
        key=key,
        began=times[0],
        ended=times[1],
    )


def _main() -> None:
    work = cattrs.structure(json.loads(sys.argv[1]), Workload)
    json.dump(attrs.asdict(asyncio.run(run_client(work))), sys.stdout)


if __name__ == "__main__":
    _main()
