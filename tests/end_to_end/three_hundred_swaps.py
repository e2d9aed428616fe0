"""
A program: 300 different swaps through a client and an emulator, then a report.

The tests run it in a process of its own with every warning an error, so that
anything on stderr is a failure. Given the file of a certificate, and its authority
in ``SSL_CERT_FILE``, it goes over TLS.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys

from ezlink_async import AsyncEzlink, PollPolicy
from ezlink_async.emulator import (
    Emulator,
    EmulatorSettings,
    read_hashes,
    scripts,
    serving,
)
from tests.support.pictures import jpeg

COUNT = 300
SLOTS = 32
SOURCE = jpeg(50_000)
HOLD = 1_800.0
"""Seconds of the emulator's clock that the first tasks take; under its hour."""

DEVMODE = {"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}
"""The environment the program is run with."""

EXPECTED = {
    "right": COUNT,
    "charges": COUNT,
    "tasks": COUNT,
    "uploads": COUNT,
    "peak": SLOTS,
    "left": 0,
}
"""The report of a run without mistakes."""


def _hash(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


async def _swap_all(server: Emulator) -> int:
    """Return how many results belonged to their jobs."""
    poll = PollPolicy(first=0.02, shortest=0.02, longest=0.1)
    right = 0
    async with (
        asyncio.TaskGroup() as group,
        AsyncEzlink(
            server.api_key, base_url=server.base_url, max_concurrency=SLOTS, poll=poll
        ) as ez,
    ):
        group.create_task(_end_first_tasks(server))
        targets = (jpeg(20_000 + number) for number in range(COUNT))
        async for swap in ez.swap_faces(SOURCE, targets):
            if swap.handle is None or not isinstance(swap.target, bytes):
                raise swap.error or AssertionError
            hashes = read_hashes(await swap.handle.read())
            right += hashes == (_hash(SOURCE), _hash(swap.target))
    return right


async def _end_first_tasks(server: Emulator) -> None:
    """Let the first tasks end once all slots are in use, however slow the machine."""
    # A task that runs has begun its hold; one that only exists may not have.
    while server.control.peak_running < SLOTS:
        await asyncio.sleep(0.01)
    server.control.advance(HOLD)


def _tls() -> ssl.SSLContext | None:
    if not sys.argv[1:]:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    return context


async def _main() -> None:
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 60  # a callback may be slow on a shared machine
    settings = EmulatorSettings(concurrency=SLOTS, queue=COUNT, ssl_context=_tls())
    async with serving(settings) as server:
        control = server.control
        control.script_tasks(*[scripts.slow(HOLD)] * SLOTS)
        before = asyncio.all_tasks()
        right = await _swap_all(server)
        report = {
            "right": right,
            "charges": len(control.charges),
            "tasks": len(control.tasks),
            "uploads": sum(control.uploads.values()),
            "peak": control.peak,
            "left": len(asyncio.all_tasks() - before),
        }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main())
