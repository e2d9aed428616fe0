"""The next step of a job: the whole table of states and options."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import (
    JobRecord,
    JobState,
    Reason,
    Step,
    next_step,
)
from ezlink_async.batch.options import BatchOptions
from tests.support.journal_jobs import swap_key

_ALL_OPTIONS = [
    BatchOptions(output=Path("out"), retry_failed=retry, resubmit_unknown=resubmit)
    for retry, resubmit in itertools.product((False, True), repeat=2)
]
BOTH = pytest.mark.parametrize("intact", [True, False])


def _record(
    state: JobState, task_id: str | None = None, reason: Reason | None = None
) -> JobRecord:
    return JobRecord(
        id=1,
        key=swap_key(),
        label="a.jpg",
        family="midjourney",
        inputs=(),
        state=state,
        task_id=task_id,
        error="SomeError: later",
        reason=reason,
    )


@BOTH
@pytest.mark.parametrize(
    ("record", "step"),
    [
        (_record(JobState.PLANNED), Step.SUBMIT),
        (_record(JobState.PLANNED, reason=Reason.BUDGET), Step.SUBMIT),
        (_record(JobState.SUBMITTED, "7"), Step.FOLLOW),
        (_record(JobState.SUCCEEDED, "7"), Step.DOWNLOAD),
        # A job with an id is followed in every state.
        (_record(JobState.UNKNOWN, "7"), Step.FOLLOW),
        (_record(JobState.SUBMITTING, "7"), Step.FOLLOW),
    ],
    ids=str,
)
def test_options_do_not_change_the_step_of_a_planned_or_accepted_job(
    record: JobRecord, step: Step, *, intact: bool
) -> None:
    steps = {next_step(record, options, intact=intact) for options in _ALL_OPTIONS}
    assert steps == {step}


def test_a_saved_job_is_done_and_a_damaged_one_is_downloaded_again() -> None:
    saved = _record(JobState.SAVED, "7")
    for options in _ALL_OPTIONS:
        assert next_step(saved, options, intact=True) is Step.DONE
        assert next_step(saved, options, intact=False) is Step.DOWNLOAD


@pytest.mark.parametrize("state", [JobState.SAVED, JobState.SUCCEEDED])
def test_a_result_that_is_gone_is_sent_again_with_retry_failed_only(
    state: JobState,
) -> None:
    gone = _record(state, "7", Reason.RESULT_GONE)
    for options in _ALL_OPTIONS:
        step = Step.SUBMIT if options.retry_failed else Step.DOWNLOAD
        assert next_step(gone, options, intact=False) is step


@pytest.mark.parametrize("state", [JobState.SAVED, JobState.SUCCEEDED])
def test_a_damaged_job_without_an_id_is_sent_again(state: JobState) -> None:
    """The built-in server has ended with its tasks, so their ids are forgotten."""
    assert next_step(_record(state), _ALL_OPTIONS[0], intact=False) is Step.SUBMIT


@BOTH
@pytest.mark.parametrize("task_id", [None, "7"])
def test_a_failed_job_is_sent_again_with_retry_failed_only(
    task_id: str | None, *, intact: bool
) -> None:
    failed = _record(JobState.FAILED, task_id)
    for options in _ALL_OPTIONS:
        step = Step.SUBMIT if options.retry_failed else Step.GIVE_UP
        assert next_step(failed, options, intact=intact) is step


@BOTH
@pytest.mark.parametrize(
    "state", [JobState.SUBMITTING, JobState.UNKNOWN, JobState.SUBMITTED]
)
def test_a_job_that_may_be_paid_is_sent_again_with_resubmit_unknown_only(
    state: JobState, *, intact: bool
) -> None:
    for options in _ALL_OPTIONS:
        step = Step.SUBMIT if options.resubmit_unknown else Step.REPORT
        assert next_step(_record(state), options, intact=intact) is step
