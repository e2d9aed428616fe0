"""
Looks at every task a client follows, until each has ended.

One asyncio task for all of them; :class:`PollSchedule` knows what is due. Rules:

1. A look that failed, however, is not a task that failed: it is looked at
   again, until its deadline. Only a key that is refused for good, or a followed
   id that is unknown five times in a row, ends a task.
2. Few due: each by its id. Many: by list, which says nothing about the ids it
   leaves out; those are asked for by id the next time. A refused list is asked
   for again later, unless the server has none.
3. A look in flight never delays a deadline, nor another look, but where so
   many hang that no more are sent at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator

import attrs

from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.polling.schedule import LIST_FROM, FollowedTask, PollSchedule
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import PollPolicy
from ezlink_async._io.addresses import ResultAddress
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.transport import Transport
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
from ezlink_async.services.base import TaskFamily

_NO_SUCH_CALL = frozenset({404, 405, 501})

_LONGEST_PAUSE = 64  # times the longest step of the policy


class ListSupport:
    """
    Which kinds of tasks may be asked for by list, and from when on.

    What refuses a list once may be a proxy in passing, or mean one id among
    many: so it is tried again after a while, the longer the more often.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._refused: dict[str, int] = {}
        self._from: dict[str, float] = {}

    def serve(self, family: TaskFamily, now: float) -> bool:
        """Whether tasks of *family* may be asked for by list now."""
        return bool(family.list_limit) and now >= self._from.get(family.name, 0.0)

    def refused(self, kind: str, now: float, status: int) -> None:
        """Do without for a while, or for good when there is no such call."""
        if status in _NO_SUCH_CALL:
            self._from[kind] = math.inf
        elif now >= self._from.get(kind, 0.0):  # of several at once, one counts
            times = self._refused.get(kind, 0)
            self._refused[kind] = times + 1
            self._from[kind] = now + self._pause * min(2**times, _LONGEST_PAUSE)

    def worked(self, kind: str) -> None:
        """Forget earlier refusals."""
        self._refused.pop(kind, None)


_log = logging.getLogger("ezlink_async")

_UNKNOWN_LIMIT = 5

_FROZEN_LIMIT = 5

_FULL = 100.0

_LOOKS_AT_ONCE = 32


class Poller:
    """Follows the tasks of one client, in its event loop."""

    def __init__(
        self,
        transport: Transport,
        policy: PollPolicy,
        background: BackgroundTasks,
        downloads: Downloader,
    ) -> None:
        self._transport = transport
        self._policy = policy
        self._background = background
        self._downloads = downloads
        self._agenda = PollSchedule(policy)
        self._wake = asyncio.Event()
        self._asleep_until: float | None = None
        self._at_once = asyncio.Semaphore(_LOOKS_AT_ONCE)
        self._lists = ListSupport(policy.longest)
        self._bugs: set[type[Exception]] = set()
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
        by_id = not self._lists.serve(handle.family, now)
        entry = FollowedTask(handle, own, now, now, by_id=by_id, release=release)
        self._agenda.add(entry)
        self._rouse()

    def find(self, task_id: str) -> TaskHandle | None:
        """Return the handle of a task that is followed now."""
        entry = self._agenda.entries.get(task_id)
        return entry.handle if entry else None

    def pending(self) -> tuple[TaskHandle, ...]:
        """Return every handle that is followed now, oldest first."""
        return tuple(entry.handle for entry in self._agenda.entries.values())

    def forget(self, handle: TaskHandle) -> None:
        """Stop following a handle that has ended; another one of its id goes on."""
        entry = self._agenda.entries.get(handle.task_id)
        if entry is None or entry.handle is not handle:
            return
        self._agenda.remove(handle.task_id, self._loop.time())
        if entry.release is not None:
            entry.release()

    async def run(self) -> None:
        """Poll for as long as the client lives."""
        while True:
            self._wake.clear()
            now = self._loop.time()
            for entry in self._agenda.ended(now):
                entry.handle.expire(self._policy.deadline)
            self._look(self._agenda.take(now))
            self._asleep_until = self._agenda.next_due()
            try:
                async with asyncio.timeout_at(self._asleep_until):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _rouse(self) -> None:
        """Wake the poller when something is due before it would wake by itself."""
        due, until = self._agenda.next_due(), self._asleep_until
        if due is not None and (until is None or due < until):
            self._wake.set()

    def _look(self, batch: list[FollowedTask]) -> None:
        alone: list[FollowedTask] = []
        kinds: dict[str, list[FollowedTask]] = {}
        for entry in batch:
            kind = entry.handle.family.name
            (alone if entry.by_id else kinds.setdefault(kind, [])).append(entry)
        for entries in kinds.values():
            limit = entries[0].handle.family.list_limit
            if len(entries) >= LIST_FROM:
                for start in range(0, len(entries), limit):
                    self._background.start_soon(
                        self._list(entries[start : start + limit])
                    )
            else:
                alone += entries
        for entry in alone:
            self._background.start_soon(self._fetch(entry))

    @contextlib.contextmanager
    def _looking(self, *entries: FollowedTask) -> Iterator[None]:
        """Have *entries* looked at again, whatever a look at them raises."""
        try:
            yield
        except Exception as bug:  # noqa: BLE001 - a paid task is not given up for it
            if type(bug) not in self._bugs:  # it may come with every look
                self._bugs.add(type(bug))
                _log.exception("this is a bug in ezlink_async")
            for entry in entries:
                self._agenda.missed(entry, self._loop.time())
            self._rouse()

    async def _ask(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        """Return the answer, and when it was asked for."""
        async with self._at_once:
            sent = self._loop.time()
            return await self._transport.send(request), sent

    async def _fetch(self, entry: FollowedTask) -> None:
        family, task_id = entry.handle.family, entry.handle.task_id
        with self._looking(entry):
            try:
                response, sent = await self._ask(family.fetch_request(task_id))
                record = family.read(response, task_id)
            except EzlinkError as error:
                await self._missed(entry, error)
            else:
                self._seen([(entry, record)], sent)

    async def _list(self, entries: list[FollowedTask]) -> None:
        family = entries[0].handle.family
        ids = [entry.task_id for entry in entries]
        with self._looking(*entries):
            try:
                response, sent = await self._ask(family.list_request(ids))
                records = family.read_list(response)
            except (EndpointNotSupportedError, RejectedError) as error:
                self._lists.refused(family.name, self._loop.time(), error.status)
                self._by_id(entries)
            except EzlinkError as error:
                for entry in entries:
                    self._background.start_soon(self._missed(entry, error))
            else:
                self._lists.worked(family.name)
                self._seen(
                    [
                        (entry, records[entry.task_id])
                        for entry in entries
                        if entry.task_id in records
                    ],
                    sent,
                )
                self._by_id([e for e in entries if e.task_id not in records])

    def _by_id(self, entries: list[FollowedTask]) -> None:
        for entry in entries:
            entry.by_id = True
            self._agenda.at_once(entry, self._loop.time())
        self._rouse()

    def _seen(self, looked: list[tuple[FollowedTask, TaskRecord]], sent: float) -> None:
        if not looked:
            return
        now = self._loop.time()
        by_id = not self._lists.serve(
            looked[0][0].handle.family, now
        )  # all of one family
        answers = []
        for entry, record in looked:
            handle, entry.by_id, entry.unknown = entry.handle, by_id, 0
            before = handle.record
            handle.receive(record)
            if record.progress == _FULL or entry.frozen:
                self._count_frozen(entry, record)
            news = before is not None and handle.record is not before
            answers.append((entry, record, news))
        self._agenda.seen(answers, sent, now)
        self._rouse()

    def _count_frozen(self, entry: FollowedTask, record: TaskRecord) -> None:
        entry.frozen = entry.frozen + 1 if record.is_frozen else 0
        if entry.frozen >= _FROZEN_LIMIT:
            entry.handle.end(_stopped(record))

    async def _missed(self, entry: FollowedTask, error: EzlinkError) -> None:
        """Make what can be made of a look that brought no record."""
        handle = entry.handle
        with self._looking(entry):
            if isinstance(error, TaskNotFoundError) and not entry.own:
                entry.unknown += 1
                if entry.unknown >= _UNKNOWN_LIMIT:
                    handle.end(error)
            if isinstance(error, _LOCKED_OUT) and not handle.done():
                await self._look_without_key(handle, error)
            least = getattr(error, "retry_after", None) or 0.0
            self._agenda.missed(entry, self._loop.time(), least)
            self._rouse()

    async def _look_without_key(self, handle: TaskHandle, error: EzlinkError) -> None:
        """Look for the picture itself, since its id alone opens it."""
        path = handle.family.result_request(handle.task_id).path
        url = self._transport.settings.base_url + path
        if await self._downloads.is_there(ResultAddress(url)):
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
