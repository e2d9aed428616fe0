"""
The account's page of pictures, where each native Flux submit has a row.

The row carries the request id of the submit. It is written before the provider is
asked, so its absence proves that the submit did not come; the relay writes one for each
of its own attempts. Rows of async images have no request id. The answer is not kept:
its rows show what the provider said. Source: ``ye4293/one-api``
(``controller/flux.go``).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import attrs

from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    identifier,
)
from ezlink_async.errors import ProtocolError
from ezlink_async.services.account import PAGE, page_of
from ezlink_async.services.traces import RowPage, RowState, SubmitRow, SubmitRows

FEE_WORDS = ("violates usage guidelines", "safety_check_type")
"""The words of a 403 for which the server charges a fee."""

_REFUSED_CONTENT = "HTTP 403"

_BROKEN = ("request failed:", "解析响应失败")

_STATES = {
    "pending": RowState.AT_WORK,
    "submitted": RowState.OUT_OF_REACH,
    "failed": RowState.REFUSED,
}
"""What a row without a task says by its status; any other status is at work."""


@attrs.frozen
class FluxRows(SubmitRows):
    """The page of pictures; the server has no filter for a request id."""

    def request(self, page: int) -> HttpRequest:
        """Ask for a *page* of pictures, from 1."""
        query = urlencode({"provider": "flux", "page": page, "pagesize": PAGE})
        return HttpRequest(
            "GET",
            f"/api/image/self?{query}",
            repeatable=True,
            credential=Credential.ACCOUNT,
            tasks=PAGE,
        )

    def read(self, response: HttpResponse, page: int) -> RowPage:
        """Read a page; one whose rows cannot be read is no page at all."""
        rows, total = page_of(response)
        return RowPage(
            rows=tuple(_row(response, row) for row in rows),
            is_last=not rows or (page - 1) * PAGE + len(rows) >= total,
        )


def _row(response: HttpResponse, row: Mapping[str, object]) -> SubmitRow:
    status, time = row.get("status"), row.get("created_at")
    request_id, task_id = row.get("request_id"), identifier(row.get("task_id"))
    if not isinstance(status, str) or type(time) is not int:
        raise ProtocolError(
            "the account's page of pictures has a row that cannot be read",
            status=response.status,
            request_id=response.request_id,
        )
    return SubmitRow(
        request_id=request_id if isinstance(request_id, str) else "",
        state=RowState.ACCEPTED if task_id else _state(status, row.get("fail_reason")),
        time=float(time),
        task_id=task_id,
    )


def _state(status: str, fail_reason: object) -> RowState:
    state = _STATES.get(status, RowState.AT_WORK)
    reason = fail_reason if isinstance(fail_reason, str) else ""
    if state is not RowState.REFUSED:
        return state
    if reason.startswith(_REFUSED_CONTENT) and any(w in reason for w in FEE_WORDS):
        return RowState.FEE
    return RowState.MAY_RUN if reason.startswith(_BROKEN) else state


FLUX_ROWS = FluxRows()
