"""What rows with the request id of a lost submit prove."""

from __future__ import annotations

import math

import attrs
import pytest

from ezlink_async._client.submitting.account_rows import (
    AccountRows,
    RowDoubts,
    conclude_rows,
    find_row,
)
from ezlink_async._client.submitting.evidence import SLACK, Fate, Lost
from ezlink_async.services.traces import RowState, SubmitRow

NOW = 1_800_000_000.0
LOST = Lost(state=None, request_ids=("r1",), since=NOW)
TWICE = attrs.evolve(LOST, request_ids=("r1", "r2"))
SURE = RowDoubts(charged=False, witnessed=True, settled=True)


def _row(
    state: RowState, request_id: str = "r1", task_id: str = "", time: float = NOW
) -> SubmitRow:
    return SubmitRow(request_id=request_id, state=state, task_id=task_id, time=time)


def _rows(*rows: SubmitRow, reaches: float | None = -math.inf) -> AccountRows:
    return AccountRows(rows, reaches)


def test_row_with_a_task_is_found_among_others() -> None:
    rows = _rows(
        _row(RowState.ACCEPTED, "other", "8"),
        _row(RowState.ACCEPTED, "r1", "7"),
        _row(RowState.REFUSED, "r1"),
    )
    finding = find_row(LOST, rows)
    assert finding is not None
    assert (finding.fate, finding.task_id) == (Fate.FOUND, "7")


def test_newest_task_of_two_attempts_is_taken() -> None:
    rows = _rows(
        _row(RowState.ACCEPTED, "r1", "7"),
        _row(RowState.ACCEPTED, "r2", "8", NOW + 1),
    )
    finding = find_row(TWICE, rows)
    assert finding is not None
    assert finding.task_id == "8"


def test_empty_request_id_has_no_rows() -> None:
    """Rows of another family have none."""
    lost = attrs.evolve(LOST, request_ids=("",))
    assert find_row(lost, _rows(_row(RowState.ACCEPTED, "", "7"))) is None


@pytest.mark.parametrize(
    ("state", "may_run"),
    [
        (RowState.REFUSED, False),
        (RowState.MAY_RUN, True),
        (RowState.OUT_OF_REACH, True),
    ],
)
def test_row_that_has_ended_without_a_task_costs_nothing(
    *, state: RowState, may_run: bool
) -> None:
    """No other row, no witness and no wait is needed for that."""
    doubts = RowDoubts(charged=False, witnessed=False, settled=False)
    finding = conclude_rows(LOST, _rows(_row(state), reaches=None), doubts)
    assert (finding.fate, finding.charged) == (Fate.NOT_CREATED, False)
    assert finding.may_run is may_run


@pytest.mark.parametrize(
    ("state", "charged"), [(RowState.FEE, False), (RowState.REFUSED, True)]
)
def test_fee_is_shown_by_the_row_or_by_the_log(
    *, state: RowState, charged: bool
) -> None:
    doubts = attrs.evolve(SURE, charged=charged)
    finding = conclude_rows(LOST, _rows(_row(state)), doubts)
    assert (finding.fate, finding.charged) == (Fate.CHARGED, True)


def test_row_at_work_proves_nothing() -> None:
    rows = _rows(_row(RowState.AT_WORK), _row(RowState.REFUSED))
    assert not rows.have_ended(LOST)
    finding = conclude_rows(LOST, rows, SURE)
    assert (finding.fate, finding.charged) == (Fate.UNKNOWN, None)


@pytest.mark.parametrize(
    ("reaches", "doubts", "fate"),
    [
        (-math.inf, SURE, Fate.NOT_CREATED),
        (NOW - SLACK, SURE, Fate.NOT_CREATED),
        (NOW - SLACK + 1, SURE, Fate.UNKNOWN),
        (None, SURE, Fate.UNKNOWN),
        (-math.inf, attrs.evolve(SURE, witnessed=False), Fate.UNKNOWN),
        (-math.inf, attrs.evolve(SURE, settled=False), Fate.UNKNOWN),
    ],
)
def test_absence_needs_the_whole_page_a_witness_and_the_wait(
    reaches: float | None, doubts: RowDoubts, fate: Fate
) -> None:
    assert conclude_rows(LOST, _rows(reaches=reaches), doubts).fate is fate


def test_absence_proves_nothing_without_a_time() -> None:
    lost = attrs.evolve(LOST, since=None)
    assert conclude_rows(lost, _rows(), SURE).fate is Fate.UNKNOWN


def test_attempt_without_a_row_has_not_ended() -> None:
    rows = _rows(_row(RowState.MAY_RUN, "r1"))
    assert not rows.have_ended(TWICE)
    finding = conclude_rows(TWICE, rows, SURE)
    assert (finding.fate, finding.may_run) == (Fate.NOT_CREATED, True)
    doubts = attrs.evolve(SURE, witnessed=False)
    assert conclude_rows(TWICE, rows, doubts).fate is Fate.UNKNOWN


def test_witness_is_a_row_of_a_known_submit() -> None:
    rows = _rows(_row(RowState.ACCEPTED, "w", "1"))
    assert rows.has_any(["x", "w"])
    assert not rows.has_any(["x"])
    assert not rows.has_any(["x"])  # a look adds no row
