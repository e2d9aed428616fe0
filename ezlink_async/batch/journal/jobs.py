"""The jobs and runs of a batch, as its journal knows them: values only."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from ezlink_async.batch.pairs.output_paths import Output


class JobState(enum.StrEnum):
    """How far one job is."""

    PLANNED = "planned"
    """Surely not created."""
    SUBMITTING = "submitting"
    """About to be sent, or sent and not answered."""
    SUBMITTED = "submitted"
    """Accepted: its id is known."""
    SUCCEEDED = "succeeded"
    """Done at the server, and not at home."""
    SAVED = "saved"
    """At home."""
    FAILED = "failed"
    """The server would not do it, or could not."""
    UNKNOWN = "unknown"
    """It may exist, and may be paid."""


@attrs.frozen
class JobKey:
    """
    What makes two jobs the same one.

    The server (an id means nothing elsewhere), the content of both pictures
    (SHA-256), the options that change the result, and the place of the output,
    relative to the folder and without a suffix.
    """

    server: str
    source_hash: bytes
    target_hash: bytes
    options: str
    place: str


@attrs.frozen(kw_only=True)
class Submit:
    """
    A submit that begins: its ``X-Request-ID``, and the ``state`` it carries.

    *when* is the time by this machine's clock, *since* the server's, or one
    that is early enough whatever this machine's clock says.
    """

    request_id: str
    mark: str | None
    when: float
    since: float


@attrs.frozen
class Remark:
    """Why a pair did not become a job, in the latest run."""

    id: int
    source: Path
    target: Path
    error: str


@attrs.frozen(kw_only=True)
class Entry:
    """
    What the journal knows of one job.

    *mark* is the ``state`` its submits carry, *request_ids* are those of all
    its submits. Times are seconds by this machine's clock, but for *since*: that
    is the server's, or early enough, and before any submit that is unknown.
    """

    id: int
    key: JobKey
    source: Path
    target: Path
    state: JobState
    task_id: str | None = None
    mark: str | None = None
    request_ids: tuple[str, ...] = ()
    error: str | None = None
    image_url: str | None = None
    changes: tuple[str, ...] = ()
    output: Output | None = None
    since: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None


@attrs.frozen
class Run:
    """When a run began and ended, and what is to be said of it."""

    started_at: float
    ended_at: float | None
    facts: dict[str, str]


GONE = "DownloadError: the server no longer has the result"
"""How the error of a job begins whose picture is nowhere any more."""


class Step(enum.Enum):
    """The next step of a job."""

    SUBMIT = enum.auto()
    """Send it: it surely is not there, or it was asked for in so many words."""
    FOLLOW = enum.auto()
    """Wait for the end of its task, by id."""
    DOWNLOAD = enum.auto()
    """Bring its result home."""
    DONE = enum.auto()
    """Nothing: the result is at home."""
    REPORT = enum.auto()
    """Say that it may be paid, and leave it alone."""
    GIVE_UP = enum.auto()
    """Say why the server would not do it, and leave it alone."""


@attrs.frozen(kw_only=True)
class Wishes:
    """What was asked for about jobs of earlier runs."""

    retry_failed: bool = False
    resubmit_unknown: bool = False


def next_step(entry: Entry, wishes: Wishes, *, intact: bool) -> Step:
    """
    Return what to do; *intact* says that the result is still what was saved.

    A job with an id is never sent again, unless its result is gone from the
    server too and *wishes* has failures tried again. One of a server that is
    gone itself has none.
    """
    match entry.state:
        case JobState.PLANNED:
            return Step.SUBMIT
        case JobState.SAVED if intact:
            return Step.DONE
        case JobState.SAVED | JobState.SUCCEEDED:
            gone = (entry.error or "").startswith(GONE)
            again = entry.task_id is None or (gone and wishes.retry_failed)
            return Step.SUBMIT if again else Step.DOWNLOAD
        case JobState.FAILED:
            return Step.SUBMIT if wishes.retry_failed else Step.GIVE_UP
        case _ if entry.task_id is not None:
            return Step.FOLLOW
        case _:
            return Step.SUBMIT if wishes.resubmit_unknown else Step.REPORT
