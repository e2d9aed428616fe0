"""
The life of one submit: slot, gate, attempts, and what an outcome means.

Rules:

1. The slot is held from before the target is read; a handle inherits it.
2. A job is sent again only when it surely was not created. What cannot be
   told is settled in one place, ``settling``, or stays unknown.
3. Once the body has left whole, nobody's leaving stops the submit: the answer
   is read, and the task followed, so that no charge is without an id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from functools import partial

from ezlink_async._client.handle import TaskHandle
from ezlink_async._client.submitting.evidence import Fate, Finding, unknown
from ezlink_async._client.submitting.gate import Admission, Gate
from ezlink_async._client.submitting.pending_submit import (
    PendingSubmit,
    cut_off,
    left_behind,
    tell,
)
from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async._core.error_mapping import error_from, is_insert_failure
from ezlink_async._core.messages import HttpRequest
from ezlink_async._io.concurrency import BackgroundTasks, Semaphore, wait_until_done
from ezlink_async._io.transport import Sleep, Transport, new_request_id
from ezlink_async.errors import (
    ApiError,
    AuthenticationError,
    BusyError,
    ClientClosedError,
    EzlinkError,
    PermissionDeniedError,
    ServerError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.services import face_swap, midjourney
from ezlink_async.services.base import Accepted
from ezlink_async.services.face_swap import FaceSwapJob

_FOUND = 0  # the code of an answer that nobody has seen


class Settler:
    """Asks the server about submits of one client, as far as it can tell."""

    def __init__(self, transport: Transport, reconciler: Reconciler) -> None:
        self._transport = transport
        self._reconciler = reconciler

    async def settle(
        self,
        ticket: PendingSubmit,
        error: EzlinkError,
        *,
        proves_little: bool,
        out_of_reach: bool = False,
    ) -> Accepted | EzlinkError:
        """
        Decide what became of a submit that brought no acceptance.

        A proxy turns the refusal of a key into a 502 or a broken connection
        while a large body is under way. As long as the key has never worked,
        one small request tells: a refused key refused the submit too. The rest
        is looked up with the account's token; a job that is *out of reach* was
        accepted, and its row could not be written.
        """
        if isinstance(error, TransportError) and error.maybe_charged:
            error = SubmitUnknownError(str(error), request_id=error.request_id)
        if proves_little and not self._transport.key_worked:
            refused = await self._key_refusal()
            if refused is not None:
                refused.request_id = error.request_id
                return refused
        outcome: Accepted | EzlinkError = error
        if error.maybe_charged and self._reconciler.able:
            finding = await self._look_up(ticket, out_of_reach=out_of_reach)
            outcome = _meaning(finding, error)
        if isinstance(outcome, SubmitUnknownError):
            outcome.target = ticket.target
        return outcome

    async def _look_up(self, ticket: PendingSubmit, *, out_of_reach: bool) -> Finding:
        now = asyncio.get_running_loop().time()
        ticket.looked_for = True
        ids = (*ticket.lost, ticket.request_id)
        if out_of_reach:
            charged = await self._reconciler.was_charged(ticket.request_id)
            finding = unknown("its task is out of reach", charged=charged)
        else:
            finding = await self._reconciler.look_for(
                ticket.state, ids, begun=ticket.begun, sent=ticket.sent or now
            )
        ticket.looked_for = False
        return finding

    async def _key_refusal(self) -> EzlinkError | None:
        try:
            response = await self._transport.send(midjourney.probe_key_request())
        except TransportError:
            return None
        error = None if response.ok else error_from(response, submit=True)
        lasting = isinstance(error, AuthenticationError | PermissionDeniedError)
        return error if lasting else None


def _meaning(finding: Finding, error: EzlinkError) -> Accepted | EzlinkError:
    """Return what *finding* makes of a submit that *error* left unknown."""
    if finding.task_id is not None:
        return Accepted(finding.task_id, _FOUND, finding.reason)
    says = f"{error}; {finding.reason}"
    if finding.fate is Fate.NOT_CREATED:
        safe = TransportError(says, request_id=error.request_id, retry_safe=True)
        safe.__cause__ = error
        return safe
    if not isinstance(error, SubmitUnknownError):  # what could not be read is kept
        error.args = (says,)
        return error
    told = SubmitUnknownError(
        says, request_id=error.request_id, charged=finding.charged
    )
    told.__cause__ = error
    return told


_BAD_GATEWAY = 502

# Near the limit of the usual upstream (30 MB a request) an empty answer may
# mean "too large", and would come again.
_LARGE_BODY = 25_000_000

_EMPTY = "empty_response_body"


class Submitter:
    """Submits of one client."""

    def __init__(
        self,
        transport: Transport,
        background: BackgroundTasks,
        follow: Callable[[str, Callable[[], None]], TaskHandle],
        *,
        reconciler: Reconciler | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        settings = transport.settings
        self._reconciler = reconciler or Reconciler(transport, background)
        self._settler = Settler(transport, self._reconciler)
        self.slots = Semaphore(settings.max_concurrency)
        self._uploads = Semaphore(settings.max_uploads)
        self._gate = Gate(settings.retry)
        self._settings = settings
        self._transport = transport
        self._background = background
        self._follow = follow
        self._sleep = sleep
        self._tickets: dict[asyncio.Task[TaskHandle], PendingSubmit] = {}

    async def submit(self, ticket: PendingSubmit) -> TaskHandle:
        """
        Return the handle of an accepted job.

        Cancelling this before the body has left whole leaves no job; later,
        the submit goes on by itself and its task is followed.
        """
        task = self._background.start(self._live(ticket))
        self._tickets[task] = ticket
        task.add_done_callback(self._tickets.pop)
        try:
            await wait_until_done(task)
        except asyncio.CancelledError:
            ticket.left = True
            task.add_done_callback(lambda done: left_behind(done, ticket))
            ticket.cancel(task)
            if not ticket.committed:
                await wait_until_done(task)
            raise
        if task.cancelled():  # before its first step, so it could not say why
            raise cut_off(ticket)
        return task.result()

    async def close(self, spared: Collection[asyncio.Task[object]] = ()) -> None:
        """
        Cut off uploads; give submits that wait for an answer some time.

        One that is *spared* closes the client itself, so it cannot be waited for.
        """
        for task, ticket in self._tickets.items():
            ticket.closing = True
            ticket.cancel(task)
        self._reconciler.hurry()
        left = [task for task in self._tickets if task not in spared]
        if left:
            wait = self._settings.timeouts.close
            _, late = await asyncio.wait(left, timeout=wait)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _live(self, ticket: PendingSubmit) -> TaskHandle:
        try:
            accepted = await self._in_a_slot(ticket)
        except asyncio.CancelledError:
            fault: Exception = cut_off(ticket)
        except Exception as error:  # noqa: BLE001 - raised again below
            fault = ticket.with_earlier_attempts(error)
        else:
            handle = self._follow(accepted.task_id, self._over)
            if not ticket.closing:
                return handle
            fault = ClientClosedError(
                f"the client was closed; task {accepted.task_id} runs on the server",
                task_ids=(accepted.task_id,),
            )
        raise fault

    async def _in_a_slot(self, ticket: PendingSubmit) -> Accepted:
        """Return the acceptance, with the slot still held."""
        await self.slots.acquire(self._settings.slot_timeout)
        try:
            job = await ticket.load()
            return await self._until_accepted(ticket, job)
        except BaseException:
            self.slots.release()
            raise

    def _over(self) -> None:
        """Let the next submit have the room of a task that has ended."""
        self._gate.leave()
        self.slots.release()

    async def _until_accepted(
        self, ticket: PendingSubmit, job: FaceSwapJob
    ) -> Accepted:
        request = face_swap.submit_request(job)
        waits = self._settings.retry.waits()
        loop = asyncio.get_running_loop()
        start, failed = loop.time(), 0.0  # time in a line is no time of faults
        error: EzlinkError | None = None
        while True:
            async with (
                self._uploads.slot() as slot,
                self._gate.passage(start, partial(self._too_late, error)) as passage,
            ):
                ticket.uploaded = slot.release
                outcome = await self._attempt(ticket, job, request, passage)
            if isinstance(outcome, Accepted):
                return outcome
            error = outcome
            wait = self._wait_after(error, waits, request.content_length)
            if wait is None or ticket.left or ticket.closing:
                raise error
            failed = failed or loop.time()
            if loop.time() + wait >= self._gate.until(failed):
                raise error
            if error.maybe_charged:
                ticket.lost.append(error.request_id or "")
            await self._sleep(wait)

    def _too_late(self, error: EzlinkError | None) -> EzlinkError:
        """Return what it means that the gate stayed shut: what was met last."""
        seconds = self._settings.retry.timeout
        return error or BusyError(
            f"the server had no room for {seconds:g} s; nothing was sent",
            retry_safe=True,
        )

    def _wait_after(
        self, error: EzlinkError, waits: Iterator[float], length: int
    ) -> float | None:
        """Return the seconds before another attempt, ``None`` for no other."""
        if isinstance(error, BusyError) or self._is_offline(error):
            return 0.0  # the gate knows when
        if isinstance(error, SubmitUnknownError):
            again = self._settings.retry.resubmit_unknown
        elif isinstance(error, TransportError):
            again = error.retry_safe and error.stage != "tls"
        elif isinstance(error, ServerError):
            too_large = length > _LARGE_BODY and error.description == _EMPTY
            again = error.retry_safe and not too_large
        else:
            again = False
        wait = next(waits, None) if again else None
        return None if wait is None else max(wait, _hint(error) or 0.0)

    def _is_offline(self, outcome: object) -> bool:
        # A host that never answered may be mistyped: there attempts count.
        return (
            isinstance(outcome, TransportError)
            and outcome.stage == "connect"
            and self._transport.answered
        )

    async def _attempt(
        self,
        ticket: PendingSubmit,
        job: FaceSwapJob,
        request: HttpRequest,
        passage: Admission,
    ) -> Accepted | EzlinkError:
        state = job.options.state
        ticket.begin(new_request_id(), state)
        try:
            with self._reconciler.under_way(state, ticket.begun):
                await ticket.observer.before_submit(job, ticket.request_id, state)
                outcome = await self._send(ticket, request, passage)
                if isinstance(outcome, Accepted):
                    self._reconciler.accepted(outcome, ticket.request_id)
        except asyncio.CancelledError:
            tell(ticket, cut_off(ticket))
            raise
        ticket.upload = None
        tell(ticket, outcome)
        if isinstance(outcome, Accepted):
            passage.accepted()
        elif isinstance(outcome, BusyError):
            passage.busy(_hint(outcome))
        elif self._is_offline(outcome):
            passage.lost()
        elif not isinstance(outcome, TransportError | SubmitUnknownError):
            passage.through()
        return outcome

    async def _send(
        self, ticket: PendingSubmit, request: HttpRequest, passage: Admission
    ) -> Accepted | EzlinkError:
        out_of_reach = False
        try:
            response = await self._transport.submit(
                request, ticket.request_id, ticket.watch
            )
        except TransportError as fault:
            error: EzlinkError = fault
            proves_little = fault.stage in {"answer", "upload"}
        except EzlinkError as fault:
            return fault
        else:
            try:
                return midjourney.read_submission(response)
            except EzlinkError as fault:
                error = fault
            proves_little = response.status == _BAD_GATEWAY
            out_of_reach = is_insert_failure(response)
        if error.maybe_charged:
            passage.leave()  # finding out may take long: others may try
        return await self._settler.settle(
            ticket, error, proves_little=proves_little, out_of_reach=out_of_reach
        )


def _hint(outcome: object) -> float | None:
    return outcome.retry_after if isinstance(outcome, ApiError) else None
