"""
The example application behind uvicorn, with measures: a program of its own.

It runs until SIGTERM, and then writes a line of JSON: the longest steps of its event
loop in seconds of this thread's processor time, without the garbage collections in
them; the longest collection; and the tasks that were left.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import signal
import socket
import sys
import threading
import time

import uvicorn

_KEPT = 5

_steps: list[tuple[float, str]] = []


class _Collections:
    """The garbage collections in the thread of the loop: seconds of its time."""

    total = longest = began = 0.0

    def note(self, phase: str, _: dict[str, int]) -> None:
        """Measure one, as a callback of the collector."""
        if threading.current_thread() is not threading.main_thread():
            return
        if phase == "start":
            self.began = time.thread_time()
            return
        took = time.thread_time() - self.began
        self.total += took
        self.longest = max(self.longest, took)


_collections = _Collections()


def measure_steps() -> None:
    """Note the longest steps of every event loop of this process."""
    run = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        began, collected = time.thread_time(), _collections.total
        run(handle)
        took = time.thread_time() - began - (_collections.total - collected)
        if len(_steps) < _KEPT:
            heapq.heappush(_steps, (took, repr(handle)))
        elif took > _steps[0][0]:
            heapq.heapreplace(_steps, (took, repr(handle)))

    setattr(asyncio.Handle, "_run", measured)  # noqa: B010 - no public hook


class MeasuredServer(uvicorn.Server):
    """Forgets the steps of the start, which imports the application."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and measure from then on."""
        await super().startup(sockets)
        _steps.clear()
        _collections.longest = 0.0


async def serve(port: int) -> list[str]:
    """Serve until SIGTERM, and return the tasks that are left then."""
    config = uvicorn.Config(
        "app:app", port=port, timeout_graceful_shutdown=10, access_log=False
    )
    await MeasuredServer(config).serve()
    own = asyncio.current_task()
    return [repr(task) for task in asyncio.all_tasks() if task is not own]


def _main() -> None:
    left: list[str] = []
    measure_steps()
    gc.callbacks.append(_collections.note)

    async def run() -> None:
        left.extend(await serve(int(sys.argv[1])))

    # uvicorn raises the signal again, with this handler, once it has ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    asyncio.run(run())
    report = {
        "steps": sorted(_steps, reverse=True),
        "collection": _collections.longest,
        "left": left,
    }
    sys.stdout.write(f"REPORT {json.dumps(report)}\n")


if __name__ == "__main__":
    _main()
