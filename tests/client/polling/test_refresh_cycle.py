"""The server's refresh cycle, learned from the times of observed changes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.refresh_cycle import Interval, Probes, RefreshCycle
from tests.support.virtual_clock import dice


class Observed:
    """A cycle, and the polls *spacing* seconds apart that teach it."""

    def __init__(self, spacing: float = 1.0) -> None:
        self.spacing = spacing
        self.cycle = RefreshCycle(4.0, 40.0)

    def knows_one(self) -> bool:
        """Return whether a cycle is believed in."""
        return self.cycle.period is not None

    def change(self, *moments: float, count: int = 1) -> float:
        """Let *count* tasks change at each of *moments*; return the last poll."""
        after = 0.0
        for moment in moments:
            after = math.ceil(moment / self.spacing) * self.spacing
            for _ in range(count):
                self.cycle.observe_change(after - self.spacing, after)
        return after

    def expected(self, after: float) -> Interval:
        """Return the interval that is expected after *after*."""
        interval = self.cycle.next(after)
        assert interval is not None
        return interval


def refreshes(period: float, first: float, count: int = 20) -> list[float]:
    """Return the moments of *count* refreshes."""
    return [first + period * number for number in range(count)]


def learned() -> Observed:
    """Return what knows a cycle of 10 s, from the refreshes 3.2, 13.2, ... 53.2."""
    observed = Observed()
    observed.change(*refreshes(10, 3.2, 6), count=3)
    assert observed.cycle.period == pytest.approx(10, rel=0.1)
    return observed


def found(observed: Observed, moments: Iterable[float]) -> Iterator[bool | None]:
    """Yield for each refresh whether it was where it was expected, if it was."""
    before = 0.0
    for moment in moments:
        interval = observed.cycle.next(before)
        yield None if interval is None else interval.lo <= moment <= interval.hi
        before = observed.change(moment, count=3)


# Finding a cycle


@pytest.mark.parametrize(
    ("count", "numbers"),
    [(3, [0, 1]), (3, [0, 1, 4, 6]), (1, [0, 1, 2, 3, 4, 5, 6])],
    ids=["three changes, twice", "some refreshes bring nothing", "single changes"],
)
def test_changes_at_refreshes_are_a_cycle(count: int, numbers: list[int]) -> None:
    observed = Observed()
    observed.change(3.2, count=count)
    assert not observed.knows_one()
    observed.change(*(3.2 + 10 * number for number in numbers[1:]), count=count)
    assert observed.cycle.period == pytest.approx(10)
    coming = 13.2 + 10 * numbers[-1]
    expected = observed.expected(coming - 9.2)
    assert expected.lo < coming < expected.hi


def test_three_single_changes_are_no_cycle_yet() -> None:
    observed = Observed()
    observed.change(*refreshes(10, 3.2, 3))
    assert not observed.knows_one()


def test_unknown_cycle_expects_nothing() -> None:
    cycle = RefreshCycle(4.0, 40.0)
    cycle.observe_no_change(5.0, 6.0)
    assert cycle.next(0.0) is None


@given(st.floats(5, 30), st.floats(0, 0.999), st.floats(0.02, 0.25))
def test_each_refresh_of_a_steady_server_comes_when_expected(
    period: float, phase: float, spacing: float
) -> None:
    moments = refreshes(period, phase * period, 30)
    results = list(found(Observed(spacing * period), moments))
    assert False not in results
    assert results.count(True) >= 24


def test_drifting_refreshes_are_followed() -> None:
    """Where each refresh comes up to 3 % late, most come when expected."""
    lost = 0
    for seed in range(200):
        chance = dice(seed)
        period = chance.uniform(5, 30)
        steps = [period * (1 + 0.03 * chance.random()) for _ in range(60)]
        observed = Observed(period / 10)
        results = list(found(observed, itertools.accumulate(steps)))
        lost += results.count(True) < 36
        assert observed.cycle.period == pytest.approx(1.015 * period, rel=0.02)
    assert lost <= 4


def test_polls_at_other_times_narrow_the_expected_interval() -> None:
    observed = learned()
    width = observed.expected(54.0).width
    observed.cycle.observe_change(63.1, 63.3)
    expected = observed.expected(64.0)
    assert expected.width < width
    assert expected.lo < 73.2 < expected.hi


# Not finding one that is not there


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.8])
def test_changes_at_any_time_are_hardly_ever_a_cycle(rate: float) -> None:
    believed = 0
    for seed in range(50):
        chance, observed = dice(seed), Observed()
        for poll in range(1, 400):
            observed.change(poll, count=sum(chance.random() < rate for _ in range(3)))
            believed += observed.knows_one()
    assert believed <= 0.003 * 50 * 400


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05])
def test_rare_changes_are_rarely_a_cycle(rate: float) -> None:
    """At most two of fifty servers that show everything at once are misjudged."""
    misjudged = 0
    for seed in range(50):
        chance, observed = dice(seed), Observed()
        for poll in range(1, 600):
            observed.change(poll, count=sum(chance.random() < rate for _ in range(3)))
            if observed.knows_one():
                misjudged += 1
                break
    assert misjudged <= 2


@pytest.mark.parametrize("spacing", [0.4, 0.5, 0.7, 1.0, 1.7])
def test_polls_more_than_a_third_of_a_period_apart_find_no_cycle(
    spacing: float,
) -> None:
    for seed in range(20):
        observed = Observed(10 * spacing)
        for moment in refreshes(10.0, 10 * dice(seed).random(), 60):
            observed.change(moment, count=3)
            assert not observed.knows_one()


@pytest.mark.parametrize("period", [1.0, 2.0, 100.0])
def test_period_out_of_bounds_is_not_believed(period: float) -> None:
    observed = Observed(period / 10)
    observed.change(*refreshes(period, 0.05 * period), count=3)
    assert not observed.knows_one()


@pytest.mark.parametrize("second", [2.9, 7.3])
@pytest.mark.parametrize("period", [10.0, 10.4, 11.0])
def test_two_interleaved_cycles_are_not_taken_for_one_for_long(
    second: float, period: float
) -> None:
    believed = 0
    moments = sorted(refreshes(10, 0.2, 100) + refreshes(period, second, 100))
    for seed in range(10):
        chance, observed = dice(seed), Observed()
        for moment in moments:
            observed.change(moment, count=chance.randrange(4))
            believed += observed.knows_one()
    assert believed <= 0.3 * 10 * 200


def test_period_that_turns_out_too_short_is_not_believed() -> None:
    """Intervals may seem far enough apart, and yet fit a quicker cycle only."""
    observed = Observed()
    for moment in sorted(refreshes(10, 0.2, 7) + refreshes(10.4, 2.9, 7)):
        observed.change(moment, count=3)
        assert not observed.knows_one()


# Losing a cycle


def test_three_answers_with_changes_between_refreshes_end_the_belief() -> None:
    observed = learned()
    observed.change(57.5, 67.5)
    assert observed.knows_one()
    observed.change(77.5)
    assert not observed.knows_one()
    assert observed.cycle.next(78.0) is None


def test_lost_cycle_needs_more_evidence() -> None:
    observed = learned()
    observed.change(57.5, 67.5, 77.5)
    observed.change(103.2, 113.2, count=3)
    assert not observed.knows_one()
    observed.change(*refreshes(10, 123.2, 6), count=3)
    assert observed.knows_one()


def test_many_changes_of_one_answer_count_once() -> None:
    observed = learned()
    observed.change(57.5, count=50)
    assert observed.knows_one()


def test_changes_at_refreshes_make_up_for_others() -> None:
    observed = learned()
    for start in range(53, 653, 60):
        observed.change(*refreshes(10, start + 10.2, 6), start + 64.5)
    assert observed.cycle.period == pytest.approx(10, rel=0.05)


def test_late_answer_teaches_nothing_about_a_known_cycle() -> None:
    observed = learned()
    before = observed.expected(54.0)
    observed.change(7.5, 17.5, 27.5, 37.5)
    assert observed.expected(54.0) == before


def test_late_answer_is_no_refresh_of_its_own() -> None:
    observed = Observed()
    observed.change(23.2, 13.2, count=3)
    assert not observed.knows_one()
    observed.change(33.2, count=3)
    assert observed.cycle.period == pytest.approx(10)


def test_task_not_polled_for_a_period_teaches_nothing() -> None:
    observed = learned()
    before = observed.expected(54.0)
    for start in (44.0, 46.0, 48.0, 52.0):
        observed.cycle.observe_change(start, start + 11.0)
    assert observed.expected(54.0) == before


def test_refresh_far_ahead_is_a_whole_number_of_periods_away() -> None:
    observed = learned()
    interval = observed.expected(110.0)
    assert interval.lo <= 113.2 <= interval.hi
    assert observed.expected(interval.hi).middle == pytest.approx(123.2, abs=1)


def test_cycle_that_was_not_seen_for_eight_periods_is_forgotten() -> None:
    observed = learned()
    assert observed.cycle.next(53.2 + 8.5 * 10) is not None
    assert observed.cycle.next(53.2 + 9.5 * 10) is None
    assert not observed.knows_one()


def test_interval_that_grew_vague_ends_the_belief() -> None:
    """Each missed refresh widens it; from 0.6 of a period on it predicts nothing."""
    observed = learned()
    for at in refreshes(5, 54.0, 12):
        if observed.cycle.next(at) is not None:
            observed.cycle.observe_no_change(at, at + 1.0)
    assert not observed.knows_one()


# A late refresh


def test_late_refresh_is_expected_once_more() -> None:
    observed = learned()
    end = observed.expected(54.0).hi
    observed.cycle.observe_no_change(end, end + 1.0)
    assert observed.expected(end) == Interval(end, end + 1.0)
    observed.cycle.observe_no_change(end + 1.0, end + 2.0)
    assert observed.expected(end + 1.0).lo > end + 5.0


@pytest.mark.parametrize("surely", [True, False])
def test_missed_refresh_widens_the_next_interval_if_tasks_should_have_changed(
    *, surely: bool
) -> None:
    observed = learned()
    end, following = observed.expected(54.0).hi, observed.expected(66.0)
    observed.cycle.observe_no_change(end, end + 1.0, surely=surely)
    assert observed.expected(end) == Interval(end, end + 1.0)
    assert (observed.expected(66.0).width > following.width) is surely
    assert (observed.expected(66.0) == following) is not surely


def test_late_refresh_that_came_is_no_longer_expected() -> None:
    observed = learned()
    end = observed.expected(54.0).hi
    observed.cycle.observe_no_change(end, end + 1.0)
    observed.cycle.observe_change(end, end + 0.5)
    assert observed.expected(end + 0.5).lo > end + 5.0


def test_refreshes_a_little_late_are_followed() -> None:
    observed = learned()
    observed.change(*refreshes(10, 65.4, 8), count=3)
    assert observed.cycle.period == pytest.approx(10, rel=0.1)
    interval = observed.expected(137.0)
    assert interval.lo <= 145.4 <= interval.hi


# Intervals


@pytest.mark.parametrize(
    ("other", "shared", "narrowed"),
    [
        (Interval(2, 5), 2, Interval(2, 4)),
        (Interval(0, 9), 4, Interval(0, 4)),
        (Interval(6, 7), -2, Interval(0, 7)),
        (Interval(4, 7), 0, Interval(0, 7)),
    ],
)
def test_intervals_narrow_each_other(
    other: Interval, shared: float, narrowed: Interval
) -> None:
    """The overlap holds the refresh; intervals apart become one that spans both."""
    assert Interval(0, 4).shared(other) == shared
    assert Interval(0, 4).narrowed(other) == narrowed
    assert (Interval(0, 4).middle, Interval(0, 4).width) == (2, 4)


# Probes


INTERVAL = Interval(100.0, 101.0)


def sent_before_the_end(
    followed: int, interval: Interval = INTERVAL, probes: Probes | None = None
) -> list[float]:
    """Return when probes are due, of *followed* tasks that may be polled any time."""
    probes = probes or Probes(1.0)
    earliest = interval.lo - 1.0
    dues = [probes.due(interval, earliest, 10.0, followed) for _ in range(followed)]
    return [due for due in dues if due < interval.hi]


@pytest.mark.parametrize(
    ("followed", "width", "count"),
    [
        *((1, 1.0, 0), (1, 3.0, 1), (8, 1.0, 2), (32, 0.1, 1)),
        *((32, 1.0, 5), (32, 3.0, 9), (1000, 1.0, 16)),
    ],
)
def test_number_of_probes_grows_with_tasks_and_width_up_to_sixteen(
    followed: int, width: float, count: int
) -> None:
    """Each probe costs a delay of its own, and saves a little of all the others'."""
    assert len(sent_before_the_end(followed, Interval(100, 100 + width))) == count


def test_probes_divide_the_interval_evenly() -> None:
    dues = sent_before_the_end(32)
    assert dues == pytest.approx([100 + place / 6 for place in range(1, 6)])


def test_narrowed_interval_gets_no_more_probes_and_the_next_one_does() -> None:
    probes = Probes(1.0)
    assert sent_before_the_end(32, probes=probes)
    assert not sent_before_the_end(32, Interval(100.2, 100.9), probes)
    assert sent_before_the_end(32, Interval(110.0, 111.0), probes)


def test_early_poll_is_half_a_period_ahead() -> None:
    """Between two refreshes nothing changes, so a poll there tests the cycle."""
    assert Probes(1.0).due(INTERVAL, 90.0, 10.0, 32) == 96.0


def test_no_probe_is_due_before_its_task_may_be_polled() -> None:
    probes = Probes(1.0)
    assert probes.due(INTERVAL, 100.5, 10.0, 32) == 100.5
    assert [probes.due(INTERVAL, 101.3, 10.0, 32) for _ in range(9)] == [101.3] * 9
