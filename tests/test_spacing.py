"""How close together requests are while no beat is known."""

from __future__ import annotations

import pytest

from ezlink_async._client.polling.durations import Durations
from ezlink_async._client.polling.schedule import Spacing
from ezlink_async._core.policies import PollPolicy

POLICY = PollPolicy()
LONG = 3 * POLICY.longest


def spacing(*, lasted: float | None = None) -> Spacing:
    """Return one that has learned nothing, or of twenty tasks that *lasted*."""
    durations = Durations()
    for _ in range(20 if lasted else 0):
        durations.add(lasted or 0.0)
    return Spacing(POLICY, durations)


def watching(
    spacing: Spacing, active: int, now: float, *, hopeful: bool = True
) -> bool:
    """Let it decide anew, and return what it does."""
    spacing.watch(active, now, hopeful=hopeful)
    return spacing.watching


def test_in_the_long_run_there_is_about_one_request_for_each_task() -> None:
    """With 32 of 8 s in flight one comes every 0.3 s, and never twice in half a s."""
    assert spacing(lasted=8.0).share(32) == pytest.approx(8.0 / (0.8 * 32))
    assert spacing(lasted=8.0).gap(32) == pytest.approx(8.0 / (0.8 * 32))
    assert spacing(lasted=80.0).gap(32) == POLICY.shortest / 2
    assert spacing().gap(32) == POLICY.shortest / 2


def test_a_few_are_asked_for_each_when_it_is_due() -> None:
    """One or two need no request that is worth waiting for."""
    assert (spacing().gap(2), spacing().gap(3)) == (0.0, POLICY.shortest / 2)


@pytest.mark.parametrize("active", [1, 3, 7])
def test_a_few_tasks_are_never_watched(active: int) -> None:
    """They would pay for every look in vain."""
    assert not watching(spacing(), active, 0.0)


def test_a_watch_ends_after_three_of_the_longest_steps() -> None:
    """By the first time that there were enough tasks, and for good."""
    watch = spacing()
    assert not watching(watch, 7, 0.0)
    assert watching(watch, 8, 5.0)
    assert not watching(watch, 7, 6.0)
    assert watching(watch, 100, LONG + 4.9)
    assert not watching(watch, 100, LONG + 5.0)


def test_without_hope_there_is_no_watch() -> None:
    """Changes at any time end it, and so does a beat that is known."""
    watch = spacing()
    assert watching(watch, 32, 0.0)
    assert not watching(watch, 32, 1.0, hopeful=False)


@pytest.mark.parametrize(
    ("listed", "active", "riders"), [(3, 32, 13), (5, 9, 0), (20, 32, 0), (1, 500, 99)]
)
def test_on_a_watch_the_tasks_are_looked_at_in_two_parts(
    listed: int, active: int, riders: int
) -> None:
    """What is due comes in any case, and the half is filled up."""
    watch = spacing()
    watching(watch, active, 0.0)
    assert watch.room(listed, active) == riders


@pytest.mark.parametrize(("listed", "riders"), [(1, 99), (100, 0), (101, 99)])
def test_without_a_watch_a_request_is_filled_up(listed: int, riders: int) -> None:
    """Up to a hundred ids cost one request."""
    assert spacing().room(listed, 500) == riders


def test_after_a_watch_all_look_together_again() -> None:
    """The two parts meet in one request, which comes a shortest step later."""
    watch = spacing(lasted=8.0)
    usual = watch.gap(32)
    watching(watch, 32, 0.0)
    watch.room(3, 32)
    assert watch.gap(32) == usual
    watching(watch, 32, 1.0, hopeful=False)
    assert watch.gap(32) == POLICY.shortest
    watch.room(3, 32)
    assert watch.gap(32) == usual
