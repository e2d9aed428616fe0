"""The results as text: for the terminal, and for the page of the docs."""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from attrs import define, field

from tests.bench.bars import Mark, Round
from tests.bench.measuring import Figures
from tests.bench.plans import Scenario
from tests.bench.schedules import REQUESTS, Curve

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"

_COLUMNS: Mapping[str, tuple[str, Callable[[Figures], float]]] = {
    "wall s": (".1f", lambda f: f.wall),
    "wall / ideal": (".2f", lambda f: f.over_ideal),
    "CPU ms/job": (".2f", lambda f: f.cpu * 1000),
    "server CPU ms/job": (".2f", lambda f: f.server_cpu * 1000),
    "peak RSS MB": (".0f", lambda f: f.rss),
    "stall ms": (".0f", lambda f: f.stall * 1000),
    "status req/job": (".2f", lambda f: f.status_requests),
    "all req/job": (".2f", lambda f: f.requests),
    "latency ms": (".0f", lambda f: f.latency * 1000),
    "p95 ms": (".0f", lambda f: f.latency_p95 * 1000),
    "latency % of job": (".1f", lambda f: f.lateness * 100),
}

Table = list[list[str]]


@define
class Results:
    """The results of one run of the benchmark."""

    quick: bool
    rounds: dict[str, list[Round]] = field(factory=dict)
    scenarios: list[Scenario] = field(factory=list)
    marks: list[Mark] = field(factory=list)
    curves: list[Curve] = field(factory=list)


def marks_table(marks: Sequence[Mark]) -> Table:
    """Return each bar, the figure reached, and whether it passes."""
    head = ["", "figure", "bar", "median", "lowest to highest", ""]
    return [head, *map(_mark_row, marks)]


def _mark_row(mark: Mark) -> list[str]:
    unit = f" {mark.unit}" if mark.unit else ""
    low, high = min(mark.values), max(mark.values)
    return [
        mark.scenario,
        mark.label,
        f"<= {mark.limit:g}{unit}",
        f"{_short(mark.figure)}{unit}",
        f"{_short(low)} to {_short(high)}" if len(mark.values) > 1 else "",
        "pass" if mark.passed else "MISS",
    ]


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3g}"


def medians_table(results: Results) -> Table:
    """Return the figures of each client: medians over the rounds."""
    table = [["", "client", *_COLUMNS]]
    for scenario in results.scenarios:
        rounds = results.rounds[scenario.name]
        for run in scenario.runs:
            cells = [
                format(statistics.median(value(r[run.name]) for r in rounds), shape)
                for shape, value in _COLUMNS.values()
            ]
            if not run.heartbeat:
                cells[list(_COLUMNS).index("stall ms")] = "-"
            table.append([scenario.name, run.name, *cells])
    return table


def curves_table(curves: Sequence[Curve]) -> Table:
    """Return mean latency in per cent of the mean task, by requests for each."""
    columns = [f"{wanted:g} req" for wanted in REQUESTS]
    table = [["schedule", *columns, "as it is"]]
    for curve in curves:
        cells = [f"{point.latency * 100:.1f}" for point in curve.points]
        if len(cells) == 1:
            (point,) = curve.points
            cells = [*[""] * len(columns), f"{cells[0]} at {point.requests:.1f} req"]
        table.append([curve.name, *cells, *[""] * (len(columns) + 1 - len(cells))])
    return table


def as_text(table: Table) -> str:
    """Return *table* in columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(table: Table) -> str:
    """Return *table* in Markdown."""
    head, *rows = table
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine(results: Results) -> str:
    """Return the date, the machine and the number of rounds, in words."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    rounds = max(map(len, results.rounds.values()), default=0)
    return (
        f"{today}, {os.cpu_count()} shared cores, Python {platform.python_version()}, "
        f"aiohttp {version('aiohttp')}; interleaved rounds: {rounds}"
        f"{', fewer photos (quick)' if results.quick else ''}."
    )


def _parts(results: Results) -> list[tuple[str, Table]]:
    parts = [
        ("Figures against their bars.", marks_table(results.marks)),
        ("The figures of each client, medians.", medians_table(results)),
        (
            "Schedules, simulated: mean latency in % of a task, by requests for each.",
            curves_table(results.curves),
        ),
    ]
    return [(title, table) for title, table in parts if len(table) > 1]


def text(results: Results) -> str:
    """Return everything for a terminal."""
    titles = "\n".join(f"{each.name}: {each.title}" for each in results.scenarios)
    parts = [f"{title}\n{as_text(table)}" for title, table in _parts(results)]
    return "\n\n".join([machine(results), *filter(None, [titles]), *parts])


def write_page(results: Results, page: Path = PAGE) -> None:
    """Write the figures into the page, between its two markers."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"{page.name} has no markers for the figures")
    parts = [f"{title}\n\n{as_markdown(table)}" for title, table in _parts(results)]
    figures = "\n\n".join([f"Measured {machine(results)}", *parts])
    whole = f"{before}{_BEGIN}\n\n{figures}\n\n{_END}{after}"
    page.write_text(whole, encoding="utf-8")
