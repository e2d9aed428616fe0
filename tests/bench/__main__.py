"""
The benchmark: this client against what a competent user writes by hand.

Absolute times of a shared machine mean little, so the clients take turns with one
server, and ratios of neighbouring runs are shown. Exits with 1 when a client did
anything wrong; a missed bar is only told.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report, schedules
from tests.bench.bars import Mark, Round, marks
from tests.bench.children import BenchError, Certificate, outcome, serving
from tests.bench.measuring import Bench, Studio
from tests.bench.plans import SCENARIOS, Scenario, quick

_NAMES = (*(scenario.name for scenario in SCENARIOS), "handles", "schedules")
_HANDLES = 100_000
_LIMIT = 300.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, fewer photos")
    parser.add_argument("--rounds", type=int, help="how often (5; with --quick 1)")
    parser.add_argument(
        "--only", nargs="+", choices=_NAMES, metavar="NAME", help=" ".join(_NAMES)
    )
    parser.add_argument(
        "--write", action="store_true", help="write the page of the docs, and its plot"
    )
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write wants all of it, so it goes without --only")
    return options


async def _rounds(bench: Bench, scenario: Scenario, count: int) -> list[Round]:
    """Let the clients of *scenario* take turns, in changing order."""
    rounds: list[Round] = []
    count = min(count, scenario.most_rounds)
    for seed in range(count):
        runs = scenario.runs if seed % 2 == 0 else scenario.runs[::-1]
        figures: Round = {}
        for run in runs:
            found = await bench.run(scenario, run, seed)
            figures = {**figures, run.name: found}
            _tell(f"{scenario.name} {seed + 1}/{count}, {run.name}: {found.wall:.1f} s")
        rounds.append(figures)
    return rounds


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _handles(count: int) -> list[Mark]:
    """Measure what pending handles cost."""
    told: list[dict[str, object]] = []
    for number in range(count):
        told.append(await outcome("tests.bench.handles", str(_HANDLES), limit=_LIMIT))
        _tell(f"handles {number + 1}/{count}")
    each = [float(str(one["bytes"])) for one in told]
    looks = [float(str(one["scheduling"])) for one in told]
    return [
        Mark("handles", "bytes of a pending handle, of 100,000", 600, "B", each),
        Mark("handles", "scheduling of one look at one", 2, "us", looks),
    ]


async def _run(options: argparse.Namespace) -> report.Results:
    wanted: Sequence[str] = options.only or _NAMES
    results = report.Results(options.quick)
    chosen = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    results.scenarios = [quick(one) for one in chosen] if options.quick else chosen
    count = options.rounds or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory(prefix="ezlink-bench-") as name:
        folder = Path(name)
        certificate = Certificate.make(folder)
        async with serving(certificate) as server:
            bench = Bench(server, certificate, Studio(folder))
            for scenario in results.scenarios:
                rounds = await _rounds(bench, scenario, count)
                results.rounds[scenario.name] = rounds
                results.marks += marks(scenario.name, rounds)
    if "handles" in wanted:
        results.marks += await _handles(min(count, 3))
    if "schedules" in wanted:
        results.curves = schedules.curves()
    return results


def main() -> int:
    """Run what was asked for, print it, and write it when asked to."""
    options = _options()
    # Asked to end, it ends its children and takes its photos away.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        results = asyncio.run(_run(options))
    except BenchError as fault:
        _tell(f"bench: {fault}")
        return 1
    except KeyboardInterrupt:
        return 130
    print(report.text(results))
    if options.write:
        from tests.bench.plot import draw

        report.write_page(results)
        draw(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
