"""
What became of a submit that brought no acceptance: the one place that decides.

Whatever can be found out later about such a submit belongs here.
"""

from __future__ import annotations

import asyncio

from ezlink_async._core.error_mapping import refusal
from ezlink_async._io.transport import Transport
from ezlink_async.errors import (
    AuthenticationError,
    EzlinkError,
    PermissionDeniedError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.evidence import Fate, Finding, unknown
from ezlink_async.reconcile import Reconciler
from ezlink_async.services import midjourney
from ezlink_async.services.base import Submission
from ezlink_async.ticket import Ticket

_FOUND = 0  # the code of an answer that nobody has seen


class Settler:
    """Asks the server about submits of one client, as far as it can tell."""

    def __init__(self, transport: Transport, reconciler: Reconciler) -> None:
        self._transport = transport
        self._reconciler = reconciler

    async def settle(
        self,
        ticket: Ticket,
        error: EzlinkError,
        *,
        proves_little: bool,
        out_of_reach: bool = False,
    ) -> Submission | EzlinkError:
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
        outcome: Submission | EzlinkError = error
        if error.maybe_charged and self._reconciler.able:
            finding = await self._look_up(ticket, out_of_reach=out_of_reach)
            outcome = _meaning(finding, error)
        if isinstance(outcome, SubmitUnknownError):
            outcome.target = ticket.target
        return outcome

    async def _look_up(self, ticket: Ticket, *, out_of_reach: bool) -> Finding:
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
            response = await self._transport.send(midjourney.key_request())
        except TransportError:
            return None
        error = None if response.ok else refusal(response, submit=True)
        lasting = isinstance(error, AuthenticationError | PermissionDeniedError)
        return error if lasting else None


def _meaning(finding: Finding, error: EzlinkError) -> Submission | EzlinkError:
    """Return what *finding* makes of a submit that *error* left unknown."""
    if finding.task_id is not None:
        return Submission(finding.task_id, _FOUND, finding.reason)
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
