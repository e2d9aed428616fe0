"""
A client process: swaps photos through the public client, and reports each result.

As a program it takes its :class:`Workload` as JSON and prints its
:class:`ClientReport`, so that client and server share neither a process nor an
interpreter's lock.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp
import attrs
import cattrs

from ezlink_async import AsyncEzlink, PollPolicy, RetryPolicy, TaskHandle, Timeouts
from ezlink_async.errors import EzlinkError
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
    complaints about itself, and *losses* the lost connections that the client logged.
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
        traces = (*traces, _time_answers(gaps))
    began, connected = time.monotonic(), connects(work.url)
    with _observed() as observer:
        if work.clients:
            each = (_swap_in_turn(work, number) for number in range(work.clients))
            results = list(itertools.chain(*await asyncio.gather(*each)))
        else:
            results = await _swap_as_stream(work, list(traces))
    return ClientReport(
        results=results,
        gaps=gaps,
        connects=connects(work.url) - connected,
        complaints=observer.complaints,
        losses=observer.losses,
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
    async with contextlib.AsyncExitStack() as stack:
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


_connects: collections.Counter[int] = collections.Counter()


def connects(url: str) -> int:
    """
    Return how often this process tried to connect to the port of *url*.

    Counting starts with the first call. A refused connection leaves no trace at a
    server that is not there, but the interpreter reports each attempt to its
    audit hooks.
    """
    _install_audit_hook()
    return _connects[urlsplit(url).port or 0]


@functools.cache
def _install_audit_hook() -> None:
    def count(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" and isinstance(address := arguments[1], tuple):
            _connects[address[1]] += 1

    sys.addaudithook(count)  # it cannot be removed again


class _Observer(logging.Handler):
    """
    Counts lost connections, and one complaint of asyncio's; prints any other record.

    Over TLS a connection that is reset while the kernel takes no more is lost
    twice: ``_write_ready`` resumes the TLS layer, whose write fails and schedules
    the loss, and then loses the connection itself (CPython 3.11 to 3.13). asyncio
    logs the second time. No outcome depends on it.
    """

    losses = 0
    complaints = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count or print *record*."""
        message = record.getMessage()
        if record.module == "server_log":
            # The loss is logged with its error, the end of the outage without.
            self.losses += bool(record.args)
        elif record.name == "asyncio" and "_call_connection_lost" in message:
            self.complaints += 1
        else:
            sys.stderr.write(f"{message}\n")


@contextlib.contextmanager
def _observed() -> Iterator[_Observer]:
    """Observe everything that is logged in this process."""
    observer = _Observer(logging.WARNING)
    logging.getLogger().addHandler(observer)
    try:
        yield observer
    finally:
        logging.getLogger().removeHandler(observer)


def _time_answers(gaps: list[float]) -> aiohttp.TraceConfig:
    """Return hooks that note the seconds from a submit's last byte to its answer."""

    async def chunk(_: object, at: SimpleNamespace, __: object) -> None:
        at.last = time.monotonic()

    async def end(
        _: object, at: SimpleNamespace, ended: aiohttp.TraceRequestEndParams
    ) -> None:
        if ended.url.path.endswith("/swap"):
            gaps.append(time.monotonic() - at.last)

    config = aiohttp.TraceConfig()
    config.on_request_chunk_sent.append(chunk)
    config.on_request_end.append(end)
    return config


def _main() -> None:
    work = cattrs.structure(json.loads(sys.argv[1]), Workload)
    json.dump(attrs.asdict(asyncio.run(run_client(work))), sys.stdout)


if __name__ == "__main__":
    _main()
