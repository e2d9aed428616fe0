"""
What becomes of one job: which state each error leads to, and what the next run does.

Against the emulator; what was paid is read from it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from ezlink_async import RetryPolicy
from ezlink_async.batch.job_runner import ReplacedFileBackup
from ezlink_async.batch.run import BatchRun
from ezlink_async.emulator import faults, scripts
from ezlink_async.errors import (
    AuthenticationError,
    EndpointNotSupportedError,
    PermissionDeniedError,
    QuotaError,
)
from tests.support.batch_harness import POLL, Studio, read, studio
from tests.support.filesystems import read_only
from tests.support.network import Line, line
from tests.support.pictures import PNG, jpeg

SOON = attrs.evolve(POLL, deadline=0.2)

IMPATIENT = RetryPolicy(first=0.01, longest=0.02, attempts=1, timeout=0.1)


async def test_what_came_home_is_saved_and_skipped_by_its_hash(tmp_path: Path) -> None:
    """The second run asks the server for nothing, and tells where the result is."""
    async with studio(tmp_path) as here:
        first = await here.done(here.photos(3))
        before = len(here.server.control.requests)
        again = await here.done(here.photos(3))
        assert first.counts == {"succeeded": 3}
        assert again.counts == {"skipped": 3}
        assert {each.output for each in again.outcomes} == {
            here.output / f"{number}.jpg" for number in range(3)
        }
        paths = [each.path for each in here.server.control.requests[before:]]
        assert not [path for path in paths if "/mj/" in path]
        assert here.states() == {"saved": 3}
        assert here.charges == 3


async def test_a_deadline_leaves_the_id_and_the_next_run_follows(
    tmp_path: Path,
) -> None:
    """It is told as failed, once, with its id; nothing is paid again."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        async with here.client(poll=SOON) as ez:
            first = await here.done(here.photos(1), ez)
        assert first.only.status == "failed"
        assert first.only.resumable
        assert "the next run goes on with it" in str(first.only.error)
        assert "last status: IN_PROGRESS" in str(first.only.error)
        assert here.states() == {"submitted": 1}
        here.server.control.advance(600)
        again = await here.done(here.photos(1))
        assert again.only.status == "succeeded"
        assert again.only.task_id == first.only.task_id
        assert here.charges == 1


async def test_a_task_that_timed_out_is_taken_up_once_more_at_the_end(
    tmp_path: Path,
) -> None:
    """When all others are done it is followed again, and comes home in the same run."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        client = here.client(poll=SOON, concurrency=1)
        async with client as ez, here.run(ez, here.photos(2)) as run:
            first = await anext(run)
            here.server.control.advance(600)
            second = await anext(run)
            assert [each async for each in run] == []
        assert [first.status, second.status] == ["succeeded", "succeeded"]
        assert (first.target.name, second.target.name) == ("1.jpg", "0.jpg")
        assert here.charges == 2


async def test_a_refusal_of_the_picture_is_sent_again_only_when_asked(
    tmp_path: Path,
) -> None:
    """It has failed, whatever is run, until --retry-failed."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", faults.banned_word())
        first = await here.done(here.photos(1))
        again = await here.done(here.photos(1))
        assert [first.only.status, again.only.status] == ["failed", "failed"]
        assert str(again.only.error).startswith("RejectedError: ")
        assert not first.only.resumable
        assert here.states() == {"failed": 1}
        assert here.sent == 1
        asked = await here.done(here.photos(1), retry_failed=True)
        assert asked.only.status == "succeeded"
        assert here.sent == 2


@pytest.mark.parametrize("script", [scripts.fails(), scripts.cancelled("no")])
async def test_what_the_server_could_not_do_is_sent_again_only_when_asked(
    tmp_path: Path, script: scripts.Script
) -> None:
    """FAILURE and CANCEL keep their id; the next attempt gets its own."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(script)
        first = await here.done(here.photos(1))
        again = await here.done(here.photos(1))
        assert here.states() == {"failed": 1}
        assert [first.only.status, again.only.status] == ["failed", "failed"]
        assert first.only.task_id == again.only.task_id is not None
        asked = await here.done(here.photos(1), retry_failed=True)
        assert asked.only.status == "succeeded"
        assert asked.only.task_id not in {None, first.only.task_id}
        assert len(here.server.control.tasks) == 2


@pytest.mark.parametrize("status", ["failed", "unknown"])
async def test_what_is_named_twice_is_sent_again_once_in_a_run(
    tmp_path: Path, status: str
) -> None:
    """The second of the same pictures may come when the first has long ended."""
    async with studio(tmp_path) as here:
        for _ in range(3):
            if status == "failed":
                here.server.control.script("submit", faults.banned_word())
            else:
                here.server.control.script("submit", faults.Drop(job=True))
        await here.done(here.photos(1))
        first_ended = asyncio.Event()

        async def twice() -> AsyncIterator[Path]:
            yield here.photos(1)[0]
            await first_ended.wait()
            yield here.photos(1)[0]

        wishes = attrs.evolve(here.options(), retry_failed=True, resubmit_unknown=True)
        ends = []
        async with here.client() as ez, here.run(ez, twice(), wishes) as run:
            async for outcome in run:
                ends.append(outcome.status)
                first_ended.set()
        assert ends == [status, "skipped"]
        assert here.sent == 2


async def test_an_unknown_answer_to_a_second_attempt_is_no_old_id(
    tmp_path: Path,
) -> None:
    """What is sent anew has no id yet: it is unknown, not "followed next time"."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.fails())
        await here.done(here.photos(1))
        here.server.control.script("submit", faults.Drop(job=True))
        asked = await here.done(here.photos(1), retry_failed=True)
        assert asked.only.status == "unknown"
        assert asked.only.task_id is None
        assert here.states() == {"unknown": 1}


async def test_an_unknown_is_listed_and_left_alone_until_it_is_asked_for(
    tmp_path: Path,
) -> None:
    """It names the request, counts in every run, and is paid again on demand only."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", faults.Drop(job=True))
        first = await here.done(here.photos(1))
        assert first.only.status == "unknown"
        assert first.only.maybe_charged
        assert first.only.request_id in here.server.control.attempts
        again = await here.done(here.photos(1))
        other = await here.done([here.photo("other.jpg", 9_000)])
        assert again.only.status == other.of("0.jpg").status == "unknown"
        assert other.of("0.jpg").request_id == first.only.request_id
        assert other.of("other.jpg").status == "succeeded"
        assert here.charges == 2
        asked = await here.done(here.photos(1), resubmit_unknown=True)
        assert asked.only.status == "succeeded"
        assert here.states() == {"saved": 2}
        assert here.charges == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.banned_word(), "RejectedError"),
        (faults.Answer(404, "nothing here"), "EndpointNotSupportedError"),
    ],
)
async def test_an_unknown_that_is_refused_stays_unknown(
    tmp_path: Path, fault: faults.Fault, error: str
) -> None:
    """A refusal of the second submit does not undo the first one."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", faults.Drop(job=True))
        first = await here.done(here.photos(1))
        here.server.control.script("submit", fault)
        asked = await here.done(here.photos(1), resubmit_unknown=True)
        assert asked.only.status == "unknown"
        assert "sent again" in str(asked.only.error)
        assert here.states() == {"unknown": 1}
        assert here.jobs()[0]["error"] == first.only.error
        plain = await here.done(here.photos(1))
        assert plain.only.status == "unknown"
        assert here.charges == 1
        assert error in type(asked.only.fault).__name__


async def test_an_unknown_beyond_the_budget_stays_unknown(tmp_path: Path) -> None:
    """It was to be sent again, and was not: the first submit may still be paid."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", *[faults.Drop(job=True)] * 2)
        await here.done(here.photos(2))
        asked = await here.done(here.photos(2), resubmit_unknown=True, budget=0)
        assert asked.counts == {"unknown": 2}
        assert here.states() == {"unknown": 2}
        assert here.sent == 2


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ("key", AuthenticationError),
        ("ban", PermissionDeniedError),
        ("money", QuotaError),
        ("route", EndpointNotSupportedError),
    ],
)
async def test_what_dooms_every_job_is_told_once_and_leaves_all_planned(
    tmp_path: Path, trouble: str, error: type[Exception]
) -> None:
    """Each target has an outcome, the error comes after the last, nothing is paid."""
    async with studio(tmp_path) as here:
        control = here.server.control
        if trouble == "key":
            control.set_key(here.server.api_key, status="disabled")
        elif trouble == "ban":
            control.ban()
        elif trouble == "money":
            control.balance = 0
        else:
            control.standing("submit", faults.Answer(404, "nothing here"))
        async with here.client(concurrency=1) as ez:
            ended = await here.done(here.photos(20), ez)
        assert isinstance(ended.error, error)
        assert len(ended.outcomes) == 20
        assert set(here.states()) <= {"planned"}
        assert here.charges == 0


async def test_a_key_that_is_refused_later_leaves_the_id(tmp_path: Path) -> None:
    """The next run, with a key that works, follows what the first has paid."""
    async with studio(tmp_path) as here:
        here.server.control.script_tasks(scripts.slow(600))
        async with here.client() as ez, here.run(ez, here.photos(1)) as run:
            while not here.server.control.tasks:
                await asyncio.sleep(0)
            here.server.control.set_key(here.server.api_key, status="disabled")
            first = await anext(run)
        assert first.status == "failed"
        assert first.task_id is not None
        assert here.states() == {"submitted": 1}
        here.server.control.set_key(here.server.api_key, status="enabled")
        here.server.control.advance(600)
        again = await here.done(here.photos(1))
        assert again.only.status == "succeeded"
        assert here.charges == 1


async def test_a_result_that_is_gone_is_swapped_again_only_when_asked(
    tmp_path: Path,
) -> None:
    """404 and 410 are told in a sentence; a plain run tries again, and pays nothing."""
    async with studio(tmp_path) as here:
        here.server.control.standing("image", faults.Answer(404, "gone"))
        first = await here.done(here.photos(1))
        again = await here.done(here.photos(1))
        for each in (first, again):
            assert each.only.status == "failed"
            says = "DownloadError: the server no longer has the result"
            assert str(each.only.error).startswith(says)
            assert not each.only.resumable
        assert here.states() == {"succeeded": 1}
        here.server.control.standing("image", None)
        asked = await here.done(here.photos(1), retry_failed=True)
        assert asked.only.status == "succeeded"
        assert asked.only.task_id != first.only.task_id
        assert here.charges == 2


async def test_a_saved_result_that_is_lost_at_both_ends(tmp_path: Path) -> None:
    """Deleted here and gone there: failed; the journal says that it is not at home."""
    async with studio(tmp_path) as here:
        await here.done(here.photos(1))
        (here.output / "0.jpg").unlink()
        here.server.control.standing("image", faults.Answer(410, "gone"))
        ended = await here.done(here.photos(1))
        assert ended.only.status == "failed"
        assert here.states() == {"succeeded": 1}
        here.server.control.standing("image", None)
        again = await here.done(here.photos(1))  # it is there after all
        assert again.only.status == "succeeded"
        assert here.charges == 1


@pytest.mark.parametrize("how", ["deleted", "truncated", "empty", "broken"])
async def test_a_damaged_result_is_brought_home_without_a_payment(
    tmp_path: Path, how: str
) -> None:
    """By its id, in the state it was saved."""
    async with studio(tmp_path) as here:
        await here.done(here.photos(2))
        result = here.output / "0.jpg"
        whole = result.read_bytes()
        if how == "deleted":
            result.unlink()
        else:
            kept = {"truncated": whole[:-2], "empty": b"", "broken": bytes(len(whole))}
            result.write_bytes(kept[how])
        again = await here.done(here.photos(2))
        assert again.counts == {"succeeded": 1, "skipped": 1}
        assert result.read_bytes() == whole
        assert here.names() == [".ezlink", "0.jpg", "1.jpg"]
        assert here.charges == 2


async def test_a_retouched_result_is_kept_beside_the_one_that_comes_home(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole picture that is not the result is somebody's work: never lost."""
    async with studio(tmp_path) as here:
        await here.done(here.photos(1))
        result = here.output / "0.jpg"
        whole, mine = result.read_bytes(), [jpeg(7_000), jpeg(7_001)]
        for each in mine:
            result.write_bytes(each)
            assert (await here.done(here.photos(1))).only.status == "succeeded"
            assert result.read_bytes() == whole
        assert (here.output / "0-kept.jpg").read_bytes() == mine[0]
        assert (here.output / "0-kept-2.jpg").read_bytes() == mine[1]
        assert "is kept as" in caplog.text
        assert here.charges == 1


async def test_a_retouched_result_is_replaced_where_that_is_asked(
    tmp_path: Path,
) -> None:
    """``existing="replace"`` is a word."""
    async with studio(tmp_path) as here:
        await here.done(here.photos(1))
        (here.output / "0.jpg").write_bytes(jpeg(7_000))
        await here.done(here.photos(1), replace=True)
        assert here.names() == [".ezlink", "0.jpg"]


async def test_nothing_is_sent_for_a_folder_that_is_read_only(tmp_path: Path) -> None:
    """One outcome each, and the others come home."""
    async with studio(tmp_path) as here:
        (here.folder / "photos" / "trip").mkdir()
        (here.output / "trip").mkdir(parents=True)
        here.photo("trip/1.jpg", 5_000)
        here.photo("2.jpg", 6_000)
        with read_only(here.output / "trip"):
            ended = await here.done(here.folder / "photos")
        assert ended.of("2.jpg").status == "succeeded"
        assert ended.of("1.jpg").status == "failed"
        assert "is read-only" in str(ended.of("1.jpg").error)
        assert here.charges == 1


async def test_a_disk_that_takes_nothing_any_more_halts_the_run(
    tmp_path: Path,
) -> None:
    """What comes home there is left where it is; nothing there is replaced."""
    async with studio(tmp_path) as here:
        trip = here.folder / "photos" / "trip"
        trip.mkdir()
        here.photo("trip/0.jpg", 4_000)
        here.server.control.script("image", *[faults.Answer(404, "gone")] * 2)
        await here.done(trip.parent)
        (here.output / "trip").mkdir(exist_ok=True)
        mine = here.output / "trip" / "0.jpg"
        mine.write_bytes(jpeg(7_000))
        here.photo("trip/1.jpg", 5_000)
        here.photo("2.jpg", 6_000)
        with read_only(mine.parent):
            ended = await here.done(trip.parent)
        mine_of = [each for each in ended.outcomes if each.target.name == "0.jpg"]
        assert {each.status for each in mine_of} == {"failed"}
        assert any("cannot be kept" in str(each.error) for each in mine_of)
        # Whatever was on its way before that is paid, and nothing else. A pair that
        # was looked at first is told that its folder takes nothing.
        others = [each for each in ended.outcomes if each.target.name != "0.jpg"]
        left = [each for each in others if each.status != "succeeded"]
        words = "nothing more is sent", "nothing can be saved"
        assert all(any(w in str(each.error) for w in words) for each in left)
        assert here.charges == 3 - len(left)
        assert mine.read_bytes() == jpeg(7_000)
        again = await here.done(trip.parent)
        assert not {"failed", "unknown"} & set(again.counts)
        assert (mine.parent / "0-kept.jpg").read_bytes() == jpeg(7_000)
        assert here.charges == 3


@attrs.frozen
class Outage:
    """A run whose way to the server was cut after its first photo was done."""

    here: Studio
    way: Line
    run: BatchRun


@asynccontextmanager
async def outage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Outage]:
    """Swap one of nine photos, cut the way, and wait until the run has seen it."""
    async with studio(tmp_path) as here, line(here.server.base_url) as way:
        photos = here.photos(9)
        async with here.client(retry=IMPATIENT, base_url=way.url) as ez:
            await here.done(photos[:1], ez)
            await way.cut()
            async with here.run(ez, photos[1:]) as run:
                while "waiting for it" not in caplog.text:
                    await asyncio.sleep(0)
                yield Outage(here, way, run)


async def test_an_outage_is_waited_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that answered and is gone fails nothing: its return is waited for."""
    async with outage(tmp_path, caplog) as it:
        await it.way.join()
        ended = await read(it.run)
        assert ended.counts == {"succeeded": 8}
        assert it.here.charges == 9


async def test_an_outage_ends_when_the_run_is_halted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for a network to send what is not to be sent any more."""
    async with outage(tmp_path, caplog) as it:
        it.run.halt("Interrupted: by a test")
        ended = await read(it.run)
        assert len(ended.outcomes) == 8
        assert {each.status for each in ended.outcomes} <= {"skipped", "failed"}
        assert set(it.here.states()) == {"saved", "planned"}


async def test_a_server_that_is_busy_for_too_long_is_no_outage(tmp_path: Path) -> None:
    """It answered, so its word counts: the job is planned, and the run goes on."""
    async with studio(tmp_path) as here:
        here.server.control.standing("submit", faults.saturated())
        async with here.client(retry=IMPATIENT, concurrency=1) as ez:
            ended = await here.done(here.photos(1), ez)
        assert str(ended.only.error).startswith("BusyError: ")
        assert here.states() == {"planned": 1}
        assert here.charges == 0


MINE, RESULT = jpeg(5_000), jpeg(6_000)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_replaced_keeps_another_name(tmp_path: Path) -> None:
    """Under any suffix a result may have; what is not replaced keeps its own."""
    (tmp_path / "a.b.jpg").write_bytes(MINE)
    (tmp_path / "a.b.png").write_bytes(PNG)
    kept = ReplacedFileBackup(tmp_path / "a.b")
    kept.take()
    new = tmp_path / "new"
    new.write_bytes(RESULT)
    new.replace(tmp_path / "a.b.jpg")
    kept.let_go()
    assert _names(tmp_path) == ["a.b-kept.jpg", "a.b.jpg", "a.b.png"]
    assert (tmp_path / "a.b-kept.jpg").read_bytes() == MINE
    assert (tmp_path / "a.b.jpg").read_bytes() == RESULT


@pytest.mark.parametrize("content", [MINE, b"", MINE[:-2]])
def test_nothing_is_left_where_nothing_was_lost(tmp_path: Path, content: bytes) -> None:
    """The same picture again, or none that is whole, needs no second name."""
    (tmp_path / "a.jpg").write_bytes(content)
    kept = ReplacedFileBackup(tmp_path / "a")
    kept.take()
    (tmp_path / "new").write_bytes(MINE)
    (tmp_path / "new").replace(tmp_path / "a.jpg")
    kept.let_go()
    kept.let_go()
    assert _names(tmp_path) == ["a.jpg"]


def test_what_has_vanished_keeps_its_second_name(tmp_path: Path) -> None:
    """It is all there is of it."""
    (tmp_path / "a.jpg").write_bytes(MINE)
    kept = ReplacedFileBackup(tmp_path / "a")
    kept.take()
    (tmp_path / "a.jpg").unlink()
    kept.let_go()
    assert _names(tmp_path) == ["a-kept.jpg"]


def test_no_second_name_takes_one_that_is_there(tmp_path: Path) -> None:
    """It is counted up instead; so it is where the file system has no links."""

    def no_links(_: Path, name: Path) -> None:
        if name.exists():
            raise FileExistsError
        raise OSError(errno.EPERM, "no links here")

    (tmp_path / "a.jpg").write_bytes(MINE)
    (tmp_path / "a-kept.jpg").write_bytes(b"mine")
    (tmp_path / "a-kept-2.jpg").write_bytes(b"mine too")
    for link in (None, no_links):
        kept = (
            ReplacedFileBackup(tmp_path / "a")
            if link is None
            else ReplacedFileBackup(tmp_path / "a", link)
        )
        kept.take()
        assert (tmp_path / "a-kept-3.jpg").read_bytes() == MINE
        kept.let_go()
        assert not (tmp_path / "a-kept-3.jpg").exists()
