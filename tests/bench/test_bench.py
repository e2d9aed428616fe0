"""The benchmark as a whole, on a few small photos; and that it finds what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from tests.bench import bars, report
from tests.bench.bars import Mark
from tests.bench.children import BenchError, Certificate, outcome, serving
from tests.bench.measuring import Bench, Studio, Told, check
from tests.bench.pictures import result, write_album
from tests.bench.plans import NAIVE, OURS, SCENARIOS, SMALL, Run, Scenario
from tests.bench.schedules import Curve, Point, fixed, simulate, tasks, tuned

TINY = attrs.evolve(
    next(scenario for scenario in SCENARIOS if scenario.name == "S"),
    album=attrs.evolve(SMALL, count=12),
    mean=0.05,
    slots=4,
    scale=0.02,
    runs=tuple(Run(name=n, client=n, in_flight=4, limit=30) for n in (NAIVE, OURS)),
)


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[Bench]:
    certificate = Certificate.make(folder)
    async with asyncio.timeout(60), serving(certificate) as server:
        yield Bench(server, certificate, Studio(folder))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_both_clients_do_the_same_work(tmp_path: Path, *, tls: bool) -> None:
    """Each in a process of its own, against one server in a third."""
    runs = tuple(attrs.evolve(run, watched=tls) for run in TINY.runs)
    scenario: Scenario = attrs.evolve(TINY, tls=tls, runs=runs)
    async with _bench(tmp_path) as bench:
        round_ = {run.name: await bench.run(scenario, run, 1) for run in scenario.runs}
    for figures in round_.values():
        assert figures.over_ideal > 1
        assert figures.requests > 2
        assert 0 < figures.latency < 5
        assert (figures.stall > 0) == tls
    for bar in bars.BARS:
        if bar.scenario in {"T", "S"}:
            assert bar.value(round_) > 0


async def test_a_client_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    """With the name of what failed, and its last words."""
    bad = Run(name="bad", client="nobody", in_flight=1, limit=30)
    async with _bench(tmp_path) as bench:
        with pytest.raises(BenchError, match=r"runner ended with 1: .*nobody"):
            await bench.run(TINY, bad, 1)


async def test_a_client_that_hangs_is_ended(tmp_path: Path) -> None:
    """Every process is bounded in time."""
    slow = Run(name="slow", client="naive", in_flight=1, limit=0.2)
    async with _bench(tmp_path) as bench:
        with pytest.raises(BenchError, match="TimeoutError"):
            await bench.run(attrs.evolve(TINY, mean=60), slow, 1)
    with pytest.raises(BenchError, match="not done after"):
        await outcome("tests.bench.serve", str(tmp_path / "server.pem"), limit=-1)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Told, dict[str, str], Path]:
    """Return a run of two jobs in which all is well."""
    hashes = write_album(attrs.evolve(SMALL, count=2), tmp_path / "album")
    output = tmp_path / "output"
    output.mkdir()
    (_, source), *targets = hashes.items()
    jobs = []
    for name, target in targets:
        (output / name).write_bytes(result(source, target, 100))
        jobs.append({"source": source, "target": target})
    told = {"jobs": jobs, "charges": 1, "queued": 1}
    return told, hashes, output  # type: ignore[return-value] # a part of it


def test_a_run_in_which_all_is_well(run: tuple[Told, dict[str, str], Path]) -> None:
    """Nothing is wrong with it."""
    assert check(*run, 100) is None


def test_what_is_wrong_is_named(run: tuple[Told, dict[str, str], Path]) -> None:
    """A result of another job, one that is missing, a job too many, a payment."""
    told, hashes, output = run
    names = sorted(path.name for path in output.iterdir())
    first, second = (output / name for name in names)
    mine = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert (
        check(told, hashes, output, 100) == f"{names[0]} is not the result of its job"
    )
    first.unlink()
    assert (
        check(told, hashes, output, 100) == f"{names[0]} is not the result of its job"
    )
    first.write_bytes(mine)
    (output / "0003.jpg.part").touch()
    assert "more in the folder" in str(check(told, hashes, output, 100))
    told["charges"] = 2
    assert check(told, hashes, output, 100) == "2 charges for 2 jobs"
    told["jobs"].append(told["jobs"][0])
    assert "other targets" in str(check(told, hashes, output, 100))
    told["jobs"][0]["source"] = "another"
    assert "another source" in str(check(told, hashes, output, 100))


def test_the_simulation_agrees_with_theory() -> None:
    """A fixed interval that asks three times is 20.1 % late at sigma 0.5."""
    point = tuned(fixed, 3, tasks())
    assert point.requests == pytest.approx(3, rel=0.02)
    assert point.latency == pytest.approx(0.201, abs=0.005)
    assert simulate(fixed(100), tasks()).requests == 1


def test_the_page_keeps_what_stands_around_the_figures(tmp_path: Path) -> None:
    """Only what is between the marks is written anew, and tells a miss."""
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


def test_the_picture_is_small(tmp_path: Path) -> None:
    """It is kept beside the page, so it may not weigh much."""
    pytest.importorskip("matplotlib")
    from tests.bench.plot import draw

    values = [0.1, 0.9, 1.5, 7.0]
    results = report.Results(quick=False)
    results.marks = [Mark("X", f"figure {v}", 1.0, "MB", [v]) for v in values]
    results.curves = [Curve("a", [Point(2.0, 0.3), Point(3.0, 0.2)])]
    draw(results, tmp_path / "plot.png")
    assert 5_000 < (tmp_path / "plot.png").stat().st_size < 100_000
