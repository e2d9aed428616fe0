"""
A complaint of asyncio about itself, told from all others.

Over TLS a connection that is reset while the kernel takes no more is lost
twice: ``_write_ready`` resumes the TLS layer, whose write fails and schedules
the loss, and then loses the connection itself (CPython 3.11 to 3.13). The
second time ends in the loop's handler of exceptions. No outcome depends on it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

_WORDS = "_call_connection_lost"


@contextlib.contextmanager
def noise() -> Iterator[list[str]]:
    """Collect such complaints; any other is shown as always."""
    loop = asyncio.get_running_loop()
    heard: list[str] = []
    before = loop.get_exception_handler()

    def listen(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        said = str(context.get("message"))
        if _WORDS in said and isinstance(context.get("exception"), AttributeError):
            heard.append(said)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(listen)
    try:
        yield heard
    finally:
        loop.set_exception_handler(before)
