"""What earlier runs left open: taken up once, and told of once."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import attrs
import pytest

from ezlink_async._client.submitting.evidence import Fate, Finding
from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async.batch.journal.jobs import JobKey, Step, Wishes
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_commits
from ezlink_async.batch.options import Rules
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.preflight import Job
from ezlink_async.batch.unfinished import UnfinishedJobs


@attrs.frozen
class Finds:
    """A reconciler that has found *finding* about everything."""

    finding: Finding
    can_search: bool = True

    async def resume(self, lost: list[object], **_: object) -> list[Finding]:
        """Return it for each."""
        return [self.finding for _ in lost]


async def _lost(tmp_path: Path) -> tuple[JournalWriter, Job]:
    """Have a journal with one job that is unknown, as a pair sees it."""
    commits = await open_commits(tmp_path / "out" / ".ezlink" / "journal.sqlite3")
    source, target = tmp_path / "me.jpg", tmp_path / "a.jpg"

    def make(journal: Journal) -> Job:
        entry = journal.job(JobKey("here", b"1", b"2", "{}", "a"), source, target)
        journal.unknown(entry.id, "SubmitUnknownError: lost")
        (entry,) = journal.entries()
        return Job(Pair(source, target, "a"), entry, Step.REPORT, tmp_path / "out")

    return commits, await commits.do(make)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    ("finding", "yields", "state"),
    [
        (Finding(fate=Fate.FOUND, reason="there", task_id="77"), Job, "submitted"),
        (Finding(fate=Fate.NOT_CREATED, reason="not there"), Pair, "planned"),
        (Finding(fate=Fate.UNKNOWN, reason="who knows"), None, "unknown"),
    ],
)
async def test_what_was_lost_is_told_of_once(
    tmp_path: Path,
    finding: Finding,
    yields: type | None,
    state: str,
    asked: bool,  # noqa: FBT001
) -> None:
    """By its pair, if that asks in time, or asks later; else beside the pairs."""
    commits, job = await _lost(tmp_path)
    rules = Rules(folder=tmp_path / "out", server="here", wishes=Wishes())
    earlier = UnfinishedJobs(commits, cast("Reconciler", Finds(finding)), rules)
    assert [each async for each in earlier.taken_up()] == []
    assert earlier.extra == 1
    if asked:
        assert earlier.tells_of(job)
        assert earlier.looks_for(job)
        assert earlier.extra == 0
    found = [each async for each in earlier.looked_up()]
    entries = await commits.do(lambda journal: journal.entries())
    assert [str(entry.state) for entry in entries] == [state]
    assert earlier.knows_better(job)
    if yields is Pair and not asked:
        assert found == []
        assert earlier.extra == 0
    else:
        assert [type(each) for each in found] == ([yields] if yields else [])
    assert len(list(earlier.left())) == (yields is None)
    assert list(earlier.left()) == []
    if yields is Job and not asked:
        now = attrs.evolve(job, step=Step.FOLLOW)
        assert earlier.comes_to("A")
        assert earlier.tells_of(now)
        assert not earlier.tells_of(now)
        assert earlier.extra == 0
    await commits.close()
