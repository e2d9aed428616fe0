"""When tasks end, estimated from other tasks and from their own progress."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.durations import START, Durations, ProgressRate

SECONDS = st.floats(0.001, 1000)


def learned(seconds: Iterable[float]) -> Durations:
    """Return what is known after tasks that took *seconds*."""
    durations = Durations()
    for one in seconds:
        durations.add(one)
    return durations


Polls = list[tuple[float, float | None]]


def rate_after(polls: Polls) -> ProgressRate | None:
    """Return the rate after polls at ages that showed a progress."""
    rate: ProgressRate | None = START
    for age, progress in polls:
        rate = (rate or START).then(age, progress)
    return rate


def seconds_left(polls: Polls) -> float:
    """Return the seconds that are left after those polls."""
    rate = rate_after(polls)
    assert rate is not None
    return rate.left()


def test_four_tasks_teach_nothing() -> None:
    few = learned(range(1, 5))
    assert (few.wait(0), few.soonest, few.mean) == (None, 0.0, math.inf)


def test_five_tasks_teach_mean_and_first_poll() -> None:
    known = learned([10.0] * 5)
    assert (known.wait(0), known.mean) == (10.0, 10.0)


def test_first_poll_comes_when_some_have_ended_and_others_in_even_steps() -> None:
    """The middle half of the tasks gets four polls."""
    known, age, ages = learned(range(1, 65)), 0.0, list[float]()
    while age < 60:
        age += known.wait(age) or math.inf
        ages.append(age)
    assert ages == [10 + 7.75 * number for number in range(8)]


def test_steps_are_bounded_but_the_first_wait_is_not() -> None:
    known = learned(range(1, 65))
    assert (known.wait(1, 2.0), known.wait(20, 2.0)) == (9, 2.0)


def test_step_is_a_small_part_of_the_age_where_durations_do_not_differ() -> None:
    assert learned([50.0] * 9 + [51.0]).wait(50.5) == pytest.approx(50.5 * 0.03)


@pytest.mark.parametrize("age", [10.0, 30.0, 600.0])
def test_task_that_outlives_all_others_waits_a_tenth_of_its_age(age: float) -> None:
    assert learned([9.0] * 20).wait(age) == pytest.approx(age / 10)


def test_no_task_ends_well_before_the_shortest_one() -> None:
    assert learned([5.0] * 10 + [50.0] * 10).soonest == pytest.approx(4.0)


def test_64_new_durations_replace_all_old_ones() -> None:
    known = learned([1000.0] * 64 + [1.0] * 64)
    assert (known.mean, known.wait(0)) == (1.0, 1.0)


@given(st.lists(SECONDS, min_size=5, max_size=150), SECONDS)
def test_wait_is_never_below_zero(seconds: list[float], age: float) -> None:
    known = learned(seconds)
    wait = known.wait(age)
    assert wait is not None
    assert wait >= 0
    assert known.mean == pytest.approx(sum(seconds[-64:]) / len(seconds[-64:]))
    assert 0 < known.soonest < max(seconds)


@pytest.mark.parametrize(
    ("polls", "seconds"),
    [
        ([(10.0, 50.0)], 10.0),  # as long again
        ([(10.0, 50.0), (11.0, 75.0)], 1.0),  # it has become quicker
        ([(10.0, 50.0), (20.0, 60.0)], 40.0),  # or slower
        ([(10.0, 50.0), (15.0, 50.0)], 15.0),  # it stands: the whole life counts
        ([(10.0, 40.0), (12.0, 50.0), (22.0, 50.0)], 60.0),  # the stretch grows
        ([(10.0, 40.0), (12.0, 50.0), (22.0, 45.0)], 132.0),  # it fell a little
        ([(10.0, 40.0), (12.0, 50.0), (20.0, 40.0)], 30.0),  # to where it was
        ([(10.0, 40.0), (12.0, 50.0), (20.0, 20.0)], 80.0),  # and below
    ],
)
def test_time_left_follows_from_the_latest_stretch_of_progress(
    polls: Polls, seconds: float
) -> None:
    assert seconds_left(polls) == pytest.approx(seconds)


@pytest.mark.parametrize("progress", [None, 0.0, 100.0, -1.0])
def test_progress_of_nothing_or_all_is_no_rate(progress: float | None) -> None:
    assert rate_after([(10.0, 50.0), (12.0, progress)]) is None


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(1, 99)), min_size=1))
def test_time_left_is_finite_and_above_zero_however_progress_moves(
    steps: list[tuple[float, float]],
) -> None:
    age, polls = 0.0, Polls()
    for step, progress in steps:
        age += step
        polls.append((age, progress))
    assert 0 < seconds_left(polls) < math.inf
