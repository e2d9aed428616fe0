"""
The cost of pending handles: bytes of each, and processor time of a poll.

There is no network. The transport answers from memory with the same value every time,
and the family reads it at no cost, so the figures are those of the poller and of the
handle's :meth:`receive`. Runs in a process of its own and prints JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import Factory, define

from ezlink_async import PollPolicy, TaskRecord, TaskStatus
from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.polling.poller import Poller
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.settings import Settings
from ezlink_async._io.concurrency import BackgroundTasks, Semaphore
from ezlink_async._io.download import Downloader
from ezlink_async._io.transport import Transport
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.midjourney import LIST_LIMIT

_T = TypeVar("_T")

_BASE = "http://127.0.0.1:9"
_POLLS = 3  # of each handle, while the clock runs


@define
class _Family(TaskFamily[TaskRecord]):
    """Tasks that never end, polled and read at no cost."""

    name: str = "endless"
    record_type: type[TaskRecord] = TaskRecord
    timing: PollTiming = Factory(lambda: PollTiming(shares_queue=True))
    list_limit: int = LIST_LIMIT
    record: TaskRecord = Factory(
        lambda: TaskRecord(task_id="0", status=TaskStatus.IN_PROGRESS)
    )
    polls: int = 0
    enough: float = float("inf")
    had_enough: asyncio.Event = Factory(asyncio.Event)

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:  # noqa: ARG002
        """Return the request for one task."""
        return self.list_request([task_id])

    def read(self, response: HttpResponse, task_id: str) -> TaskRecord:  # noqa: ARG002
        """Return the record."""
        return self.record

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Return the request for many tasks, and count them."""
        self.polls += len(task_ids)
        if self.polls >= self.enough:
            self.had_enough.set()
        return HttpRequest("GET", "/", (" ".join(task_ids).encode(),), repeatable=True)

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """Return a record for each id in the answer."""
        return dict.fromkeys(response.body.decode().split(), self.record)


class _Memory(Transport):
    """Answers each request with its own body, at once."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Return the body of *request*."""
        (body,) = request.body
        return HttpResponse(200, {}, body if isinstance(body, bytes) else b"", _BASE)


class _Client:
    """The parts of a client that a handle uses."""

    def __init__(self, policy: PollPolicy) -> None:
        transport = _Memory(Settings(api_key="sk-key", base_url=_BASE))
        self.loop = asyncio.get_running_loop()
        self.base_url = self.origin = _BASE
        self.events = transport.events
        self.background = BackgroundTasks()
        self.downloads = Downloader(transport)
        self.poller = Poller(transport, policy, self.background, self.downloads)
        self.family = _Family()
        self.slots = Semaphore(10**6)

    def forget(self, handle: FollowedHandle) -> None:
        """Stop following *handle*."""
        self.poller.forget(handle)

    async def ask(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """Send *request* and read the answer."""
        raise NotImplementedError

    def follow(self, number: int) -> None:
        """Follow a new handle, as after an accepted submit."""
        handle = FollowedHandle(f"{1733213213000000 + number}", self.family, self)
        self.poller.of(self.family).follow(handle, own=True, release=self.slots.release)


def _bytes_each(client: _Client, count: int) -> float:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        client.follow(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


async def _polled(client: _Client, polls: float) -> float:
    """Return the processor time of so many further polls."""
    client.family.had_enough.clear()
    client.family.enough = client.family.polls + polls
    began = time.process_time()
    await client.family.had_enough.wait()
    return time.process_time() - began


def _receiving(client: _Client) -> float:
    """Return the time of receiving a record that changes nothing."""
    pending = client.poller.pending()
    began = time.process_time()
    for handle in pending:
        handle.receive(client.family.record)
    return (time.process_time() - began) / len(pending)


async def _measure(count: int) -> dict[str, float]:
    policy = PollPolicy(first=1, shortest=1, longest=2, deadline=3600)
    client = _Client(policy)
    each = _bytes_each(client, count)
    client.poller.start()
    try:
        await _polled(client, 2 * count)  # all of them have a record by then
        seconds = await _polled(client, _POLLS * count) / (_POLLS * count)
        received = _receiving(client)
    finally:
        await client.background.close()
    return {"bytes": each, "scheduling": (seconds - received) * 1e6}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(int(sys.argv[1])))))
