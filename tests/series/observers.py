"""
What a client process sees beside its results.

Attempts to connect, asyncio's complaints about itself, lost connections that the
client reports, and how long answers take.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import logging
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import aiohttp

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


@contextlib.contextmanager
def asyncio_complaints() -> Iterator[list[str]]:
    """
    Collect one kind of complaint of asyncio's; any other is reported as always.

    Over TLS a connection that is reset while the kernel takes no more is lost
    twice: ``_write_ready`` resumes the TLS layer, whose write fails and schedules
    the loss, and then loses the connection itself (CPython 3.11 to 3.13). The
    second time ends in the loop's exception handler. No outcome depends on it.
    """
    loop = asyncio.get_running_loop()
    complaints: list[str] = []
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        message = str(context.get("message"))
        failed = isinstance(context.get("exception"), AttributeError)
        if failed and "_call_connection_lost" in message:
            complaints.append(message)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield complaints
    finally:
        loop.set_exception_handler(before)


class _LossCounter(logging.Handler):
    """Keeps what is logged of lost connections; the rest goes to stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it or print it."""
        message = record.getMessage()
        if record.module != "transport_errors":
            sys.stderr.write(f"{message}\n")
        elif record.args:  # the error; the end of an outage is logged without one
            self.losses.append(message)


@contextlib.contextmanager
def connection_losses() -> Iterator[list[str]]:
    """Collect what the client logs of lost connections; the rest goes to stderr."""
    log, counter = logging.getLogger("ezlink_async"), _LossCounter()
    log.addHandler(counter)
    try:
        yield counter.losses
    finally:
        log.removeHandler(counter)


def time_answers(gaps: list[float]) -> aiohttp.TraceConfig:
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
