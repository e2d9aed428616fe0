"""The model behind the benchmark's server: slots, a queue, a beat."""

from __future__ import annotations

import math

import pytest
from attrs import evolve

from tests.bench.machine import Machine, ideal, seconds_of
from tests.bench.plans import PLENTY, Plan

PLAN = Plan(
    seed=3, mean=2.0, slots=2, queue=PLENTY, beat=0.0, progress=True, result=1000
)


def test_durations_depend_on_seed_and_number_alone() -> None:
    """Two clients meet the same jobs, whenever they submit them."""
    early, late = Machine(PLAN), Machine(PLAN)
    for machine, step in ((early, 0.0), (late, 0.7)):
        for number in range(5):
            assert machine.submit(number * step)
    assert [job.seconds for job in early.jobs] == [job.seconds for job in late.jobs]
    assert seconds_of(PLAN, 0) != seconds_of(evolve(PLAN, seed=4), 0)


def test_the_mean_is_what_was_asked_for() -> None:
    """The durations average to the plan's mean."""
    seconds = [seconds_of(PLAN, number) for number in range(4000)]
    assert sum(seconds) / len(seconds) == pytest.approx(PLAN.mean, rel=0.05)


def test_jobs_start_in_their_order_when_a_slot_comes_free() -> None:
    """A queued job begins at the very instant another one ends."""
    machine = Machine(PLAN)
    told = [machine.submit(0.0) for _ in range(4)]
    assert [ahead for _, ahead in filter(None, told)] == [0, 0, 0, 1]
    machine.advance(math.inf)
    first, second, third, fourth = machine.jobs
    assert first.begun == second.begun == 0.0
    ends = sorted([first.finished, second.finished])
    assert third.begun == ends[0]
    assert fourth.begun == min(ends[1], third.finished)


def test_a_full_queue_takes_nothing() -> None:
    """What does not fit is refused until somebody has left the queue."""
    machine = Machine(evolve(PLAN, queue=1))
    assert all(machine.submit(0.0) for _ in range(3))
    assert machine.submit(0.0) is None
    assert machine.submit(min(job.finished for job in machine.jobs[:2]))


def test_the_ideal_is_what_a_perfect_client_gets() -> None:
    """Submitting all at once reaches it."""
    machine = Machine(PLAN)
    for _ in range(50):
        machine.submit(0.0)
    machine.advance(math.inf)
    latest = max(job.finished for job in machine.jobs)
    assert ideal(PLAN, 50) == pytest.approx(latest)


def test_with_a_beat_the_end_shows_at_the_next_one() -> None:
    """Between two beats the rows stand still."""
    machine = Machine(evolve(PLAN, beat=2.5))
    assert machine.submit(1.0)
    machine.advance(math.inf)
    (job,) = machine.jobs
    visible = machine.visible(job)
    assert visible % 2.5 == 0
    assert job.finished <= visible < job.finished + 2.5
    assert machine.told(visible - 0.01) < job.finished <= machine.told(visible)


def test_progress_grows_in_steps_and_is_never_done() -> None:
    """It tells something, but not the end."""
    machine = Machine(PLAN)
    assert machine.submit(0.0)
    (job,) = machine.jobs
    told = [job.progress(job.seconds * part / 100) for part in range(100)]
    assert told == sorted(told)
    assert {share % 5 for share in told} == {0}
    assert told[0] == 0
    assert told[-1] == 95
