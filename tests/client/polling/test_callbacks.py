"""What callbacks save in status requests, and what they cost when they are false."""

from __future__ import annotations

import statistics

import attrs
import pytest

from tests.support.simulation import (
    POLICY,
    Hooks,
    Server,
    mean_delay,
    mean_requests,
    simulate_all,
)

BY_ID = Server(has_list=False, period=10.0)
BY_LIST = Server(period=10.0)
EQUAL = 0.05  # seconds of the mean delay that are no difference

LATE = 3 * POLICY.longest + POLICY.longest + POLICY.shortest + 1.0
"""Seconds behind the server by which every end is seen, with false callbacks too."""


# What they save


@pytest.mark.parametrize("in_flight", [8, 32])
@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("mean", [8.0, 30.0])
def test_callbacks_save_a_quarter_of_the_requests_by_id(
    in_flight: int, drift: float, mean: float
) -> None:
    server = attrs.evolve(BY_ID, drift=drift, mean=mean)
    plain = simulate_all(server, 12 * in_flight, in_flight)
    hooked = attrs.evolve(server, hooks=Hooks())
    called = simulate_all(hooked, 12 * in_flight, in_flight)
    assert mean_requests(called) <= 0.75 * mean_requests(plain)
    assert mean_delay(called) <= mean_delay(plain) + EQUAL


@pytest.mark.parametrize("in_flight", [8, 32])
@pytest.mark.parametrize("mean", [8.0, 30.0])
def test_callbacks_cost_no_more_requests_by_list(in_flight: int, mean: float) -> None:
    server = attrs.evolve(BY_LIST, mean=mean)
    plain = simulate_all(server, 12 * in_flight, in_flight)
    called = simulate_all(
        attrs.evolve(server, hooks=Hooks()), 12 * in_flight, in_flight
    )
    assert mean_requests(called) <= mean_requests(plain)
    assert mean_delay(called) <= mean_delay(plain) + EQUAL


@pytest.mark.parametrize("has_list", [True, False])
def test_end_on_a_live_server_is_seen_when_the_callback_comes(
    *, has_list: bool
) -> None:
    server = Server(has_list=has_list, hooks=Hooks(lag=0.2))
    simulations = simulate_all(server, 100, 8)
    assert statistics.median(one.delay for one in simulations) <= 0.4
    assert mean_requests(simulations) <= 1.6


# What they cost when they are false

SERVERS = {"by id": BY_ID, "by list": BY_LIST, "live": Server(has_list=False)}

FAULTS = {
    "half of them lost": Hooks(lost=0.5),
    "all lost": Hooks(lost=1.0),
    "doubled": Hooks(doubled=1.0),
    "late": Hooks(late=1.0),
    "forged": Hooks(forged=True),
    "all of it": Hooks(lost=0.3, doubled=0.5, late=0.5, forged=True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SERVERS)
def test_false_callbacks_delay_no_end_beyond_a_bound(name: str, fault: str) -> None:
    server = attrs.evolve(SERVERS[name], hooks=FAULTS[fault])
    simulations = simulate_all(server, 96, 8, seeds=5)
    assert max(max(one.delays) for one in simulations) <= LATE


@pytest.mark.parametrize("name", SERVERS)
def test_callbacks_that_never_come_cost_nothing(name: str) -> None:
    """A server may drop the hook without a word: polls are then as without one."""
    server = SERVERS[name]
    plain = simulate_all(server, 96, 8, seeds=3)
    none = simulate_all(attrs.evolve(server, hooks=Hooks(lost=1.0)), 96, 8, seeds=3)
    assert none == plain


@pytest.mark.parametrize("name", SERVERS)
def test_forged_callbacks_add_a_bounded_number_of_requests(name: str) -> None:
    """One comes each second about each task: at most 24 polls are due to them."""
    server = SERVERS[name]
    plain = simulate_all(server, 96, 8, seeds=3)
    forged = simulate_all(attrs.evolve(server, hooks=Hooks(forged=True)), 96, 8, 3)
    assert mean_requests(forged) <= mean_requests(plain) + 24
