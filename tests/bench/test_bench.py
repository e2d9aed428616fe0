"""The benchmark as a whole, on a few small photos; and that it detects mistakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from tests.bench import bars, report
from tests.bench.bars import Mark
from tests.bench.measuring import Bench, ServerReport, check, serving
from tests.bench.pictures import result, write_album
from tests.bench.plans import NAIVE, OURS, SCENARIOS, SMALL, Plan, Run, Scenario
from tests.bench.schedules import Curve, Point, fixed, simulate, tasks, tuned
from tests.support.programs import ProgramError, run_python

TINY = attrs.evolve(
    next(scenario for scenario in SCENARIOS if scenario.name == "S"),
    album=attrs.evolve(SMALL, count=12),
    server=Plan(mean=0.05, slots=4),
    scale=0.02,
    runs=tuple(Run(name=n, client=n, in_flight=4, limit=300) for n in (NAIVE, OURS)),
)


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    async with asyncio.timeout(300), serving(folder) as server:
        yield Bench(server, folder)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_both_clients_do_the_same_work(tmp_path: Path, *, tls: bool) -> None:
    """Each runs in a process of its own, against one server in a third."""
    runs = tuple(attrs.evolve(run, heartbeat=tls) for run in TINY.runs)
    scenario: Scenario = attrs.evolve(TINY, tls=tls, runs=runs)
    async with _bench(tmp_path) as bench:
        round_ = {run.name: await bench.run(scenario, run, 1) for run in scenario.runs}
    for figures in round_.values():
        assert figures.over_ideal > 1
        assert figures.requests > 2
        assert figures.latency > 0
        assert (figures.stall > 0) == tls
    for bar in bars.BARS:
        if bar.scenario in {"T", "S"}:
            assert bar.value(round_) > 0


async def test_failing_client_ends_the_benchmark_with_its_error(tmp_path: Path) -> None:
    bad = Run(name="bad", client="missing", in_flight=1)
    async with _bench(tmp_path) as bench:
        with pytest.raises(ProgramError, match=r"runner ended with 1: .*missing"):
            await bench.run(TINY, bad, 1)


async def test_hanging_client_is_ended(tmp_path: Path) -> None:
    """Every process is bounded in time."""
    slow = Run(name="slow", client="naive", in_flight=1, limit=0.2)
    async with _bench(tmp_path) as bench:
        with pytest.raises(ProgramError, match="TimeoutError"):
            await bench.run(attrs.evolve(TINY, server=Plan(mean=60, slots=4)), slow, 1)
    with pytest.raises(ProgramError, match="not done after"):
        await run_python("-m", "tests.bench.serve", "server.pem", limit=-1)


@pytest.fixture
def run(tmp_path: Path) -> tuple[ServerReport, dict[str, str], Path]:
    """Return a run of two jobs without a mistake."""
    hashes = write_album(attrs.evolve(SMALL, count=2), tmp_path / "album")
    output = tmp_path / "output"
    output.mkdir()
    (_, source), *targets = hashes.items()
    jobs = []
    for name, target in targets:
        (output / name).write_bytes(result(source, target, 100))
        jobs.append({"source": source, "target": target})
    served = {"jobs": jobs, "counts": {"charges": 1, "queued": 1}}
    return served, hashes, output  # type: ignore[return-value] # a part of it


def test_run_without_a_mistake_passes_the_check(
    run: tuple[ServerReport, dict[str, str], Path],
) -> None:
    assert check(*run, 100) is None


def test_check_names_each_mistake(
    run: tuple[ServerReport, dict[str, str], Path],
) -> None:
    """It finds a result of another job, a missing one, an extra file, job or charge."""
    served, hashes, output = run

    def mistake() -> str:
        return str(check(served, hashes, output, 100))

    first, second = sorted(output.iterdir())
    own = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert mistake() == f"{first.name} is not the result of its job"
    first.unlink()
    assert mistake() == f"{first.name} is not the result of its job"
    first.write_bytes(own)
    (output / "0003.jpg.part").touch()
    assert "more in the folder" in mistake()
    served["counts"]["charges"] = 2
    assert mistake() == "2 charges for 2 jobs"
    served["jobs"].append(served["jobs"][0])
    assert "other targets" in mistake()
    served["jobs"][0]["source"] = "another"
    assert "another source" in mistake()


def test_simulation_agrees_with_theory() -> None:
    """A fixed interval of three polls a task is 20.1 % late at sigma 0.5."""
    point = tuned(fixed, 3, tasks())
    assert point.requests == pytest.approx(3, rel=0.02)
    assert point.latency == pytest.approx(0.201, abs=0.005)
    assert simulate(fixed(100), tasks()).requests == 1


def test_page_keeps_the_text_around_the_figures(tmp_path: Path) -> None:
    """Only the text between the markers is replaced; a missed bar is shown."""
    page = tmp_path / "performance.md"
    page.write_text("before <!-- figures -->old<!-- end of figures --> after")
    results = report.Results(quick=False)
    results.marks = [Mark("X", "CPU", 0.2, "", [0.1, 0.3, 0.25])]
    results.curves = [Curve("one point", [Point(3.0, 0.2)])]
    report.write_page(results, page)
    text = page.read_text()
    assert text.startswith("before <!-- figures -->\n")
    assert text.endswith("<!-- end of figures --> after")
    assert "| X | CPU | <= 0.2 | 0.25 | 0.1 to 0.3 | MISS |" in text
    assert "old" not in text


def test_plot_is_a_small_file(tmp_path: Path) -> None:
    """The plot is kept in the repository."""
    pytest.importorskip("matplotlib")
    from tests.bench.plot import draw

    values = [0.1, 0.9, 1.5, 7.0]
    results = report.Results(quick=False)
    results.marks = [Mark("X", f"figure {v}", 1.0, "MB", [v]) for v in values]
    results.curves = [Curve("a", [Point(2.0, 0.3), Point(3.0, 0.2)])]
    draw(results, tmp_path / "plot.png")
    assert 5_000 < (tmp_path / "plot.png").stat().st_size < 100_000
