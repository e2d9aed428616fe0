"""The server's refresh beat, learned from when changes were seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._client.polling.refresh_cycle import Interval, Probes, RefreshCycle
from tests.support.virtual_clock import dice

PERIODS = st.floats(5, 30)

SHARES = st.floats(0, 0.999)


class Watched:
    """A beat, and the looks with a fixed spacing that teach it."""

    def __init__(self, spacing: float = 1.0) -> None:
        self.spacing = spacing
        self.beat = RefreshCycle(4.0, 40.0)

    def window(self, moment: float) -> tuple[float, float]:
        """Return the looks before and after *moment*."""
        after = math.ceil(moment / self.spacing) * self.spacing
        return after - self.spacing, after

    def saw(self, moment: float, changes: int = 1) -> None:
        """Let so many tasks change at *moment*."""
        for _ in range(changes):
            self.beat.saw(*self.window(moment))

    def expected(self, after: float) -> Interval:
        """Return what is expected after the look that ended at *after*."""
        window = self.beat.next(after)
        assert window is not None
        return window


def grid(period: float, phase: float, drift: Callable[[], float]) -> Iterator[float]:
    """Yield the moments of a server's beats, for ever."""
    while True:
        yield phase
        phase += period + drift()


def locked(period: float = 10.0, phase: float = 3.2, beats: int = 6) -> Watched:
    """Return what knows a beat after so many of them."""
    watched = Watched()
    for number in range(beats):
        watched.saw(phase + number * period, changes=3)
    assert watched.beat.period == pytest.approx(period, rel=0.1)
    return watched


# Finding it


def test_two_moments_at_which_many_change_are_a_beat() -> None:
    """Three tasks that change together, twice, are hardly chance."""
    watched = Watched()
    watched.saw(3.2, changes=3)
    assert watched.beat.period is None
    watched.saw(13.2, changes=3)
    assert watched.beat.period == pytest.approx(10)


def test_a_single_task_needs_more_beats() -> None:
    """Changes that come one at a time prove less each, but enough together."""
    watched, needed = Watched(), 0
    while watched.beat.period is None:
        watched.saw(3.2 + 10 * needed)
        needed += 1
    assert 4 <= needed <= 7


def test_beats_at_which_nothing_changed_are_counted() -> None:
    """Some beats bring nothing; those seen are still a whole number apart."""
    watched = Watched()
    for number in (0, 1, 4, 6):
        watched.saw(3.2 + 10 * number, changes=3)
    assert watched.beat.period == pytest.approx(10)
    assert watched.expected(64).lo < 73.2 < watched.expected(64).hi


def test_before_a_beat_is_known_nothing_is_expected() -> None:
    """No period, no next beat, and none that could be missed."""
    beat = RefreshCycle(4.0, 40.0)
    beat.missed(5.0, 6.0)
    assert beat.next(0.0) is None


@given(PERIODS, SHARES, st.floats(0.02, 0.25))
def test_the_next_beat_of_a_steady_server_is_where_it_is_expected(
    period: float, share: float, spacing: float
) -> None:
    """Whatever its period and phase, each beat comes within its window."""
    watched, found = Watched(spacing * period), 0
    moments = grid(period, share * period, lambda: 0.0)
    before = 0.0
    for moment, _ in zip(moments, range(30), strict=False):
        if watched.beat.period is not None:
            window = watched.expected(before)
            assert window.lo <= moment <= window.hi
            found += 1
        watched.saw(moment, changes=3)
        before = watched.window(moment)[1]
    assert found >= 24


@given(PERIODS, SHARES, st.integers(0, 999))
def test_a_beat_that_drifts_is_followed(period: float, share: float, seed: int) -> None:
    """When each beat is up to 3 % late, most come within their windows."""
    rng = dice(seed)
    watched, found, before = Watched(period / 10), 0, 0.0
    moments = grid(period, share * period, lambda: 0.03 * period * rng.random())
    for moment, _ in zip(moments, range(60), strict=False):
        window = watched.beat.next(before)
        found += window is not None and window.lo <= moment <= window.hi
        watched.saw(moment, changes=3)
        before = watched.window(moment)[1]
    assert found >= 36
    assert watched.beat.period == pytest.approx(1.015 * period, rel=0.02)


def test_windows_narrow_with_looks_at_other_times() -> None:
    """Looks that come between those of before say more exactly where it is."""
    watched = locked()
    width = watched.expected(54.0).width
    watched.beat.saw(63.1, 63.3)
    assert watched.expected(64.0).width < width
    known = watched.expected(64.0)
    assert known.lo < 73.2 < known.hi


# Not finding what is not there


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.8])
def test_changes_at_any_time_are_no_beat(rate: float) -> None:
    """Tasks of a live server change when they like: hardly ever it seems a beat."""
    believed = 0
    for seed in range(50):
        rng, watched = dice(seed), Watched()
        for look in range(1, 400):
            watched.saw(look, changes=sum(rng.random() < rate for _ in range(3)))
            believed += watched.beat.period is not None
    assert believed <= 0.003 * 50 * 400


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05])
def test_rare_changes_seem_a_beat_rarely(rate: float) -> None:
    """With little to go by, at most two of fifty live servers are misjudged."""
    misjudged = 0
    for seed in range(50):
        rng, watched = dice(seed), Watched()
        for look in range(1, 600):
            watched.saw(look, changes=sum(rng.random() < rate for _ in range(3)))
            if watched.beat.period is not None:
                misjudged += 1
                break
    assert misjudged <= 2


@pytest.mark.parametrize("spacing", [0.4, 0.5, 0.7, 1.0, 1.7])
def test_looks_too_far_apart_find_no_beat(spacing: float) -> None:
    """Looks more than a third of a period apart prove nothing, for ever."""
    for seed in range(20):
        rng, watched = dice(seed), Watched(10 * spacing)
        for moment, _ in zip(
            grid(10.0, 10 * rng.random(), lambda: 0.0), range(60), strict=False
        ):
            watched.saw(moment, changes=3)
            assert watched.beat.period is None


@pytest.mark.parametrize("apart", [1.0, 2.0, 100.0])
def test_a_beat_out_of_bounds_is_not_looked_for(apart: float) -> None:
    """One as quick as the looks, or rarer than anybody waits, is of no use."""
    watched = Watched(apart / 10)
    for number in range(20):
        watched.saw(number * apart + 0.05 * apart, changes=3)
    assert watched.beat.period is None


@pytest.mark.parametrize("second", [2.9, 7.3])
@pytest.mark.parametrize("period", [10.0, 10.4, 11.0])
def test_two_servers_with_beats_of_their_own_are_not_one(
    second: float, period: float
) -> None:
    """Two interleaved beats are not taken for one, or not for long."""
    believed, ours = 0, [0.2 + 10 * number for number in range(100)]
    moments = sorted(ours + [second + period * number for number in range(100)])
    for seed in range(10):
        rng, watched = dice(seed), Watched()
        for moment in moments:
            watched.saw(moment, changes=rng.randrange(4))
            believed += watched.beat.period is not None
    assert believed <= 0.3 * 10 * 200


def test_a_period_that_turns_out_too_short_is_not_believed() -> None:
    """Windows may look far enough apart, and yet fit a quicker beat only."""
    watched = Watched()
    ours = [0.2 + 10 * number for number in range(7)]
    for moment in sorted(ours + [2.9 + 10.4 * number for number in range(7)]):
        watched.saw(moment, changes=3)
        assert watched.beat.period is None


# Hoping for one


def test_there_is_hope_while_many_change_at_moments_far_apart() -> None:
    """Before anything changed, at each beat, and once it is known."""
    watched = Watched()
    assert watched.beat.hopeful
    for beat in range(3):
        watched.saw(3.2 + 10 * beat, changes=3)
        assert watched.beat.hopeful


def test_looks_of_two_parts_at_one_beat_leave_the_hope() -> None:
    """Their windows overlap, and some of them show one change only."""
    watched = Watched()
    for before in (2.5, 3.0, 2.7):
        watched.beat.saw(before, before + 1.0)
    assert watched.beat.hopeful


def test_one_change_at_a_time_is_no_reason_to_hope() -> None:
    """Tasks that end when they like do not end together."""
    watched = Watched()
    watched.saw(3.2, changes=2)
    assert watched.beat.hopeful  # more of them may be shown by the next look
    watched.saw(13.2)
    assert not watched.beat.hopeful


def test_changes_soon_after_others_are_no_reason_to_hope() -> None:
    """Hardly anything can change between two beats."""
    watched = Watched()
    watched.saw(3.2, changes=3)
    watched.saw(6.8, changes=3)
    assert watched.beat.hopeful  # it may be a quick beat
    watched.saw(8.2)
    assert not watched.beat.hopeful


def test_a_belief_that_was_struck_leaves_no_hope() -> None:
    """What seemed a beat and was none is not looked for that hard again."""
    watched = locked()
    for moment in (57.5, 67.5, 77.5):
        assert watched.beat.hopeful
        watched.saw(moment)
    assert not watched.beat.hopeful


# Losing it


def test_changes_off_the_beat_take_the_belief_away() -> None:
    """Three looks that found changes between two beats are enough."""
    watched = locked()
    for moment in (57.5, 67.5):
        watched.saw(moment)
        assert watched.beat.period is not None
    watched.saw(77.5)
    assert watched.beat.period is None
    assert watched.beat.next(78.0) is None


def test_a_lost_beat_is_harder_to_find_again() -> None:
    """Each time it is lost, the next one must be twice as unlikely a chance."""
    watched = locked()
    for moment in (57.5, 67.5, 77.5):
        watched.saw(moment)
    needed = 0
    while watched.beat.period is None:
        watched.saw(103.2 + 10 * needed, changes=3)
        needed += 1
    assert needed > 2


def test_one_look_counts_once() -> None:
    """However many changes a look brought off the beat, it is one strike."""
    watched = locked()
    watched.saw(57.5, changes=50)
    assert watched.beat.period is not None


def test_good_looks_make_up_for_bad_ones() -> None:
    """A rare change off the beat is forgiven by those on it."""
    watched = locked()
    for round_ in range(10):
        start = 53.2 + 60 * round_
        for number in range(1, 7):
            watched.saw(start + 10 * number)
        watched.saw(start + 64.3)
    assert watched.beat.period == pytest.approx(10, rel=0.05)


def test_what_is_older_than_what_is_known_is_ignored() -> None:
    """An answer that was long under way is no news of the beat."""
    watched = locked()
    before = watched.expected(54.0)
    for moment in (7.5, 17.5, 27.5, 37.5):
        watched.saw(moment)
    assert watched.expected(54.0) == before


def test_before_a_beat_is_known_old_news_is_ignored_too() -> None:
    """An answer that was overtaken by others makes no beat of its own."""
    watched = Watched()
    watched.saw(23.2, changes=3)
    watched.saw(13.2, changes=3)
    assert watched.beat.period is None
    watched.saw(33.2, changes=3)
    assert watched.beat.period == pytest.approx(10)


def test_a_task_not_looked_at_for_a_period_says_nothing() -> None:
    """It would have changed in any case, wherever the beat is."""
    watched = locked()
    before = watched.expected(54.0)
    for start in (44.0, 46.0, 48.0, 52.0):
        watched.beat.saw(start, start + 11.0)
    assert watched.expected(54.0) == before


def test_a_beat_far_ahead_is_found_where_the_line_leads() -> None:
    """After a time without looks the next beat is still a whole number away."""
    watched = locked()
    window = watched.expected(110.0)
    assert window.lo <= 113.2 <= window.hi
    assert watched.expected(window.hi).middle == pytest.approx(123.2, abs=1)


def test_a_beat_that_was_not_seen_for_long_is_believed_no_more() -> None:
    """It may have stopped, and far ahead it could be anywhere."""
    watched = locked()
    assert watched.beat.next(53.2 + 8.5 * 10) is not None
    assert watched.beat.next(53.2 + 9.5 * 10) is None
    assert watched.beat.period is None


def test_a_window_that_has_become_vague_is_no_prediction() -> None:
    """Misses widen it, and from half a period on it says nothing."""
    watched = locked()
    for beat in range(12):
        at = 54.0 + 5 * beat
        if watched.beat.next(at) is None:
            break
        watched.beat.missed(at, at + 1.0)
    assert watched.beat.period is None


# Coming late


def test_a_late_beat_is_expected_once_more() -> None:
    """After a look in vain it may still come, until the time that was said."""
    watched = locked()
    end = watched.expected(54.0).hi
    watched.beat.missed(end, end + 1.0)
    assert watched.expected(end) == Interval(end, end + 1.0)
    watched.beat.missed(end + 1.0, end + 2.0)  # that is enough
    assert watched.expected(end + 1.0).lo > end + 5.0


def test_a_missed_beat_makes_the_next_window_wider() -> None:
    """Who was not where it was expected may be further off the next time."""
    watched = locked()
    end = watched.expected(54.0).hi
    width = watched.expected(64.0).width
    watched.beat.missed(end, end + 1.0)
    assert watched.expected(64.0 + 2.0).width > width


def test_a_beat_at_which_nothing_may_have_changed_was_perhaps_not_missed() -> None:
    """It is waited for a little longer, and the next one where it was expected."""
    watched = locked()
    end = watched.expected(54.0).hi
    following = watched.expected(66.0)
    watched.beat.missed(end, end + 1.0, surely=False)
    assert watched.expected(end) == Interval(end, end + 1.0)
    assert watched.expected(66.0) == following


def test_a_late_beat_that_came_is_late_no_more() -> None:
    """What was found is what the next one is reckoned from."""
    watched = locked()
    end = watched.expected(54.0).hi
    watched.beat.missed(end, end + 1.0)
    watched.beat.saw(end, end + 0.5)
    assert watched.expected(end + 0.5).lo > end + 5.0


def test_a_beat_a_little_off_is_followed_not_struck() -> None:
    """A server that was late once has its later beats expected later."""
    watched = locked()
    for number in range(8):
        watched.saw(65.4 + 10 * number, changes=3)
    assert watched.beat.period == pytest.approx(10, rel=0.1)
    window = watched.expected(137.0)
    assert window.lo <= 145.4 <= window.hi


# Windows


@pytest.mark.parametrize(
    ("other", "shared", "narrowed"),
    [
        (Interval(2, 5), 2, Interval(2, 4)),
        (Interval(0, 9), 4, Interval(0, 4)),
        (Interval(6, 7), -2, Interval(0, 7)),
        (Interval(4, 7), 0, Interval(0, 7)),
    ],
)
def test_windows_narrow_each_other(
    other: Interval, shared: float, narrowed: Interval
) -> None:
    """What is in both is the beat; windows apart are one that is both wide."""
    assert Interval(0, 4).shared(other) == shared
    assert Interval(0, 4).narrowed(other) == narrowed
    assert (Interval(0, 4).middle, Interval(0, 4).width) == (2, 4)


WINDOW = Interval(100.0, 101.0)

EARLY, PERIOD = 99.0, 10.0


def looks(scouts: Probes, followed: int, window: Interval = WINDOW) -> list[float]:
    """Return when each of *followed* tasks is to look."""
    return [
        scouts.due(window, window.lo - 1.0, PERIOD, followed) for _ in range(followed)
    ]


@pytest.mark.parametrize(
    ("followed", "width", "scouts"),
    [(1, 1.0, 0), (1, 3.0, 1), (8, 1.0, 2), (32, 0.1, 1), (32, 1.0, 5), (32, 3.0, 9)],
)
def test_the_wider_a_window_and_the_more_tasks_the_more_scouts(
    followed: int, width: float, scouts: int
) -> None:
    """Each costs what it loses itself, and saves a little of what all others do."""
    window = Interval(100.0, 100.0 + width)
    assert sum(at < window.hi for at in looks(Probes(1.0), followed, window)) == scouts


def test_however_many_there_are_sixteen_scouts_are_enough() -> None:
    """A thousand tasks are no reason for dozens of requests at one beat."""
    assert sum(at < WINDOW.hi for at in looks(Probes(1.0), 1000)) == 16


def test_scouts_divide_the_window_evenly() -> None:
    """So that the beat is close before one of them, wherever it is."""
    ahead = [at for at in looks(Probes(1.0), 32) if at < WINDOW.hi]
    assert ahead == pytest.approx([100 + place / 6 for place in range(1, 6)])


def test_each_window_has_scouts_of_its_own_and_a_narrower_one_no_more() -> None:
    """What is better known by now is the same beat."""
    scouts = Probes(1.0)
    looks(scouts, 32)
    assert set(looks(scouts, 32, Interval(100.2, 100.9))) == {100.9}
    assert min(looks(scouts, 32, Interval(110.0, 111.0))) < 111.0


def test_what_may_look_long_before_does_so_half_a_period_ahead() -> None:
    """Between two beats nothing changes, if it is one: that is worth a look."""
    assert Probes(1.0).due(WINDOW, 90.0, PERIOD, 32) == 96.0


def test_nobody_looks_sooner_than_it_may() -> None:
    """A scout that just looked goes when it may; one in vain waits for the end."""
    scouts = Probes(1.0)
    assert scouts.due(WINDOW, 100.5, PERIOD, 32) == 100.5
    assert [scouts.due(WINDOW, 101.3, PERIOD, 32) for _ in range(9)] == [101.3] * 9
