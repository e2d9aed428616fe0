"""
The life of one submit: slot, gate, attempts, and what an outcome means.

Rules:

1. The slot is held from before the job is loaded; the handle inherits it.
2. A job is sent again only when it surely was not created. A lost answer is
   looked up in one place, ``Submitter._resolve``, or stays unknown.
3. Once the whole body has left, neither a cancelled caller nor a closing client
   stops the submit: the answer is read and the task followed, so that each charge
   has an id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import attrs

from ezlink_async._client.handle import FollowedHandle
from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.gate import Admission, Gate
from ezlink_async._client.submitting.lanes import Lanes
from ezlink_async._client.submitting.pending_submit import PendingSubmit
from ezlink_async._client.submitting.reconciler import AnyReconciler
from ezlink_async._client.submitting.row_search import RowSearch, RowTurns
from ezlink_async._core.error_mapping import error_from, is_insert_failure
from ezlink_async._core.log_lines import get_logger
from ezlink_async._core.messages import HttpResponse
from ezlink_async._io.concurrency import BackgroundTasks, Semaphore, wait_until_done
from ezlink_async._io.transport import Sleep, Transport, new_request_id
from ezlink_async.errors import (
    ApiError,
    AuthenticationError,
    BusyError,
    ClientClosedError,
    EzlinkError,
    PermissionDeniedError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.services.base import NO_TASK, Accepted, AnyRecord, TaskFamily

_log = get_logger()

_UNSEEN = 0  # the code of an acceptance whose answer was lost

_BAD_GATEWAY = 502

# Near the limit of the usual upstream (30 MB a request) an empty answer may
# mean "too large", and another attempt would get the same.
_LARGE_BODY = 25_000_000

_EMPTY = "empty_response_body"

_LONG_WAIT = 5.0  # seconds; a shorter wait for another attempt is no news


class Follow(Protocol):
    """Makes the handle of an accepted task."""

    def __call__(
        self,
        accepted: Accepted,
        family: TaskFamily[AnyRecord],
        release: Callable[[], None],
        deadline: float | None,
    ) -> FollowedHandle[AnyRecord]:
        """
        Follow the task of *accepted*; *release* frees its slot at its end.

        Its *deadline* is so many seconds from now, that of the family by default.
        """
        ...


class Submitter:
    """Submits of one client; *follow* makes the handle of an accepted task."""

    def __init__(
        self,
        transport: Transport,
        background: BackgroundTasks,
        follow: Follow,
        reconciler: AnyReconciler,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._settings = transport.settings
        self.slots: Semaphore = Semaphore(self._settings.max_concurrency)
        self._uploads = Semaphore(self._settings.max_uploads)
        self.lanes: Lanes = Lanes(self._settings.retry)
        self._row_turns = RowTurns()
        self._transport = transport
        self._background = background
        self._follow = follow
        self._reconciler = reconciler
        self._sleep = sleep
        self._pending: dict[asyncio.Task[FollowedHandle[AnyRecord]], PendingSubmit] = {}

    async def submit(self, pending: PendingSubmit) -> FollowedHandle[AnyRecord]:
        """
        Return the handle of an accepted job.

        A cancellation before the whole body has left leaves no job; after that
        the submit continues in the background and its task is followed.
        """
        task = self._background.start(self._run(pending))
        self._pending[task] = pending
        task.add_done_callback(self._ended)
        try:
            await wait_until_done(task)
        except asyncio.CancelledError:
            pending.abandoned = True
            task.add_done_callback(pending.log_orphan)
            pending.cancel(task)
            if not pending.committed:
                await wait_until_done(task)
            if task.cancelled():
                pending.ended(pending.interruption())
            raise
        if task.cancelled():  # before its first step, so it raised no reason
            raise pending.ended(pending.interruption())
        return task.result()

    def _ended(self, task: asyncio.Task[FollowedHandle[AnyRecord]]) -> None:
        self._pending.pop(task).received.close()

    async def close(self, spared: Collection[asyncio.Task[object]] = ()) -> None:
        """
        Cut off uploads; give submits that wait for an answer ``timeouts.close``.

        A *spared* task is not waited for: it closes the client itself.
        """
        for task, pending in self._pending.items():
            pending.closing = True
            pending.cancel(task)
        self._reconciler.poll_soon()
        left = [task for task in self._pending if task not in spared]
        if left:
            wait = self._settings.timeouts.close
            _, late = await asyncio.wait(left, timeout=wait)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _run(self, pending: PendingSubmit) -> FollowedHandle[AnyRecord]:
        try:
            handle = await self._in_a_slot(pending)
        except asyncio.CancelledError:
            fault: Exception = pending.interruption()
        except Exception as error:  # noqa: BLE001 - raised again below
            fault = pending.with_earlier_attempts(error)
        else:
            if not pending.closing:
                return handle
            fault = ClientClosedError(
                f"the client was closed; task {handle.task_id} runs on the server",
                task_ids=(handle.task_id,),
            )
        raise pending.ended(fault)

    async def _in_a_slot(self, pending: PendingSubmit) -> FollowedHandle[AnyRecord]:
        """Return the handle of the accepted job, which gives the slot back."""
        await self.slots.acquire(self._settings.slot_timeout)
        try:
            job = pending.job = await pending.load()
            gate = self.lanes.gate(job.lane)
            async with self._row_turns.turn(job.row_count):
                accepted = await self._until_accepted(pending, gate)
        except BaseException:
            self.slots.release()
            raise
        if gate.is_open:
            self._transport.server_waits.end()

        def task_ended() -> None:
            """Give the room of the ended task to the next submit."""
            gate.task_ended()
            self.slots.release()

        return self._follow(accepted, job.family, task_ended, pending.deadline)

    async def _until_accepted(self, pending: PendingSubmit, gate: Gate) -> Accepted:
        loop, waits = asyncio.get_running_loop(), self._settings.retry.waits()
        start, first_fault = loop.time(), 0.0  # time in a queue is no time of faults
        error: EzlinkError | None = None
        while True:
            async with self._uploads.slot() as slot:
                admission = await self._admit(gate, start, error)
                try:
                    pending.uploaded = slot.release
                    outcome = await self._attempt(pending, gate, admission)
                finally:
                    gate.release(admission)
            if isinstance(outcome, Accepted):
                return outcome
            error = outcome
            wait = self._wait_after(error, waits, pending)
            if wait is None or pending.abandoned or pending.closing:
                raise error
            first_fault = first_fault or loop.time()
            if loop.time() + wait >= gate.deadline(first_fault):
                raise error
            if error.maybe_charged:
                pending.lost.append(error.request_id or "")
            if not isinstance(error, BusyError):  # the gate has logged that it waits
                says = "submitting %s again in %.1f s (request %s): %s"
                _log.info(says, pending.job.label, wait, pending.request_id, error)
                await asyncio.sleep(0)  # a halted caller cancels the submit here
                self._note_retry(gate, error, wait, first_fault)
            await self._sleep(wait)
            self._transport.traffic.retries += 1

    async def _admit(
        self, gate: Gate, start: float, error: EzlinkError | None
    ) -> Admission:
        """Wait for the gate; if it stays closed, raise the *error* met last."""
        if gate.pause:  # a submit that was halted does not come here
            self._note_pause(gate, start)
        try:
            return await gate.admit(start)
        except TimeoutError:
            seconds = self._settings.retry.timeout
            raise error or BusyError(
                f"no submit got through for {seconds:g} s; this one was not sent",
                retry_safe=True,
            ) from None

    def _note_pause(self, gate: Gate, start: float) -> None:
        """Log that *gate* is closed, for a submit that began at *start*, if news."""
        waits = self._transport.server_waits
        most = gate.deadline(start) - asyncio.get_running_loop().time()
        waits.begin(gate.hint, gate.pause, most)
        if gate.is_full_for_long and not gate.running:
            waits.stall("the server has no room for a job", most, by_time=True)

    def _note_retry(
        self, gate: Gate, error: EzlinkError, wait: float, first_fault: float
    ) -> None:
        """Log that a submit is sent again after *wait* seconds, if that is news."""
        waits = self._transport.server_waits
        most = gate.deadline(first_fault) - asyncio.get_running_loop().time()
        waits.begin(_hint(error), wait, most)
        if wait >= _LONG_WAIT and not gate.running:
            waits.stall(str(error), most, by_time=False)

    def _wait_after(
        self, error: EzlinkError, waits: Iterator[float], pending: PendingSubmit
    ) -> float | None:
        """Return the seconds before another attempt, ``None`` for no other."""
        job = pending.job
        if isinstance(error, RejectedError):
            pending.refusals += 1
            return job.pause_after(error, pending.refusals)
        if isinstance(error, BusyError) or self._is_offline(error):
            return 0.0  # the gate decides when
        if isinstance(error, SubmitUnknownError):
            again = self._settings.retry.resubmit_unknown
        elif isinstance(error, TransportError):
            again = error.retry_safe and error.stage != "tls"
        elif isinstance(error, ServerError):
            is_large = job.request().content_length > _LARGE_BODY
            again = error.retry_safe and not (is_large and error.description == _EMPTY)
        else:
            again = False
        wait = next(waits, None) if again else None
        hint = self._settings.retry.capped_hint(_hint(error))
        return None if wait is None else max(wait, hint)

    def _is_offline(self, outcome: object) -> bool:
        # A host that never answered may be mistyped: then attempts count.
        return (
            isinstance(outcome, TransportError)
            and outcome.stage == "connect"
            and self._transport.answered
        )

    async def _attempt(
        self, pending: PendingSubmit, gate: Gate, admission: Admission
    ) -> Accepted | EzlinkError:
        """Send the job once; report the outcome to the observer and the gate."""
        await self._begin_row_search(pending)
        pending.begin(new_request_id())
        state = pending.job.state
        try:
            with self._reconciler.in_progress(state, pending.begun):
                if pending.observer is not None:
                    await pending.observer.before_submit(pending.request_id, state)
                outcome = await self._send(pending, gate, admission)
                if isinstance(outcome, Accepted):
                    self._learn(outcome, pending)
        except asyncio.CancelledError:
            pending.report(pending.interruption())
            raise
        pending.upload = None
        pending.report(outcome)
        self._report_to_gate(outcome, gate, admission)
        return outcome

    def _learn(self, accepted: Accepted, pending: PendingSubmit) -> None:
        """Let the reconciler know the task, if the account's list shows its kind."""
        traces = pending.job.family.traces
        if traces.proves_absence and not pending.job.is_free:
            self._reconciler.accepted(accepted, pending.request_id, traces)

    def _report_to_gate(
        self, outcome: Accepted | EzlinkError, gate: Gate, admission: Admission
    ) -> None:
        if isinstance(outcome, Accepted):
            gate.task_started(admission)
        elif isinstance(outcome, BusyError):
            gate.close(admission, _hint(outcome), full=True)
        elif self._is_offline(outcome):
            self.lanes.close_all(gate, admission)
        elif not isinstance(outcome, TransportError | SubmitUnknownError):
            gate.answered(admission)

    async def _begin_row_search(self, pending: PendingSubmit) -> None:
        rows = pending.job.row_count
        if rows is not None and pending.search is None:
            pending.search = RowSearch(self._transport, rows, self._sleep)
            await pending.search.begin()

    async def _send(
        self, pending: PendingSubmit, gate: Gate, admission: Admission
    ) -> Accepted | EzlinkError:
        response: HttpResponse | None = None
        try:
            wait = pending.job.family.timing.submit_timeout(self._settings.timeouts)
            response = await self._transport.submit(
                attrs.evolve(pending.job.request(), wait=wait),
                pending.request_id,
                pending.follow_upload,
            )
            return await self._transport.read(response, pending.job.read)
        except EzlinkError as fault:
            error = fault
        except Exception as bug:  # noqa: BLE001 - the job may be paid
            error = pending.crashed(bug)
        if error.maybe_charged:
            gate.end_probe(admission)  # resolving it may take minutes
        outcome = await self._resolve(pending, error, response)
        if isinstance(outcome, SubmitUnknownError):
            outcome.target = pending.target
        return outcome

    async def _resolve(
        self, pending: PendingSubmit, error: EzlinkError, response: HttpResponse | None
    ) -> Accepted | EzlinkError:
        """Return the outcome of an attempt that brought no acceptance."""
        if _may_hide_refusal(error, response) and not self._transport.key_worked:
            refusal = await self._key_refusal(pending.job.family)
            if refusal is not None:
                refusal.request_id = error.request_id
                return refusal
        if not error.maybe_charged:
            return error
        if pending.job.is_free:
            return _lost_for_free(error, response)
        if isinstance(error, TransportError):
            error = SubmitUnknownError(str(error), request_id=error.request_id)
        pending.reconciling = True
        found = await self._look_up(pending, response)
        pending.reconciling = False
        return found if isinstance(found, Accepted) else _outcome(found, error)

    async def _look_up(
        self, pending: PendingSubmit, response: HttpResponse | None
    ) -> Accepted | Finding | None:
        """Return what the server shows of a submit whose answer was lost."""
        job, settings = pending.job, self._settings
        if pending.search is not None and job.row_count is not None:
            policy, seconds = job.family.timing.policy(settings.poll), settings.timeouts
            if await pending.search.is_accepted(policy, seconds.reconcile):
                return Accepted(job.row_count.task_id, _UNSEEN, "its row is listed")
        ids = (*pending.lost, pending.request_id)
        return await self._reconciler.reconcile(
            Lost(
                state=job.state,
                request_ids=ids,
                since=None,
                traces=job.family.traces,
            ),
            begun=pending.begun,
            sent=pending.sent or asyncio.get_running_loop().time(),
            out_of_reach=response is not None and is_insert_failure(response),
        )

    async def _key_refusal(self, family: TaskFamily[AnyRecord]) -> EzlinkError | None:
        """Return the error of a refused key; the request is small and free."""
        try:
            response = await self._transport.send(family.fetch_request(NO_TASK))
        except TransportError:
            return None
        error = None if response.ok else error_from(response, submit=True)
        lasting = isinstance(error, AuthenticationError | PermissionDeniedError)
        return error if lasting else None


def _may_hide_refusal(error: EzlinkError, response: HttpResponse | None) -> bool:
    # A proxy turns the refusal of a key into a 502 or a broken connection while a
    # large body is sent. A key that never worked may be such a one.
    if response is not None:
        return response.status == _BAD_GATEWAY
    return isinstance(error, TransportError) and error.stage in {"answer", "upload"}


def _lost_for_free(error: EzlinkError, response: HttpResponse | None) -> EzlinkError:
    """Return the error of a lost submit that costs nothing."""
    says = "it costs nothing, so it may be sent again"
    free: EzlinkError
    if response is None:
        free = TransportError(f"{error}; {says}", retry_safe=True)
    else:
        says = (
            f"HTTP {response.status}: the answer to a submit is no acceptance; {says}"
        )
        free = ServerError(says, status=response.status, retry_safe=True)
    free.request_id, free.__cause__ = error.request_id, error
    return free


def _outcome(finding: Finding | None, error: EzlinkError) -> Accepted | EzlinkError:
    """Return what *finding* makes of a submit that *error* left unknown."""
    if finding is None:
        return error
    if finding.task_id is not None:
        return Accepted(finding.task_id, _UNSEEN, finding.reason)
    message = f"{error}; {finding.reason}"
    if finding.fate is Fate.NOT_CREATED:
        # After a broken call the upstream may run the job, and would run another.
        kind = ServerError if finding.may_run else TransportError
        safe = not finding.may_run
        free = kind(message, request_id=error.request_id, retry_safe=safe)
        free.__cause__ = error
        return free
    if not isinstance(error, SubmitUnknownError):  # it keeps the unreadable answer
        error.args = (message,)
        return error
    unknown = SubmitUnknownError(
        message, request_id=error.request_id, charged=finding.charged
    )
    unknown.__cause__ = error
    return unknown


def _hint(outcome: object) -> float | None:
    return outcome.retry_after if isinstance(outcome, ApiError) else None
