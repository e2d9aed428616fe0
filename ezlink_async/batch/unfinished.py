"""
What earlier runs have left open: taken up once, whether it was asked for or not.

A task with an id is followed, a result is brought home. What was lost in the
middle of its submit is looked up where there is an account token; what stays
unknown is told of at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs

from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.reconciler import AnyReconciler
from ezlink_async.batch.journal.jobs import Entry, JobState, Step, Wishes, next_step
from ezlink_async.batch.journal.writer import JournalWriter
from ezlink_async.batch.options import Rules
from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.output_paths import path_key
from ezlink_async.batch.preflight import Job


class UnfinishedJobs:
    """
    The open jobs of earlier runs at the server that *rules* name.

    Their outcomes come from here, whether a pair asks for them or not.
    """

    def __init__(
        self, commits: JournalWriter, reconciler: AnyReconciler, rules: Rules
    ) -> None:
        self._commits = commits
        self._reconciler = reconciler
        self._rules = rules
        self._followed: set[int] = set()
        self._beside: set[int] = set()  # those that no pair has asked for
        self._names: dict[tuple[Path, Path], int] = {}
        self._unclear: dict[int, Job] = {}
        self._asked: dict[int, Pair] = {}  # what is looked up, and was asked for
        self._coming: set[str] = set()
        self._moved: set[int] = set()  # what was found out about

    @property
    def extra(self) -> int:
        """How many outcomes there are beside those of the pairs."""
        return len(self._beside)

    async def taken_up(self) -> AsyncIterator[Job]:
        """Yield what is to be followed, or brought home."""
        after = 0
        while entries := await self._open_entries(after):
            for entry in entries:
                after = entry.id
                if self._is_sent_again(entry):
                    continue
                self._beside.add(entry.id)
                self._names[entry.source, entry.target] = entry.id
                job = self._job(entry)
                if job.step is Step.REPORT:
                    self._unclear[entry.id] = job
                    continue
                self._followed.add(entry.id)
                self._coming.add(path_key(entry.key.place))
                yield job

    async def _open_entries(self, after: int) -> list[Entry]:
        server = self._rules.server
        return await self._commits.do(
            lambda journal: journal.open_entries(server, after)
        )

    def _is_sent_again(self, entry: Entry) -> bool:
        """Return whether it is for the pairs to say: its result is gone for good."""
        step = next_step(entry, self._rules.wishes, intact=False)
        return step is Step.SUBMIT and entry.state is JobState.SUCCEEDED

    def _job(self, entry: Entry) -> Job:
        pair = Pair(entry.source, entry.target, entry.key.place)
        # Only what is asked for is sent again.
        step = next_step(entry, Wishes(), intact=False)
        return Job(pair, entry, step, self._rules.folder)

    def tells_of(self, job: Job) -> bool:
        """Return whether the outcome of a job that is asked for comes from here."""
        this = job.entry.id
        if self._is_told(this):
            return True
        if this in self._unclear and self._reconciler.can_search:
            self._asked[this] = job.pair
            self._beside.discard(this)
            return True
        if self._unclear.pop(this, None):
            self._beside.discard(this)
        return False

    def knows_better(self, job: Job) -> bool:
        """Return whether a job was found out about after it had been looked at."""
        return job.step is Step.REPORT and job.entry.id in self._moved

    def tells_of_pair(self, pair: Pair) -> bool:
        """Return the same of a pair that will not be looked at any more."""
        name = pair.source.absolute(), pair.target.absolute()
        this = self._names.pop(name, 0)
        if this in self._unclear and this not in self._asked:
            self._asked[this] = pair
            self._beside.discard(this)
            return True
        return self._is_told(this)

    def _is_told(self, this: int) -> bool:
        if this not in self._followed:
            return False
        self._followed.discard(this)
        self._beside.discard(this)
        return True

    def looks_for(self, job: Job) -> bool:
        """Return whether what became of *job* is being found out, for its pair."""
        return job.entry.id in self._asked

    def comes_to(self, place: str) -> bool:
        """Return whether one of the results comes to *place*."""
        return path_key(place) in self._coming

    async def looked_up(self) -> AsyncIterator[Job | Pair]:
        """Find out about what was lost; yield what is to be followed, or done."""
        if not self._unclear or not self._reconciler.can_search:
            return
        jobs, server = list(self._unclear.values()), self._rules.server
        known, witnesses = await self._commits.do(
            lambda journal: (journal.task_ids(server), journal.witnesses(server))
        )
        findings = await self._reconciler.resume(
            [_lost(job.entry) for job in jobs], known=known, witnesses=witnesses[::-1]
        )
        for job, finding in zip(jobs, findings, strict=True):
            found = await self._found(job, finding)
            if found is not None:
                yield found

    async def _found(self, job: Job, finding: Finding) -> Job | Pair | None:
        """Have the journal know what was found, and return what to do about it."""
        this, task_id = job.entry.id, finding.task_id
        pair = self._asked.pop(this, None)
        self._moved.add(this)
        if finding.fate is Fate.FOUND and task_id is not None:
            del self._unclear[this]
            if pair is None:
                self._followed.add(this)  # it may yet be asked for
            self._coming.add(path_key(job.entry.key.place))
            await self._commits.do(lambda journal: journal.accepted(this, task_id))
            entry = attrs.evolve(job.entry, task_id=task_id)
            return attrs.evolve(job, entry=entry, step=Step.FOLLOW)
        if finding.fate is Fate.NOT_CREATED:
            del self._unclear[this]
            self._beside.discard(this)
            why = f"TransportError: it was never created: {finding.reason}"
            await self._commits.do(lambda journal: journal.planned(this, why))
            return pair
        says = f"SubmitUnknownError: {finding.reason}"
        await self._commits.do(lambda journal: journal.unknown(this, says))
        if pair is not None and self._rules.wishes.resubmit_unknown:
            del self._unclear[this]
            return pair
        entry = attrs.evolve(job.entry, error=says)
        self._unclear[this] = attrs.evolve(job, entry=entry)
        return None

    def left(self) -> Iterator[BatchOutcome]:
        """Yield the outcomes of what has stayed unknown, each until it is taken."""
        for this, job in list(self._unclear.items()):
            yield job.outcome("unknown", job.entry.error)
            self._unclear.pop(this, None)


def _lost(entry: Entry) -> Lost:
    return Lost(state=entry.mark, request_ids=entry.request_ids, since=entry.since)
