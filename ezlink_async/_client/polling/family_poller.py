"""
Polls the tasks of one family that a client follows, until each has ended.

One asyncio task polls for all of them; :class:`PollSchedule` says when. Rules:

1. A failed poll is not a failed task: the task is polled again, until its
   deadline. Only a key that is refused for good, or a resumed id that is unknown
   five times in a row, ends a task. A fault of the server's database makes every
   id unknown, so that does not count about a paid task for a minute, and never
   about one that this client submitted or a journal has. A query that the server
   does not have counts alike: never in the first minute, since the page may be a
   proxy's, never once there was a record, and about a task of this client only if
   the family has a fallback.
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
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs

from ezlink_async._client import job_events
from ezlink_async._client.handle import AnyHandle, Refusal
from ezlink_async._client.polling.followed_tasks import FollowedTask
from ezlink_async._client.polling.list_support import ListSupport
from ezlink_async._client.polling.schedule import PollSchedule
from ezlink_async._core.events import Emitter, Subject
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.policies import TASK_DEADLINE, PollPolicy
from ezlink_async._io.addresses import ResultAddress
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.request_events import retried
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
from ezlink_async.models import Record, TaskRecord, TaskStatus
from ezlink_async.services.base import AnyRecord, TaskFamily

_log = get_logger()

_KEY_REFUSED = (AuthenticationError, PermissionDeniedError, QuotaError)

_EXPLAINING = (QuotaError, EndpointNotSupportedError)

_UNKNOWN_LIMIT = 5

_PAID_SECONDS = 60.0  # in which a paid task may be unknown

_FROZEN_LIMIT = 5

_POLLS_AT_ONCE = 32

_MOST_EARLY = 1000  # callbacks about tasks that are not followed

_LATE = 0.5  # seconds: a loop that wakes so late has stood still

_LAST_POLL = 2  # times the timeout of a fetch: a list, and then fetches


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
        self.has_hooks: bool = family.traces.state
        """Whether callbacks may come about its tasks: those that carry a state."""
        self._family = family
        self._transport = transport
        self._events: Emitter = transport.events
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
        self._refusals: dict[str, Refusal] = {}
        self._costly: dict[str, asyncio.Task[object] | None] = {}
        self._early: dict[str, str] = {}  # callbacks that came before the task's id
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

    def expect_callbacks(self, handle: AnyHandle, state: str) -> None:
        """Rely on callbacks about *handle*, which carry *state*, if it is followed."""
        task, now = self.schedule.find(handle.task_id), self._loop.time()
        early = self._early.pop(handle.task_id, None)
        if task is not None and task.handle is handle:
            self.schedule.expect_callbacks(task, state, now)
            if early == state:
                self.schedule.observe_callback(task, now, end=True)
            self._wake_if_due()

    def hear(self, hint: TaskRecord) -> None:
        """
        Poll the task of a *hint* sooner: a callback's record, which proves nothing.

        One that carries another state than the task's is dropped. Those about tasks
        that are not followed yet are remembered, the latest of them.
        """
        end = hint.is_terminal or hint.status is TaskStatus.MODAL
        task = self.schedule.find(hint.task_id)
        if task is None and end:
            self._early[hint.task_id] = hint.state
            if len(self._early) > _MOST_EARLY:
                del self._early[next(iter(self._early))]
        elif task is not None and _state_of(task) in {"", hint.state}:
            self.schedule.observe_callback(task, self._loop.time(), end=end)
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

    async def _send(
        self, request: HttpRequest, task: FollowedTask | None = None
    ) -> tuple[HttpResponse, float]:
        """Return the answer about *task*, or many, and when the request was sent."""
        query = attrs.evolve(
            request,
            wait=self._query_timeout,
            new_connection=self._new_connection,
            subject=self._subject(task),
        )
        async with self._in_flight:
            sent = self._loop.time()
            return await self._transport.send(query), sent

    def _subject(self, task: FollowedTask | None) -> Subject | None:
        """Return the job of *task* as events name it, if there is a callback."""
        if task is None or not self._events.is_on:
            return None
        return self._events.of(task.handle)

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
                    response, sent = await self._send(request, task)
                record = await self._transport.read(
                    response, partial(family.read, task_id=task.task_id)
                )
            except EzlinkError as error:
                await self._handle_failure(task, error)
            else:
                record = await self._settled(task, record)
                self._handle_records([(task, record)], sent, response.request_id)

    async def _settled(self, task: FollowedTask, record: AnyRecord) -> AnyRecord:
        """Return what the server says of a task once its price is settled."""
        family = self._family
        request = family.settling_request(record)
        if request is None or not task.handle.settle(record):
            return record
        try:
            response, _ = await self._send(request, task)
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
                self._handle_records(found, sent, response.request_id)
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
        self,
        records: list[tuple[FollowedTask, Record]],
        sent: float,
        request_id: str | None,
    ) -> None:
        now = self._loop.time()
        by_id = not self._lists.is_served(now)
        observed, is_frozen = [], self._family.is_frozen
        if self._events.is_on:
            self._emit_polls(records, request_id)
        for task, record in records:
            handle, before, task.unknown = task.handle, task.handle.record, 0
            task.by_id = by_id
            if self._refusals:
                self._refusals.pop(task.task_id, None)
            handle.receive(record, request_id)
            task.frozen = task.frozen + 1 if is_frozen(record) else 0
            if task.frozen >= _FROZEN_LIMIT:
                handle.end(_frozen_error(record), request_id)
            changed = before is not None and handle.record is not before
            observed.append((task, record, changed))
        self.schedule.observe(observed, sent, now)
        self._wake_if_due()

    def _emit_polls(
        self, records: list[tuple[FollowedTask, Record]], request_id: str | None
    ) -> None:
        for task, record in records:
            if not task.handle.done():
                job_events.polled(self._events, task.handle, record, request_id)

    def _emit_retry(
        self, task: FollowedTask, error: EzlinkError, wait: float = 0.0
    ) -> None:
        if self._events.is_on and not task.handle.done():
            retried(self._events, "poll", error, wait, self._subject(task))

    async def _handle_failure(self, task: FollowedTask, error: EzlinkError) -> None:
        """End *task* if *error* proves that it is lost, else poll it again."""
        handle = task.handle
        with self._retrying(task):
            if isinstance(error, EndpointNotSupportedError):
                error = self._without_query(error, task.task_id)
            self._note_refusal(task, error)
            if self._seems_lost(task, error):
                self._handle_lost(task, error)
                return
            if isinstance(error, _KEY_REFUSED) and not handle.done():
                await self._find_result(task, error)
            retry_after = error.retry_after if isinstance(error, ApiError) else None
            self._emit_retry(task, error, retry_after or 0.0)
            self.schedule.plan_retry(task, self._loop.time(), retry_after or 0.0)
            self._wake_if_due()

    def _note_refusal(self, task: FollowedTask, error: EzlinkError) -> None:
        """Keep a refusal that the error of the deadline is to explain."""
        self._refusals.pop(task.task_id, None)
        if isinstance(error, _EXPLAINING) and not task.handle.done():
            self._refusals[task.task_id] = error

    def _without_query(
        self, error: EndpointNotSupportedError, task_id: str
    ) -> EndpointNotSupportedError:
        """Return *error* with the id, and with how else to ask for the task."""
        fallback = self._family.fallback(task_id)
        return EndpointNotSupportedError(
            f"{error}; {fallback}" if fallback else str(error),
            status=error.status,
            description=error.description,
            request_id=error.request_id,
            task_id=task_id,
        )

    def _seems_lost(self, task: FollowedTask, error: EzlinkError) -> bool:
        """Return whether *error*, often enough, proves that polling is in vain."""
        if isinstance(error, TaskNotFoundError):
            return not task.own
        has_fallback = bool(self._family.fallback(task.task_id))
        is_unserved = isinstance(error, EndpointNotSupportedError)
        return is_unserved and not task.observed_at and (has_fallback or not task.own)

    def _handle_lost(self, task: FollowedTask, error: EzlinkError) -> None:
        """Poll *task* again, which the server does not know or serve, or end it."""
        now = self._loop.time()
        waits = task.handle.is_paid or not isinstance(error, TaskNotFoundError)
        if not waits or now >= task.since + _PAID_SECONDS:
            task.unknown += 1
        if task.unknown >= _UNKNOWN_LIMIT:
            task.handle.end(error)
        self._emit_retry(task, error)
        if waits:
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


def _state_of(task: FollowedTask) -> str:
    """Return the state that callbacks about *task* carry; empty if it is not known."""
    if task.hook is not None and task.hook.state is not None:
        return task.hook.state
    record = task.handle.record
    return record.state if isinstance(record, TaskRecord) else ""


def _frozen_error(record: Record) -> TaskFailedError:
    return TaskFailedError(
        f"the server no longer refreshes task {record.task_id}: it stays at "
        f"100% of {record.status}",
        task_id=record.task_id,
        record=record,
    )
