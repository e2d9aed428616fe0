"""
Looks at each pair before anything is sent: what is to be done, and what was.

Synchronous: files are read here, in a thread that is not the loop's, and the
journal is asked in its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from ezlink_async.batch.journal.jobs import Entry, JobKey, JobState, Step, next_step
from ezlink_async.batch.journal.store import Claim, Journal
from ezlink_async.batch.options import Rules
from ezlink_async.batch.outcomes import (
    BatchOutcome,
    BatchStatus,
    describe_error,
    skipped,
)
from ezlink_async.batch.pairs.folders import file_ids
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import (
    Existing,
    digest_of,
    is_intact,
    is_whole,
    why_not_writable,
)
from ezlink_async.errors import ConfigurationError, EzlinkError, ImageError
from ezlink_async.prepare import needs_preparing

_SOURCES = 64  # whose content is kept: few faces are asked for again and again

_LOST = "SubmitUnknownError: nobody knows what became of its submit"


@attrs.frozen
class Look:
    """A pair, and the content of its pictures; or its *problem*."""

    pair: Pair
    source_hash: bytes = b""
    target_hash: bytes = b""
    problem: EzlinkError | None = None


@attrs.frozen
class Job:
    """What is to be done about a pair, and what the journal knows of it."""

    pair: Pair
    entry: Entry
    step: Step
    folder: Path

    @property
    def place(self) -> Path:
        """Where the result goes, without a suffix."""
        return self.folder / self.entry.key.place

    @property
    def task_id(self) -> str | None:
        """The id it is followed by; what is sent anew has none yet."""
        return None if self.step is Step.SUBMIT else self.entry.task_id

    def outcome(self, status: BatchStatus, error: str | None = None) -> BatchOutcome:
        """Return how it ended, with what is known of it."""
        entry = self.entry
        home = entry.output and status == "skipped"
        return BatchOutcome(
            source=self.pair.source,
            target=self.pair.target,
            status=status,
            output=self.folder / entry.output.path if entry.output and home else None,
            task_id=self.task_id,
            request_id=next(reversed(entry.request_ids), None),
            error=error,
            maybe_charged=status == "unknown",
        )

    @property
    def unclear(self) -> str | None:
        """Why it may be paid already, with no id known; ``None`` when it is not."""
        entry = self.entry
        maybe = entry.state in {JobState.UNKNOWN, JobState.SUBMITTING}
        return (entry.error or _LOST) if maybe else None

    def left_over(self, why: str) -> BatchOutcome:
        """Return what to tell when nothing was done about it."""
        if self.unclear is not None:
            return self.outcome("unknown", self.unclear)
        return skipped(self.pair, why)


@attrs.frozen
class Screened:
    """A pair that was looked at: a *job*, unless it is *settled* already."""

    pair: Pair
    job: Job | None = None
    settled: BatchOutcome | None = None

    def left_over(self, why: str) -> BatchOutcome:
        """Return what to tell when nothing more is done."""
        if self.settled is not None or self.job is None:
            return self.settled or skipped(self.pair, why)
        return self.job.left_over(why)


class Preflight:
    """The three steps of it, for a few pairs at a time."""

    def __init__(self, rules: Rules, run: int) -> None:
        self.rules = rules
        self.run = run
        self._existing = Existing()
        self._sources: dict[Path, bytes] = {}

    def look(self, pairs: Sequence[Pair]) -> list[Look]:
        """Read the pictures; in a thread for files."""
        return [self._look(pair) for pair in pairs]

    def enter(self, journal: Journal, looks: Sequence[Look]) -> list[Entry | None]:
        """Find each in the journal, or note it there; in the journal's thread."""
        return [
            None if look.problem is not None else self._enter(journal, look)
            for look in looks
        ]

    def decide(
        self, looks: Sequence[Look], entries: Sequence[Entry | None]
    ) -> list[Screened]:
        """Return what is to be done, or how it has ended; in a thread for files."""
        return [
            Screened(look.pair, settled=_refused(look.pair, look.problem))
            if entry is None
            else self._decide(look.pair, entry)
            for look, entry in zip(looks, entries, strict=True)
        ]

    def _look(self, pair: Pair) -> Look:
        try:
            if pair.problem is not None:
                raise ImageError(pair.problem, path=pair.target)
            self._check_place((self.rules.folder / pair.wished).parent)
            source = self._source(pair.source)
            target = _content(pair.target)
            if source == target:
                says = "source and target are the same picture"
                raise ImageError(says, path=pair.target)
        except EzlinkError as error:
            return Look(pair, problem=error)
        return Look(pair, source, target)

    def _check_place(self, folder: Path) -> None:
        if blocked := why_not_writable(folder):
            raise ConfigurationError(f"nothing can be saved: {blocked}")

    def _source(self, path: Path) -> bytes:
        if path not in self._sources:
            if len(self._sources) == _SOURCES:
                del self._sources[next(iter(self._sources))]
            self._sources[path] = _content(path)
        return self._sources[path]

    def _enter(self, journal: Journal, look: Look) -> Entry:
        rules, pair = self.rules, look.pair
        source, target = pair.source.absolute(), pair.target.absolute()
        claim = Claim(source, target, pair.wished, look.target_hash)
        place = journal.claim(claim, self.run)
        key = JobKey(
            rules.server, look.source_hash, look.target_hash, rules.options, place
        )
        return journal.job(key, source, target)

    def _decide(self, pair: Pair, entry: Entry) -> Screened:
        rules = self.rules
        saved = entry.output if entry.state is JobState.SAVED else None
        intact = saved is not None and is_intact(rules.folder, saved)
        step = next_step(entry, rules.wishes, intact=intact)
        job = Job(pair, entry, step, rules.folder)
        return Screened(pair, job, self._settled(job))

    def _settled(self, job: Job) -> BatchOutcome | None:
        """Return how it has ended, if nothing is to be done."""
        step, error = job.step, job.entry.error
        if step is Step.DONE:
            return job.outcome("skipped")
        if step is Step.REPORT:
            return job.outcome("unknown", error)
        if step is Step.GIVE_UP:
            return job.outcome("failed", error)
        try:
            there = self._in_the_way(job)
        except EzlinkError as error:
            return attrs.evolve(
                job.outcome("failed", describe_error(error)), fault=error
            )
        if step is Step.SUBMIT and there is not None and self._keeps:
            says = f"FileExistsError: {there} is there already"
            return attrs.evolve(job.outcome("skipped", says), output=there)
        return None

    @property
    def _keeps(self) -> bool:
        return self.rules.existing == "skip"

    def _in_the_way(self, job: Job) -> Path | None:
        """Return a whole picture where the result goes; refuse what must stay."""
        there = self._existing.at(job.place)
        own = file_ids([job.pair.source, job.pair.target])
        for path in there:
            if path.is_dir():
                raise ConfigurationError(f"the result would replace the folder {path}")
            marks = file_ids([path])
            if marks & own or any(map(self.rules.is_given, marks)):
                raise ConfigurationError(
                    f"the result would replace {path}, a picture that was given: "
                    "choose another folder"
                )
        return next(filter(is_whole, there), None)


def _content(path: Path) -> bytes:
    """Return the SHA-256 of a picture that can be sent, or made so."""
    made_anew = needs_preparing(path)
    try:
        if not made_anew and not is_whole(path):
            raise ImageError("it is cut off, or broken: copy it again", path=path)
        return digest_of(path)[0]
    except OSError as fault:  # pragma: no cover - it could be read just now
        says = f"cannot be read: {fault.strerror or fault}"
        raise ImageError(says, path=path) from fault


def _refused(pair: Pair, problem: EzlinkError | None) -> BatchOutcome:
    error = problem or ImageError("cannot be used", path=pair.target)
    return BatchOutcome(
        source=pair.source,
        target=pair.target,
        status="failed",
        error=describe_error(error),
        fault=error,
    )
