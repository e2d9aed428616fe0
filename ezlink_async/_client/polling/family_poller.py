"""
Polls the tasks of one family that a client follows, until each has ended.

One asyncio task polls for all of them; :class:`PollSchedule` says when. Rules:

1. A failed poll is not a failed task: the task is polled again, until its
   deadline. Only a key that is refused for good, or a resumed id that is unknown
   five times in a row, ends a task. A fault of the server's database makes every
   id unknown, so that does not count about a paid task for a minute, and never
   about one that this client submitted or a journal has.
2. One or two due tasks are polled by id, more by list. A list answer proves
   nothing about the ids it leaves out: these are polled by id next. After a
   list that is refused, or cannot be read, the poller goes without for a while,
   or for good if the server has no such call.
3. A poll in flight delays neither a deadline nor another poll, except that at
   most 32 are in flight at once.
4. What settles the price of a task is asked once, also when the answer is lost.
5. A loop that stood still (the process was suspended, or the user's code blocked it)
   misses deadlines. A task whose deadline passed so is polled once more before it
   ends, since the server went on. Where each look may be paid, and one is in
   flight, that one is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs

from ezlink_async._client.handle import AnyHandle
from ezlink_async._client.polling.schedule import FollowedTask, PollSchedule
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE, PollPolicy
from ezlink_async._io.addresses import ResultAddress
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.transport import Transport
from ezlink_async.errors import (
    ApiError,
    AuthenticationError,
    EndpointNotSupportedError,
    EzlinkError,
    PermissionDeniedError,
    ProtocolError,
    QuotaError,
    RejectedError,
    TaskFailedError,
    TaskNotFoundError,
)
from ezlink_async.models import Record
from ezlink_async.services.base import AnyRecord, TaskFamily

_log = get_logger()

_NO_SUCH_CALL = frozenset({404, 405, 501})

_LONGEST_PAUSE = 64  # times the longest step of the policy

_KEY_REFUSED = (AuthenticationError, PermissionDeniedError, QuotaError)

_UNKNOWN_LIMIT = 5

_PAID_SECONDS = 60.0  # in which a paid task may be unknown

_FROZEN_LIMIT = 5

_POLLS_AT_ONCE = 32

_LATE = 0.5  # seconds: a loop that wakes so late has stood still

_LAST_POLL = 2  # times the timeout of a fetch: a list, and then fetches


class ListSupport:
    """
    Whether the tasks of one family may be polled by list, and from when on.

    A single refusal may come from a proxy in passing, or mean one id among many:
    so lists are tried again after *pause* seconds, twice as long each time.
    """

    def __init__(self, pause: float, *, is_there: bool) -> None:
        self._pause = pause
        self._refusals = 0
        self._from = 0.0 if is_there else math.inf

    def is_served(self, now: float) -> bool:
        """Whether tasks may be polled by list now."""
        return now >= self._from

    def refuse(self, now: float, status: int) -> None:
        """Go without lists for a while, or for good when there is no such call."""
        if status in _NO_SUCH_CALL:
            self._from = math.inf
        elif self.is_served(now):  # of several refused at once, one counts
            self._from = now + self._pause * min(2**self._refusals, _LONGEST_PAUSE)
            self._refusals += 1

    def accept(self) -> None:
        """Forget earlier refusals."""
        self._refusals = 0


class FamilyPoller:
    """
    Follows the tasks of one family, in the event loop of its client.

    A family has polls in flight of its own, so slow answers of one delay no other.
    """

    def __init__(
        self,
        family: TaskFamily[AnyRecord],
        transport: Transport,
        policy: PollPolicy,
        background: BackgroundTasks,
        downloads: Downloader,
    ) -> None:
        timing, timeouts = family.timing, transport.settings.timeouts
        self._policy = timing.policy(policy)
        self._deadline_for_all = policy.deadline
        self.schedule: PollSchedule = PollSchedule(
            self._policy,
            list_from=family.list_from,
            shares_queue=timing.shares_queue,
        )
        """The next poll of each followed task."""
        self._family = family
        self._transport = transport
        self._query_timeout = timing.query_timeout(timeouts)
        self._new_connection = timing.new_connection
        self._background = background
        self._downloads = downloads
        self._wake = asyncio.Event()
        self._asleep_until: float | None = None
        self._in_flight = asyncio.Semaphore(_POLLS_AT_ONCE)
        self._lists = ListSupport(
            self._policy.longest, is_there=bool(family.list_limit)
        )
        self._bugs: set[type[Exception]] = set()
        # By id, apart from the tasks: few keys are used up, and tasks are to be small.
        self._refusals: dict[str, QuotaError] = {}
        self._costly: dict[str, asyncio.Task[object] | None] = {}
        self._loop = asyncio.get_running_loop()

    def follow(
        self,
        handle: AnyHandle,
        *,
        own: bool = False,
        release: Callable[[], None] | None = None,
        deadline: float | None = None,
        has_previews: bool = False,
    ) -> None:
        """
        Poll *handle* until it ends, then call *release*.

        *own* says that the server gave its id to this client. *deadline* is in
        seconds from now, and that of the family by default; one that the client
        was given holds for all tasks. *has_previews*: see :class:`Accepted`.
        """
        now = self._loop.time()
        own_deadline = deadline or self._policy.deadline or TASK_DEADLINE
        life = self._deadline_for_all or own_deadline
        by_id = not self._lists.is_served(now)
        task = FollowedTask(handle, own, now, life, by_id, release)
        task.has_previews = has_previews
        self.schedule.add(task)
        self._wake_if_due()

    def find(self, task_id: str) -> AnyHandle | None:
        """Return the handle that is followed under *task_id*."""
        task = self.schedule.find(task_id)
        return task.handle if task else None

    @property
    def count(self) -> int:
        """How many handles are followed now."""
        return self.schedule.tasks.count + len(self.schedule.expiring)

    def pending(self) -> tuple[AnyHandle, ...]:
        """Return every handle that is followed now, oldest first."""
        every = (*self.schedule.expiring.values(), *self.schedule.tasks)
        return tuple(task.handle for task in every)

    def forget(self, handle: AnyHandle) -> None:
        """Stop following *handle*, which has ended; another one of its id goes on."""
        task = self.schedule.find(handle.task_id)
        if task is not None and task.handle is handle:
            self._refusals.pop(handle.task_id, None)
            self.schedule.remove(task)
            _log.info(
                "task %s ended after %.1f s: %s",
                handle.task_id,
                self._loop.time() - task.since,
                handle.end_reason,
            )
            if task.release is not None:
                task.release()

    async def run(self) -> None:
        """Poll for as long as the client lives."""
        while True:
            self._wake.clear()
            now = self._loop.time()
            self._end_expired(now)
            self._dispatch(self.schedule.take(now))
            self._asleep_until = self.schedule.next_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._asleep_until):
                    await self._wake.wait()

    def _end_expired(self, now: float) -> None:
        """End the tasks that have reached their deadline, the unnoticed ones later."""
        expired, until = self.schedule.expired(now), self._asleep_until
        if until is None or now > until + _LATE:
            for task in expired:
                self.schedule.retire(task)
            for tasks in self._requests(expired):
                self._background.start_soon(self._poll_last(tasks))
        else:
            for task in expired:
                self._expire(task)

    def _wake_if_due(self) -> None:
        """Wake :meth:`run` when something is due before it wakes by itself."""
        due, until = self.schedule.next_due(), self._asleep_until
        if due is not None and (until is None or due < until):
            self._wake.set()

    def _dispatch(self, due: list[FollowedTask]) -> None:
        """Send polls for all *due* tasks."""
        for tasks in self._requests(due):
            alone = len(tasks) == 1 and (tasks[0].by_id or self._family.list_from > 1)
            self._background.start_soon(
                self._poll_by_id(*tasks) if alone else self._poll_list(tasks)
            )

    def _requests(self, due: list[FollowedTask]) -> Iterator[list[FollowedTask]]:
        """Yield the tasks of each request that polls some of the *due* tasks."""
        by_id = [task for task in due if task.by_id]
        listed = [task for task in due if not task.by_id]
        if len(listed) < self._family.list_from:
            by_id, listed = listed + by_id, []
        limit = self._family.list_limit
        for start in range(0, len(listed), limit or 1):
            yield listed[start : start + limit]
        for task in by_id:
            yield [task]

    @contextlib.contextmanager
    def _retrying(self, *tasks: FollowedTask) -> Iterator[None]:
        """Plan another poll of *tasks* when the block raises an unexpected error."""
        try:
            yield
        except Exception as bug:  # noqa: BLE001 - a paid task is not given up for it
            if type(bug) not in self._bugs:  # each poll may raise it
                self._bugs.add(type(bug))
                _log.exception("this is a bug in ezlink_async")
            for task in tasks:
                self.schedule.plan_retry(task, self._loop.time())
            self._wake_if_due()

    async def _send(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        """Return the answer, and when the request was sent."""
        query = attrs.evolve(
            request, wait=self._query_timeout, new_connection=self._new_connection
        )
        async with self._in_flight:
            sent = self._loop.time()
            return await self._transport.send(query), sent

    @contextlib.contextmanager
    def _asking(self, task: FollowedTask, request: HttpRequest) -> Iterator[None]:
        """Note who asks about *task* if each answer to the *request* may be paid."""
        if request.repeatable:
            yield
            return
        self._costly[task.task_id] = asyncio.current_task()
        try:
            yield
        finally:
            self._costly.pop(task.task_id, None)  # perhaps followed anew meanwhile

    async def _poll_once_more(self, task: FollowedTask) -> None:
        """Poll *task*, or wait for the poll in flight if its answer may be paid."""
        query = self._costly.get(task.task_id)
        if query is None:
            await self._poll_by_id(task)
        else:
            await asyncio.wait([query])

    async def _poll_by_id(self, task: FollowedTask) -> None:
        family = self._family
        with self._retrying(task):
            try:
                request = family.fetch_request(task.task_id, task.polls)
                with self._asking(task, request):
                    response, sent = await self._send(request)
                record = await self._transport.read(
                    response, partial(family.read, task_id=task.task_id)
                )
            except EzlinkError as error:
                await self._handle_failure(task, error)
            else:
                record = await self._settled(task, record)
                self._handle_records([(task, record)], sent)

    async def _settled(self, task: FollowedTask, record: AnyRecord) -> AnyRecord:
        """Return what the server says of a task once its price is settled."""
        family = self._family
        request = family.settling_request(record)
        if request is None or not task.handle.settle(record):
            return record
        try:
            response, _ = await self._send(request)
            settled = await self._transport.read(
                response, partial(family.read, task_id=task.task_id)
            )
        except Exception as fault:  # noqa: BLE001 - a second request would be paid
            _log.info("task %s is done, and its price unknown: %s", task.task_id, fault)
            return record
        return settled if family.results(settled) else record

    async def _poll_list(self, tasks: list[FollowedTask]) -> None:
        family = self._family
        ids = [task.task_id for task in tasks]
        with self._retrying(*tasks):
            try:
                response, sent = await self._send(family.list_request(ids))
                records = await self._transport.read(response, family.read_list)
            except (EndpointNotSupportedError, RejectedError, ProtocolError) as error:
                # Refused, or no list, or one that is too long: each is asked alone.
                self._lists.refuse(self._loop.time(), error.status)
                left_out = tasks
            except EzlinkError as error:
                for task in tasks:
                    self._background.start_soon(self._handle_failure(task, error))
                return
            else:
                self._lists.accept()
                found, left_out = _matched(tasks, ids, records)
                self._handle_records(found, sent)
            self.schedule.plan_by_id(left_out, self._loop.time())
            self._wake_if_due()

    async def _poll_last(self, tasks: list[FollowedTask]) -> None:
        """Poll *tasks* for the last time, by id what a list leaves out; end them."""
        began = self._loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_POLL * self._query_timeout):
                if len(tasks) > 1:
                    await self._poll_list(tasks)
                left = (task for task in tasks if task.observed_at < began)
                await asyncio.gather(*map(self._poll_once_more, left))
        for task in tasks:
            self._expire(task)

    def _expire(self, task: FollowedTask) -> None:
        refusal = self._refusals.pop(task.task_id, None)
        task.handle.expire(task.deadline, refusal)

    def _handle_records(
        self, records: list[tuple[FollowedTask, Record]], sent: float
    ) -> None:
        now = self._loop.time()
        by_id = not self._lists.is_served(now)
        observed, is_frozen = [], self._family.is_frozen
        for task, record in records:
            handle, before, task.unknown = task.handle, task.handle.record, 0
            task.by_id = by_id
            if self._refusals:
                self._refusals.pop(task.task_id, None)
            handle.receive(record)
            task.frozen = task.frozen + 1 if is_frozen(record) else 0
            if task.frozen >= _FROZEN_LIMIT:
                handle.end(_frozen_error(record))
            changed = before is not None and handle.record is not before
            observed.append((task, record, changed))
        self.schedule.observe(observed, sent, now)
        self._wake_if_due()

    async def _handle_failure(self, task: FollowedTask, error: EzlinkError) -> None:
        """End *task* if *error* proves that it is lost, else poll it again."""
        handle = task.handle
        with self._retrying(task):
            if isinstance(error, TaskNotFoundError) and not task.own:
                self._handle_unknown(task, error)
                return
            self._refusals.pop(task.task_id, None)
            if isinstance(error, QuotaError) and not handle.done():
                self._refusals[task.task_id] = error
            if isinstance(error, _KEY_REFUSED) and not handle.done():
                await self._find_result(task, error)
            self._refusals.pop(task.task_id, None)
            if isinstance(error, QuotaError) and not handle.done():
                self._refusals[task.task_id] = error
            retry_after = error.retry_after if isinstance(error, ApiError) else None
            self.schedule.plan_retry(task, self._loop.time(), retry_after or 0.0)
            self._wake_if_due()

    def _handle_unknown(self, task: FollowedTask, error: TaskNotFoundError) -> None:
        """Poll *task* again, whose id the server does not know, or end it."""
        now, is_paid = self._loop.time(), task.handle.is_paid
        if not is_paid or now >= task.since + _PAID_SECONDS:
            task.unknown += 1
        if task.unknown >= _UNKNOWN_LIMIT:
            task.handle.end(error)
        if is_paid:
            self.schedule.plan_retry(task, now)
        else:
            self.schedule.plan_confirmation(task, now)
        self._wake_if_due()

    async def _find_result(self, task: FollowedTask, error: EzlinkError) -> None:
        """Ask for the picture itself, where a task's id opens it without a key."""
        handle, family = task.handle, self._family
        request = family.keyless_request(handle.task_id)
        known = handle.record
        if task.has_previews and (known is None or family.has_previews(known)):
            request = None  # it would not show whether the task is done
        url = self._transport.settings.base_url + request.path if request else ""
        if url and await self._downloads.is_there(ResultAddress(url)):
            handle.receive(family.found(handle.task_id, handle.record, url))
        # A quota that is used up may be raised again; a refused key stays refused.
        elif not isinstance(error, QuotaError):
            refused = error.for_awaiter()
            refused.task_id = handle.task_id
            handle.end(refused)


def _matched(
    tasks: list[FollowedTask], ids: list[str], records: Mapping[str, Record]
) -> tuple[list[tuple[FollowedTask, Record]], list[FollowedTask]]:
    """Return the tasks that are in *records*, and those that were left out."""
    found: list[tuple[FollowedTask, Record]] = []
    left_out: list[FollowedTask] = []
    for task, task_id in zip(tasks, ids, strict=True):
        record = records.get(task_id)
        if record is None:
            left_out.append(task)
        else:
            found.append((task, record))
    return found, left_out


def _frozen_error(record: Record) -> TaskFailedError:
    return TaskFailedError(
        f"the server no longer refreshes task {record.task_id}: it stays at "
        f"100% of {record.status}",
        task_id=record.task_id,
        record=record,
    )
