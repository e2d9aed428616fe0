"""When tasks end, as far as others and their own progress tell."""

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


def paced(*looks: tuple[float, float | None]) -> ProgressRate | None:
    """Return the pace after looks at ages that told a progress."""
    pace: ProgressRate | None = START
    for age, progress in looks:
        pace = (pace or START).then(age, progress)
    return pace


def left(*looks: tuple[float, float | None]) -> float:
    """Return the seconds that are left after those looks."""
    pace = paced(*looks)
    assert pace is not None
    return pace.left()


def test_four_tasks_teach_nothing() -> None:
    """Too few durations are no reason to look at another time."""
    few = learned(range(1, 5))
    assert (few.wait(0), few.soonest, few.mean) == (None, 0.0, math.inf)


def test_five_tasks_teach_when_the_others_end() -> None:
    """From the fifth on there is a mean, and a time for the next look."""
    known = learned([10.0] * 5)
    assert (known.wait(0), known.mean) == (10.0, 10.0)


def test_looks_begin_when_some_have_ended_and_go_on_in_steps() -> None:
    """The first is not too early, and the middle half gets four of them."""
    known, age, ages = learned(range(1, 65)), 0.0, list[float]()
    while age < 60:
        age += known.wait(age) or math.inf
        ages.append(age)
    assert ages == [10 + 7.75 * number for number in range(8)]


def test_where_looks_are_cheap_steps_are_short() -> None:
    """Whoever shares requests with many names the longest step there may be."""
    known = learned(range(1, 65))
    assert (known.wait(1, 2.0), known.wait(20, 2.0)) == (9, 2.0)


def test_tasks_that_take_the_same_are_not_looked_at_without_end() -> None:
    """Where durations do not differ, a step is a small part of the age."""
    assert learned([50.0] * 9 + [51.0]).wait(50.5) == pytest.approx(50.5 * 0.03)


@pytest.mark.parametrize("age", [10.0, 30.0, 600.0])
def test_an_unusually_long_task_is_looked_at_after_a_tenth_of_its_age(
    age: float,
) -> None:
    """Whatever outlives all others has steps that grow with it."""
    assert learned([9.0] * 20).wait(age) == pytest.approx(age / 10)


def test_nothing_is_over_before_the_quickest() -> None:
    """No look is worth it well before the shortest of what took place."""
    assert learned([5.0] * 10 + [50.0] * 10).soonest == pytest.approx(4.0)


def test_of_many_tasks_more_end_in_the_same_time() -> None:
    """As many as their mean tells; while nothing is known, none are counted on."""
    durations = Durations()
    assert durations.ends(32, 10.0) == 0.0
    for seconds in (6.0, 7.0, 8.0, 9.0, 10.0):
        durations.add(seconds)
    assert durations.ends(32, 10.0) == pytest.approx(40.0)


def test_old_habits_are_forgotten() -> None:
    """After 64 other tasks nothing is left of what was before."""
    known = learned([1000.0] * 64 + [1.0] * 64)
    assert (known.mean, known.wait(0)) == (1.0, 1.0)


@given(st.lists(SECONDS, min_size=5, max_size=150), SECONDS)
def test_a_wait_is_never_below_zero(seconds: list[float], age: float) -> None:
    """Whatever was learned, and however old a task is, no look is overdue."""
    known = learned(seconds)
    wait = known.wait(age)
    assert wait is not None
    assert wait >= 0
    assert known.mean == pytest.approx(sum(seconds[-64:]) / len(seconds[-64:]))
    assert 0 < known.soonest < max(seconds)


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(10.0, 50.0)], 10.0),  # as long again
        ([(10.0, 50.0), (11.0, 75.0)], 1.0),  # it has become quicker
        ([(10.0, 50.0), (20.0, 60.0)], 40.0),  # or slower
        ([(10.0, 50.0), (15.0, 50.0)], 15.0),  # it stands: the whole way counts
        ([(10.0, 40.0), (12.0, 50.0), (22.0, 50.0)], 60.0),  # the stretch grows
        ([(10.0, 40.0), (12.0, 50.0), (22.0, 45.0)], 132.0),  # it fell a little
        ([(10.0, 40.0), (12.0, 50.0), (20.0, 40.0)], 30.0),  # to where it was
        ([(10.0, 40.0), (12.0, 50.0), (20.0, 20.0)], 80.0),  # and below
    ],
)
def test_what_is_left_follows_from_the_latest_stretch(
    looks: list[tuple[float, float | None]], seconds: float
) -> None:
    """The speed since progress last rose says how long the rest takes."""
    assert left(*looks) == pytest.approx(seconds)


@pytest.mark.parametrize("progress", [None, 0.0, 100.0, -1.0])
def test_no_progress_is_no_pace(progress: float | None) -> None:
    """Nothing, all, or no number at all say nothing about the rest."""
    assert paced((10.0, 50.0), (12.0, progress)) is None


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(1, 99)), min_size=1))
def test_whatever_progress_does_there_is_something_left(
    steps: list[tuple[float, float]],
) -> None:
    """It may rise, stand and fall: what is left is a number above zero."""
    age, looks = 0.0, list[tuple[float, float | None]]()
    for step, progress in steps:
        age += step
        looks.append((age, progress))
    assert 0 < left(*looks) < math.inf
