"""The jobs and runs of a batch as its journal stores them, and a job's next step."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.output_paths import Output
from ezlink_async.batch.pairs.pictures import Input, path_of

LATEST = 1e11
"""The latest time that is stored, in seconds since 1970: the year 5138."""


class JobState(enum.StrEnum):
    """How far a job is."""

    PLANNED = "planned"
    """Surely not created."""
    SUBMITTING = "submitting"
    """About to be sent, or sent and not answered."""
    SUBMITTED = "submitted"
    """Accepted: its id is known."""
    SUCCEEDED = "succeeded"
    """Finished at the server, and not saved."""
    SAVED = "saved"
    """Its result is in the output folder."""
    FAILED = "failed"
    """The server refused it, or failed at it."""
    UNKNOWN = "unknown"
    """It may exist, and may be paid."""


class Reason(enum.StrEnum):
    """The errors that decide what to do next; every other error has no reason."""

    BUDGET = "budget"
    """The budget of the run is spent."""
    FAILURES = "failures"
    """The run had too many failures."""
    INTERRUPTED = "interrupted"
    """The user, or a program, stopped the run."""
    RUNNING = "running"
    """The run was left while the server had the job; the next one fetches it."""
    EXISTS = "exists"
    """A picture is where the result would be saved."""
    UNUSABLE = "unusable"
    """A picture cannot be used, or was refused for what it shows."""
    BLOCKED = "blocked"
    """Nothing can be saved where the result would go."""
    INPUT = "input"
    """Its task waits for input, which is another job: a modal."""
    RESULT_GONE = "result_gone"
    """The server no longer has the result."""
    STORAGE = "storage"
    """The disk or the journal cannot be written."""
    FATAL = "fatal"
    """The server, the key or the address stops every job."""


@attrs.frozen
class Problem:
    """An error as ``ErrorName: sentence``, and the reason if it has one."""

    sentence: str
    reason: Reason | None = None


@attrs.frozen
class JobKey:
    """
    The identity of a job: two jobs with equal keys are one.

    It is the server (an id means nothing elsewhere), the *kind* of the job, its
    *request* as canonical JSON (all that changes the result, pictures as SHA-256),
    and the output path, relative to the output folder and without a suffix.
    """

    server: str
    kind: str
    request: str
    output_path: str


@attrs.frozen
class Claim:
    """
    The output path that a job wants.

    *subject* is by what a later run knows whose path it is; the part before a null
    byte is whose the result is, and *content* the hash of what it is made of.
    """

    subject: bytes
    wanted_path: str
    content: bytes


@attrs.frozen
class NewJob:
    """What the journal stores of a job that it may not have yet."""

    key: JobKey
    label: str
    family: str
    inputs: tuple[Input, ...] = ()


@attrs.frozen(kw_only=True)
class Submit:
    """
    A submit that begins: its ``X-Request-ID``, and the ``state`` it carries.

    *when* is the time by this machine's clock, *since* a time by the server's
    clock that is surely before the submit.
    """

    request_id: str
    state_tag: str | None
    when: float
    since: float


@attrs.frozen
class Remark:
    """Why an order did not become a job in the latest run."""

    id: int
    kind: str
    label: str
    inputs: tuple[Input, ...]
    error: str
    reason: Reason | None = None


@attrs.frozen(kw_only=True)
class JobRecord:
    """
    One job as the journal stores it.

    *label* is its name for a person, *family* that of its task. *state_tag* is the
    ``state`` of its submits, *request_ids* are those of all its submits. *record* is
    what the server said of the task at its end, as JSON. Times are seconds by this
    machine's clock, except for *since*: a time by the server's clock that is before
    every submit that is unknown.
    """

    id: int
    key: JobKey
    label: str
    family: str
    inputs: tuple[Input, ...]
    state: JobState
    task_id: str | None = None
    state_tag: str | None = None
    request_ids: tuple[str, ...] = ()
    error: str | None = None
    reason: Reason | None = None
    record: str | None = None
    changes: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    since: float | None = None
    sent_at: float | None = None
    ended_at: float | None = None

    @property
    def output(self) -> Output | None:
        """The first saved result."""
        return next(iter(self.outputs), None)

    def path_of(self, role: str) -> Path:
        """Return the path of the picture with this *role*; empty without one."""
        return path_of(self.inputs, role)


@attrs.frozen
class Run:
    """
    When a run began and ended, and the facts the report shows about it.

    *stopped_at* is the time of the latest end of a task, for a run that was cut short:
    its *ended_at* is ``None``.
    """

    started_at: float
    ended_at: float | None
    facts: dict[str, str]
    stopped_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took; at least, if it was cut short."""
        end = self.stopped_at if self.ended_at is None else self.ended_at
        return 0.0 if end is None else max(0.0, end - self.started_at)


class Step(enum.Enum):
    """The next step of a job."""

    SUBMIT = enum.auto()
    """Send it: it surely does not exist, or the user asked for it."""
    FOLLOW = enum.auto()
    """Wait for the end of its task, by id."""
    DOWNLOAD = enum.auto()
    """Download its result."""
    DONE = enum.auto()
    """Nothing: the result is saved."""
    REPORT = enum.auto()
    """Report that it may be paid, and do nothing."""
    GIVE_UP = enum.auto()
    """Report why the server failed at it, and do nothing."""


def next_step(record: JobRecord, options: BatchOptions, *, intact: bool) -> Step:
    """
    Return the next step; *intact* says that the file is still what was saved.

    A job with an id is never sent again, unless the server has lost its result,
    too, and *options* retry failures. Jobs of a server that has ended have no id.
    """
    match record.state:
        case JobState.PLANNED:
            return Step.SUBMIT
        case JobState.SAVED if intact:
            return Step.DONE
        case JobState.SAVED | JobState.SUCCEEDED:
            gone = record.reason is Reason.RESULT_GONE
            again = record.task_id is None or (gone and options.retry_failed)
            return Step.SUBMIT if again else Step.DOWNLOAD
        case JobState.FAILED:
            return Step.SUBMIT if options.retry_failed else Step.GIVE_UP
        case _ if record.task_id is not None:
            return Step.FOLLOW
        case _:
            return Step.SUBMIT if options.resubmit_unknown else Step.REPORT
