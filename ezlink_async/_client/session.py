"""The objects of a client between entering and closing, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from ezlink_async._client import job_events
from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.job_stream import (
    AnyPipeline,
    GivenT,
    Intake,
    JobPipeline,
    OutcomeT,
)
from ezlink_async._client.pictures import JobPictures, SharedSource
from ezlink_async._client.polling.poller import Poller
from ezlink_async._client.saved_handle import SavedHandle
from ezlink_async._client.submitting.evidence import new_state
from ezlink_async._client.submitting.pending_submit import (
    PendingSubmit,
    SubmitObserver,
)
from ezlink_async._client.submitting.reconciler import (
    AnyReconciler,
    NoReconciler,
    Reconciler,
)
from ezlink_async._client.submitting.submitter import Submitter
from ezlink_async._core.events import Emitter, OnEvent, Subject
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import (
    FileContent,
    HttpRequest,
    HttpResponse,
    StreamContent,
)
from ezlink_async._core.policies import RetryWaits
from ezlink_async._core.settings import Settings
from ezlink_async._io import image_reader
from ezlink_async._io.concurrency import BackgroundTasks
from ezlink_async._io.download import Downloader
from ezlink_async._io.openai_client import OpenAIAccess
from ezlink_async._io.transport import Transport, new_request_id
from ezlink_async.errors import (
    BusyError,
    ClientClosedError,
    ConfigurationError,
    EndpointNotSupportedError,
    ProtocolError,
    RejectedError,
    TaskNotFoundError,
    TransportError,
)
from ezlink_async.models import Stats, TaskRecord
from ezlink_async.services import billing, midjourney
from ezlink_async.services.base import (
    Accepted,
    AnyRecord,
    JobRequest,
    R,
    TaskFamily,
)
from ezlink_async.services.files import Unloaded
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.registry import FAMILIES, family_of

if TYPE_CHECKING:
    import aiohttp

    from ezlink_async.webhook import WebhookReceiver

_log = get_logger()

_T = TypeVar("_T")

_LONGEST_USAGE_WAIT = 5.0  # seconds; nothing depends on the amount

_REMEMBERED = 10_000  # keys of jobs that are sent once

_HANDLES_A_TURN = 1000  # handles ended in one turn of the loop


class Session:
    """
    Transport, poller, submitter and background tasks of one entered client.

    It belongs to the event loop in which it was made.
    """

    def __init__(
        self,
        settings: Settings,
        http: aiohttp.ClientSession | None,
        *,
        webhook: WebhookReceiver | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.base_url: str = settings.base_url
        self.origin: str = settings.origin
        self.background: BackgroundTasks = BackgroundTasks()
        self.events: Emitter = Emitter(on_event, self.loop.time)
        self.transport: Transport = Transport(settings, http=http, events=self.events)
        self.pictures: JobPictures = JobPictures(self.transport, self.background)
        self.downloads: Downloader = Downloader(self.transport)
        self.openai: OpenAIAccess = OpenAIAccess(settings)
        self.poller: Poller = Poller(
            self.transport, settings.poll, self.background, self.downloads
        )
        self.reconciler: AnyReconciler = NoReconciler()
        if settings.account_token is not None:
            self.reconciler = Reconciler(
                self.transport, self.background, self._is_followed
            )
        self.submitter: Submitter = Submitter(
            self.transport, self.background, self.accepted, self.reconciler
        )
        self.pipelines: weakref.WeakSet[AnyPipeline] = weakref.WeakSet()
        self._sent_once: dict[str, None] = {}
        self._webhook = webhook
        self.closed: bool = False
        self.closing: asyncio.Task[None] | None = None

    def _is_followed(self, task_id: str) -> bool:
        return any(
            self.poller.find(family.name, task_id)
            for family in FAMILIES.values()
            if family.traces.state
        )

    @property
    def concurrency(self) -> int:
        """How many jobs may be in progress at one time."""
        return self.transport.settings.max_concurrency

    @property
    def close_timeout(self) -> float:
        """Seconds that closing waits for the answers to submits."""
        return self.transport.settings.timeouts.close

    @property
    def retry_pause(self) -> float:
        """Seconds before a first retry."""
        return self.transport.settings.retry.first

    @property
    def has_answered(self) -> bool:
        """Whether the server has ever answered this client."""
        return self.transport.answered

    def shared_source(self) -> SharedSource:
        """Return a place for a source that many swaps share."""
        return self.pictures.shared_source()

    def stream(
        self, intake: Intake[GivenT, OutcomeT], shared: SharedSource
    ) -> JobPipeline[GivenT, OutcomeT]:
        """Return the pipeline of many jobs, which share a source if they have one."""
        submit = partial(self.submit, shared=shared)
        pipeline = JobPipeline(intake, submit, self.background, self.concurrency)
        self.pipelines.add(pipeline)
        return pipeline

    async def submit(
        self,
        request: JobRequest[R],
        *,
        shared: SharedSource | None = None,
        observer: SubmitObserver | None = None,
    ) -> FollowedHandle[R]:
        """
        Submit one job; *observer* is notified of each attempt.

        Uploads are received before the job waits for a slot, and released when its
        submit has ended. The pictures are inspected once it has one. A source that
        is *shared* is encoded once for all its jobs.
        """
        if self.closed:
            raise ClientClosedError
        if request.family.traces.state:
            request = request.with_state(self.reconciler.new_state())
        request, state = self._with_hook(request)
        with contextlib.ExitStack() as received:
            pictures = await self.pictures.received(request, received)
            load = partial(self.pictures.load, request, pictures, shared)
            target = getattr(request, "target", request)
            subject: Subject | None = None
            if self.events.is_on:
                subject = self.events.new_job(request.family.name, request.kind)
            pending = PendingSubmit(load, target, observer, request.deadline, subject)
            self._check_once(request, pending)
            pending.received = received.pop_all()
        handle: FollowedHandle[R] = await self.submitter.submit(pending)
        if state is not None:
            self.poller.of(request.family).expect_callbacks(handle, state)
        return handle

    def _with_hook(self, request: JobRequest[R]) -> tuple[JobRequest[R], str | None]:
        """Return *request* with a hook if it takes one, and the state of that hook."""
        if self._webhook is None or not request.takes_hook:
            return request, None
        request = request.with_state(new_state())
        state = str(getattr(request, "state", ""))
        return request.with_hook(self._webhook.hook_url(state)), state

    def hear(self, hint: TaskRecord) -> None:
        """
        Poll the task of a *hint* sooner: the record of a callback, perhaps forged.

        The callback may have come in another event loop, or a moment ago.
        """
        with contextlib.suppress(RuntimeError):  # the loop of this client is closed
            self.loop.call_soon_threadsafe(self.poller.hear, hint)

    def _check_once(self, request: JobRequest[R], pending: PendingSubmit) -> None:
        """Refuse a second submit under a key, unless the first surely made no job."""
        key, sent = request.once, self._sent_once
        if key is None or (key in sent and request.again):
            return
        if key in sent:
            raise ConfigurationError(
                f"{key} was sent already, and would be paid again: pass again=True "
                "if that is meant"
            )
        sent[key] = None
        pending.made_no_job = lambda: sent.pop(key, None)
        if len(sent) > _REMEMBERED:
            del sent[next(iter(sent))]

    async def usage(self) -> int:
        """
        Fetch the amount the key has spent, in units: 500,000 to the dollar.

        A server that asks to wait for long is not asked again.
        """
        return billing.read_units(
            await self.transport.send_with_retries(
                billing.usage_request(), longest=_LONGEST_USAGE_WAIT
            )
        )

    async def ask(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """Send a free request until it is answered, and read the answer."""
        response = await self.background.run(self.transport.send_with_retries(request))
        return await self.transport.read(response, reader)

    async def load_file(self, file: Unloaded) -> FileContent | bytes:
        """Return what an upload sends of *file*."""
        return await image_reader.load_file(file, self.transport.readers)

    async def upload(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        """
        Send a free request that may have files in its body; read the answer.

        It is sent again where surely nothing came of it: the connection broke before
        the end of the body, or the server is busy. A body with an iterator is sent
        once. A cancellation before the whole body has left ends it there.
        """
        return await self.background.run(self._upload(request, reader))

    async def _upload(
        self, request: HttpRequest, reader: Callable[[HttpResponse], _T]
    ) -> _T:
        waits = RetryWaits(self.transport.settings.retry)
        once = any(isinstance(part, StreamContent) for part in request.body)
        while True:
            try:
                response = await self.transport.submit(
                    request, new_request_id(), lambda _: None
                )
                return await self.transport.read(response, reader)
            except (BusyError, TransportError) as error:
                hint = error.retry_after if isinstance(error, BusyError) else None
                is_tls = isinstance(error, TransportError) and error.stage == "tls"
                again = error.retry_safe and not (once or is_tls)
                wait = waits.next(self.loop.time(), hint) if again else None
                if wait is None:
                    raise
            _log.info("uploading to %s again in %.1f s", request.path, wait)
            await asyncio.sleep(wait)
            self.transport.traffic.retries += 1

    async def ask_account(
        self,
        request: HttpRequest,
        reader: Callable[[HttpResponse], _T],
        longest: float = math.inf,
    ) -> _T:
        """
        Send a request that the account's access token opens; read the answer.

        It is not sent again after more than *longest* seconds.
        """
        if self.transport.settings.account_token is None:
            raise ConfigurationError(
                "this needs the account's access token, which the dashboard makes: "
                "set EZLINK_ACCOUNT_TOKEN or pass account_token="
            )
        response = await self.background.run(
            self.transport.send_with_retries(request, longest)
        )
        return await self.transport.read(response, reader)

    async def open(self) -> None:
        """Open the connection pools and start polling."""
        await self.transport.open()
        self.poller.start()
        if self._webhook is not None:
            self._webhook.attach(self.hear)

    async def close(self) -> None:
        """
        End everything; a second call waits until the first has done so.

        One of the client's own tasks may call this (an iterator of targets, a
        trace of a request): it is exempt and ends by itself. A cancellation is
        raised after everything is closed, which is bounded by
        ``timeouts.close``.
        """
        inside = self.background.exempt_current()
        if self.closing is None:
            self.closing = self.loop.create_task(self._close())
        elif inside:
            return  # the closing task may be waiting for this one
        try:
            await asyncio.wait([self.closing])
        except asyncio.CancelledError:
            await asyncio.wait([self.closing])
            raise
        self.closing.result()

    async def _close(self) -> None:
        """End submits, handles, streams, tasks and connections, in this order."""
        self.closed = True
        if self._webhook is not None:
            self._webhook.detach(self.hear)
        pipelines = tuple(self.pipelines)
        try:
            await self.submitter.close(self.background.exempt)
            for number, handle in enumerate(self.poller.pending(), 1):
                if not number % _HANDLES_A_TURN:
                    await asyncio.sleep(0)  # 100,000 in one turn block the loop
                handle.end(
                    ClientClosedError(
                        f"the client was closed; task {handle.task_id} runs on",
                        task_ids=(handle.task_id,),
                    )
                )
            for pipeline in pipelines:
                await pipeline.drain()
            await self.background.close()
            for pipeline in pipelines:
                pipeline.log_unread()
        finally:
            try:
                await self.openai.close()
            finally:
                await self.transport.close()

    def stats(self) -> Stats:
        """Return the numbers of now, which are kept in any case."""
        slots, traffic = self.submitter.slots, self.transport.traffic
        return Stats(
            in_progress=slots.taken,
            waiting=slots.waiting,
            pending=self.poller.count,
            busy_for=self.submitter.lanes.pause,
            requests=traffic.requests,
            retries=traffic.retries,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
        )

    def forget(self, handle: FollowedHandle[AnyRecord]) -> None:
        """Stop following *handle*, and release its slot."""
        self.poller.forget(handle)

    def accepted(
        self,
        accepted: Accepted,
        family: TaskFamily[R],
        release: Callable[[], None],
        deadline: float | None = None,
        subject: Subject | None = None,
    ) -> FollowedHandle[R]:
        """Follow a task that this client submitted; *release* frees its slot."""
        task_id, request_id = accepted.task_id, accepted.request_id
        if known := self.poller.find(family.name, task_id):
            release()  # code 21: the job existed already, and holds a slot
            known.mark_paid()  # it may have been known by its id alone
            if subject is not None:
                job_events.joined(self.events, known, subject, request_id)
            return known
        handle = FollowedHandle(task_id, family, self)
        handle.mark_paid()
        self.poller.of(family).follow(
            handle,
            own=True,
            release=release,
            deadline=deadline,
            has_previews=accepted.has_previews,
        )
        if subject is not None:
            job_events.submitted(self.events, handle, subject, request_id)
        _end_if_unusable(handle, request_id)
        if accepted.record is not None:
            handle.receive(cast("R", accepted.record), request_id)
        return handle

    def follow(
        self, task_id: str, family: TaskFamily[R], record: R | None = None
    ) -> FollowedHandle[R]:
        """Follow a task by id, perhaps with a *record* of it; it takes no slot."""
        if known := self.poller.find(family.name, task_id):
            return known
        family.fetch_request(task_id)  # raises for an id that cannot be one
        handle = FollowedHandle(task_id, family, self)
        self._resume(handle, has_previews=family.has_previews(record))
        return handle

    def _resume(self, handle: FollowedHandle[R], *, has_previews: bool) -> None:
        family = handle.task_family
        self.poller.of(family).follow(handle, has_previews=has_previews)
        if self.events.is_on:
            job_events.resumed(self.events, handle)

    def finished(self, record: R, family: TaskFamily[R]) -> FollowedHandle[R]:
        """
        Return the handle of a paid task that *record* has ended; it asks nothing.

        A family that does not take the record for an end is asked.
        """
        handle = FollowedHandle(record.task_id, family, self)
        handle.mark_paid()
        for _ in range(2):  # a success without a picture counts when it comes twice
            handle.receive(record)
        if not handle.done():
            self._resume(handle, has_previews=True)
        return handle

    def restore(self, saved: object) -> FollowedHandle[AnyRecord]:
        """Resume a saved handle; a finished one makes no request."""
        found = SavedHandle.from_dict(saved)
        if found.origin != self.origin:
            raise ConfigurationError(
                f"this handle belongs to {found.origin}, not to {self.origin}"
            )
        family = family_of(found.family)
        record = found.read_record(family)
        if record is None or not record.is_terminal:
            handle = self.follow(found.task_id, family, record)
            handle.mark_paid()
            return handle
        if record.task_id != found.task_id:
            raise ConfigurationError(
                f"this handle of {found.task_id!r} has a record of {record.task_id!r}"
            )
        if known := self.poller.find(family.name, found.task_id):
            known.receive(record)  # wakes its awaiters
            return known
        return self.finished(record, family)


def _end_if_unusable(handle: FollowedHandle[R], request_id: str | None) -> None:
    """End *handle* if no request can ask for its id, which the server gave it."""
    try:
        handle.task_family.fetch_request(handle.task_id)
    except ConfigurationError:
        says = "the server gave a paid job an id that cannot stand in an address"
        error = ProtocolError(
            f"{says}: {handle.task_id!r}", task_id=handle.task_id, maybe_charged=True
        )
        handle.end(error, request_id)


async def fetch_one(transport: Transport, task_id: str) -> TaskRecord:
    """Fetch one task, with retries."""
    response = await transport.send_with_retries(MIDJOURNEY.fetch_request(task_id))
    return MIDJOURNEY.read(response, task_id)


async def fetch_many(
    transport: Transport, task_ids: Iterable[str]
) -> dict[str, TaskRecord]:
    """Fetch many tasks by list, or one by one on a server without the list call."""
    given: object = task_ids
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"give the ids of tasks as a list, not {type(given).__name__}"
        )
    ids = list(dict.fromkeys(map(str, task_ids)))
    records: dict[str, TaskRecord] = {}
    for start in range(0, len(ids), midjourney.LIST_LIMIT):
        chunk = ids[start : start + midjourney.LIST_LIMIT]
        try:
            response = await transport.send_with_retries(MIDJOURNEY.list_request(chunk))
            found = await transport.read(response, MIDJOURNEY.read_list)
        except (EndpointNotSupportedError, RejectedError, ProtocolError):
            found = await _fetch_each(transport, chunk)
        records |= {task_id: found[task_id] for task_id in chunk if task_id in found}
    return records


async def _fetch_each(
    transport: Transport, task_ids: Iterable[str]
) -> dict[str, TaskRecord]:
    records: dict[str, TaskRecord] = {}
    for task_id in task_ids:
        # An id that cannot be one is left out, like an unknown id.
        with contextlib.suppress(TaskNotFoundError, ConfigurationError):
            request = MIDJOURNEY.fetch_request(task_id)
            response = await transport.send_with_retries(request)
            records[task_id] = MIDJOURNEY.read(response, task_id)
    return records
