"""Makes the photos of a report from the jobs of a journal."""

from __future__ import annotations

import contextlib
import datetime as dt
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ezlink_async._io.files import OWN_FOLDER
from ezlink_async.batch.journal.jobs import (
    JobRecord,
    JobState,
    Reason,
    Remark,
    Run,
)
from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import journal_of
from ezlink_async.batch.pairs.pictures import Input, path_of
from ezlink_async.batch.preflight import text_of
from ezlink_async.batch.spending import Charges
from ezlink_async.errors import ConfigurationError
from ezlink_async.report.models import SWAP, Facts, LastRun, Photo, Status
from ezlink_async.report.writer import write_report

_STATUS: dict[JobState, Status] = {
    JobState.PLANNED: "skipped",
    JobState.SUBMITTING: "unknown",
    JobState.SUBMITTED: "open",
    JobState.SUCCEEDED: "open",
    JobState.SAVED: "succeeded",
    JobState.FAILED: "failed",
    JobState.UNKNOWN: "unknown",
}
_SENDS = {True: "swaps", False: "sends"}

_NEXT: dict[Status, str] = {
    "failed": "--retry-failed sends it again.",
    "unknown": "The same command with EZLINK_ACCOUNT_TOKEN, the access token of the "
    "account, finds out what became of it, for nothing. As the last resort "
    "--resubmit-unknown sends it again, and may pay twice.",
    "open": "The same command resumes it, without paying again.",
    "skipped": "The same command {sends} it.",
}
_LEFT_OVER = {Reason.EXISTS, Reason.BUDGET, Reason.FAILURES, Reason.INTERRUPTED}
_THERE = "--existing replace {sends} it, and replaces what is there."
_REPLACE = "Mend the picture, or give another one; a rerun alone changes nothing."
_FAILED = {Reason.UNUSABLE, Reason.BLOCKED}
_MEND = "Remove the cause; then the same command {sends} it."
_SEND_INPUT = (
    "ezlink modal {task} --prompt WORDS --output FOLDER sends the input, which is "
    "charged, also where the button was; a region needs --mask FILE, too."
)


def report_on(
    folder: Path,
    *,
    journal: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """
    Write ``report.html`` in *folder* about the batch whose results are there.

    Blocks; see :func:`write_report`. Raises :exc:`ConfigurationError` if there
    is no journal, or if a run is in progress in the folder.
    """
    path = journal or journal_of(folder)
    if not path.exists():
        raise ConfigurationError(f"there is no journal of a batch in {folder}")
    with (
        contextlib.closing(FolderLock(path.with_name("lock"))) as lock,
        contextlib.closing(Journal.open(path, locking=lock.is_real)) as opened,
    ):
        facts = _facts(folder, opened.runs())
        return write_report(folder, _photos(folder, opened), facts, progress=progress)


def _photos(folder: Path, journal: Journal) -> Iterator[Photo]:
    after = 0
    while records := journal.records(after):
        for record in records:
            after = record.id
            yield _photo(folder, record)
    after = 0
    while remarks := journal.remarks(after):
        for remark in remarks:
            after = remark.id
            yield _remarked(folder, remark)


def _photo(folder: Path, record: JobRecord) -> Photo:
    status = _STATUS[record.state]
    left_over = record.error is None or record.reason in _LEFT_OVER
    is_gone = record.reason is Reason.RESULT_GONE
    if is_gone or (status == "skipped" and not left_over):
        status = "failed"
    says = _next_step(record, status)
    seconds = None
    if record.sent_at is not None and record.ended_at is not None:
        seconds = max(0.0, record.ended_at - record.sent_at)
    outputs = tuple(folder / each.path for each in record.outputs)
    return Photo(
        source=_place(folder, record.path_of("source")),
        target=_place(folder, record.path_of("target")),
        status=status,
        output=next(iter(outputs), None),
        kind=record.key.kind,
        label=_label(record.label, record.inputs),
        inputs=tuple(_place(folder, each.path) for each in record.inputs),
        outputs=outputs,
        text=text_of(record),
        error=_error(record),
        next_step=says and _said(says, record.key.kind),
        task_id=record.task_id,
        request_id=next(reversed(record.request_ids), None),
        maybe_charged=status == "unknown",
        seconds=seconds,
        changes=record.changes,
    )


def _label(label: str, inputs: Sequence[Input]) -> str:
    """Return the name of a job; that of one named by its pictures without folders."""
    if inputs and label.startswith(str(inputs[0].path)):
        return ", ".join(each.path.name for each in inputs)
    return label


def _place(folder: Path, picture: Path) -> Path:
    """
    Return the path of a picture.

    A picture that was given in memory has a bare name, and is no file: it gets a
    path at which there is none, so that no other file is shown for it.
    """
    if picture.is_absolute():
        return picture
    return folder.absolute() / OWN_FOLDER / "in memory" / picture


def _error(record: JobRecord) -> str | None:
    """Return the error of a job; that of one that waits names a call of Python."""
    if record.reason is Reason.INPUT:
        return f"ModalNeededError: task {record.task_id} waits for input"
    return record.error


def _next_step(record: JobRecord, status: Status) -> str | None:
    if record.reason is Reason.INPUT:
        return _SEND_INPUT.format(task=shlex.quote(str(record.task_id)))
    if record.reason is Reason.EXISTS:
        return _THERE
    if status == "failed" and record.reason is Reason.UNUSABLE:
        return _REPLACE
    if status == "failed" and record.state is JobState.PLANNED:
        return _MEND
    return _NEXT.get(status)


def _remarked(folder: Path, remark: Remark) -> Photo:
    failed = remark.reason in _FAILED
    mend = _REPLACE if remark.reason is Reason.UNUSABLE else _MEND
    says = mend if failed else _NEXT["skipped"]
    return Photo(
        source=_place(folder, path_of(remark.inputs, "source")),
        target=_place(folder, path_of(remark.inputs, "target")),
        status="failed" if failed else "skipped",
        kind=remark.kind,
        label=_label(remark.label, remark.inputs),
        inputs=tuple(_place(folder, each.path) for each in remark.inputs),
        error=remark.error,
        next_step=_said(says, remark.kind),
    )


def _said(says: str, kind: str) -> str:
    return says.replace("{sends}", _SENDS[kind == SWAP])


def _facts(folder: Path, runs: list[Run]) -> Facts:
    title = folder.absolute().name
    if not runs:
        now = dt.datetime.now().astimezone()
        return Facts(title=title, started=now, finished=now, seconds=0)
    last = _last_run(runs[-1])
    is_whole = runs[-1].ended_at is not None
    return Facts(
        title=title,
        started=min(_moment(runs[0].started_at), last.started),
        finished=last.finished,
        seconds=sum(run.seconds for run in runs),
        command=runs[-1].facts.get("command"),
        charged_note=_charged(runs) if len(runs) > 1 else last.charged_note,
        notes=() if is_whole else ("The last run was cut short.",),
        runs=len(runs),
        last_run=last if len(runs) > 1 else None,
    )


def _last_run(run: Run) -> LastRun:
    return LastRun(
        started=_moment(run.started_at),
        finished=_moment(run.started_at + run.seconds),
        seconds=run.seconds,
        charged_note=run.facts.get("charged"),
    )


def _charged(runs: list[Run]) -> str | None:
    """Return what all runs were charged, and of how many runs that is known."""
    known = [run.facts for run in runs if "charged_usd" in run.facts]
    if not known:
        return None
    charges = Charges(
        dollars=sum(float(facts["charged_usd"]) for facts in known),
        accepted=sum(int(facts.get("accepted", "0")) for facts in known),
    )
    unknown = len(runs) - len(known)
    if not unknown:
        return f"All {len(runs):,} runs: {charges}"
    others = "the other run" if unknown == 1 else f"the other {unknown:,} runs"
    return (
        f"{len(known):,} of {len(runs):,} runs: {charges}. What {others} cost is not "
        "known."
    )


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone()
