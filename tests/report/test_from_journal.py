"""The facts of a report: of all runs of an album, and of the last one beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ezlink_async.batch.journal.jobs import JobKey, NewJob, Problem, Reason
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import journal_of
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.batch.pairs.pictures import Input
from ezlink_async.report import report_on
from tests.support.journal_jobs import new_swap, swap_key

pytest.importorskip("PIL.Image", reason="needs the cli extra")

PAID = {"charged": "charged to the key meanwhile: 30 USD; 9 jobs accepted"}
PAID |= {"charged_usd": "30.0", "accepted": "9"}
NOTHING = {"charged": "charged to the key meanwhile: 0 USD; 0 jobs accepted"}
NOTHING |= {"charged_usd": "0.0", "accepted": "0"}

Runs = list[tuple[float, float | None, dict[str, str]]]


def noon(day: int) -> float:
    """Return a time that has the same date in nearly every time zone."""
    return day * 86_400.0 + 43_200.0


@pytest.fixture
def words_of(tmp_path: Path) -> Callable[[Runs], str]:
    """Return what the report says about runs: a start, an end, and facts."""

    def report(runs: Runs) -> str:
        with contextlib.closing(Journal.open(journal_of(tmp_path))) as journal:
            for start, end, facts in runs:
                run = journal.start_run(start)
                if end is not None:
                    journal.end_run(run, end, facts)
        page = report_on(tmp_path).read_text(encoding="utf-8")
        head = page[page.index("<header") : page.index("</header>")]
        return " ".join(re.sub("<[^>]*>", " ", head).split())

    return report


def test_the_totals_of_all_runs_stand_beside_the_last_run(
    words_of: Callable[[Runs], str],
) -> None:
    """An album of 60 USD does not cost nothing because the last run did nothing."""
    words = words_of(
        [
            (noon(1), noon(1) + 3_600, PAID),
            (noon(2), noon(2) + 1_800, PAID),
            (noon(3), noon(3) + 1.8, NOTHING),
        ]
    )
    assert "1 h 30 min in 3 runs Last run: 4 January 1970" in words
    assert "· 1.8 s" in words
    assert "All 3 runs: charged to the key meanwhile: 60 USD; 18 jobs accepted" in words
    assert "Last run: charged to the key meanwhile: 0 USD; 0 jobs accepted" in words
    assert "2 January 1970" in words


def test_one_run_has_no_last_run_beside_it(words_of: Callable[[Runs], str]) -> None:
    words = words_of([(noon(1), noon(1) + 60, PAID)])
    assert "1 min 0 s" in words
    assert "charged to the key meanwhile: 30 USD; 9 jobs accepted" in words
    assert "Last run" not in words
    assert " runs" not in words


@pytest.mark.parametrize(
    ("unknown", "says"),
    [
        (
            1,
            "2 of 3 runs: charged to the key meanwhile: 30 USD; 9 jobs accepted. What",
        ),
        (2, "What the other 2 runs cost is not known."),
    ],
)
def test_runs_whose_charges_are_not_known_are_said(
    words_of: Callable[[Runs], str], unknown: int, says: str
) -> None:
    cut: Runs = [(noon(day), None, {}) for day in range(3, 3 + unknown)]
    words = words_of(
        [(noon(1), noon(1) + 9, PAID), (noon(2), noon(2) + 9, NOTHING), *cut]
    )
    assert says in words
    assert "The last run was cut short." in words


def test_only_one_run_with_known_charges(words_of: Callable[[Runs], str]) -> None:
    words = words_of([(noon(1), None, {}), (noon(2), noon(2) + 9, PAID)])
    assert "1 of 2 runs: charged to the key meanwhile: 30 USD" in words
    assert "What the other run cost is not known." in words


def test_without_any_charges_no_payment_is_shown(
    words_of: Callable[[Runs], str],
) -> None:
    words = words_of([(noon(1), noon(1) + 9, {}), (noon(2), noon(2) + 9, {})])
    assert "charged" not in words
    assert "in 2 runs" in words


def test_a_run_that_was_cut_short_took_until_its_last_task_ended(
    tmp_path: Path, words_of: Callable[[Runs], str]
) -> None:
    """Not until the report is made, which may be years later."""
    key = swap_key()
    with contextlib.closing(Journal.open(journal_of(tmp_path))) as journal:
        job = journal.find_or_add_job(
            new_swap(key, tmp_path / "me.jpg", tmp_path / "a.jpg")
        )
        journal.succeeded(job.id, None, noon(1) + 120)
    assert "2 min 0 s" in words_of([(noon(1), None, {})])


def test_jobs_of_another_kind_have_their_name_their_text_and_their_next_step(
    tmp_path: Path,
) -> None:
    inputs = (Input("image", tmp_path / "trip" / "cat.jpg"),)
    record = {
        "task_id": "7",
        "status": "SUCCESS",
        "action": "DESCRIBE",
        "prompt_en": "1 a cat </script>",
    }
    with contextlib.closing(Journal.open(journal_of(tmp_path))) as journal:
        run = journal.start_run(noon(1))
        for kind, label, given in (
            ("describe", str(inputs[0].path), inputs),
            ("imagine", "a fox", ()),
        ):
            key = JobKey("https://a.example", kind, "{}", kind)
            job = journal.find_or_add_job(NewJob(key, label, "midjourney", given)).id
            if kind == "describe":
                journal.succeeded(job, json.dumps(record), noon(1))
                output = Output(Path("cat.txt"), 3, b"o" * 32)
                journal.saved(job, [output])
        problem = Problem("ConfigurationError: U9", Reason.BLOCKED)
        journal.add_remark(run, "action", "a fox: U9", (), problem)
    page = report_on(tmp_path).read_text(encoding="utf-8")
    described, planned, remarked = (
        json.loads(line.rstrip(",")) for line in page.splitlines() if line[:1] == "{"
    )
    assert (described["name"], described["text"]) == ("cat.jpg", "1 a cat </script>")
    assert (planned["name"], planned["status"]) == ("a fox", "skipped")
    assert planned["next"] == "The same command sends it."
    assert (remarked["name"], remarked["status"]) == ("a fox: U9", "failed")
    assert remarked["next"] == "Remove the cause; then the same command sends it."


def test_job_that_waits_for_input_names_the_command_that_sends_it(
    tmp_path: Path,
) -> None:
    says = "ModalNeededError: task 7 waits: `client.midjourney.modal('7', prompt=...)`"
    with contextlib.closing(Journal.open(journal_of(tmp_path))) as journal:
        journal.start_run(noon(1))
        key = JobKey("https://a.example", "action", '{"button":"x"}', "fox+Zoom")
        job = journal.find_or_add_job(NewJob(key, "Zoom of fox", "midjourney"))
        journal.accepted(job.id, "7")
        journal.note_problem(job.id, Problem(says, Reason.INPUT))
    page = report_on(tmp_path).read_text(encoding="utf-8")
    (row,) = (
        json.loads(line.rstrip(",")) for line in page.splitlines() if line[:1] == "{"
    )
    assert row["error"] == "ModalNeededError: task 7 waits for input"
    command = "ezlink modal 7 --prompt WORDS --output FOLDER"
    assert row["next"].startswith(f"{command} sends the input, which is charged")
    assert "client.midjourney" not in page


def test_a_journal_without_runs_is_reported(words_of: Callable[[Runs], str]) -> None:
    assert "0.0 s" in words_of([])


@pytest.mark.skipif(os.name == "nt", reason="another kind of rights")
@pytest.mark.parametrize("is_there", [False, True])
def test_only_the_owner_may_read_the_report(tmp_path: Path, *, is_there: bool) -> None:
    """It shows thumbnails, and task ids that open pictures without a key."""
    Journal.open(journal_of(tmp_path)).close()
    thumbnails, page = tmp_path / ".ezlink" / "report", tmp_path / "report.html"
    before = os.umask(0)
    try:
        if is_there:  # those of an earlier version
            thumbnails.mkdir()
            page.touch()
        report_on(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(thumbnails.stat().st_mode) == 0o700
