"""
Looks at every task a client follows, until each has ended.

One asyncio task and one heap of due times for all of them. Rules:

1. A look that failed is not a task that failed: it is looked at again, until
   its deadline. Only a key that is refused for good, or a followed id that is
   unknown five times in a row, ends a task.
2. Few due: each by its id. Many: by list, which says nothing about the ids it
   leaves out; those are asked for by id the next time.
3. A look in flight never delays another, nor a deadline.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import attrs

from ezlink_async.download import Address, Downloads
from ezlink_async.errors import (
    AuthenticationError,
    EndpointNotSupportedError,
    EzlinkError,
    PermissionDeniedError,
    QuotaError,
    RejectedError,
    TaskFailedError,
    TaskNotFoundError,
)
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.nursery import Nursery
from ezlink_async.pacing import PollPolicy
from ezlink_async.tasks import TaskHandle
from ezlink_async.transport import Transport

LIST_FROM = 3
"""How many must be due before one list request is cheaper."""

_UNKNOWN_LIMIT = 5
_FROZEN_LIMIT = 5
_LOOKS_AT_ONCE = 32


@attrs.define(eq=False)
class _Entry:
    """What is remembered of a followed task."""

    handle: TaskHandle
    deadline: float
    own: bool  # the server gave this very client the id
    release: Callable[[], None] | None
    due: float | None = None  # None while a look is in flight
    looks: int = 0
    unknown: int = 0
    frozen: int = 0
    left_out: bool = False

    def is_due(self, now: float) -> bool:
        """Whether it is to be looked at, and not being looked at already."""
        return self.due is not None and self.due <= now


class Poller:
    """Follows the tasks of one client, in its event loop."""

    def __init__(
        self,
        transport: Transport,
        policy: PollPolicy,
        nursery: Nursery,
        downloads: Downloads,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._nursery = nursery
        self._downloads = downloads
        self._entries: dict[str, _Entry] = {}
        # Ids, not entries: what has ended is not kept until its time has come.
        self._looks_due: list[tuple[float, str]] = []
        self._deadlines: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._at_once = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._no_list: set[str] = set()
        self._loop = asyncio.get_running_loop()

    def follow(
        self,
        handle: TaskHandle,
        *,
        own: bool = False,
        release: Callable[[], None] | None = None,
    ) -> None:
        """Look at *handle* until it ends, then call *release*."""
        now = self._loop.time()
        entry = _Entry(handle, now + self._policy.deadline, own, release)
        self._entries[handle.task_id] = entry
        heapq.heappush(self._deadlines, (entry.deadline, handle.task_id))
        # A task taken up again may long be finished: the first look is at once.
        self._schedule(entry, now + (self._policy.jittered(0) if own else 0.0))

    def find(self, task_id: str) -> TaskHandle | None:
        """Return the handle of a task that is followed now."""
        entry = self._entries.get(task_id)
        return entry.handle if entry else None

    def pending(self) -> tuple[TaskHandle, ...]:
        """Return every handle that is followed now, oldest first."""
        return tuple(entry.handle for entry in self._entries.values())

    def forget(self, handle: TaskHandle) -> None:
        """Stop following a handle that has ended."""
        entry = self._entries.pop(handle.task_id, None)
        if entry is not None and entry.release is not None:
            entry.release()

    async def run(self) -> None:
        """Poll for as long as the client lives."""
        while True:
            self._wake.clear()
            now = self._loop.time()
            for entry in self._take(self._deadlines, now):
                if now >= entry.deadline:
                    entry.handle.expire(self._policy.deadline)
            self._look([e for e in self._take(self._looks_due, now) if e.is_due(now)])
            heads = [heap[0][0] for heap in (self._deadlines, self._looks_due) if heap]
            try:
                async with asyncio.timeout_at(min(heads, default=None)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _take(self, heap: list[tuple[float, str]], now: float) -> list[_Entry]:
        """Take the entries whose turn has come by *now*, each once."""
        turns: dict[str, _Entry] = {}
        while heap and heap[0][0] <= now:
            _, task_id = heapq.heappop(heap)
            if entry := self._entries.get(task_id):
                turns[task_id] = entry
        return list(turns.values())

    def _schedule(self, entry: _Entry, due: float) -> None:
        # The last look comes a little before the deadline, which ends it.
        last = entry.deadline - min(self._policy.shortest, self._policy.deadline / 10)
        if due > last > self._loop.time():
            due = last
        entry.due = due
        heapq.heappush(self._looks_due, (due, entry.handle.task_id))
        self._wake.set()

    def _again(self, entry: _Entry, least: float = 0.0) -> None:
        """Schedule the next look, unless that one ended it."""
        if entry.handle.done():
            return
        entry.looks += 1
        wait = max(self._policy.jittered(entry.looks), least)
        self._schedule(entry, self._loop.time() + wait)

    def _look(self, batch: list[_Entry]) -> None:
        alone: list[_Entry] = []
        kinds: dict[str, list[_Entry]] = {}
        for entry in batch:
            entry.due = None
            kind = entry.handle.family.name
            listed = not entry.left_out and kind not in self._no_list
            (kinds.setdefault(kind, []) if listed else alone).append(entry)
        for entries in kinds.values():
            limit = entries[0].handle.family.list_limit
            if limit and len(entries) >= LIST_FROM:
                for start in range(0, len(entries), limit):
                    self._nursery.leave_alone(
                        self._list(entries[start : start + limit])
                    )
            else:
                alone += entries
        for entry in alone:
            self._nursery.leave_alone(self._fetch(entry))

    async def _fetch(self, entry: _Entry) -> None:
        handle = entry.handle
        request = handle.family.fetch_request(handle.task_id)
        try:
            async with self._at_once:
                response = await self._transport.send(request)
            self._seen(entry, handle.family.read(response, handle.task_id))
        except EzlinkError as error:
            await self._missed(entry, error)

    async def _list(self, entries: list[_Entry]) -> None:
        family = entries[0].handle.family
        try:
            async with self._at_once:
                response = await self._transport.send(
                    family.list_request([entry.handle.task_id for entry in entries])
                )
            records = family.read_list(response)
        except (EndpointNotSupportedError, RejectedError):
            # This server has no such call, or not in this form.
            self._no_list.add(family.name)
            self._look(entries)
        except EzlinkError as error:
            for entry in entries:
                self._nursery.leave_alone(self._missed(entry, error))
        else:
            for entry in entries:
                self._listed(entry, records.get(entry.handle.task_id))

    def _listed(self, entry: _Entry, record: TaskRecord | None) -> None:
        if record is not None:
            self._seen(entry, record)
        elif not entry.handle.done():
            entry.left_out = True
            self._schedule(entry, self._loop.time())

    def _seen(self, entry: _Entry, record: TaskRecord) -> None:
        entry.unknown, entry.left_out = 0, False
        entry.handle.receive(record)
        entry.frozen = entry.frozen + 1 if record.is_frozen else 0
        if entry.frozen >= _FROZEN_LIMIT:
            entry.handle.end(_stopped(record))
        self._again(entry)

    async def _missed(self, entry: _Entry, error: EzlinkError) -> None:
        """Make what can be made of a look that brought no record."""
        handle = entry.handle
        if isinstance(error, TaskNotFoundError) and not entry.own:
            entry.unknown += 1
            if entry.unknown >= _UNKNOWN_LIMIT:
                handle.end(error)
        if isinstance(error, _LOCKED_OUT) and not handle.done():
            await self._look_without_key(handle, error)
        self._again(entry, getattr(error, "retry_after", None) or 0.0)

    async def _look_without_key(self, handle: TaskHandle, error: EzlinkError) -> None:
        """Look for the picture itself, since its id alone opens it."""
        path = handle.family.result_request(handle.task_id).path
        url = self._transport.settings.base_url + path
        if await self._downloads.is_there(Address(url)):
            known = handle.record or TaskRecord(task_id=handle.task_id)
            handle.receive(
                attrs.evolve(
                    known, status=TaskStatus.SUCCESS, progress=100.0, image_url=url
                )
            )
        # A key whose quota is used up may be filled again; this one will not.
        elif not isinstance(error, QuotaError):
            refused = error.for_awaiter()
            refused.task_id = handle.task_id
            handle.end(refused)


_LOCKED_OUT = (AuthenticationError, PermissionDeniedError, QuotaError)


def _stopped(record: TaskRecord) -> TaskFailedError:
    return TaskFailedError(
        f"the server has stopped looking at task {record.task_id}: it stands at "
        f"100% of {record.status}",
        task_id=record.task_id,
        record=record,
    )
