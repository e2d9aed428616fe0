"""The events of the jobs of a batch."""

from __future__ import annotations

from ezlink_async import AsyncEzlink
from ezlink_async.batch import Order, run_batch, run_jobs
from ezlink_async.requests import Imagine
from tests.support.batch_harness import POLL, BatchHarness, read
from tests.support.event_log import EventLog, steps

DONE = ["SubmitQueued", "SubmitStarted", "TaskSubmitted", "TaskFinished"]


async def test_batches_emit_the_events_of_their_jobs(batch: BatchHarness) -> None:
    log, server = EventLog(), batch.server
    client = AsyncEzlink(
        server.api_key, base_url=server.base_url, poll=POLL, on_event=log
    )
    async with client as ez:
        photos = batch.photos(2)
        async with run_batch(ez, batch.face, photos, output=batch.output) as run:
            assert (await read(run)).counts == {"succeeded": 2}
        order = Order.of(Imagine("a red fox"), output="fox")
        async with run_jobs(ez, [order], output=batch.folder / "other") as run:
            assert (await read(run)).counts == {"succeeded": 1}
    jobs = log.jobs()
    assert [list(steps(events)) for events in jobs.values()] == [
        [*DONE, "ResultSaved"]
    ] * 3
    assert [events[0].kind for events in jobs.values()] == ["swap", "swap", "imagine"]
