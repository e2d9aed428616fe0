"""
The bars: for each row, which value is measured, and how much of it is allowed.

A round is one run of every client of a scenario, one right after the other. A bar
computes one value from each round; the median of the rounds is its figure.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from tests.bench.measuring import Figures
from tests.bench.plans import DEFAULT, FEW, HEARTBEAT, NAIVE, OURS, PLAIN, SCENARIOS

Round = Mapping[str, Figures]

_IN_FLIGHT = {run.name: run.in_flight for run in SCENARIOS[0].runs}


@frozen
class Bar:
    """One row of the table: *value* of a round must not exceed *limit*."""

    scenario: str
    label: str
    limit: float
    unit: str
    value: Callable[[Round], float]


@frozen
class Mark:
    """A row that was measured: one value for each round."""

    scenario: str
    label: str
    limit: float
    unit: str
    values: Sequence[float]

    @property
    def figure(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def passed(self) -> bool:
        """Whether the median is within the bar."""
        return self.figure <= self.limit


def _cpu(round_: Round, of: str = OURS) -> float:
    return round_[of].cpu / round_[NAIVE].cpu


def _growth(round_: Round) -> float:
    further = _IN_FLIGHT[OURS] - _IN_FLIGHT[FEW]
    return (round_[OURS].rss - round_[FEW].rss) / further


def _stall(round_: Round, of: str = HEARTBEAT) -> float:
    return round_[of].stall * 1000


def _status_requests(round_: Round) -> float:
    return round_[OURS].status_requests


BARS = (
    Bar("X", "CPU per job / naive", 0.20, "", _cpu),
    Bar("X", "the same without `speed`", 0.25, "", lambda r: _cpu(r, PLAIN)),
    Bar("X", "peak RSS / naive", 0.06, "", lambda r: r[OURS].rss / r[NAIVE].rss),
    Bar("X", "RSS per further job in flight", 1.5, "MB", _growth),
    Bar("X", "longest stall", 50, "ms", _stall),
    Bar("X-TLS", "CPU per job / naive", 0.24, "", _cpu),
    Bar("X-TLS", "longest stall", 50, "ms", _stall),
    Bar("L", "CPU per job / naive", 0.50, "", _cpu),
    Bar("L", "the same without `speed`", 0.60, "", lambda r: _cpu(r, PLAIN)),
    Bar("L", "wall / ideal", 1.08, "", lambda r: r[OURS].over_ideal),
    Bar("L", "longest stall", 50, "ms", lambda r: _stall(r, DEFAULT)),
    Bar("L", "status requests per job", 1.0, "", _status_requests),
    Bar("L", "mean latency / job", 5, "%", lambda r: r[OURS].lateness * 100),
    Bar("T", "wall / naive", 0.45, "", lambda r: r[OURS].wall / r[NAIVE].wall),
    Bar("T", "CPU per job / naive", 0.45, "", _cpu),
    Bar("L-refresh", "status requests per job", 2, "", _status_requests),
    Bar(
        "L-refresh",
        "mean latency behind the refresh / naive",
        0.25,
        "",
        lambda r: r[OURS].latency / r[NAIVE].latency,
    ),
    Bar("S", "CPU per job / naive that writes as safely", 0.85, "", _cpu),
    Bar("P", "refused submits per job", 0.5, "", lambda r: r[OURS].refused),
    Bar("P", "wall / ideal", 1.15, "", lambda r: r[OURS].over_ideal),
)


def marks(scenario: str, rounds: Sequence[Round]) -> list[Mark]:
    """Return the measured rows of one scenario."""
    return [
        Mark(
            bar.scenario, bar.label, bar.limit, bar.unit, [bar.value(r) for r in rounds]
        )
        for bar in BARS
        if bar.scenario == scenario
    ]
