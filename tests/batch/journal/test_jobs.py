"""What is to be done about a job: the whole table."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import (
    GONE,
    Entry,
    JobKey,
    JobState,
    Step,
    Wishes,
    next_step,
)

_KEY = JobKey("https://a.example", b"s", b"t", "{}", "a")

_ALL_WISHES = [
    Wishes(retry_failed=retry, resubmit_unknown=resubmit)
    for retry, resubmit in itertools.product((False, True), repeat=2)
]


def _entry(
    state: JobState, task_id: str | None = None, error: str | None = None
) -> Entry:
    return Entry(
        id=1,
        key=_KEY,
        source=Path("me.jpg"),
        target=Path("a.jpg"),
        state=state,
        task_id=task_id,
        error=error,
    )


@pytest.mark.parametrize("intact", [True, False])
@pytest.mark.parametrize("wishes", _ALL_WISHES, ids=str)
@pytest.mark.parametrize(
    ("entry", "step"),
    [
        (_entry(JobState.PLANNED), Step.SUBMIT),
        (_entry(JobState.PLANNED, error="BusyError: later"), Step.SUBMIT),
        (_entry(JobState.SUBMITTED, "7"), Step.FOLLOW),
        (_entry(JobState.SUBMITTED, "7", "TaskTimeoutError: late"), Step.FOLLOW),
        (_entry(JobState.SUCCEEDED, "7"), Step.DOWNLOAD),
        (_entry(JobState.SUCCEEDED, "7", "DownloadError: cut off"), Step.DOWNLOAD),
        # What has an id is asked for, whatever else was noted.
        (_entry(JobState.UNKNOWN, "7"), Step.FOLLOW),
        (_entry(JobState.SUBMITTING, "7"), Step.FOLLOW),
    ],
    ids=str,
)
def test_what_no_wish_changes(
    entry: Entry, step: Step, wishes: Wishes, *, intact: bool
) -> None:
    """A job surely not created is sent, one with an id is followed or brought."""
    assert next_step(entry, wishes, intact=intact) is step


@pytest.mark.parametrize("wishes", _ALL_WISHES, ids=str)
def test_what_is_at_home_rests(wishes: Wishes) -> None:
    """And is brought again when it is not, whatever is wished."""
    saved = _entry(JobState.SAVED, "7")
    assert next_step(saved, wishes, intact=True) is Step.DONE
    assert next_step(saved, wishes, intact=False) is Step.DOWNLOAD


@pytest.mark.parametrize("state", [JobState.SAVED, JobState.SUCCEEDED])
def test_what_is_gone_everywhere_is_sent_again_on_wish_only(state: JobState) -> None:
    """It is a failure like others."""
    gone = _entry(state, "7", f"{GONE} (the server said 404)")
    for wishes in _ALL_WISHES:
        step = Step.SUBMIT if wishes.retry_failed else Step.DOWNLOAD
        assert next_step(gone, wishes, intact=False) is step


@pytest.mark.parametrize("state", [JobState.SAVED, JobState.SUCCEEDED])
def test_what_cannot_be_brought_is_done_again(state: JobState) -> None:
    """A built-in server is gone with its tasks, so their ids are forgotten."""
    assert next_step(_entry(state), Wishes(), intact=False) is Step.SUBMIT


@pytest.mark.parametrize("intact", [True, False])
@pytest.mark.parametrize("task_id", [None, "7"])
def test_what_has_failed_is_sent_again_on_wish_only(
    task_id: str | None, *, intact: bool
) -> None:
    """The wish for unknowns is not that wish."""
    failed = _entry(JobState.FAILED, task_id, "TaskFailedError: no face")
    for wishes in _ALL_WISHES:
        step = Step.SUBMIT if wishes.retry_failed else Step.GIVE_UP
        assert next_step(failed, wishes, intact=intact) is step


@pytest.mark.parametrize(
    "state", [JobState.SUBMITTING, JobState.UNKNOWN, JobState.SUBMITTED]
)
@pytest.mark.parametrize("intact", [True, False])
def test_what_may_be_paid_is_sent_again_on_wish_only(
    state: JobState, *, intact: bool
) -> None:
    """The wish for failures is not that wish."""
    for wishes in _ALL_WISHES:
        step = Step.SUBMIT if wishes.resubmit_unknown else Step.REPORT
        assert next_step(_entry(state), wishes, intact=intact) is step
