"""
How often this process tried to connect, whoever did it and however it ended.

A refused connection leaves no trace at a server that is not there. The
interpreter tells its audit hooks of each attempt; a hook stays for good.
"""

from __future__ import annotations

import collections
import functools
import sys
from urllib.parse import urlsplit

_seen: collections.Counter[int] = collections.Counter()


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and isinstance(address := arguments[1], tuple):
        _seen[address[1]] += 1


@functools.cache
def _listen() -> None:
    sys.addaudithook(_note)


def dials(url: str) -> int:
    """Return how often the port of *url* was tried since the first question."""
    _listen()
    return _seen[urlsplit(url).port or 0]
