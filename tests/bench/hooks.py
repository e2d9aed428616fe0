"""
What callbacks save, simulated: the client's own poller on a virtual clock.

32 tasks of 8 s on average are in progress at a server that shows their state at its
latest refresh, each 10 s; with hooks its upstream posts each state within 0.5 s.
"""

from __future__ import annotations

from attrs import evolve

from tests.bench.bars import Mark
from tests.support.simulation import Hooks, Server, Simulation, simulate_all

_JOBS = 384
_IN_FLIGHT = 32
_SEEDS = 10

_SCENARIOS = {
    "by id": (Server(has_list=False, period=10.0), 0.75),
    "by list": (Server(period=10.0), 1.0),
}

_NO_LATER = 1.05  # of the latency without hooks: that is no difference


def _both(server: Server) -> list[tuple[Simulation, Simulation]]:
    """Simulate *server* with hooks and without them, for each seed."""
    hooked = evolve(server, hooks=Hooks())
    runs = (simulate_all(each, _JOBS, _IN_FLIGHT, _SEEDS) for each in (hooked, server))
    return list(zip(*runs, strict=True))


def hook_marks() -> list[Mark]:
    """Return the ratios of status requests and of latency, with hooks to without."""
    found: list[Mark] = []
    for name, (server, limit) in _SCENARIOS.items():
        runs = _both(server)
        requests = [hooked.requests / plain.requests for hooked, plain in runs]
        delays = [hooked.delay / plain.delay for hooked, plain in runs]
        label = f"status requests {name} / without hooks"
        found.append(Mark("hooks", label, limit, "", requests))
        label = f"mean latency {name} / without hooks"
        found.append(Mark("hooks", label, _NO_LATER, "", delays))
    return found
