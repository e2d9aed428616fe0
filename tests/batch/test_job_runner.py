"""
How one job ends: the state after each error, and what the next run does.

Runs against the emulator; charges are counted there.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
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
from tests.support.batch_harness import POLL, BatchHarness, read
from tests.support.filesystems import read_only
from tests.support.network import Network, network
from tests.support.pictures import PNG, jpeg

SHORT_DEADLINE = attrs.evolve(POLL, deadline=0.2)

IMPATIENT = RetryPolicy(first=0.01, longest=0.02, attempts=1, timeout=0.1)


async def test_a_saved_result_is_skipped_by_its_hash(batch: BatchHarness) -> None:
    """The second run sends no request about tasks, and names the results."""
    first = await batch.done(batch.photos(3))
    before = len(batch.control.requests)
    again = await batch.done(batch.photos(3))
    assert first.counts == {"succeeded": 3}
    assert again.counts == {"skipped": 3}
    assert {each.output for each in again.outcomes} == {
        batch.output / f"{number}.jpg" for number in range(3)
    }
    paths = [each.path for each in batch.control.requests[before:]]
    assert not [path for path in paths if "/mj/" in path]
    assert batch.states() == {"saved": 3}
    assert batch.charges == 3


async def test_a_timed_out_task_is_followed_by_the_next_run(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client(poll=SHORT_DEADLINE) as ez:
        first = await batch.done(batch.photos(1), ez)
    assert first.only.status == "failed"
    assert first.only.resumable
    assert "the next run goes on with it" in str(first.only.error)
    assert "last status: IN_PROGRESS" in str(first.only.error)
    assert batch.states() == {"submitted": 1}
    batch.control.advance(600)
    again = await batch.done(batch.photos(1))
    assert again.only.status == "succeeded"
    assert again.only.task_id == first.only.task_id
    assert batch.charges == 1


async def test_a_timed_out_task_of_a_used_up_key_says_to_fill_it(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    words = "The token quota has been exhausted (request id: 1)"
    body = f'{{"error":{{"message":"{words}","type":"api_error"}}}}'
    for call in ("fetch", "list"):
        answer = faults.Answer(401, body, "application/json")
        batch.control.standing(call, answer)
    async with batch.client(poll=attrs.evolve(POLL, deadline=1)) as ez:
        ended = await batch.done(batch.photos(1), ez)
    assert "; fill the key's quota; the next run goes on" in str(ended.only.error)
    assert ended.only.resumable


async def test_a_timed_out_task_is_followed_once_more_at_the_end_of_the_run(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    client = batch.client(poll=SHORT_DEADLINE, concurrency=1)
    async with client as ez, batch.run(ez, batch.photos(2)) as run:
        first = await anext(run)
        batch.control.advance(600)
        second = await anext(run)
        assert [each async for each in run] == []
    assert [first.status, second.status] == ["succeeded", "succeeded"]
    assert (first.target.name, second.target.name) == ("1.jpg", "0.jpg")
    assert batch.charges == 2


@pytest.mark.parametrize("script", [None, scripts.fails(), scripts.cancelled("no")])
async def test_a_failed_job_is_sent_again_with_retry_failed_only(
    batch: BatchHarness, script: scripts.Script | None
) -> None:
    """The picture is rejected, or the task fails; the next one has its own id."""
    if script is None:
        batch.control.script("submit", faults.banned_word())
    else:
        batch.control.script_tasks(script)
    first = (await batch.done(batch.photos(1))).only
    again = (await batch.done(batch.photos(1))).only
    assert [first.status, again.status] == ["failed", "failed"]
    assert str(again.error).startswith("RejectedError: ") is (script is None)
    assert first.task_id == again.task_id
    assert (first.task_id is None) is (script is None)
    assert not first.resumable
    assert batch.states() == {"failed": 1}
    assert batch.sent == 1
    asked = await batch.done(batch.photos(1), retry_failed=True)
    assert asked.only.status == "succeeded"
    assert asked.only.task_id not in {None, first.task_id}
    assert batch.sent == 2


@pytest.mark.parametrize(
    ("fault", "status"),
    [(faults.banned_word(), "failed"), (faults.Drop(job=True), "unknown")],
)
async def test_a_pair_given_twice_is_sent_again_once_in_a_run(
    batch: BatchHarness, fault: faults.Fault, status: str
) -> None:
    """The second pair may come long after the first has ended."""
    batch.control.script("submit", *[fault] * 3)
    await batch.done(batch.photos(1))
    first_ended = asyncio.Event()

    async def twice() -> AsyncIterator[Path]:
        yield batch.photos(1)[0]
        await first_ended.wait()
        yield batch.photos(1)[0]

    options = batch.options(retry_failed=True, resubmit_unknown=True)
    statuses = []
    async with batch.client() as ez, batch.run(ez, twice(), options) as run:
        async for outcome in run:
            statuses.append(outcome.status)
            first_ended.set()
    assert statuses == [status, "skipped"]
    assert batch.sent == 2


async def test_an_unknown_second_attempt_does_not_have_the_old_id(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.fails())
    await batch.done(batch.photos(1))
    batch.control.script("submit", faults.Drop(job=True))
    asked = await batch.done(batch.photos(1), retry_failed=True)
    assert asked.only.status == "unknown"
    assert asked.only.task_id is None
    assert batch.states() == {"unknown": 1}


async def test_an_unknown_job_is_reported_until_it_is_sent_again_on_request(
    batch: BatchHarness,
) -> None:
    batch.control.script("submit", faults.Drop(job=True))
    first = await batch.done(batch.photos(1))
    assert first.only.status == "unknown"
    assert first.only.maybe_charged
    assert first.only.request_id in batch.control.attempts
    again = await batch.done(batch.photos(1))
    other = await batch.done([batch.photo("other.jpg", 9_000)])
    assert again.only.status == other.of("0.jpg").status == "unknown"
    assert other.of("0.jpg").request_id == first.only.request_id
    assert other.of("other.jpg").status == "succeeded"
    assert batch.charges == 2
    asked = await batch.done(batch.photos(1), resubmit_unknown=True)
    assert asked.only.status == "succeeded"
    assert batch.states() == {"saved": 2}
    assert batch.charges == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.banned_word(), "RejectedError"),
        (faults.Answer(404, "nothing here"), "EndpointNotSupportedError"),
    ],
)
async def test_an_unknown_job_that_is_refused_stays_unknown(
    batch: BatchHarness, fault: faults.Fault, error: str
) -> None:
    """A refusal of the second submit says nothing about the first."""
    batch.control.script("submit", faults.Drop(job=True))
    first = await batch.done(batch.photos(1))
    batch.control.script("submit", fault)
    asked = await batch.done(batch.photos(1), resubmit_unknown=True)
    assert asked.only.status == "unknown"
    assert "sent again" in str(asked.only.error)
    assert batch.states() == {"unknown": 1}
    assert batch.jobs()[0]["error"] == first.only.error
    plain = await batch.done(batch.photos(1))
    assert plain.only.status == "unknown"
    assert batch.charges == 1
    assert error in type(asked.only.fault).__name__


async def test_an_unknown_job_beyond_the_budget_stays_unknown(
    batch: BatchHarness,
) -> None:
    batch.control.script("submit", *[faults.Drop(job=True)] * 2)
    await batch.done(batch.photos(2))
    asked = await batch.done(batch.photos(2), resubmit_unknown=True, budget=0)
    assert asked.counts == {"unknown": 2}
    assert batch.states() == {"unknown": 2}
    assert batch.sent == 2


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ("key", AuthenticationError),
        ("ban", PermissionDeniedError),
        ("money", QuotaError),
        ("route", EndpointNotSupportedError),
    ],
)
async def test_a_fatal_error_is_raised_last_and_leaves_all_jobs_planned(
    batch: BatchHarness, trouble: str, error: type[Exception]
) -> None:
    control = batch.control
    if trouble == "key":
        control.set_key(batch.server.api_key, status="disabled")
    elif trouble == "ban":
        control.ban()
    elif trouble == "money":
        control.balance = 0
    else:
        control.standing("submit", faults.Answer(404, "nothing here"))
    async with batch.client(concurrency=1) as ez:
        ended = await batch.done(batch.photos(20), ez)
    assert isinstance(ended.error, error)
    assert len(ended.outcomes) == 20
    assert set(batch.states()) <= {"planned"}
    assert batch.charges == 0


async def test_a_key_refused_later_leaves_the_id_for_the_next_run(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client() as ez, batch.run(ez, batch.photos(1)) as run:
        while not batch.control.tasks:
            await asyncio.sleep(0)
        batch.control.set_key(batch.server.api_key, status="disabled")
        first = await anext(run)
    assert first.status == "failed"
    assert first.task_id is not None
    assert batch.states() == {"submitted": 1}
    batch.control.set_key(batch.server.api_key, status="enabled")
    batch.control.advance(600)
    again = await batch.done(batch.photos(1))
    assert again.only.status == "succeeded"
    assert batch.charges == 1


async def test_a_result_that_is_gone_is_swapped_again_with_retry_failed_only(
    batch: BatchHarness,
) -> None:
    """A plain run tries the download again, and pays nothing."""
    batch.control.standing("image", faults.Answer(404, "gone"))
    first = await batch.done(batch.photos(1))
    again = await batch.done(batch.photos(1))
    for each in (first, again):
        assert each.only.status == "failed"
        says = "DownloadError: the server no longer has the result"
        assert str(each.only.error).startswith(says)
        assert not each.only.resumable
    assert batch.states() == {"succeeded": 1}
    batch.control.standing("image", None)
    asked = await batch.done(batch.photos(1), retry_failed=True)
    assert asked.only.status == "succeeded"
    assert asked.only.task_id != first.only.task_id
    assert batch.charges == 2


async def test_a_result_lost_here_and_at_the_server_has_failed(
    batch: BatchHarness,
) -> None:
    await batch.done(batch.photos(1))
    (batch.output / "0.jpg").unlink()
    batch.control.standing("image", faults.Answer(410, "gone"))
    ended = await batch.done(batch.photos(1))
    assert ended.only.status == "failed"
    assert batch.states() == {"succeeded": 1}
    batch.control.standing("image", None)
    again = await batch.done(batch.photos(1))  # it is there after all
    assert again.only.status == "succeeded"
    assert batch.charges == 1


@pytest.mark.parametrize("how", ["deleted", "truncated", "empty", "broken"])
async def test_a_damaged_result_is_downloaded_again_without_payment(
    batch: BatchHarness, how: str
) -> None:
    await batch.done(batch.photos(2))
    result = batch.output / "0.jpg"
    whole = result.read_bytes()
    if how == "deleted":
        result.unlink()
    else:
        kept = {"truncated": whole[:-2], "empty": b"", "broken": bytes(len(whole))}
        result.write_bytes(kept[how])
    again = await batch.done(batch.photos(2))
    assert again.counts == {"succeeded": 1, "skipped": 1}
    assert result.read_bytes() == whole
    assert batch.names() == [".ezlink", "0.jpg", "1.jpg"]
    assert batch.charges == 2


async def test_a_retouched_result_is_kept_beside_the_downloaded_one(
    batch: BatchHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await batch.done(batch.photos(1))
    result = batch.output / "0.jpg"
    whole, mine = result.read_bytes(), [jpeg(7_000), jpeg(7_001)]
    for each in mine:
        result.write_bytes(each)
        assert (await batch.done(batch.photos(1))).only.status == "succeeded"
        assert result.read_bytes() == whole
    assert (batch.output / "0-kept.jpg").read_bytes() == mine[0]
    assert (batch.output / "0-kept-2.jpg").read_bytes() == mine[1]
    assert "is kept as" in caplog.text
    assert batch.charges == 1


async def test_a_retouched_result_is_replaced_with_existing_replace(
    batch: BatchHarness,
) -> None:
    await batch.done(batch.photos(1))
    (batch.output / "0.jpg").write_bytes(jpeg(7_000))
    await batch.done(batch.photos(1), existing="replace")
    assert batch.names() == [".ezlink", "0.jpg"]


async def test_nothing_is_sent_for_a_read_only_output_folder(
    batch: BatchHarness,
) -> None:
    (batch.folder / "photos" / "trip").mkdir()
    (batch.output / "trip").mkdir(parents=True)
    batch.photo("trip/1.jpg", 5_000)
    batch.photo("2.jpg", 6_000)
    with read_only(batch.output / "trip"):
        ended = await batch.done(batch.folder / "photos")
    assert ended.of("2.jpg").status == "succeeded"
    assert ended.of("1.jpg").status == "failed"
    assert "is read-only" in str(ended.of("1.jpg").error)
    assert batch.charges == 1


async def test_a_disk_that_cannot_be_written_halts_the_run(batch: BatchHarness) -> None:
    """Results stay at the server, and no picture is replaced."""
    trip = batch.folder / "photos" / "trip"
    trip.mkdir()
    batch.photo("trip/0.jpg", 4_000)
    batch.control.script("image", *[faults.Answer(404, "gone")] * 2)
    await batch.done(trip.parent)
    (batch.output / "trip").mkdir(exist_ok=True)
    mine = batch.output / "trip" / "0.jpg"
    mine.write_bytes(jpeg(7_000))
    batch.photo("trip/1.jpg", 5_000)
    batch.photo("2.jpg", 6_000)
    with read_only(mine.parent):
        ended = await batch.done(trip.parent)
    mine_of = [each for each in ended.outcomes if each.target.name == "0.jpg"]
    assert {each.status for each in mine_of} == {"failed"}
    assert any("cannot be kept" in str(each.error) for each in mine_of)
    # Only the jobs that had been sent before are paid. A pair that was checked
    # after the change has failed, because its folder cannot be written.
    others = [each for each in ended.outcomes if each.target.name != "0.jpg"]
    left = [each for each in others if each.status != "succeeded"]
    words = "nothing more is sent", "nothing can be saved"
    assert all(any(w in str(each.error) for w in words) for each in left)
    assert batch.charges == 3 - len(left)
    assert mine.read_bytes() == jpeg(7_000)
    again = await batch.done(trip.parent)
    assert not {"failed", "unknown"} & set(again.counts)
    assert (mine.parent / "0-kept.jpg").read_bytes() == jpeg(7_000)
    assert batch.charges == 3


@attrs.frozen
class Outage:
    """A run whose network was cut after its first photo was swapped."""

    network: Network
    run: BatchRun


@pytest.fixture
async def outage(
    batch: BatchHarness, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Outage]:
    """Swap one of nine photos, cut the network, and wait until the run notices."""
    async with network(batch.server.base_url) as way:
        photos = batch.photos(9)
        async with batch.client(retry=IMPATIENT, base_url=way.url) as ez:
            await batch.done(photos[:1], ez)
            await way.cut()
            async with batch.run(ez, photos[1:]) as run:
                while "waiting for it" not in caplog.text:
                    await asyncio.sleep(0)
                yield Outage(way, run)


async def test_an_outage_is_waited_out(batch: BatchHarness, outage: Outage) -> None:
    await outage.network.open()
    ended = await read(outage.run)
    assert ended.counts == {"succeeded": 8}
    assert batch.charges == 9


async def test_a_halted_run_does_not_wait_for_the_end_of_an_outage(
    batch: BatchHarness, outage: Outage
) -> None:
    outage.run.halt("Interrupted: by a test")
    ended = await read(outage.run)
    assert len(ended.outcomes) == 8
    assert {each.status for each in ended.outcomes} <= {"skipped", "failed"}
    await outage.run.aclose()
    assert set(batch.states()) == {"saved", "planned"}


async def test_a_server_that_stays_busy_is_no_outage(batch: BatchHarness) -> None:
    batch.control.standing("submit", faults.saturated())
    async with batch.client(retry=IMPATIENT, concurrency=1) as ez:
        ended = await batch.done(batch.photos(1), ez)
    assert str(ended.only.error).startswith("BusyError: ")
    assert batch.states() == {"planned": 1}
    assert batch.charges == 0


MINE, RESULT = jpeg(5_000), jpeg(6_000)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_replaced_picture_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.b.jpg").write_bytes(MINE)
    (tmp_path / "a.b.png").write_bytes(PNG)
    backup = ReplacedFileBackup(tmp_path / "a.b")
    backup.create()
    new = tmp_path / "new"
    new.write_bytes(RESULT)
    new.replace(tmp_path / "a.b.jpg")
    backup.release()
    assert _names(tmp_path) == ["a.b-kept.jpg", "a.b.jpg", "a.b.png"]
    assert (tmp_path / "a.b-kept.jpg").read_bytes() == MINE
    assert (tmp_path / "a.b.jpg").read_bytes() == RESULT


@pytest.mark.parametrize("content", [MINE, b"", MINE[:-2]])
def test_no_backup_stays_if_no_picture_was_lost(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    backup = ReplacedFileBackup(tmp_path / "a")
    backup.create()
    (tmp_path / "new").write_bytes(MINE)
    (tmp_path / "new").replace(tmp_path / "a.jpg")
    backup.release()
    backup.release()
    assert _names(tmp_path) == ["a.jpg"]


def test_the_backup_of_a_vanished_picture_stays(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(MINE)
    backup = ReplacedFileBackup(tmp_path / "a")
    backup.create()
    (tmp_path / "a.jpg").unlink()
    backup.release()
    assert _names(tmp_path) == ["a-kept.jpg"]


def test_a_backup_gets_a_free_name_with_links_and_without(tmp_path: Path) -> None:

    def no_links(_: Path, name: Path) -> None:
        if name.exists():
            raise FileExistsError
        raise OSError(errno.EPERM, "no links batch")

    (tmp_path / "a.jpg").write_bytes(MINE)
    (tmp_path / "a-kept.jpg").write_bytes(b"mine")
    (tmp_path / "a-kept-2.jpg").write_bytes(b"mine too")
    for link in (os.link, no_links):
        backup = ReplacedFileBackup(tmp_path / "a", link)
        backup.create()
        assert (tmp_path / "a-kept-3.jpg").read_bytes() == MINE
        backup.release()
        assert not (tmp_path / "a-kept-3.jpg").exists()
