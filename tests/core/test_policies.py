"""
When to try again, and when to look again: no clock, no sleep.

Numbers such as E34 are this project's own list of edge cases.
"""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.policies import PollPolicy, RetryPolicy, is_duration
from ezlink_async.errors import ConfigurationError

SECONDS = st.floats(0.5, 1000)
POLLS = st.builds(
    PollPolicy, first=SECONDS, shortest=SECONDS, longest=SECONDS, deadline=SECONDS
)
RETRIES = st.builds(
    RetryPolicy, first=SECONDS, longest=SECONDS, attempts=st.integers(1, 50)
)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (1, True),
        (0.001, True),
        (0, False),
        (-1.0, False),
        (math.inf, False),
        (math.nan, False),
        (True, False),
        ("1", False),
        (None, False),
    ],
)
def test_a_duration_is_finite_and_above_zero(value: object, *, good: bool) -> None:
    """Anything else would wait for ever, not at all, or break later."""
    assert is_duration(value) is good


@pytest.mark.parametrize("kind", [RetryPolicy, PollPolicy])
def test_a_policy_names_the_setting_that_is_wrong(
    kind: type[RetryPolicy | PollPolicy],
) -> None:
    """The sentence says which number is wrong and what it was."""
    with pytest.raises(ConfigurationError, match="longest is a number of seconds"):
        kind(longest=0)


@pytest.mark.parametrize("attempts", [0, -1, 1.0, True, "6", None])
def test_attempts_are_counted_from_one(attempts: object) -> None:
    """Half an attempt, or none, is a mistake."""
    with pytest.raises(ConfigurationError, match="attempts is a whole number from 1"):
        RetryPolicy(attempts=attempts)  # type: ignore[arg-type]  # the mistake itself


@pytest.mark.parametrize("word", ["yes", 1, None])
def test_resubmitting_is_asked_for_in_so_many_words(word: object) -> None:
    """What may pay twice is switched on by True alone."""
    with pytest.raises(ConfigurationError, match="resubmit_unknown is true or false"):
        RetryPolicy(resubmit_unknown=word)  # type: ignore[arg-type]  # the mistake


def test_the_defaults_are_the_documented_ones() -> None:
    """Nothing is paid twice by default, and every wait has an end."""
    assert RetryPolicy() == RetryPolicy(
        first=0.5, longest=30, attempts=6, timeout=900, resubmit_unknown=False
    )
    assert PollPolicy() == PollPolicy(first=2, shortest=1, longest=10, deadline=900)


@given(RETRIES)
def test_there_is_a_wait_before_each_further_attempt(policy: RetryPolicy) -> None:
    """One fewer than attempts, none longer than the longest, none negative."""
    waits = list(policy.waits())
    assert len(waits) == policy.attempts - 1
    assert all(0 <= wait <= policy.longest for wait in waits)


def test_waits_grow_to_the_longest() -> None:
    """Each step doubles what jitter may draw from, and no more than the longest."""
    policy = RetryPolicy(first=1, longest=4, attempts=5)
    highest = [0.0] * 4
    for _ in range(300):
        highest = [max(pair) for pair in zip(highest, policy.waits(), strict=True)]
    bounds = [1.0, 2.0, 4.0, 4.0]
    assert all(
        0.8 * bound < seen <= bound for seen, bound in zip(highest, bounds, strict=True)
    )


@given(RETRIES, st.integers(1, 10_000), st.none() | st.floats(0, 10_000))
def test_a_pause_is_never_below_the_hint(
    policy: RetryPolicy, strikes: int, hint: float | None
) -> None:
    """Jitter only lengthens a pause, by half; a day is too long for any hint."""
    heeded = min(hint or 0.0, policy.timeout / 2)
    least = max(heeded, min(policy.longest, policy.first))
    most = max(heeded, policy.longest)
    assert least <= policy.busy_pause(strikes, hint) <= 1.5 * most


def test_pauses_grow_with_the_strikes() -> None:
    """The third busy answer in a row waits longer than the first could."""
    policy = RetryPolicy(first=1, longest=30)
    assert 4 <= policy.busy_pause(3) <= 6
    assert policy.busy_pause(1) <= 1.5
    assert 30 <= policy.busy_pause(10**6) <= 45


@given(POLLS)
def test_looks_never_come_closer_and_end_at_the_deadline(policy: PollPolicy) -> None:
    """The waits never shrink but for the last, and add up to the deadline."""
    delays = list(itertools.islice(policy.delays(), 10_000))
    assert math.isclose(math.fsum(delays), policy.deadline)
    assert all(one <= other for one, other in itertools.pairwise(delays[:-1]))
    assert all(delay > 0 for delay in delays)
    assert all(delay >= policy.shortest for delay in delays[:-1])


def test_e34_a_stuck_task_is_looked_at_until_the_deadline() -> None:
    """The series has an end whatever the server goes on saying."""
    policy = PollPolicy(first=2, shortest=1, longest=10, deadline=30)
    assert list(policy.delays()) == [2.0, 4.0, 8.0, 10.0, 6.0]


@given(POLLS, st.integers(0, 10_000))
def test_a_jittered_look_is_sooner_but_not_too_soon(
    policy: PollPolicy, looks: int
) -> None:
    """Jitter takes off half a step at most, and never goes below the shortest."""
    step = policy.step(looks)
    soonest = max(policy.shortest, step / 2)
    assert soonest <= policy.jittered(looks) <= step


def test_looks_of_many_clients_are_spread() -> None:
    """Two clients that start together do not go on together."""
    policy = PollPolicy(first=10, shortest=1, longest=10)
    looks = [policy.jittered(3) for _ in range(300)]
    assert min(looks) < 6
    assert max(looks) > 9
