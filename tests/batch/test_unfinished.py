"""Jobs of earlier runs: each is resumed once, and reported once."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import attrs
import pytest

from ezlink_async._client.submitting.evidence import Fate, Finding, Lost
from ezlink_async._client.submitting.reconciler import Reconciler
from ezlink_async.batch.journal.jobs import Step
from ezlink_async.batch.journal.store import Journal
from ezlink_async.batch.journal.writer import JournalWriter, open_writer
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.preflight import BatchJob
from ezlink_async.batch.unfinished import UnfinishedJobs
from ezlink_async.services.registry import FAMILIES
from ezlink_async.services.traces import Traces
from tests.support.journal_jobs import new_swap, swap_key


@attrs.define
class ScriptedReconciler:
    """A reconciler that comes to one *finding* about every submit."""

    finding: Finding
    can_search: bool = True
    asked: list[Lost] = attrs.field(factory=list)

    async def resume(self, lost: list[Lost], **_: object) -> list[Finding]:
        """Return the finding for each."""
        self.asked += lost
        return [self.finding for _ in lost]


async def _open_with_unknown_job(tmp_path: Path) -> tuple[JournalWriter, BatchJob]:
    """Open a journal with one unknown job; return the job as its order has it."""
    writer = await open_writer(tmp_path / "out" / ".ezlink" / "journal.sqlite3")
    source, target = tmp_path / "me.jpg", tmp_path / "a.jpg"

    def make(journal: Journal) -> BatchJob:
        key = swap_key("server")
        journal.unknown(
            journal.find_or_add_job(new_swap(key, source, target)).id, "lost"
        )
        (record,) = journal.records()
        return BatchJob(
            Pair(source, target, "a").order(), record, Step.REPORT, tmp_path / "out"
        )

    return writer, await writer.execute(make)


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    ("finding", "yields", "state"),
    [
        (Finding(fate=Fate.FOUND, reason="there", task_id="77"), BatchJob, "submitted"),
        (Finding(fate=Fate.NOT_CREATED, reason="not there"), Order, "planned"),
        (
            Finding(fate=Fate.NOT_CREATED, reason="upstream", may_run=True),
            Order,
            "failed",
        ),
        (Finding(fate=Fate.UNKNOWN, reason="who knows"), None, "unknown"),
    ],
)
async def test_an_unknown_job_is_reported_once(
    tmp_path: Path,
    finding: Finding,
    yields: type | None,
    state: str,
    asked: bool,  # noqa: FBT001
) -> None:
    """Its order may ask before the look-up, after it, or not at all."""
    writer, job = await _open_with_unknown_job(tmp_path)
    unfinished = UnfinishedJobs(
        writer,
        cast("Reconciler", ScriptedReconciler(finding)),
        BatchOptions(output=tmp_path / "out"),
        "server",
    )
    assert [each async for each in unfinished.resumable()] == []
    assert unfinished.extra == 1
    if asked:
        assert unfinished.reports(job)
        assert unfinished.looks_up(job)
        assert unfinished.extra == 0
    found = [each async for each in unfinished.look_up()]
    records = await writer.execute(lambda journal: journal.records())
    assert [str(record.state) for record in records] == [state]
    assert unfinished.is_outdated(job)
    if yields is Order and not asked:
        assert found == []
        assert unfinished.extra == 0
    else:
        assert [type(each) for each in found] == ([yields] if yields else [])
    assert len(list(unfinished.remaining())) == (yields is None)
    assert list(unfinished.remaining()) == []
    if yields is BatchJob and not asked:
        followed = attrs.evolve(job, step=Step.FOLLOW)
        assert unfinished.has_output_path("A")
        assert unfinished.reports(followed)
        assert not unfinished.reports(followed)
        assert unfinished.extra == 0
    await writer.close()


@pytest.mark.parametrize("family", ["midjourney", "unheard of"])
async def test_a_look_up_knows_what_the_family_leaves_at_the_account(
    tmp_path: Path, family: str
) -> None:
    """Where a submit leaves nothing, its absence proves nothing."""
    writer, _ = await _open_with_unknown_job(tmp_path)
    await writer.execute(lambda journal: journal._set(1, family=family))
    reconciler = ScriptedReconciler(Finding(fate=Fate.UNKNOWN, reason=""))
    unfinished = UnfinishedJobs(
        writer,
        cast("Reconciler", reconciler),
        BatchOptions(output=tmp_path / "out"),
        "server",
    )
    assert [each async for each in unfinished.resumable()] == []
    assert [each async for each in unfinished.look_up()] == []
    (lost,) = reconciler.asked
    known = FAMILIES.get(family)
    assert lost.traces == (known.traces if known else Traces())
    await writer.close()


@pytest.mark.parametrize("checked", [0, 1, 2])
async def test_each_of_two_pairs_with_the_same_names_has_one_of_their_jobs(
    tmp_path: Path, checked: int
) -> None:
    """Pictures in memory may share a name; *checked* of them are known by content."""
    writer, first = await _open_with_unknown_job(tmp_path)
    source, target = (each.path for each in first.order.stored)

    def add(journal: Journal) -> None:
        key = swap_key("server", "a-2")
        journal.unknown(
            journal.find_or_add_job(new_swap(key, source, target)).id, "lost"
        )

    await writer.execute(add)
    unfinished = UnfinishedJobs(
        writer,
        cast("Reconciler", ScriptedReconciler(Finding(fate=Fate.UNKNOWN, reason=""))),
        BatchOptions(output=tmp_path / "out"),
        "server",
    )
    assert [each async for each in unfinished.resumable()] == []
    records = await writer.execute(lambda journal: journal.records())
    for record in records[:checked]:
        assert unfinished.reports(attrs.evolve(first, record=record))
    for _ in range(2 - checked):
        assert unfinished.reports_order(first.order)
    assert not unfinished.reports_order(first.order)
    assert unfinished.extra == 0
    assert len(list(unfinished.remaining())) == 2
    await writer.close()
