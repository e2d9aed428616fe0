"""
Checks each pair before anything is sent: its pictures, its job, its output path.

Synchronous: :meth:`Preflight.inspect` and :meth:`Preflight.plan` read files and run
in a worker thread, :meth:`Preflight.register` runs in the journal's thread.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import attrs

from ezlink_async._core.images import Image
from ezlink_async._io.files import check_path
from ezlink_async.batch.journal.jobs import (
    JobKey,
    JobRecord,
    JobState,
    Problem,
    Reason,
    Step,
    next_step,
)
from ezlink_async.batch.journal.store import Claim, Journal, NewJob, encode_path
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.outcomes import (
    INTERRUPTED,
    BatchOutcome,
    BatchStatus,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.folders import file_ids
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import (
    Existing,
    is_below,
    is_intact,
    is_whole,
    why_not_writable,
)
from ezlink_async.batch.pairs.pictures import (
    InMemory,
    Picture,
    check_name,
    digest_of_picture,
    prepared,
)
from ezlink_async.errors import ConfigurationError, EzlinkError, ImageError
from ezlink_async.services.base import canonical
from ezlink_async.services.midjourney import MIDJOURNEY

_SOURCES = 64  # hashes kept: most batches have few sources

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
    A pair and the hashes of its pictures, or the *fault* of one of them.

    *common* says that the fault is the source's, so every pair with it has it.
    """

    pair: Pair
    source_hash: bytes = b""
    target_hash: bytes = b""
    fault: EzlinkError | None = None
    common: bool = False


@attrs.frozen
class Registered:
    """The job of a pair in the journal, and the job whose result it would replace."""

    record: JobRecord
    earlier: JobRecord | None


@attrs.frozen
class BatchJob:
    """The job of a pair: its record in the journal, and its next step."""

    pair: Pair
    record: JobRecord
    step: Step
    folder: Path

    @property
    def output_path(self) -> Path:
        """The path of the result, without a suffix."""
        return self.folder / self.record.key.output_path

    @property
    def task_id(self) -> str | None:
        """The id of its task; a job that is sent again has none yet."""
        return None if self.step is Step.SUBMIT else self.record.task_id

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
        saved = self.record.output if status == "skipped" else None
        return BatchOutcome(
            source=self.pair.source,
            target=self.pair.target,
            status=status,
            output=None if saved is None else self.folder / saved.path,
            task_id=self.task_id,
            request_id=next(reversed(self.record.request_ids), None),
            error=None if problem is None else problem.sentence,
            reason=None if problem is None else problem.reason,
            maybe_charged=status == "unknown",
        )

    def left_over(self, problem: Problem) -> BatchOutcome:
        """Return the outcome if the run did not begin it because of *problem*."""
        if self.unclear is not None:
            return self.outcome("unknown", Problem(self.unclear))
        return skipped(self.pair, problem)


@attrs.frozen
class CheckedPair:
    """A pair after the preflight: its *job*, and its *outcome* if it has ended."""

    pair: Pair
    job: BatchJob | None = None
    outcome: BatchOutcome | None = None

    def left_over(self, problem: Problem = INTERRUPTED) -> BatchOutcome:
        """Return the outcome if nothing more is done because of *problem*."""
        if self.outcome is not None or self.job is None:
            return self.outcome or skipped(self.pair, problem)
        return self.job.left_over(problem)


class Preflight:
    """The three steps of the preflight, for a few pairs at a time."""

    def __init__(self, options: BatchOptions, server: str, run: int) -> None:
        self.run = run
        self._options = options
        self._server = server
        self._existing = Existing()
        # A fault is kept, too: a broken source is read once, not for each target.
        self._file_hash = functools.lru_cache(_SOURCES)(_hash_or_fault)

    def inspect(self, pairs: Sequence[Pair]) -> list[Inspection]:
        """Hash the pictures of each pair."""
        return [self._inspect(pair) for pair in pairs]

    def register(
        self, journal: Journal, inspections: Sequence[Inspection]
    ) -> list[Registered | None]:
        """Find or add the job of each pair; ``None`` for a pair with a fault."""
        return [
            self._register(journal, each) if each.fault is None else None
            for each in inspections
        ]

    def plan(
        self, inspections: Sequence[Inspection], jobs: Sequence[Registered | None]
    ) -> list[CheckedPair]:
        """Return the job of each pair, or how it has ended."""
        return [
            _unusable(each) if job is None else self._plan(each.pair, job)
            for each, job in zip(inspections, jobs, strict=True)
        ]

    def _inspect(self, pair: Pair) -> Inspection:
        folder = (self._options.output / pair.wanted_path).parent
        try:
            if pair.problem is not None:
                raise ImageError(pair.problem, path=pair.target)
            _check_paths(pair)
            if blocked := why_not_writable(folder):
                raise ConfigurationError(f"nothing can be saved: {blocked}")
            source = self._source_hash(pair.source_picture)
            if isinstance(source, ImageError):
                return Inspection(pair, fault=source.for_awaiter(), common=True)
            target = digest_of_picture(pair.target_picture)
            if source == target:
                says = "source and target are the same picture"
                raise ImageError(says, path=pair.target)
        except EzlinkError as fault:
            return Inspection(pair, fault=fault)
        return Inspection(pair, source, target)

    def _source_hash(self, source: Picture) -> bytes | ImageError:
        # A picture in memory keeps its hash itself, and is not kept here.
        in_memory = isinstance(source, InMemory)
        return _hash_or_fault(source) if in_memory else self._file_hash(source)

    def _register(self, journal: Journal, inspection: Inspection) -> Registered:
        pair = inspection.pair
        subject = b"\0".join(
            os.fsencode(encode_path(path))
            for path in (
                _identity(pair.target_picture, inspection.target_hash),
                _identity(pair.source_picture, inspection.source_hash),
            )
        )
        claim = Claim(subject, pair.wanted_path, inspection.target_hash)
        key = JobKey(
            self._server,
            "swap",
            swap_identity(
                inspection.source_hash,
                inspection.target_hash,
                self._options.job_options,
            ),
            journal.assign_output_path(claim, self.run),
        )
        record = journal.find_or_add_job(
            NewJob(key, str(pair.stored[1]), MIDJOURNEY.name, pair.inputs)
        )
        is_saved = record.state is JobState.SAVED
        return Registered(record, None if is_saved else journal.replaced_by(record))

    def _plan(self, pair: Pair, registered: Registered) -> CheckedPair:
        record, folder = registered.record, self._options.output
        saved = record.output if record.state is JobState.SAVED else None
        intact = saved is not None and is_intact(folder, saved)
        step = next_step(record, self._options, intact=intact)
        job = BatchJob(pair, record, step, folder)
        return CheckedPair(pair, job, self._outcome(job, registered.earlier))

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
        found = self._existing.at(job.output_path)
        own = file_ids(job.pair.files)
        for path in found:
            if path.is_dir():
                raise ConfigurationError(f"the result would replace the folder {path}")
            ids = file_ids([path])
            if ids & own or any(map(self._options.is_given, ids)):
                raise ConfigurationError(
                    f"the result would replace {path}, a picture that was given: "
                    "choose another folder"
                )
        return next(filter(is_whole, found), None)


def _describe(there: Path, job: BatchJob, earlier: JobRecord | None) -> str:
    """Return what the picture at the output path is, and how to replace it."""
    saved = None if earlier is None else earlier.output
    if earlier is None or saved is None or job.folder / saved.path != there:
        return f"{there} is there already"
    if not is_intact(job.folder, saved):  # retouched, and the user's own picture
        return f"{there} is there already"
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


def swap_identity(
    source_hash: bytes, target_hash: bytes, options: Mapping[str, object]
) -> str:
    """Return the request of a swap as the journal knows it."""
    hashes = {"source": source_hash.hex(), "target": target_hash.hex()}
    return canonical({**hashes, "options": options})


def _check_paths(pair: Pair) -> None:
    """Raise the fault of a name that no system takes, or that leads elsewhere."""
    check_name(pair.target)
    if not is_below(PurePosixPath(pair.wanted_path)):
        raise ConfigurationError(
            f"the result cannot be saved as {pair.wanted_path!r}: give a path "
            "below the output folder"
        )
    check_path(Path(pair.wanted_path))


def _hash_or_fault(picture: Picture) -> bytes | ImageError:
    try:
        return digest_of_picture(picture)
    except ImageError as fault:
        return fault


def _identity(picture: Picture, digest: bytes) -> Path:
    """Return by what a later run knows a picture: its path, or its content."""
    if isinstance(picture, InMemory):
        return Path(digest.hex())
    return picture.absolute()


def check_source(source: Picture, *, strip_metadata: bool) -> Image:
    """
    Return a source as it is sent; :exc:`ImageError` if it cannot be used.

    Blocks: the file is read, and converted where that is needed.
    """
    digest_of_picture(source)
    return prepared(source, strip_metadata=strip_metadata).image


def _unusable(inspection: Inspection) -> CheckedPair:
    pair = inspection.pair
    error = inspection.fault or ImageError("cannot be used", path=pair.target)
    outcome = BatchOutcome(
        source=pair.source,
        target=pair.target,
        status="failed",
        error=describe_error(error),
        reason=Reason.UNUSABLE if isinstance(error, ImageError) else Reason.BLOCKED,
        fault=error,
        common=inspection.common,
    )
    return CheckedPair(pair, outcome=outcome)
