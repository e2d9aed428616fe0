"""
A batch as programs run it: each pair one outcome, nothing paid twice.

Against the emulator on a loopback socket; what was paid is read from it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import attrs
import pytest

from ezlink_async import AsyncEzlink, RetryPolicy
from ezlink_async._client.handle import TaskHandle
from ezlink_async.batch.job_runner import JobRunner
from ezlink_async.batch.outcomes import BatchOutcome, skipped
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pipeline import OutcomeQueue, RunningJob
from ezlink_async.batch.run import run_batch
from ezlink_async.emulator import faults, scripts
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.errors import (
    ClientClosedError,
    ConfigurationError,
    DownloadError,
    JournalError,
)
from tests.support.batch_harness import POLL, TIMEOUTS, read, studio
from tests.support.pictures import jpeg

JSON = "application/json"


@attrs.frozen
class Holds:
    """A fault that keeps submits waiting until it is let go; *job*: behind the work."""

    job: bool = False
    came: asyncio.Event = attrs.field(factory=asyncio.Event)
    go: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request when it is let go."""
        await exchange.read()
        reply = await proceed() if self.job else None
        self.came.set()
        await self.go.wait()
        return reply or await proceed()


# --- the public door


async def test_a_program_needs_three_lines(tmp_path: Path) -> None:
    """Folders and files, a journal where it is wished, a summary at the end."""
    async with studio(tmp_path) as here, here.client() as ez:
        here.photos(2)
        extra = here.folder / "extra.jpg"
        extra.write_bytes(jpeg(9_000))
        run = run_batch(
            ez,
            here.face,
            [here.folder / "photos", extra],
            output=here.output,
            journal=tmp_path / "books" / "mine.sqlite3",
        )
        async with run:
            names = [each.target.name async for each in run]
        assert sorted(names) == ["0.jpg", "1.jpg", "extra.jpg"]
        assert run.summary.total == run.summary.accepted == run.accepted == 3
        assert run.summary.seconds > 0
        assert run.in_progress == run.extra == 0
        assert (tmp_path / "books" / "mine.sqlite3").exists()


async def test_one_folder_is_as_good_as_a_list(tmp_path: Path) -> None:
    """A single path is a target, too."""
    async with studio(tmp_path) as here, here.client() as ez:
        here.photos(1)
        run = run_batch(ez, here.face, here.folder / "photos", output=here.output)
        async with run:
            assert [each.status async for each in run] == ["succeeded"]


async def test_pairs_come_from_any_iterator(tmp_path: Path) -> None:
    """Tuples and pairs, plain and async."""
    async with studio(tmp_path) as here, here.client() as ez:
        first, second = here.photos(2)

        async def pairs() -> AsyncIterator[Pair | tuple[Path, Path]]:
            yield here.face, first
            yield Pair(here.face, second, "elsewhere/b")

        async with run_batch(ez, None, pairs(), output=here.output) as run:
            ended = await read(run)
        assert ended.of("0.jpg").output == here.output / "0.jpg"
        assert ended.of("1.jpg").output == here.output / "elsewhere" / "b.jpg"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"existing": "keep"}, '"skip" or "replace"'),
        ({"budget": -1}, "budget is a number of swaps"),
        ({"max_failures": "3"}, "max_failures is a number"),
        ({"mode": "slow"}, "mode"),
    ],
)
def test_options_that_are_wrong_are_refused(
    tmp_path: Path, wrong: dict[str, object], says: str
) -> None:
    """A typo replaces nothing, and pays for nothing."""
    ez = AsyncEzlink("sk-x")
    with pytest.raises(ConfigurationError, match=says):
        run_batch(ez, "me.jpg", ["a.jpg"], output=tmp_path, **wrong)  # type: ignore[arg-type]


async def test_a_run_is_entered_once_and_used_inside(tmp_path: Path) -> None:
    """Each misuse has a sentence, and none leaves the folder locked."""
    async with studio(tmp_path) as here, here.client() as ez:
        run = here.run(ez, here.photos(1))
        await run.aclose()
        with pytest.raises(ConfigurationError, match="not entered"):
            await anext(run)
        async with run:
            with pytest.raises(ConfigurationError, match="entered once"):
                await run.__aenter__()
            with pytest.raises(ConfigurationError, match="another run is at work"):
                await here.done(here.photos(1))
            assert (await anext(run)).status == "succeeded"
            with pytest.raises(StopAsyncIteration):
                await anext(run)
        with pytest.raises(StopAsyncIteration):
            await anext(run)
        with pytest.raises(ConfigurationError, match="entered once"):
            await run.__aenter__()
        assert (await here.done(here.photos(1))).counts == {"skipped": 1}


async def test_a_run_that_cannot_begin_lets_go_of_the_folder(tmp_path: Path) -> None:
    """Cancelled while it asks what was spent before, it keeps neither lock nor file."""
    async with studio(tmp_path) as here, here.client() as ez:
        held = Holds()
        here.server.control.standing("usage", held)
        entering = asyncio.create_task(here.run(ez, here.photos(1)).__aenter__())
        await held.came.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        held.go.set()
        assert (await here.done(here.photos(1))).counts == {"succeeded": 1}


async def test_a_client_that_is_not_entered_is_refused(tmp_path: Path) -> None:
    """And leaves no folder behind."""
    run = run_batch(AsyncEzlink("sk-x"), "me.jpg", ["a.jpg"], output=tmp_path / "out")
    with pytest.raises(ConfigurationError, match="not entered"):
        await run.__aenter__()
    assert not run._entered
    assert not os.listdir(tmp_path)  # noqa: PTH208 - not in the loop's way


# --- each pair one outcome, each job one payment


async def test_a_target_that_is_named_twice_is_paid_once(tmp_path: Path) -> None:
    """However far apart, and whatever became of the first meanwhile."""
    async with studio(tmp_path) as here, here.client(concurrency=1) as ez:
        photos = here.photos(40)
        twice = [*photos, photos[0], *photos, photos[39]]
        first = await here.done(twice, ez)
        again = await here.done(twice, ez)
        assert len(first.outcomes) == 82
        assert again.counts == {"skipped": 82}
        assert here.charges == here.sent == 40


async def test_an_open_job_that_is_named_twice_is_told_of_twice(tmp_path: Path) -> None:
    """Followed once, paid once."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        async with here.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
            await here.done(here.photos(1), ez)
        here.server.control.advance(600)
        photos = here.photos(1)
        ended = await here.done([*photos, *photos])
        assert len(ended.outcomes) == 2
        assert here.charges == 1


async def test_two_targets_that_become_one_file_keep_apart(tmp_path: Path) -> None:
    """The later one gets a number, in this run and in the next."""
    async with studio(tmp_path) as here:
        for folder in "ab":
            (here.folder / "photos" / folder).mkdir()
        same = [here.photo("a/x.jpg", 4_000), here.photo("b/x.jpg", 4_001)]
        first = await here.done(same)
        again = await here.done(same)
        for ended in (first, again):
            assert {each.output for each in ended.outcomes} == {
                here.output / "x.jpg",
                here.output / "x-2.jpg",
            }
        assert here.charges == 2


async def test_another_source_into_the_same_folder(tmp_path: Path) -> None:
    """What is there is not this job's: left alone, or replaced where that is asked."""
    async with studio(tmp_path) as here:
        await here.done(here.photos(1))
        result = here.output / "0.jpg"
        first = result.read_bytes()
        here.face.write_bytes(jpeg(3_333))
        skips = await here.done(here.photos(1))
        assert str(skips.only.error) == f"FileExistsError: {result} is there already"
        assert result.read_bytes() == first
        await here.done(here.photos(1), replace=True)
        second = result.read_bytes()
        assert second != first
        here.face.write_bytes(jpeg(3_000))
        back = await here.done(here.photos(1))
        assert back.only.status == "succeeded"
        assert result.read_bytes() == first
        assert (here.output / "0-kept.jpg").read_bytes() == second
        assert here.charges == 2


async def test_an_open_job_keeps_its_place(tmp_path: Path) -> None:
    """Its result comes there: nobody else's, even where replacing is asked for."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        async with here.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
            await here.done(here.photos(1), ez)
        here.server.control.advance(600)
        here.face.write_bytes(jpeg(3_333))
        ended = await here.done(here.photos(1), replace=True)
        assert ended.counts == {"succeeded": 1, "skipped": 1}
        (skips,) = [each for each in ended.outcomes if each.status == "skipped"]
        assert "the result of an earlier job comes to" in str(skips.error)
        assert here.charges == 1


async def test_a_photo_that_cannot_be_used_is_one_outcome(tmp_path: Path) -> None:
    """Nothing is sent for it, and it is remembered for the report."""
    async with studio(tmp_path) as here:
        bad = here.folder / "photos" / "bad.jpg"
        bad.write_bytes(b"")
        ended = await here.done([bad, here.face, here.folder / "none.jpg"])
        assert ended.counts == {"failed": 3}
        assert {type(each.fault).__name__ for each in ended.outcomes} == {"ImageError"}
        assert here.sent == 0


# --- budget and failures


async def test_a_budget_is_kept_whatever_is_at_work_at_once(tmp_path: Path) -> None:
    """Exactly so many are accepted, the rest is left over and says why."""
    async with studio(tmp_path) as here, here.client(concurrency=16) as ez:
        ended = await here.done(here.photos(40), ez, budget=7)
        assert ended.counts == {"succeeded": 7, "skipped": 33}
        left = {each.error for each in ended.outcomes if each.status == "skipped"}
        assert left == {"BudgetReached: the budget of this run is spent"}
        assert here.charges == here.sent == 7
        again = await here.done(here.photos(40), ez, budget=33)
        assert again.counts == {"succeeded": 33, "skipped": 7}
        assert here.charges == 40


async def test_a_refused_submit_gives_its_room_in_the_budget_back(
    tmp_path: Path,
) -> None:
    """Only what is paid counts, and what may be."""
    async with studio(tmp_path) as here, here.client() as ez:
        here.server.control.script(
            "submit",
            faults.queue_full(),
            faults.banned_word(),
            faults.Drop(job=True),
            faults.saturated(),
        )
        ended = await here.done(here.photos(12), ez, budget=4)
        assert ended.counts == {
            "succeeded": 3,
            "unknown": 1,
            "failed": 1,
            "skipped": 7,
        }
        assert here.charges == 4


async def test_beyond_the_budget_what_costs_nothing_goes_on(tmp_path: Path) -> None:
    """What is done is called done, and what is paid comes home."""
    async with studio(tmp_path) as here, here.client(concurrency=1) as ez:
        photos = here.photos(30)
        await here.done(photos[20:], ez)
        (here.output / "29.jpg").unlink()
        ended = await here.done(photos, ez, budget=2)
        assert ended.counts == {"succeeded": 3, "skipped": 27}
        done = [each for each in ended.outcomes if not each.error]
        assert len(done) == 2 + 1 + 9
        assert here.charges == 12


async def test_too_many_failures_stop_the_intake(tmp_path: Path) -> None:
    """Unknowns count; what was taken in before still ends."""
    async with studio(tmp_path) as here, here.client(concurrency=1) as ez:
        here.server.control.script(
            "submit", faults.banned_word(), faults.Drop(job=True), faults.banned_word()
        )
        ended = await here.done(here.photos(30), ez, max_failures=3)
        assert ended.counts == {"failed": 2, "unknown": 1, "skipped": 27}
        assert ended.outcomes[-1].error == "TooManyFailures: the intake stopped after 3"
        assert here.sent == 3


# --- what was lost


@pytest.mark.parametrize("account", [False, True])
async def test_several_answers_are_lost(tmp_path: Path, account: bool) -> None:  # noqa: FBT001
    """Unknown and listed without an account token; found or repeated with it."""
    async with studio(tmp_path, account=account) as here:
        fine = faults.Delay(0)
        lost: list[faults.Fault] = [faults.Drop(job=True), fine, faults.Drop()]
        here.server.control.script("submit", fine, *lost, fine, *lost)
        async with here.client() as ez:
            ended = await here.done(here.photos(12), ez)
        if account:
            assert ended.counts == {"succeeded": 12}
            assert here.charges == 12
            return
        assert ended.counts == {"succeeded": 8, "unknown": 4}
        again = await here.done(here.photos(12))
        assert again.counts == {"skipped": 8, "unknown": 4}
        assert here.charges == 10
        asked = await here.done(here.photos(12), resubmit_unknown=True)
        assert asked.counts == {"skipped": 8, "succeeded": 4}
        assert here.charges == 14


async def test_what_a_crash_left_is_found_or_done_with_an_account(
    tmp_path: Path,
) -> None:
    """The same command is enough; whatever was lost and is not asked for, too."""
    async with studio(tmp_path) as here:
        fine = faults.Delay(0)
        here.server.control.script(
            "submit", fine, faults.Drop(job=True), fine, faults.Drop(), faults.Drop()
        )
        await here.done(here.photos(5))
        assert here.states() == {"saved": 2, "unknown": 3}
        here.account = True
        some = [path for path in here.photos(5) if path.name != "4.jpg"]
        async with here.client() as ez, here.run(ez, some) as run:
            ended = await read(run)
        assert ended.counts["succeeded"] in {2, 3}
        assert "unknown" not in ended.counts
        assert len(ended.outcomes) == 4 + run.extra
        full = await here.done(here.photos(5))
        assert "unknown" not in full.counts
        assert here.states() == {"saved": 5}
        assert here.charges == len(here.server.control.tasks) == 5


async def test_what_cannot_be_found_out_stays_listed_or_is_sent_on_demand(
    tmp_path: Path,
) -> None:
    """With the account's side down it is as without a token."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", *[faults.Drop(job=True)] * 2)
        await here.done(here.photos(2))
        here.account = True
        here.server.control.standing("account", faults.Answer(503, "down"))
        listed = await here.done([*here.photos(2), here.photos(2)[0]])
        assert listed.counts == {"unknown": 2, "skipped": 1}
        other = await here.done([here.photo("b.jpg", 9_000)])
        assert other.counts == {"succeeded": 1, "unknown": 2}
        asked = await here.done(here.photos(2), resubmit_unknown=True)
        assert asked.counts == {"succeeded": 2}
        assert here.charges == 5


async def test_ids_of_the_journal_are_followed_however_often_they_are_unknown(
    tmp_path: Path,
) -> None:
    """They were given to a client of ours: the row may lag."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        async with here.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
            await here.done(here.photos(1), ez)
        nobody = faults.Answer(200, '{"code":4,"description":"task_no_exist"}', JSON)
        here.server.control.script("fetch", *[nobody] * 8)
        here.server.control.advance(600)
        ended = await here.done(here.photos(1))
        assert ended.only.status == "succeeded"


# --- the clock


async def test_a_wall_clock_that_is_set_back_changes_nothing(tmp_path: Path) -> None:
    """Within a run and between runs; the report's times are never negative."""
    async with studio(tmp_path, account=True) as here:
        times = iter(range(2_000_000_000, 0, -100_000))
        options = attrs.evolve(here.options(), clock=lambda: float(next(times)))
        here.server.control.script("submit", faults.Drop(job=True))
        async with here.client() as ez:
            async with here.run(ez, here.photos(3), options) as run:
                first = await read(run)
            async with here.run(ez, here.photos(3), options) as run:
                again = await read(run)
        assert first.counts == {"succeeded": 3}
        assert again.counts == {"skipped": 3}
        assert here.charges == 3


# --- leaving


async def test_leaving_in_the_middle_keeps_what_is_paid(tmp_path: Path) -> None:
    """After a ``break`` nothing more is sent, and the next run goes on with the ids."""
    async with studio(tmp_path) as here, here.client() as ez:
        here.server.control.script_tasks(*[scripts.slow(600)] * 3)
        async with here.run(ez, here.photos(40)) as run:
            async for outcome in run:
                assert outcome.status == "succeeded"
                break
        told = [outcome, *run.unread()]
        assert len(told) == 40
        sent = here.sent
        here.server.control.advance(600)
        ended = await here.done(here.photos(40), ez)
        assert not {"failed", "unknown"} & set(ended.counts)
        assert here.charges == 40
        assert sent < 40


async def test_who_waits_in_line_is_let_go_when_the_run_is_halted(
    tmp_path: Path,
) -> None:
    """A server that stays busy holds nobody: what was not sent need not wait."""
    async with studio(tmp_path) as here:
        here.server.control.standing("submit", faults.queue_full())
        patient = RetryPolicy(first=600, longest=600, timeout=86_400)
        async with (
            here.client(retry=patient) as ez,
            here.run(ez, here.photos(9)) as run,
        ):
            while not here.sent:
                await asyncio.sleep(0)
            while run._desk.outstanding:
                await asyncio.sleep(0)
            run.halt("Interrupted: nothing was sent")
            told = [outcome async for outcome in run]
        assert [each.error for each in told] == ["Interrupted: nothing was sent"] * 9
        assert here.states().keys() <= {"planned"}
        assert here.charges == 0


async def test_what_was_on_its_way_when_the_run_was_left(tmp_path: Path) -> None:
    """An answer that comes later lands in the journal; till then the folder is held."""
    async with studio(tmp_path) as here:
        held = Holds(job=True)
        here.server.control.script("submit", held)
        timeouts = attrs.evolve(TIMEOUTS, close=0.05)
        async with here.client(timeouts=timeouts) as ez:
            async with here.run(ez, here.photos(1)) as run:
                await held.came.wait()
            (left,) = run.unread()
            assert left.status == "unknown"
            assert left.request_id
            with pytest.raises(ConfigurationError, match="another run"):
                await here.done(here.photos(1), ez)
            held.go.set()
            while run._desk.outstanding:
                await asyncio.sleep(0)
            await run._commits.close()
            assert here.states() == {"submitted": 1}
            ended = await here.done(here.photos(1), ez)
        assert ended.only.status == "succeeded"
        assert here.charges == 1


async def test_a_client_that_closes_first_tells_what_it_could_not_wait_for(
    tmp_path: Path,
) -> None:
    """The submit that was never answered is unknown, and the lock is free."""
    async with studio(tmp_path) as here:
        held = Holds(job=True)
        here.server.control.script("submit", held)
        timeouts = attrs.evolve(TIMEOUTS, close=0.05)
        client = here.client(timeouts=timeouts)
        async with client as ez, here.run(ez, here.photos(1)) as run:
            await held.came.wait()
        (left,) = run.unread()
        assert left.status == "unknown"
        held.go.set()
        assert here.states() == {"unknown": 1}
        assert (await here.done(here.photos(1))).counts == {"unknown": 1}


async def test_a_client_that_is_closed_from_outside_ends_the_run(
    tmp_path: Path,
) -> None:
    """The reader is told so, by an exception; the next run goes on."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(*[scripts.slow(600)] * 99)
        async with here.client() as ez, here.run(ez, here.photos(40)) as run:
            reading = asyncio.create_task(read(run))
            while len(here.server.control.tasks) < 4:
                await asyncio.sleep(0)
            await ez.aclose()
            ended = await reading
            assert isinstance(ended.error, ClientClosedError)
        told = [*ended.outcomes, *run.unread()]
        assert len(told) == 40
        here.server.control.advance(600)
        assert (await here.done(here.photos(4))).counts == {"succeeded": 4}
        assert here.charges == 4


async def test_a_slow_reader_of_a_closed_client_does_not_hang(tmp_path: Path) -> None:
    """All that was told can be read, and then comes the end."""
    async with studio(tmp_path) as here, here.client(concurrency=1) as ez:
        async with here.run(ez, here.photos(60)) as run:
            while here.charges < 12:
                await asyncio.sleep(0)
            await ez.aclose()
            ended = await read(run)
        assert isinstance(ended.error, ClientClosedError)
        assert len([*ended.outcomes, *run.unread()]) == 60


async def test_a_cancelled_run_closes_its_journal(tmp_path: Path) -> None:
    """Cancelled while it leaves, it leaves all the same."""
    async with studio(tmp_path) as here, here.client() as ez:
        here.server.control.script_tasks(*[scripts.slow(600)] * 9)
        entered = asyncio.Event()

        async def work() -> None:
            async with here.run(ez, here.photos(4)) as run:
                entered.set()
                await read(run)

        task = asyncio.create_task(work())
        await entered.wait()
        while len(here.server.control.tasks) < 4:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        here.server.control.advance(600)
        assert (await here.done(here.photos(4), ez)).counts == {"succeeded": 4}
        assert here.charges == 4


async def test_leaving_before_anything_happened(tmp_path: Path) -> None:
    """Everything is told as left over, and paid for by the next run."""
    async with studio(tmp_path) as here, here.client() as ez:
        async with here.run(ez, here.photos(3)) as run:
            pass
        assert {each.error for each in run.unread()} == {
            "Interrupted: nothing was sent"
        }
        assert list(run.unread()) == []
        assert here.sent == 0
        assert (await here.done(here.photos(3), ez)).counts == {"succeeded": 3}


async def test_leaving_while_earlier_jobs_are_taken_up(tmp_path: Path) -> None:
    """Each photo is told of once, though nobody got to look at it."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(*[scripts.slow(600)] * 30)
        here.server.control.script("submit", *[faults.Drop(job=True)] * 2)
        soon = attrs.evolve(POLL, deadline=0.05)
        async with here.client(poll=soon, concurrency=32) as ez:
            await here.done(here.photos(30), ez)
        async with here.client(concurrency=1) as ez:
            async with here.run(ez, here.photos(30)) as run:
                while not run.in_progress:
                    await asyncio.sleep(0)
            told = list(run.unread())
        names = [each.target.name for each in told]
        assert sorted(set(names)) == sorted(names)
        assert len(told) == 30 + run.extra
        assert sum(each.status == "unknown" for each in told) == 2


async def test_halting_tells_of_earlier_jobs_once(tmp_path: Path) -> None:
    """What is followed anyway is not called "not sent" as well."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(*[scripts.slow(600)] * 3)
        here.server.control.script("submit", faults.Drop(job=True))
        async with here.client(poll=attrs.evolve(POLL, deadline=0.05)) as ez:
            await here.done(here.photos(3), ez)
        here.server.control.advance(600)
        async with here.client() as ez, here.run(ez, here.photos(4)) as run:
            run.halt("Interrupted: by a test")
            ended = await read(run)
        assert len(ended.outcomes) == 4
        assert run.extra == 0
        assert ended.counts == {"succeeded": 2, "unknown": 1, "skipped": 1}


async def test_a_halted_run_waits_for_no_second_deadline(tmp_path: Path) -> None:
    """What has timed out is left to the next run when the user wants to be gone."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.stuck())
        soon = attrs.evolve(POLL, deadline=0.05)
        async with here.client(poll=soon) as ez, here.run(ez, here.photos(1)) as run:
            while not here.server.control.tasks:
                await asyncio.sleep(0)
            run.halt("Interrupted: by a test")
            ended = await read(run)
        assert ended.only.status == "failed"
        looks = [each for each in here.server.control.requests if "fetch" in each.path]
        assert looks
        assert here.states() == {"submitted": 1}


async def test_leaving_while_a_timed_out_task_waits_for_its_turn(
    tmp_path: Path,
) -> None:
    """It is told of, with its id."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.stuck(), scripts.slow(600))
        soon = attrs.evolve(POLL, deadline=0.1)
        client = here.client(poll=soon, concurrency=1)
        async with client as ez, here.run(ez, here.photos(2)) as run:
            while not run._work._late:
                await asyncio.sleep(0)
        told = {each.target.name: each for each in run.unread()}
        assert len(told) == 2
        assert told["0.jpg"].status == "failed"
        assert told["0.jpg"].task_id


async def test_what_the_pairs_raise_comes_last(tmp_path: Path) -> None:
    """What was taken in before is done, told, and then it is raised."""
    async with studio(tmp_path) as here, here.client() as ez:
        photos = here.photos(5)

        async def pairs() -> AsyncIterator[tuple[Path, Path]]:
            for photo in photos:
                yield here.face, photo
            raise LookupError("line 6")

        async with run_batch(ez, None, pairs(), output=here.output) as run:
            ended = await read(run)
        assert isinstance(ended.error, LookupError)
        assert ended.counts == {"succeeded": 5}


async def test_what_is_no_pair_is_named(tmp_path: Path) -> None:
    """One sentence, before anything is sent."""
    async with studio(tmp_path) as here, here.client() as ez:
        pairs = iter([("only one",)])
        async with run_batch(ez, None, pairs, output=here.output) as run:  # type: ignore[arg-type]
            ended = await read(run)
        assert isinstance(ended.error, ConfigurationError)
        assert "a pair is" in str(ended.error)


# --- slow readers, and memory


async def test_a_slow_reader_stops_the_intake_and_not_the_saving(
    tmp_path: Path,
) -> None:
    """What is paid comes home though nobody reads; a bounded number is taken in."""
    async with studio(tmp_path) as here, here.client(concurrency=2) as ez:
        taken = 0

        def pairs() -> Iterator[tuple[Path, Path]]:
            nonlocal taken
            for photo in here.photos(150):
                taken += 1
                yield here.face, photo

        async with run_batch(ez, None, pairs(), output=here.output) as run:
            while len(here.names()) < 1 + 10:
                await asyncio.sleep(0)
            for _ in range(2_000):
                await asyncio.sleep(0)
            assert here.charges <= 2 * (2 + 8)
            assert taken < 150
            await anext(run)
            assert len([each async for each in run]) == 149
        assert here.charges == 150


def _alive(*kinds: type) -> int:
    gc.collect()
    return sum(isinstance(each, kinds) for each in gc.get_objects())


async def test_what_is_told_is_let_go(tmp_path: Path) -> None:
    """However many targets there are, a bounded number of them is in memory."""
    window = 4 + 8
    async with studio(tmp_path) as here, here.client(concurrency=4) as ez:
        photos = here.photos(200)
        for _ in range(2):
            gc.collect()
            before, others = _alive(BatchOutcome), _alive(RunningJob)
            many = 0
            async with here.run(ez, iter(photos)) as run:
                async for outcome in run:
                    del outcome
                    many += 1
                    if many % 100 == 0:
                        assert _alive(RunningJob) <= others + 2 * window
                        alive = _alive(BatchOutcome) - before
                        assert alive <= 3 * window + 256 * (run.accepted == 0)
            assert many == 200


async def test_leaving_while_a_slow_folder_is_listed(tmp_path: Path) -> None:
    """What the thread was about to give is told, and so is what comes after it."""
    asked, answered = threading.Event(), threading.Event()
    async with studio(tmp_path) as here, here.client() as ez:
        photos = here.photos(20)

        def pairs() -> Iterator[tuple[Path, Path]]:
            yield here.face, photos[0]
            asked.set()
            answered.wait(20)
            yield from ((here.face, photo) for photo in photos[1:])

        async with run_batch(ez, None, pairs(), output=here.output) as run:
            await asyncio.to_thread(asked.wait)
        threading.Timer(0.05, answered.set).start()
        told = await asyncio.to_thread(lambda: list(run.unread()))
        assert len(told) == 20
        assert here.sent == 0


async def test_leaving_while_pairs_are_looked_at(tmp_path: Path) -> None:
    """They are told as left over, like those that were never asked for."""
    async with studio(tmp_path) as here, here.client() as ez:
        async with here.run(ez, here.photos(9)) as run:
            while not run._work._coming:
                await asyncio.sleep(0)
        told = list(run.unread())
        assert len({each.target for each in told}) == len(told) == 9


async def test_a_journal_that_cannot_be_written_ends_the_intake(
    tmp_path: Path,
) -> None:
    """One outcome each, which says so; nothing is sent."""
    async with studio(tmp_path) as here, here.client(concurrency=1) as ez:
        async with here.run(ez, here.photos(20)) as run:
            run._commits.fault = JournalError("the journal cannot be written: full")
            ended = await read(run)
        assert len(ended.outcomes) == 20
        assert all("cannot be written: full" in str(e.error) for e in ended.outcomes)
        assert here.sent == 0
        assert (await here.done(here.photos(20))).counts == {"succeeded": 20}


async def test_a_journal_that_is_lost_while_pairs_are_entered(tmp_path: Path) -> None:
    """The same, when it happens there."""
    async with studio(tmp_path) as here, here.client() as ez:
        async with here.run(ez, here.photos(3)) as run:
            closing = asyncio.create_task(run._commits.close())
            ended = await read(run)
            await closing
        assert {each.status for each in ended.outcomes} <= {"skipped"}
        assert here.sent == 0


async def test_a_bug_is_one_outcome(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and told of; the others are not touched."""

    class Broken:
        in_progress = 0

        async def through(self, *_: object) -> BatchOutcome:
            raise LookupError("no such thing")

    async with studio(tmp_path) as here, here.client() as ez:
        async with here.run(ez, here.photos(2)) as run:
            run._work._delivery = cast("JobRunner", Broken())
            ended = await read(run)
        assert {each.error for each in ended.outcomes} == {"LookupError: no such thing"}
        assert "this is a bug" in caplog.text


async def test_a_result_that_vanishes_at_once_is_brought_again(tmp_path: Path) -> None:
    """It was saved, and cannot be hashed: it has its id, and is followed next time."""

    class Vanishing:
        task_id = "77"

        async def save_fitting(self, place: Path) -> Path:
            return place

    async with (
        studio(tmp_path) as here,
        here.client() as ez,
        here.run(ez, here.photos(1)) as run,
    ):
        while not run._work._running:
            await asyncio.sleep(0)
        (under_way,) = run._work._running.values()
        vanishing = cast("TaskHandle", Vanishing())
        with pytest.raises(DownloadError, match="cannot be read again") as caught:
            await run._work._delivery._bring_home(under_way.job, vanishing)
        assert caught.value.task_id == "77"
        await read(run)


async def test_the_end_is_told_to_everybody_and_counts_for_nothing() -> None:
    """Whoever reads on gets it again; what is left unread is without it."""
    box = OutcomeQueue(1)
    outcome = skipped(Pair(Path("me.jpg"), Path("a.jpg"), "a"), "why")
    await box.put(outcome)
    box.end()
    assert await box.next() == outcome
    assert [await box.next(), await box.next()] == [None, None]
    assert list(box.rest()) == []
    await box.put(outcome)
    box.end()
    assert list(box.rest()) == [outcome]


async def test_what_is_found_out_while_its_pair_waits(tmp_path: Path) -> None:
    """The pair was looked at before: it is looked at again, and told of once."""
    async with studio(tmp_path) as here:
        photos = here.photos(12)
        here.server.control.script("submit", faults.Drop(job=True))
        await here.done(photos[11:])
        here.account = True
        async with here.client(concurrency=1) as ez:
            run = here.run(ez, photos)
            run._supply._many = 12  # looked at together, however slow it is
            async with run:
                looking, sending = Holds(), Holds()
                here.server.control.standing("account", looking)
                here.server.control.standing("submit", sending)
                while len(run._work._running) < 9:
                    await asyncio.sleep(0)
                assert run._work._screened[-1].pair.target == photos[11]
                looking.go.set()
                while not run._work._earlier._moved:
                    await asyncio.sleep(0)
                sending.go.set()
                ended = await read(run)
        assert ended.counts == {"succeeded": 12}
        assert here.charges == 12
