"""
The benchmark: this client against the script that a competent user writes by hand.

Absolute times of a shared machine mean little, so the clients take turns with one
server, and ratios of neighbouring runs are shown. Exits with 1 when a client did
anything wrong; a missed bar is only reported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report, schedules
from tests.bench.bars import Mark, Round, marks
from tests.bench.hooks import hook_marks
from tests.bench.measuring import Bench, Figures, serving
from tests.bench.plans import SCENARIOS, Scenario, quick
from tests.support.programs import ProgramError, run_python

_NAMES = (*(scenario.name for scenario in SCENARIOS), "handles", "schedules")
_HANDLES = 100_000


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
        figures: dict[str, Figures] = {}
        for run in runs:
            figures[run.name] = found = await bench.run(scenario, run, seed)
            _log(f"{scenario.name} {seed + 1}/{count}, {run.name}: {found.wall:.1f} s")
        rounds.append(figures)
    return rounds


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _handles(count: int) -> list[Mark]:
    """Measure the cost of pending handles."""
    costs: list[dict[str, float]] = []
    for number in range(count):
        out, _ = await run_python("-m", "tests.bench.handles", str(_HANDLES))
        costs.append(json.loads(out))
        _log(f"handles {number + 1}/{count}")
    each = [cost["bytes"] for cost in costs]
    polls = [cost["scheduling"] for cost in costs]
    return [
        Mark("handles", "bytes of a pending handle, of 100,000", 600, "B", each),
        Mark("handles", "scheduling of one poll of one", 2, "us", polls),
    ]


async def _run(options: argparse.Namespace) -> report.Results:
    wanted: Sequence[str] = options.only or _NAMES
    results = report.Results(options.quick)
    chosen = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    results.scenarios = [quick(one) for one in chosen] if options.quick else chosen
    count = options.rounds or (1 if options.quick else 5)
    with tempfile.TemporaryDirectory(prefix="ezlink-bench-") as name:
        folder = Path(name)
        async with serving(folder) as server:
            bench = Bench(server, folder)
            for scenario in results.scenarios:
                rounds = await _rounds(bench, scenario, count)
                results.rounds[scenario.name] = rounds
                results.marks += marks(scenario.name, rounds)
    if "handles" in wanted:
        results.marks += await _handles(min(count, 3))
    if "schedules" in wanted:
        results.curves = schedules.curves()
        results.marks += await asyncio.to_thread(hook_marks)
    return results


def main() -> int:
    """Run the chosen scenarios and print the results; with --write write them, too."""
    options = _options()
    # SIGTERM ends like Ctrl-C: with its processes stopped and its photos deleted.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        results = asyncio.run(_run(options))
    except ProgramError as error:
        _log(f"bench: {error}")
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
