"""Who looks into a window before its end, and when."""

from __future__ import annotations

import pytest

from ezlink_async._client.polling.refresh_cycle import Scouts, Window

WINDOW = Window(100.0, 101.0)
EARLY, PERIOD = 99.0, 10.0


def looks(scouts: Scouts, followed: int, window: Window = WINDOW) -> list[float]:
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
    window = Window(100.0, 100.0 + width)
    assert sum(at < window.hi for at in looks(Scouts(1.0), followed, window)) == scouts


def test_however_many_there_are_sixteen_scouts_are_enough() -> None:
    """A thousand tasks are no reason for dozens of requests at one beat."""
    assert sum(at < WINDOW.hi for at in looks(Scouts(1.0), 1000)) == 16


def test_scouts_divide_the_window_evenly() -> None:
    """So that the beat is close before one of them, wherever it is."""
    ahead = [at for at in looks(Scouts(1.0), 32) if at < WINDOW.hi]
    assert ahead == pytest.approx([100 + place / 6 for place in range(1, 6)])


def test_each_window_has_scouts_of_its_own_and_a_narrower_one_no_more() -> None:
    """What is better known by now is the same beat."""
    scouts = Scouts(1.0)
    looks(scouts, 32)
    assert set(looks(scouts, 32, Window(100.2, 100.9))) == {100.9}
    assert min(looks(scouts, 32, Window(110.0, 111.0))) < 111.0


def test_what_may_look_long_before_does_so_half_a_period_ahead() -> None:
    """Between two beats nothing changes, if it is one: that is worth a look."""
    assert Scouts(1.0).due(WINDOW, 90.0, PERIOD, 32) == 96.0


def test_nobody_looks_sooner_than_it_may() -> None:
    """A scout that just looked goes when it may; one in vain waits for the end."""
    scouts = Scouts(1.0)
    assert scouts.due(WINDOW, 100.5, PERIOD, 32) == 100.5
    assert [scouts.due(WINDOW, 101.3, PERIOD, 32) for _ in range(9)] == [101.3] * 9
