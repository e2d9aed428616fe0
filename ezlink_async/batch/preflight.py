"""
Checks each order before anything is sent: its pictures, its job, its output path.

Synchronous: :meth:`Preflight.inspect` and :meth:`Preflight.plan` read files and run
in a worker thread, :meth:`Preflight.register` runs in the journal's thread.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from ezlink_async._core.images import Image
from ezlink_async._io.files import check_path
from ezlink_async.batch.journal.columns import encode_path
from ezlink_async.batch.journal.jobs import (
    Claim,
    JobKey,
    JobRecord,
    JobState,
    NewJob,
    Problem,
    Reason,
    Step,
    next_step,
)
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import (
    INTERRUPTED,
    BatchOutcome,
    BatchStatus,
    describe_error,
    outcome_of,
    skipped,
)
from ezlink_async.batch.pairs.folders import file_ids
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.output_paths import (
    TEXT_SUFFIX,
    Existing,
    is_below,
    is_intact,
    is_whole_result,
    why_not_writable,
)
from ezlink_async.batch.pairs.pictures import (
    InMemory,
    Picture,
    absolute,
    check_name,
    digest_of_picture,
    prepared,
)
from ezlink_async.errors import ConfigurationError, EzlinkError, ImageError
from ezlink_async.services.base import AnyRecord
from ezlink_async.services.midjourney import MIDJOURNEY
from ezlink_async.services.registry import FAMILIES

_SOURCES = 64  # hashes kept: most batches have few sources

_FOLDERS = 16  # of results, whose rights are looked at once for a few orders

_PARTS = {
    "target": "the photo",
    "source": "the source",
    "options": "the options",
    "server": "the server",
}
"""The parts of a swap's key, but for the output path, and what they are called."""

_LOST = "SubmitUnknownError: the outcome of its submit is not known"


@attrs.frozen
class Inspection:
    """
    An order and the hashes of its pictures, or the *fault* of one of them.

    *common* says that the fault is a source's, so every order with it has it.
    """

    order: Order
    digests: tuple[bytes, ...] = ()
    fault: EzlinkError | None = None
    common: bool = False


@attrs.frozen
class Registered:
    """The job of an order in the journal, and the one whose result it would replace."""

    record: JobRecord
    earlier: JobRecord | None


@attrs.frozen
class BatchJob:
    """The job of an order: its record in the journal, and its next step."""

    order: Order
    record: JobRecord
    step: Step
    folder: Path
    digests: tuple[bytes, ...] = ()

    @property
    def output_path(self) -> Path:
        """The path of the result, without a suffix."""
        return self.folder / self.record.key.output_path

    @property
    def task_id(self) -> str | None:
        """The id of its task; a job that is sent again has none yet."""
        return None if self.step is Step.SUBMIT else self.record.task_id

    @property
    def deadline(self) -> float:
        """Seconds from the acceptance of its task to its deadline."""
        request, family = self.order.request, FAMILIES.get(self.record.family)
        own = None if request is None else request.deadline
        return own or (MIDJOURNEY if family is None else family).timing.deadline

    @property
    def problem(self) -> Problem | None:
        """The error in the journal."""
        record = self.record
        return None if record.error is None else Problem(record.error, record.reason)

    @property
    def unclear(self) -> str | None:
        """Why it may be paid without a known id; ``None`` if it is not."""
        is_unclear = self.record.state in {JobState.UNKNOWN, JobState.SUBMITTING}
        return (self.record.error or _LOST) if is_unclear else None

    def outcome(
        self, status: BatchStatus, problem: Problem | None = None
    ) -> BatchOutcome:
        """Return an outcome with all that the journal has about the job."""
        saved = self.record.outputs if status == "skipped" else ()
        outputs = tuple(self.folder / each.path for each in saved)
        return attrs.evolve(
            outcome_of(self.order, status),
            output=next(iter(outputs), None),
            outputs=outputs,
            text=text_of(self.record) if status == "skipped" else "",
            task_id=self.task_id,
            request_id=next(reversed(self.record.request_ids), None),
            error=None if problem is None else problem.sentence,
            reason=None if problem is None else problem.reason,
            maybe_charged=status == "unknown",
        )

    @property
    def task_record(self) -> AnyRecord | None:
        """What the server said of the task at its end; ``None`` if it is not known."""
        return read_task(self.record)

    def left_over(self, problem: Problem) -> BatchOutcome:
        """Return the outcome if the run did not begin it because of *problem*."""
        if self.unclear is not None:
            return self.outcome("unknown", Problem(self.unclear))
        return skipped(self.order, problem)


@attrs.frozen
class CheckedOrder:
    """An order after the preflight: its *job*, and its *outcome* if it has ended."""

    order: Order
    job: BatchJob | None = None
    outcome: BatchOutcome | None = None

    def left_over(self, problem: Problem = INTERRUPTED) -> BatchOutcome:
        """Return the outcome if nothing more is done because of *problem*."""
        if self.outcome is not None or self.job is None:
            return self.outcome or skipped(self.order, problem)
        return self.job.left_over(problem)


class Preflight:
    """The three steps of the preflight, for a few orders at a time."""

    def __init__(self, options: BatchOptions, server: str, run: int) -> None:
        self.run = run
        self._options = options
        self._server = server
        self._existing = Existing()
        # A fault is kept, too: a broken source is read once, not for each target.
        self._file_hash = functools.lru_cache(_SOURCES)(_hash_or_fault)

    def inspect(self, orders: Sequence[Order]) -> list[Inspection]:
        """Hash the pictures of each order."""
        output = self._options.output

        @functools.lru_cache(_FOLDERS)
        def why_not(folder: str) -> str | None:
            return why_not_writable(output / folder)

        return [self._inspect(order, why_not) for order in orders]

    def register(
        self, journal: Journal, inspections: Sequence[Inspection]
    ) -> list[Registered | None]:
        """Find or add the job of each order; ``None`` for an order with a fault."""
        return [
            self._register(journal, each) if each.fault is None else None
            for each in inspections
        ]

    def plan(
        self, inspections: Sequence[Inspection], jobs: Sequence[Registered | None]
    ) -> list[CheckedOrder]:
        """Return the job of each order, or how it has ended."""
        return [
            _unusable(each) if job is None else self._plan(each, job)
            for each, job in zip(inspections, jobs, strict=True)
        ]

    def _inspect(
        self, order: Order, why_not: Callable[[str], str | None]
    ) -> Inspection:
        try:
            if order.problem is not None:
                raise _problem_of(order, order.problem)
            _check_paths(order)
            if blocked := why_not(order.wanted_path.rpartition("/")[0]):
                raise ConfigurationError(f"nothing can be saved: {blocked}")
            digests = []
            for picture in order.pictures[: order.shared]:
                found = self._shared_hash(picture)
                if isinstance(found, ImageError):
                    return Inspection(order, fault=found.for_awaiter(), common=True)
                digests.append(found)
            digests += map(digest_of_picture, order.pictures[order.shared :])
            if is_refused_twice(order) and len(set(digests)) < len(digests):
                roles = " and ".join(each.role for each in order.inputs)
                raise _problem_of(order, f"{roles} are the same picture")
        except EzlinkError as fault:
            return Inspection(order, fault=fault)
        return Inspection(order, tuple(digests))

    def _shared_hash(self, picture: Picture) -> bytes | ImageError:
        # A picture in memory keeps its hash itself, and is not kept here.
        in_memory = isinstance(picture, InMemory)
        return _hash_or_fault(picture) if in_memory else self._file_hash(picture)

    def _register(self, journal: Journal, inspection: Inspection) -> Registered:
        order, digests = inspection.order, inspection.digests
        identity = order.identity(digests, self._options.job_options)
        claim = claim_of(order, digests, identity)
        path = journal.assign_output_path(claim, self.run)
        key = JobKey(self._server, order.kind, identity, path)
        family = "" if order.request is None else order.request.family.name
        new = NewJob(key, order.label, family, order.stored)
        record = journal.find_or_add_job(new)
        is_saved = record.state is JobState.SAVED
        return Registered(record, None if is_saved else journal.replaced_by(record))

    def _plan(self, inspection: Inspection, registered: Registered) -> CheckedOrder:
        record, folder = registered.record, self._options.output
        saved = record.outputs if record.state is JobState.SAVED else ()
        intact = bool(saved) and all(is_intact(folder, each) for each in saved)
        step = next_step(record, self._options, intact=intact)
        order = inspection.order
        job = BatchJob(order, record, step, folder, inspection.digests)
        return CheckedOrder(order, job, self._outcome(job, registered.earlier))

    def _outcome(self, job: BatchJob, earlier: JobRecord | None) -> BatchOutcome | None:
        """Return how the job has ended, or ``None`` if there is something to do."""
        match job.step:
            case Step.DONE:
                return job.outcome("skipped")
            case Step.REPORT:
                return job.outcome("unknown", job.problem)
            case Step.GIVE_UP:
                return job.outcome("failed", job.problem)
        try:
            there = self._existing_picture(job)
        except ConfigurationError as fault:
            problem = Problem(describe_error(fault), Reason.BLOCKED)
            return attrs.evolve(job.outcome("failed", problem), fault=fault)
        if job.step is Step.SUBMIT and there and self._options.keeps_existing:
            sentence = _describe(there, job, earlier)
            problem = Problem(f"FileExistsError: {sentence}", Reason.EXISTS)
            return attrs.evolve(job.outcome("skipped", problem), output=there)
        return None

    def _existing_picture(self, job: BatchJob) -> Path | None:
        """Return a whole picture at the output path; refuse to replace an input."""
        found = self._existing.at(job.output_path, pictures_only=job.order.by_paths)
        own = file_ids(job.order.files)
        for path in found:
            if path.is_dir():
                raise ConfigurationError(f"the result would replace the folder {path}")
            ids = file_ids([path])
            if ids & own or any(map(self._options.is_given, ids)):
                raise ConfigurationError(
                    f"the result would replace {path}, a picture that was given: "
                    "choose another folder"
                )
        return next(filter(is_whole_result, found), None)


def _describe(there: Path, job: BatchJob, earlier: JobRecord | None) -> str:
    """Return what the picture at the output path is, and how to replace it."""
    saved = None if earlier is None else earlier.output
    if earlier is None or saved is None or job.folder / saved.path != there:
        return f"{there} is there already"
    if not is_intact(job.folder, saved):  # retouched, and the user's own picture
        return f"{there} is there already"
    if not job.order.by_paths:  # its request says whose path it is
        return (
            f"{there} is the result of this job at {earlier.key.server}: --existing "
            "replace sends it again and replaces the result"
        )
    was, now = _parts(earlier.key), _parts(job.record.key)
    changed = [says for part, says in _PARTS.items() if was.get(part) != now.get(part)]
    are_many = len(changed) > 1 or changed == [_PARTS["options"]]
    have = "have" if are_many else "has"
    return (
        f"{there} is the result of an earlier swap, and {' and '.join(changed)} {have} "
        "changed since: --existing replace swaps it again and replaces the result"
    )


def _parts(key: JobKey) -> dict[str, object]:
    """Return all that a job is known by, but for the output path."""
    return {**json.loads(key.request), "server": key.server}


def read_task(record: JobRecord) -> AnyRecord | None:
    """Return what the server said of a task at its end; ``None`` if it is not known."""
    if record.record is None or record.family not in FAMILIES:
        return None
    try:
        return FAMILIES[record.family].load(json.loads(record.record))
    except Exception:  # noqa: BLE001 - a journal may come from somebody else
        return None


def text_of(record: JobRecord) -> str:
    """Return the text that a job has made; empty for one that makes pictures."""
    saved = record.output
    task = read_task(record) if saved and saved.path.suffix == TEXT_SUFFIX else None
    return "" if task is None else task.text


def _problem_of(order: Order, says: str) -> EzlinkError:
    """Return the error of an order that cannot be done."""
    if order.inputs:
        return ImageError(says, path=order.inputs[-1].path)
    return ConfigurationError(says)


def is_refused_twice(order: Order) -> bool:
    """Return whether the server refuses the job if two of its pictures are alike."""
    return order.request is not None and order.request.distinct


def claim_of(order: Order, digests: Sequence[bytes], identity: str) -> Claim:
    """Return the claim of an order to its output path."""
    if not order.by_paths:
        subject = identity.encode(errors="replace")
        return Claim(subject, order.wanted_path, hashlib.sha256(subject).digest())
    names = [
        os.fsencode(encode_path(_known_as(*each)))
        for each in zip(order.pictures, digests, strict=True)
    ]
    # The last picture is the one that becomes the result.
    return Claim(b"\0".join(names[::-1]), order.wanted_path, digests[-1])


def _check_paths(order: Order) -> None:
    """Raise the fault of a name that no system takes, or that leads elsewhere."""
    for each in order.inputs[order.shared :]:
        check_name(each.path)
    wanted = Path(order.wanted_path)
    if not is_below(wanted):
        raise ConfigurationError(
            f"the result cannot be saved as {order.wanted_path!r}: give a path "
            "below the output folder"
        )
    check_path(wanted)


def _hash_or_fault(picture: Picture) -> bytes | ImageError:
    try:
        return digest_of_picture(picture)
    except ImageError as fault:
        return fault


def _known_as(picture: Picture, digest: bytes) -> Path:
    """Return by what a later run knows a picture: its path, or its content."""
    if isinstance(picture, InMemory):
        return Path(digest.hex())
    return absolute(picture)


def check_source(source: Picture, *, strip_metadata: bool) -> Image:
    """
    Return a source as it is sent; :exc:`ImageError` if it cannot be used.

    Blocks: the file is read, and converted where that is needed.
    """
    digest_of_picture(source)
    return prepared(source, strip_metadata=strip_metadata).image


def _unusable(inspection: Inspection) -> CheckedOrder:
    order = inspection.order
    error = inspection.fault or ConfigurationError("cannot be used")
    outcome = attrs.evolve(
        outcome_of(order, "failed"),
        error=describe_error(error),
        reason=Reason.UNUSABLE if isinstance(error, ImageError) else Reason.BLOCKED,
        fault=error,
        common=inspection.common,
    )
    return CheckedOrder(order, outcome=outcome)
