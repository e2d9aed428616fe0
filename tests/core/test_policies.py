"""
Retry and poll policies: how long to wait, without a clock.

Numbers such as E34 are this project's own list of edge cases.
"""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.policies import (
    TASK_DEADLINE,
    PollPolicy,
    RetryPolicy,
    RetryWaits,
    Timeouts,
    is_duration,
)
from ezlink_async.errors import ConfigurationError

SECONDS = st.floats(0.5, 1000)
POLLS = st.builds(
    PollPolicy, first=SECONDS, shortest=SECONDS, longest=SECONDS, deadline=SECONDS
)
RETRIES = st.builds(
    RetryPolicy, first=SECONDS, longest=SECONDS, attempts=st.integers(1, 50)
)


@pytest.mark.parametrize(
    "value", [0, -1.0, math.inf, math.nan, 10**400, True, "1", None]
)
def test_duration_is_finite_and_above_zero(value: object) -> None:
    assert not is_duration(value)
    assert is_duration(1)
    assert is_duration(0.001)


@pytest.mark.parametrize("kind", [RetryPolicy, PollPolicy])
def test_policy_names_the_field_that_is_wrong(
    kind: type[RetryPolicy | PollPolicy],
) -> None:
    with pytest.raises(ConfigurationError, match="longest is a number of seconds"):
        kind(longest=0)


@pytest.mark.parametrize("attempts", [0, -1, 1.0, True, "6", None])
def test_attempts_that_are_no_whole_number_from_1_are_refused(attempts: object) -> None:
    with pytest.raises(ConfigurationError, match="attempts is a whole number from 1"):
        RetryPolicy(attempts=attempts)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize("word", ["yes", 1, None])
def test_resubmit_unknown_is_switched_on_by_true_alone(word: object) -> None:
    """A job that may be paid twice needs more than a truthy value."""
    with pytest.raises(ConfigurationError, match="resubmit_unknown is true or false"):
        RetryPolicy(resubmit_unknown=word)  # type: ignore[arg-type]  # the mistake


def test_defaults_are_the_documented_ones() -> None:
    """No job is paid twice, every wait ends, and a submit gets over 60 seconds."""
    assert RetryPolicy() == RetryPolicy(
        first=0.5, longest=30, attempts=6, timeout=900, resubmit_unknown=False
    )
    assert PollPolicy() == PollPolicy(first=2, shortest=1, longest=10, deadline=None)
    assert TASK_DEADLINE == 900  # of the family of swaps
    assert Timeouts() == Timeouts(
        connect=10, upload=30, submit=90, fetch=30, image=30, close=5, reconcile=75
    )


@given(RETRIES)
def test_there_is_one_wait_before_each_further_attempt(policy: RetryPolicy) -> None:
    waits = list(policy.waits())
    assert len(waits) == policy.attempts - 1
    assert all(0 <= wait <= policy.longest for wait in waits)


def test_waits_double_up_to_the_longest() -> None:
    """Each step doubles the range that jitter draws from, up to *longest*."""
    policy = RetryPolicy(first=1, longest=4, attempts=5)
    highest = [0.0] * 4
    for _ in range(300):
        highest = [max(pair) for pair in zip(highest, policy.waits(), strict=True)]
    bounds = [1.0, 2.0, 4.0, 4.0]
    assert all(
        0.8 * bound < seen <= bound for seen, bound in zip(highest, bounds, strict=True)
    )


@given(RETRIES, st.none() | st.floats(0, 1e6), st.floats(0, 100))
def test_all_attempts_begin_within_the_timeout(
    policy: RetryPolicy, hint: float | None, answer: float
) -> None:
    """However long the server asks to wait, and each answer takes some time."""
    waits, now = RetryWaits(policy), 0.0
    while (wait := waits.next(now, hint)) is not None:
        assert wait >= min(hint or 0.0, policy.timeout / 2)
        now += wait
        assert now < policy.timeout
        now += answer


def test_first_wait_of_a_day_is_cut_to_half_the_timeout() -> None:
    waits = RetryWaits(RetryPolicy(timeout=900))
    assert waits.next(5.0, 86_400.0) == 450
    assert waits.next(455.0, 86_400.0) is None


@given(RETRIES, st.integers(1, 10_000), st.none() | st.floats(0, 10_000))
def test_busy_pause_is_never_below_the_capped_hint(
    policy: RetryPolicy, strikes: int, hint: float | None
) -> None:
    """Jitter makes a pause longer, by half at most."""
    capped = min(hint or 0.0, policy.timeout / 2)
    least = max(capped, min(policy.longest, policy.first))
    most = max(capped, policy.longest)
    assert least <= policy.busy_pause(strikes, hint) <= 1.5 * most


def test_busy_pauses_grow_with_the_strikes() -> None:
    """The third busy answer in a row waits longer than the first could."""
    policy = RetryPolicy(first=1, longest=30)
    assert 4 <= policy.busy_pause(3) <= 6
    assert policy.busy_pause(1) <= 1.5
    assert 30 <= policy.busy_pause(10**6) <= 45


@given(POLLS)
def test_steps_between_polls_never_shrink(policy: PollPolicy) -> None:
    steps = [policy.step(polls) for polls in range(100)]
    assert all(one <= other for one, other in itertools.pairwise(steps))
    assert steps[0] >= policy.shortest


def test_e34_steps_double_up_to_the_longest() -> None:
    policy = PollPolicy(first=2, shortest=1, longest=10)
    assert [policy.step(polls) for polls in range(5)] == [2.0, 4.0, 8.0, 10.0, 10.0]


@given(POLLS, st.integers(0, 10_000))
def test_jittered_poll_is_sooner_by_half_a_step_at_most(
    policy: PollPolicy, polls: int
) -> None:
    """Jitter never goes below *shortest* either."""
    step = policy.step(polls)
    soonest = max(policy.shortest, step / 2)
    assert soonest <= policy.jittered(polls) <= step


def test_polls_of_many_clients_are_spread() -> None:
    """Two clients that start together do not stay in step."""
    policy = PollPolicy(first=10, shortest=1, longest=10)
    polls = [policy.jittered(3) for _ in range(300)]
    assert min(polls) < 6
    assert max(polls) > 9
