"""The counts of a run: what moves the bar, the rate, and the time left."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch import BatchOutcome, BatchStatus
from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.cli.tally import Kind, Tally, kind_of
from ezlink_async.errors import ImageError, TaskFailedError

SUCCEEDED = BatchOutcome(source=Path("me"), target=Path("a"), status="succeeded")
DONE = attrs.evolve(SUCCEEDED, status="skipped")
LEFT = attrs.evolve(DONE, error="Interrupted: nothing was sent", common=True)
FAILED = attrs.evolve(SUCCEEDED, status="failed", error="TaskFailedError: no face")
UNUSABLE = attrs.evolve(FAILED, reason=Reason.UNUSABLE)
RUNNING = attrs.evolve(FAILED, reason=Reason.RUNNING)


def _tally(total: int, seconds: float, *outcomes: BatchOutcome, idle: int = 0) -> Tally:
    """Return a tally whose *outcomes* all end *seconds* after its start."""
    times = [100.0]
    tally = Tally(total, idle=idle, clock=lambda: times[-1])
    times.append(100.0 + seconds)
    for outcome in outcomes:
        tally.add(outcome, kind_of(outcome))
    return tally


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (SUCCEEDED, Kind.SUCCEEDED),
        (DONE, Kind.DONE),
        (LEFT, Kind.LEFT),
        (FAILED, Kind.FAILED),
        (RUNNING, Kind.RUNNING),
        (attrs.evolve(FAILED, status="unknown"), Kind.UNKNOWN),
        (UNUSABLE, Kind.UNUSABLE),
        (attrs.evolve(UNUSABLE, common=True), Kind.LEFT),
        (attrs.evolve(FAILED, common=True), Kind.LEFT),
    ],
)
def test_outcome_is_counted_by_what_it_means_to_the_user(
    outcome: BatchOutcome, kind: Kind
) -> None:
    assert kind_of(outcome) is kind


@pytest.mark.parametrize(
    ("seconds", "many", "speed"), [(9.0, 0, ""), (10, 5, "30.0/min"), (20, 50, "2.5/s")]
)
def test_speed_counts_the_swaps_of_this_run_alone(
    seconds: float, many: int, speed: str
) -> None:
    """A slow run counts by the minute; what was done or failed before took no time."""
    assert _tally(99, seconds, *[SUCCEEDED] * many, *[DONE, FAILED] * 7).speed == speed


def test_target_of_a_broken_source_took_no_time() -> None:
    fault = ImageError("it is empty", path="me")
    left = attrs.evolve(UNUSABLE, fault=fault, common=True)
    assert _tally(99, 10, *[left] * 5).ended == 0


def test_failure_of_this_run_took_time() -> None:
    failed = attrs.evolve(FAILED, fault=TaskFailedError("no face"))
    assert _tally(9, 60.0, failed, failed).speed == "2.0/min"


@pytest.mark.parametrize(
    ("total", "idle", "left"),
    [
        (2_012, 1_900, "10:12 left"),  # 10 swapped, 102 to send but for 40 done
        (2_012, 0, "3:16:12 left"),
        (50, 40, ""),  # all the others are done
    ],
)
def test_time_left_leaves_out_what_needs_no_swap(
    total: int, idle: int, left: str
) -> None:
    tally = _tally(total, 60.0, *[SUCCEEDED] * 10, *[DONE] * 40, idle=idle)
    assert tally.time_left == left


def test_time_left_is_empty_before_the_first_swap() -> None:
    assert _tally(9, 60.0, DONE).time_left == ""


def test_speed_follows_the_latest_swaps() -> None:
    times = [0.0]
    tally = Tally(9_999, clock=lambda: times[-1])
    for second in range(200):  # one a second, then ten a second
        times.append(second + 1.0)
        tally.add(SUCCEEDED, Kind.SUCCEEDED)
    for tenth in range(200):
        times.append(200 + tenth / 10)
        tally.add(SUCCEEDED, Kind.SUCCEEDED)
    assert tally.speed == "10.0/s"
    assert tally.ended == 400


def test_targets_left_and_jobs_still_running_are_no_progress() -> None:
    tally = _tally(9, 1.0, SUCCEEDED, DONE, FAILED, LEFT, RUNNING)
    assert tally.settled == 3
    assert str(tally) == (
        "1 succeeded, 1 failed, 1 still running, 1 done before, 1 not done"
    )


def test_total_only_grows() -> None:
    tally = _tally(2, 1.0, SUCCEEDED)
    assert tally.total == 2
    for _ in range(3):
        tally.add(SUCCEEDED, Kind.SUCCEEDED)
    assert tally.total == 4


def test_json_counts_jobs_still_running_as_failed_and_once_more_apart() -> None:
    summary = json.loads(_tally(9, 1.5, SUCCEEDED, LEFT, DONE, RUNNING).to_json())
    assert summary["summary"] == {
        "total": 4,
        "succeeded": 1,
        "failed": 1,
        "unknown": 0,
        "skipped": 2,
        "seconds": 1.5,
        "running": 1,
    }
    words: list[BatchStatus] = ["succeeded", "failed", "unknown", "skipped"]
    assert sum(summary["summary"][word] for word in words) == 4
