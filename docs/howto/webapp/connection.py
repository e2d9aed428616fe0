"""The client of the application: of the account in the environment, or built in."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ezlink_async import AsyncEzlink, PollPolicy, emulator

# Each has its variable, EZLINK_MAX_CONCURRENCY and so on, which goes first. More are in
# progress than a server runs at a time, so that the rest waits there, accepted. An
# upload waits for a place for 20 s, and is then answered with 503.
_DEFAULTS = {
    "EZLINK_MAX_CONCURRENCY": "32",
    "EZLINK_SLOT_TIMEOUT": "20",
    "EZLINK_RETRY_TIMEOUT": "30",
}

_UNLIMITED = 10**12


@dataclass(frozen=True)
class Connection:
    """A client that is entered, and what the page says about its server."""

    ez: AsyncEzlink
    server: str
    is_local: bool


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Connection]:
    """
    Enter the one client of the application.

    With ``EZLINK_API_KEY`` it is a client of that account, else one of a server in
    this process, which needs no key and no network, and loses its tasks at the end.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("EZLINK_API_KEY"):
        async with AsyncEzlink() as ez:
            address = os.environ.get("EZLINK_BASE_URL", "https://api.ezlinkai.com")
            yield Connection(ez, urlsplit(address).netloc, is_local=False)
        return
    quick = PollPolicy(first=0.2, shortest=0.2, longest=1)
    async with (
        emulator.serving(_local_settings()) as server,
        AsyncEzlink(server.api_key, base_url=server.base_url, poll=quick) as ez,
    ):
        yield Connection(ez, "the built-in server", is_local=True)


def _local_settings() -> emulator.EmulatorSettings:
    has_engine = None not in map(importlib.util.find_spec, ("numpy", "cv2"))
    return emulator.EmulatorSettings(
        engine="opencv" if has_engine else "copy",
        concurrency=os.cpu_count() or 1,
        queue=_UNLIMITED,
        balance=_UNLIMITED,
        key_quota=None,
    )
