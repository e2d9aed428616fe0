"""Lines about jobs that are no swaps; those of swaps are shown by the command."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.cli.display import Display
from ezlink_async.cli.printer import OutcomePrinter
from ezlink_async.cli.tally import Kind, Tally

FOX = BatchOutcome(
    kind="imagine",
    label="a/red fox",
    status="succeeded",
    output=Path("out/fox_1.png"),
    outputs=(Path("out/fox_1.png"), Path("out/fox_2.png")),
    task_id="17",
    text="words",
)
FAILED = attrs.evolve(
    FOX, status="failed", output=None, outputs=(), text="", error="TaskError: no"
)


def _printed(
    capsys: pytest.CaptureFixture[str],
    outcome: BatchOutcome,
    kind: Kind | None = None,
    *,
    as_json: bool = False,
) -> tuple[str, str]:
    tally = Tally(1)
    display = Display(tally, quiet=False)
    printer = OutcomePrinter(display, tally, " ".join, as_json=as_json)
    printer.print(outcome, kind)
    printer.finish()
    said = capsys.readouterr()
    return said.out, said.err


def test_line_of_json_has_the_kind_and_all_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, _ = _printed(capsys, FOX, as_json=True)
    assert json.loads(out.splitlines()[0]) == {
        "kind": "imagine",
        "label": "a/red fox",
        "output": "out/fox_1.png",
        "outputs": ["out/fox_1.png", "out/fox_2.png"],
        "task_id": "17",
        "status": "succeeded",
        "error": None,
        "maybe_charged": False,
        "text": "words",
    }


def test_results_are_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = _printed(capsys, FOX)
    assert out.splitlines() == ["out/fox_1.png", "out/fox_2.png"]
    planned = attrs.evolve(FOX, status="skipped", outputs=())
    out, _ = _printed(capsys, planned, Kind.PLANNED)
    assert out.splitlines() == ["send a/red fox -> out/fox_1.png"]


def test_problems_name_the_job_by_its_label(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, err = _printed(capsys, FAILED)
    assert "failed: a/red fox: TaskError: no" in err
    unknown = attrs.evolve(FAILED, status="unknown", request_id="r1")
    _, err = _printed(capsys, unknown)
    assert "  a/red fox (request id: r1)\nto find out: imagine\n" in err
    _, err = _printed(capsys, attrs.evolve(FAILED, reason=Reason.UNUSABLE))
    assert "1 cannot be used (a/red fox)" in err
