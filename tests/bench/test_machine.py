"""The model behind the benchmark's server: slots, a queue, a refresh cycle."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from tests.bench.machine import Machine, ideal, seconds_of
from tests.bench.plans import Plan

PLAN = Plan(mean=2.0, slots=2, seed=3, result=1000)


def test_durations_depend_on_seed_and_number_alone() -> None:
    """Two clients get the same jobs, even if they submit them at other times."""
    early, late = Machine(PLAN), Machine(PLAN)
    for machine, step in ((early, 0.0), (late, 0.7)):
        for number in range(5):
            assert machine.submit(number * step)
    assert [job.seconds for job in early.jobs] == [job.seconds for job in late.jobs]
    assert seconds_of(PLAN, 0) != seconds_of(evolve(PLAN, seed=4), 0)


def test_durations_average_to_the_mean_of_the_plan() -> None:
    seconds = [seconds_of(PLAN, number) for number in range(4000)]
    assert sum(seconds) / len(seconds) == pytest.approx(PLAN.mean, rel=0.05)


def test_jobs_start_in_their_order_when_a_slot_comes_free() -> None:
    """A queued job begins at the very instant another one ends."""
    machine = Machine(PLAN)
    accepted = [machine.submit(0.0) for _ in range(4)]
    assert [ahead for _, ahead in filter(None, accepted)] == [0, 0, 0, 1]
    machine.advance(math.inf)
    first, second, third, fourth = machine.jobs
    assert first.begun == second.begun == 0.0
    ends = sorted([first.finished, second.finished])
    assert third.begun == ends[0]
    assert fourth.begun == min(ends[1], third.finished)


def test_full_queue_refuses_a_job() -> None:
    """Further jobs are refused until one has left the queue."""
    machine = Machine(evolve(PLAN, queue=1))
    assert all(machine.submit(0.0) for _ in range(3))
    assert machine.submit(0.0) is None
    assert machine.submit(min(job.finished for job in machine.jobs[:2]))


def test_ideal_is_reached_by_submitting_all_at_once() -> None:
    machine = Machine(PLAN)
    for _ in range(50):
        machine.submit(0.0)
    machine.advance(math.inf)
    latest = max(job.finished for job in machine.jobs)
    assert ideal(PLAN, 50) == pytest.approx(latest)


def test_rows_show_the_end_of_a_job_at_the_next_refresh() -> None:
    """Between two refreshes the rows do not change."""
    machine = Machine(evolve(PLAN, refresh=2.5))
    assert machine.submit(1.0)
    machine.advance(math.inf)
    (job,) = machine.jobs
    visible = machine.visible(job)
    assert visible % 2.5 == 0
    assert job.finished <= visible < job.finished + 2.5
    assert machine.shown_at(visible - 0.01) < job.finished <= machine.shown_at(visible)


def test_progress_grows_in_steps_of_five_to_95_per_cent() -> None:
    machine = Machine(PLAN)
    assert machine.submit(0.0)
    (job,) = machine.jobs
    steps = [job.progress(job.seconds * part / 100) for part in range(100)]
    assert steps == sorted(steps)
    assert {share % 5 for share in steps} == {0}
    assert steps[0] == 0
    assert steps[-1] == 95
