"""The account's page of pictures: which row says what of a submit."""

from __future__ import annotations

import json

import pytest

from ezlink_async._core.messages import Credential, HttpResponse
from ezlink_async.errors import ProtocolError
from ezlink_async.services.flux.rows import FLUX_ROWS
from ezlink_async.services.traces import RowState, SubmitRow
from tests.support.samples import family_samples


def _page(*rows: object, total: int | None = None) -> HttpResponse:
    data = {"list": list(rows), "total": len(rows) if total is None else total}
    return HttpResponse(200, {}, json.dumps({"data": data, "success": True}).encode())


def _row(status: str, task_id: str = "", **fields: object) -> dict[str, object]:
    row = {"status": status, "task_id": task_id, "created_at": 7, "request_id": "r"}
    return {**row, **fields}


def test_page_is_asked_for_with_the_accounts_token() -> None:
    request = FLUX_ROWS.request(3)
    assert request.path == "/api/image/self?provider=flux&page=3&pagesize=100"
    assert request.credential is Credential.ACCOUNT


@pytest.mark.parametrize(
    ("name", "request_id", "state", "task_id"),
    [
        ("flux-running", "family-flux-lost", RowState.AT_WORK, ""),
        ("flux-lost", "family-flux-lost", RowState.ACCEPTED, "fl-late"),
        ("flux-submitted", "family-flux-callback", RowState.ACCEPTED, "fl-cb"),
        ("flux-success", "family-flux-callback", RowState.ACCEPTED, "fl-cb"),
        ("flux-all", "family-flux-moderated", RowState.ACCEPTED, "fl-mod"),
        ("flux-all", "family-flux-unreadable", RowState.MAY_RUN, ""),
        ("flux-all", "family-flux-noid", RowState.OUT_OF_REACH, ""),
        ("flux-all", "family-flux-refused", RowState.REFUSED, ""),
        ("flux-all", "family-flux-fee", RowState.FEE, ""),
        ("flux-poor", "family-flux-poor", RowState.REFUSED, ""),
        ("flux-front", "family-flux-malformed", RowState.REFUSED, ""),
    ],
)
def test_recorded_row_says_what_became_of_its_submit(
    name: str, request_id: str, state: RowState, task_id: str
) -> None:
    page = FLUX_ROWS.read(family_samples()[f"account-images-{name}"].response, 1)
    (row,) = [row for row in page.rows if row.request_id == request_id]
    assert (row.state, row.task_id) == (state, task_id)
    assert page.is_last


def test_relay_that_repeats_a_submit_leaves_a_row_for_each_attempt() -> None:
    page = FLUX_ROWS.read(family_samples()["account-images-flux-retried"].response, 1)
    assert [(row.state, row.task_id) for row in page.rows] == [
        (RowState.ACCEPTED, "fl-second"),
        (RowState.REFUSED, ""),
    ]
    assert {row.request_id for row in page.rows} == {"family-flux-retried"}


def test_rows_of_async_images_have_no_request_id() -> None:
    page = FLUX_ROWS.read(family_samples()["account-images-async-flux"].response, 1)
    assert {row.request_id for row in page.rows} == {""}


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (_row("success"), RowState.AT_WORK),
        (_row("new"), RowState.AT_WORK),
        (_row("failed", fail_reason="request failed: EOF"), RowState.MAY_RUN),
        (_row("failed", fail_reason="HTTP 403: Forbidden"), RowState.REFUSED),
        (
            _row("failed", fail_reason="HTTP 400: violates usage guidelines"),
            RowState.REFUSED,
        ),
        (_row("failed", fail_reason=None), RowState.REFUSED),
        (_row("failed", "t"), RowState.ACCEPTED),
    ],
)
def test_row_without_a_task_is_judged_by_its_status(
    row: dict[str, object], state: RowState
) -> None:
    (found,) = FLUX_ROWS.read(_page(row), 1).rows
    assert found == SubmitRow(
        request_id="r", state=state, time=7.0, task_id=str(row["task_id"])
    )


def test_last_page_is_the_one_that_reaches_the_total() -> None:
    assert not FLUX_ROWS.read(_page(_row("failed"), total=101), 1).is_last
    assert FLUX_ROWS.read(_page(_row("failed"), total=101), 2).is_last
    assert FLUX_ROWS.read(_page(total=101), 1).is_last


@pytest.mark.parametrize("row", [_row("failed", created_at="x"), {"status": None}])
def test_page_with_a_row_that_cannot_be_read_is_none(row: dict[str, object]) -> None:
    """It may be the row that is looked for."""
    with pytest.raises(ProtocolError, match="a row that cannot be read"):
        FLUX_ROWS.read(_page(row), 1)


def test_odd_request_id_belongs_to_no_submit() -> None:
    (found,) = FLUX_ROWS.read(_page(_row("failed", request_id=7)), 1).rows
    assert found.request_id == ""
