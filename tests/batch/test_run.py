"""
A batch as programs run it: each pair one outcome, nothing paid twice.

Against the emulator on a loopback socket; what was paid is read from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import io
import itertools
import os
import sqlite3
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import attrs
import pytest

from ezlink_async import AsyncEzlink, Image, RetryPolicy
from ezlink_async.batch.outcomes import BatchOutcome, skipped
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.reader import Pairs
from ezlink_async.batch.pipeline import OutcomeQueue
from ezlink_async.batch.run import run_batch
from ezlink_async.batch.running_jobs import RunningJob
from ezlink_async.emulator import faults, read_hashes, scripts
from ezlink_async.emulator.faults import Proceed
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply
from ezlink_async.errors import ClientClosedError, ConfigurationError, ImageError
from ezlink_async.report import report_on
from tests.support.batch_harness import POLL, RETRY, TIMEOUTS, BatchHarness, read
from tests.support.cancelling import cancel
from tests.support.pictures import jpeg, png, recorded_jpeg, segment
from tests.support.threads import out_of_threads

JSON = "application/json"


@attrs.frozen
class HeldRequest:
    """
    A fault that holds requests until they are released.

    With *answers_first* the server handles a request, and holds its answer.
    """

    answers_first: bool = False
    arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    release: asyncio.Event = attrs.field(factory=asyncio.Event)
    answered: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the request when it is released."""
        await exchange.read()
        reply = await proceed() if self.answers_first else None
        self.arrived.set()
        await self.release.wait()
        reply = reply or await proceed()
        self.answered.set()
        return reply


# --- the public function


async def test_folders_and_files_are_swapped_and_summed_up(
    tmp_path: Path, batch: BatchHarness
) -> None:
    async with batch.client() as ez:
        batch.photos(2)
        extra = batch.folder / "extra.jpg"
        extra.write_bytes(jpeg(9_000))
        run = run_batch(
            ez,
            batch.face,
            [batch.folder / "photos", extra],
            output=batch.output,
            journal=tmp_path / "elsewhere" / "mine.sqlite3",
        )
        async with run:
            names = [each.target.name async for each in run]
        assert sorted(names) == ["0.jpg", "1.jpg", "extra.jpg"]
        assert run.summary.total == run.summary.accepted == run.accepted == 3
        assert run.summary.seconds > 0
        assert run.in_progress == run.extra == 0
        assert (tmp_path / "elsewhere" / "mine.sqlite3").exists()


# --- pictures in memory


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, Image.from_bytes])
async def test_pictures_in_memory_are_swapped_once_in_any_form(
    batch: BatchHarness, kind: Callable[[bytes], bytes]
) -> None:
    """The same content is the same job in the next run, as a file too."""
    face, photo = batch.face.read_bytes(), batch.photo("a.jpg", 5_000).read_bytes()
    async with batch.client() as ez:
        for source, target in ((kind(face), kind(photo)), (face, photo)):
            pairs = [Pair(target=target, name="order 17/front")]
            async with run_batch(ez, source, pairs, output=batch.output) as run:
                ended = await read(run)
            assert ended.error is None
            assert ended.only.target == Path("order 17/front")
        file = Pair(batch.face, batch.folder / "photos/a.jpg", "order 17/front")
        async with run_batch(ez, None, [file], output=batch.output) as run:
            assert (await read(run)).counts == {"skipped": 1}
    saved = (batch.output / "order 17/front.jpg").read_bytes()
    wanted = tuple(hashlib.sha256(each).hexdigest() for each in (face, photo))
    assert read_hashes(saved) == wanted
    assert batch.charges == 1


async def test_other_content_under_a_name_is_another_picture(
    batch: BatchHarness,
) -> None:
    """In one run and in the next; no result is replaced, and nothing paid twice."""
    photos = [jpeg(5_000 + number) for number in range(3)]
    async with batch.client() as ez:
        for many in (2, 3, 3):
            pairs = [Pair(batch.face, photo, name="a") for photo in photos[:many]]
            async with run_batch(ez, None, pairs, output=batch.output) as run:
                assert (await read(run)).error is None
        faces = [Pair(jpeg(4_000 + number), photos[0], name="b") for number in (0, 1)]
        for _ in range(2):
            async with run_batch(ez, None, faces, output=batch.output) as run:
                assert (await read(run)).error is None
    found = [name for name in batch.names() if name != ".ezlink"]
    assert found == ["a-2.jpg", "a-3.jpg", "a.jpg", "b-2.jpg", "b.jpg"]
    hashes = {read_hashes((batch.output / name).read_bytes()) for name in found}
    assert len(hashes) == 5
    assert batch.charges == 5


async def test_broken_pictures_in_memory_fail_with_their_names(
    batch: BatchHarness,
) -> None:
    """A target alone; a source stops every job, and is raised at the end."""
    targets = [Pair(target=jpeg(5_000), name="a"), Pair(target=b"no", name="b/c.png")]
    async with batch.client() as ez:
        async with run_batch(ez, batch.face, targets, output=batch.output) as run:
            ended = await read(run)
        assert ended.counts == {"succeeded": 1, "failed": 1}
        assert "b/c.png: this is not a picture" in str(ended.of("c.png").error)
        async with run_batch(ez, b"no", targets, output=batch.output) as run:
            ended = await read(run)
    assert "picture in memory: this is not a picture" in str(ended.error)
    assert ended.counts == {"failed": 2}
    assert batch.charges == 1


def _in_a_broken_archive() -> IO[bytes]:
    """Return an open member of an archive whose checksum is wrong."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("b.jpg", jpeg(5_001))
    content = bytearray(archive.getvalue())
    content[2_000] ^= 1
    return zipfile.ZipFile(io.BytesIO(content)).open("b.jpg")


async def test_target_in_a_broken_archive_is_one_failed_outcome(
    batch: BatchHarness,
) -> None:
    targets = [
        Pair(target=_in_a_broken_archive(), name="bad"),
        Pair(target=jpeg(5_000), name="good"),
    ]
    async with (
        batch.client() as ez,
        run_batch(ez, batch.face, targets, output=batch.output) as run,
    ):
        ended = await read(run)
    assert ended.error is None
    assert ended.counts == {"succeeded": 1, "failed": 1}
    assert "bad: cannot be read: BadZipFile: " in str(ended.of("bad").error)


async def test_source_in_a_broken_archive_leaves_no_paid_job_behind(
    batch: BatchHarness,
) -> None:
    """Its error comes after the last outcome, with its cause."""
    batch.control.script_tasks(scripts.slow(600))
    paid, new = batch.photos(2)
    async with batch.client() as ez:
        async with run_batch(ez, batch.face, paid, output=batch.output) as run:
            while not run.accepted:
                await asyncio.sleep(0)
        batch.control.advance(600)
        source = _in_a_broken_archive()
        async with run_batch(ez, source, new, output=batch.output) as run:
            ended = await read(run)
    assert isinstance(ended.error, ImageError)
    assert isinstance(ended.error.__cause__, zipfile.BadZipFile)
    assert ended.counts == {"succeeded": 1, "failed": 1}
    assert ended.of(paid.name).status == "succeeded"
    assert batch.charges == 1


async def test_job_of_a_picture_in_memory_is_resumed_without_it(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    pairs = [Pair(batch.face, jpeg(5_000), name="order 17")]
    async with batch.client() as ez:
        async with run_batch(ez, None, pairs, output=batch.output) as run:
            while not run.accepted:
                await asyncio.sleep(0)
        batch.control.advance(600)
        async with run_batch(ez, None, [], output=batch.output) as run:
            ended = await read(run)
    assert (ended.only.status, ended.only.target) == ("succeeded", Path("order 17"))
    assert batch.charges == 1


async def test_metadata_of_a_picture_in_memory_is_removed(batch: BatchHarness) -> None:
    secret = segment(0xFE, b"a comment")
    photo = recorded_jpeg()
    pairs = [Pair(png(), photo[:2] + secret + photo[2:], name="a")]
    async with (
        batch.client() as ez,
        run_batch(ez, None, pairs, output=batch.output, strip_metadata=True) as run,
    ):
        assert (await read(run)).counts == {"succeeded": 1}
    assert b"a comment" not in (batch.output / "a.jpg").read_bytes()


async def test_report_shows_no_other_file_for_a_picture_in_memory(
    batch: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL")
    monkeypatch.chdir(batch.folder / "photos")
    batch.photo("mine.jpg", 6_000)
    targets = [Pair(target=jpeg(5_000), name="mine.jpg"), Pair(target=b"", name="bad")]
    async with (
        batch.client() as ez,
        run_batch(ez, batch.face, targets, output=batch.output) as run,
    ):
        await read(run)
    page = report_on(batch.output).read_text(encoding="utf-8")
    assert "mine.jpg" in page
    assert "bad" in page
    assert str(batch.folder / "photos" / "mine.jpg") not in page
    assert "in%20memory/mine.jpg" in page


async def test_a_single_path_is_a_target(batch: BatchHarness) -> None:
    async with batch.client() as ez:
        batch.photos(1)
        run = run_batch(ez, batch.face, batch.folder / "photos", output=batch.output)
        async with run:
            assert [each.status async for each in run] == ["succeeded"]


async def test_pairs_and_tuples_come_from_an_async_generator(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        first, second = batch.photos(2)

        async def pairs() -> AsyncIterator[Pair | tuple[Path, Path]]:
            yield batch.face, first
            yield Pair(batch.face, second, "elsewhere/b")

        async with run_batch(ez, None, pairs(), output=batch.output) as run:
            ended = await read(run)
        assert ended.of("0.jpg").output == batch.output / "0.jpg"
        assert ended.of("1.jpg").output == batch.output / "elsewhere" / "b.jpg"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"existing": "keep"}, '"skip" or "replace"'),
        ({"budget": -1}, "budget is a number of swaps"),
        ({"max_failures": "3"}, "max_failures is a number"),
        ({"mode": "slow"}, "mode"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, wrong: dict[str, object], says: str
) -> None:
    ez = AsyncEzlink("sk-x")
    with pytest.raises(ConfigurationError, match=says):
        run_batch(ez, "me.jpg", ["a.jpg"], output=tmp_path, **wrong)  # type: ignore[arg-type]


async def test_a_run_is_entered_once_and_read_inside(batch: BatchHarness) -> None:
    """Each misuse raises an error of its own, and none leaves the folder locked."""
    async with batch.client() as ez:
        run = batch.run(ez, batch.photos(1))
        await run.aclose()
        with pytest.raises(ConfigurationError, match="not entered"):
            await anext(run)
        async with run:
            with pytest.raises(ConfigurationError, match="entered once"):
                await run.__aenter__()
            with pytest.raises(ConfigurationError, match="another run is at work"):
                await batch.done(batch.photos(1))
            assert (await anext(run)).status == "succeeded"
            with pytest.raises(StopAsyncIteration):
                await anext(run)
        with pytest.raises(StopAsyncIteration):
            await anext(run)
        with pytest.raises(ConfigurationError, match="entered once"):
            await run.__aenter__()
        assert (await batch.done(batch.photos(1))).counts == {"skipped": 1}


async def test_cancelling_an_entering_run_leaves_the_folder_unlocked(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        held = HeldRequest()
        batch.control.standing("usage", held)
        entering = asyncio.create_task(batch.run(ez, batch.photos(1)).__aenter__())
        await held.arrived.wait()
        await cancel(entering)
        held.release.set()
        assert (await batch.done(batch.photos(1))).counts == {"succeeded": 1}


async def test_run_with_unentered_client_creates_no_output_folder(
    tmp_path: Path,
) -> None:
    run = run_batch(AsyncEzlink("sk-x"), "me.jpg", ["a.jpg"], output=tmp_path / "out")
    with pytest.raises(ConfigurationError, match="not entered"):
        await run.__aenter__()
    assert not os.listdir(tmp_path)  # noqa: PTH208 - not in the loop's way


# --- each pair one outcome, each job one payment


async def test_a_target_that_is_given_twice_is_paid_once(batch: BatchHarness) -> None:
    """In one page of pairs or far apart, in this run and the next."""
    async with batch.client(concurrency=1) as ez:
        photos = batch.photos(40)
        twice = [*photos, photos[0], *photos, photos[39]]
        first = await batch.done(twice, ez)
        again = await batch.done(twice, ez)
        assert len(first.outcomes) == 82
        assert again.counts == {"skipped": 82}
        assert batch.charges == batch.sent == 40


async def test_an_open_job_that_is_given_twice_has_two_outcomes(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
        await batch.done(batch.photos(1), ez)
    batch.control.advance(600)
    photos = batch.photos(1)
    ended = await batch.done([*photos, *photos])
    assert len(ended.outcomes) == 2
    assert batch.charges == 1


async def test_two_targets_of_one_name_get_numbered_results(
    batch: BatchHarness,
) -> None:
    for folder in "ab":
        (batch.folder / "photos" / folder).mkdir()
    same = [batch.photo("a/x.jpg", 4_000), batch.photo("b/x.jpg", 4_001)]
    first = await batch.done(same)
    again = await batch.done(same)
    for ended in (first, again):
        assert {each.output for each in ended.outcomes} == {
            batch.output / "x.jpg",
            batch.output / "x-2.jpg",
        }
    assert batch.charges == 2


async def test_a_result_of_another_source_is_kept_or_replaced_as_asked(
    batch: BatchHarness,
) -> None:
    await batch.done(batch.photos(1))
    result = batch.output / "0.jpg"
    first = result.read_bytes()
    batch.face.write_bytes(jpeg(3_333))
    skips = await batch.done(batch.photos(1))
    assert "earlier swap, and the source has changed since" in str(skips.only.error)
    assert result.read_bytes() == first
    await batch.done(batch.photos(1), existing="replace")
    second = result.read_bytes()
    assert second != first
    batch.face.write_bytes(jpeg(3_000))
    back = await batch.done(batch.photos(1))
    assert back.only.status == "succeeded"
    assert result.read_bytes() == first
    assert (batch.output / "0-kept.jpg").read_bytes() == second
    assert batch.charges == 2


async def test_a_photo_that_was_replaced_under_its_name_has_changed(
    batch: BatchHarness,
) -> None:
    """The error says so, and names the option that swaps the new photo."""
    await batch.done(batch.photos(1))
    result = batch.output / "0.jpg"
    batch.photo("0.jpg", 5_000)
    kept = await batch.done([batch.folder / "photos"])
    assert (kept.only.status, kept.only.output) == ("skipped", result)
    assert kept.only.error == (
        f"FileExistsError: {result} is the result of an earlier swap, and the photo "
        "has changed since: --existing replace swaps it again and replaces the result"
    )
    ended = await batch.done([batch.folder / "photos"], existing="replace")
    assert ended.only.status == "succeeded"
    batch.photo("0.jpg", 5_001)
    ended = await batch.done([batch.folder / "photos"], strip_metadata=True)
    assert "the photo and the options have changed since" in str(ended.only.error)
    assert batch.charges == 2


async def test_a_retouched_result_is_a_picture_of_the_users_own(
    batch: BatchHarness,
) -> None:
    """Nothing advises to replace it, though the photo has changed."""
    await batch.done(batch.photos(1))
    result = batch.output / "0.jpg"
    result.write_bytes(jpeg(7_000))
    batch.photo("0.jpg", 5_000)
    ended = await batch.done([batch.folder / "photos"])
    assert ended.only.error == f"FileExistsError: {result} is there already"
    assert batch.charges == 1


async def test_an_open_job_keeps_its_output_path(batch: BatchHarness) -> None:
    """Another job is skipped, even if it may replace pictures."""
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
        await batch.done(batch.photos(1), ez)
    batch.control.advance(600)
    batch.face.write_bytes(jpeg(3_333))
    ended = await batch.done(batch.photos(1), existing="replace")
    assert ended.counts == {"succeeded": 1, "skipped": 1}
    (skips,) = [each for each in ended.outcomes if each.status == "skipped"]
    assert "an earlier job saves its result as" in str(skips.error)
    assert batch.charges == 1


async def test_a_photo_that_cannot_be_used_is_a_failed_outcome(
    batch: BatchHarness,
) -> None:
    bad = batch.folder / "photos" / "bad.jpg"
    bad.write_bytes(b"")
    ended = await batch.done([bad, batch.face, batch.folder / "none.jpg"])
    assert ended.counts == {"failed": 3}
    assert {type(each.fault).__name__ for each in ended.outcomes} == {"ImageError"}
    assert batch.sent == 0


async def test_an_address_in_place_of_a_photo_is_one_failed_outcome(
    batch: BatchHarness,
) -> None:
    first, last = batch.photos(2)
    address = "https://cdn.example/x.jpg"
    ended = await batch.done([first, address, last])
    assert ended.error is None
    assert ended.counts == {"succeeded": 2, "failed": 1}
    assert "x.jpg: this is an address" in str(ended.of("x.jpg").error)
    pairs = [(batch.face, first), (address, batch.photo("y.jpg", 5_000))]
    async with (
        batch.client() as ez,
        run_batch(ez, None, cast("Pairs", pairs), output=batch.output) as run,
    ):
        ended = await read(run)
    assert ended.error is None
    assert ended.counts == {"skipped": 1, "failed": 1}
    assert f"its source {address} cannot be used" in str(ended.of("y.jpg").error)
    assert batch.charges == 2


@pytest.mark.parametrize("character", ["\ud800", "\0"])
async def test_names_that_no_system_takes_fail_alone_in_this_run_and_the_next(
    batch: BatchHarness, character: str
) -> None:
    """The journal takes their names with escapes, and is whole for the next run."""
    good, source = batch.photo("good.jpg", 5_000), Path(f"me{character}.jpg")
    pairs = [
        Pair(batch.face, Path(f"x{character}.jpg"), "x"),
        Pair(batch.face, jpeg(5_001), f"y{character}", name="y"),
        Pair(source, batch.photo("z.jpg", 5_002)),
        Pair(batch.face, good),
    ]
    async with batch.client() as ez:
        for status in ("succeeded", "skipped"):
            async with run_batch(ez, None, pairs, output=batch.output) as run:
                ended = await read(run)
            assert ended.error is None
            assert ended.counts == {"failed": 3, status: 1}
            assert ended.of("good.jpg").status == status
    assert batch.charges == 1


# --- budget and failures


@pytest.mark.parametrize("content", [b"", jpeg(3_000)[:-2], None])
async def test_a_source_that_cannot_be_used_stops_every_job(
    batch: BatchHarness, content: bytes | None
) -> None:
    """What earlier runs have paid is saved all the same, and the error comes last."""
    batch.control.script_tasks(scripts.slow(600))
    paid = batch.photo("paid.jpg", 5_000)
    async with batch.client() as ez:
        async with run_batch(ez, batch.face, paid, output=batch.output) as run:
            while not run.accepted:
                await asyncio.sleep(0)
        batch.control.advance(600)
        if content is None:
            batch.face.unlink()
        else:
            batch.face.write_bytes(content)
        photos = [*batch.photos(3), paid]
        async with run_batch(ez, batch.face, photos, output=batch.output) as run:
            ended = await read(run)
    assert isinstance(ended.error, ImageError)
    assert ended.error.path == batch.face
    assert ended.of("paid.jpg").status == "succeeded"
    others = [each for each in ended.outcomes if each.target != paid]
    assert {(each.status, each.common) for each in others} == {("failed", True)}
    assert all(str(batch.face) in str(each.error) for each in others)
    assert batch.charges == 1


async def test_a_source_that_cannot_be_converted_stops_every_job(
    batch: BatchHarness,
) -> None:
    pytest.importorskip("PIL")
    batch.face.write_bytes(b"II*\0" + bytes(400))  # a TIFF that no program can read
    async with (
        batch.client() as ez,
        run_batch(ez, batch.face, batch.photos(3), output=batch.output) as run,
    ):
        ended = await read(run)
    assert isinstance(ended.error, ImageError)
    assert "cannot be decoded" in str(ended.error)
    assert {each.status for each in ended.outcomes} == {"skipped"}
    assert batch.sent == 0


async def test_a_budget_is_kept_by_concurrent_submits(batch: BatchHarness) -> None:
    async with batch.client(concurrency=16) as ez:
        ended = await batch.done(batch.photos(40), ez, budget=7)
        assert ended.counts == {"succeeded": 7, "skipped": 33}
        left = {each.error for each in ended.outcomes if each.status == "skipped"}
        assert left == {"BudgetReached: the budget of this run is spent"}
        assert batch.charges == batch.sent == 7
        again = await batch.done(batch.photos(40), ez, budget=33)
        assert again.counts == {"succeeded": 33, "skipped": 7}
        assert batch.charges == 40


async def test_a_refused_submit_does_not_count_against_the_budget(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        batch.control.script(
            "submit",
            faults.queue_full(),
            faults.banned_word(),
            faults.Drop(job=True),
            faults.saturated(),
        )
        ended = await batch.done(batch.photos(12), ez, budget=4)
        assert ended.counts == {"succeeded": 3, "unknown": 1, "failed": 1, "skipped": 7}
        assert batch.charges == 4


async def test_a_spent_budget_stops_no_download(batch: BatchHarness) -> None:
    async with batch.client(concurrency=1) as ez:
        photos = batch.photos(30)
        await batch.done(photos[20:], ez)
        (batch.output / "29.jpg").unlink()
        ended = await batch.done(photos, ez, budget=2)
        assert ended.counts == {"succeeded": 3, "skipped": 27}
        done = [each for each in ended.outcomes if not each.error]
        assert len(done) == 2 + 1 + 9
        assert batch.charges == 12


async def test_too_many_failures_stop_the_intake(batch: BatchHarness) -> None:
    """Unknown jobs count; jobs that have begun still end."""
    async with batch.client(concurrency=1) as ez:
        batch.control.script(
            "submit", faults.banned_word(), faults.Drop(job=True), faults.banned_word()
        )
        ended = await batch.done(batch.photos(30), ez, max_failures=3)
        assert ended.counts == {"failed": 2, "unknown": 1, "skipped": 27}
        assert ended.outcomes[-1].error == "TooManyFailures: the intake stopped after 3"
        assert batch.sent == 3


# --- lost answers


@pytest.mark.parametrize("account", [False, True])
async def test_lost_answers_are_unknown_or_found_with_an_account_token(
    batch: BatchHarness, *, account: bool
) -> None:
    batch.account = account
    fine = faults.Delay(0)
    lost: list[faults.Fault] = [faults.Drop(job=True), fine, faults.Drop()]
    batch.control.script("submit", fine, *lost, fine, *lost)
    async with batch.client() as ez:
        ended = await batch.done(batch.photos(12), ez)
    if account:
        assert ended.counts == {"succeeded": 12}
        assert batch.charges == 12
        return
    assert ended.counts == {"succeeded": 8, "unknown": 4}
    again = await batch.done(batch.photos(12))
    assert again.counts == {"skipped": 8, "unknown": 4}
    assert batch.charges == 10
    asked = await batch.done(batch.photos(12), resubmit_unknown=True)
    assert asked.counts == {"skipped": 8, "succeeded": 4}
    assert batch.charges == 14


async def _longest_wait(batch: BatchHarness, photo: Path) -> float:
    held = HeldRequest(answers_first=True)
    batch.control.script("submit", held)
    async with batch.client() as ez, batch.run(ez, [photo]) as run:
        await held.arrived.wait()
        held.release.set()
        waits = run.waits()
        await read(run)
    assert (waits.sending, waits.running, waits.saving) == (1, 0, 0)
    return waits.seconds


async def test_a_lost_answer_is_searched_for_before_a_halted_run_ends(
    batch: BatchHarness,
) -> None:
    one, other = batch.photos(2)
    plain = await _longest_wait(batch, one)
    batch.account = True
    assert await _longest_wait(batch, other) == pytest.approx(
        plain + TIMEOUTS.reconcile
    )


async def test_an_account_token_clears_up_the_unknown_jobs_of_earlier_runs(
    batch: BatchHarness,
) -> None:
    """Also those that no pair of the run asks for."""
    fine = faults.Delay(0)
    batch.control.script(
        "submit", fine, faults.Drop(job=True), fine, faults.Drop(), faults.Drop()
    )
    await batch.done(batch.photos(5))
    assert batch.states() == {"saved": 2, "unknown": 3}
    batch.account = True
    some = [path for path in batch.photos(5) if path.name != "4.jpg"]
    async with batch.client() as ez, batch.run(ez, some) as run:
        ended = await read(run)
    assert ended.counts["succeeded"] in {2, 3}
    assert "unknown" not in ended.counts
    assert len(ended.outcomes) == 4 + run.extra
    full = await batch.done(batch.photos(5))
    assert "unknown" not in full.counts
    assert batch.states() == {"saved": 5}
    assert batch.charges == len(batch.control.tasks) == 5


async def test_a_job_that_was_sent_twice_and_never_created_is_sent_again(
    batch: BatchHarness,
) -> None:
    """The account's pages prove it of both submits."""
    target = batch.photos(1)
    await batch.done([batch.photo("charged.jpg", 9_000)])
    for again in (False, True):
        batch.control.script("submit", faults.Drop())
        lost = await batch.done(target, resubmit_unknown=again)
        assert lost.counts == {"unknown": 1}
    batch.account = True
    assert (await batch.done(target)).counts == {"succeeded": 1}
    assert batch.charges == len(batch.control.tasks) == 2


@attrs.frozen
class LostUpstreamFailure:
    """The server's call to its upstream fails, and the answer is lost."""

    async def apply(self, exchange: Exchange, proceed: Proceed) -> Reply:
        """Handle the job, then hang up."""
        exchange.overrides.upstream = faults.Upstream(broken="half")
        await proceed()
        exchange.drop()


async def test_a_lost_job_that_the_upstream_may_run_has_failed(
    batch: BatchHarness,
) -> None:
    """As if its answer had arrived: only ``retry_failed`` sends it again."""
    batch.control.script("submit", LostUpstreamFailure())
    assert (await batch.done(batch.photos(1))).counts == {"unknown": 1}
    batch.account = True
    for _ in range(2):
        ended = await batch.done(batch.photos(1))
        assert ended.counts == {"failed": 1}
        assert "its upstream" in str(ended.only.error)
        assert not ended.only.maybe_charged
        assert batch.states() == {"failed": 1}
    asked = await batch.done(batch.photos(1), retry_failed=True)
    assert asked.counts == {"succeeded": 1}
    assert batch.charges == len(batch.control.tasks) == 1


async def test_a_failing_account_page_leaves_jobs_unknown(batch: BatchHarness) -> None:
    batch.control.script("submit", *[faults.Drop(job=True)] * 2)
    await batch.done(batch.photos(2))
    batch.account = True
    batch.control.standing("account", faults.Answer(503, "down"))
    async with batch.client(retry=attrs.evolve(RETRY, timeout=2)) as ez:
        listed = await batch.done([*batch.photos(2), batch.photos(2)[0]], ez)
        assert listed.counts == {"unknown": 2, "skipped": 1}
        other = await batch.done([batch.photo("b.jpg", 9_000)], ez)
        assert other.counts == {"succeeded": 1, "unknown": 2}
        asked = await batch.done(batch.photos(2), ez, resubmit_unknown=True)
    assert asked.counts == {"succeeded": 2}
    assert batch.charges == 5


async def test_a_halted_run_does_not_wait_for_account_pages_that_are_down(
    batch: BatchHarness,
) -> None:
    batch.control.script("submit", faults.Drop(job=True))
    await batch.done(batch.photos(1))
    batch.account = True
    batch.control.reset()
    batch.control.standing("account", faults.Answer(503, "down"))
    for_hours = attrs.evolve(RETRY, timeout=100_000)
    async with batch.client(retry=for_hours) as ez, batch.run(ez, ()) as run:
        while len(batch.control.requests) < 3:  # one for the clock, then the search
            await asyncio.sleep(0.01)
        run.halt()
        ended = await read(run)
    assert ended.counts == {"unknown": 1}


async def test_a_run_that_is_halted_at_once_looks_nothing_up(
    batch: BatchHarness,
) -> None:
    batch.control.script("submit", faults.Drop(job=True))
    await batch.done(batch.photos(1))
    batch.account = True
    batch.control.standing("account", faults.Answer(503, "down"))
    for_hours = attrs.evolve(RETRY, timeout=100_000)
    async with batch.client(retry=for_hours) as ez, batch.run(ez, ()) as run:
        run.halt()
        assert (await read(run)).counts == {"unknown": 1}


async def test_an_id_of_the_journal_is_followed_though_the_server_denies_it(
    batch: BatchHarness,
) -> None:
    """The server's row may lag behind."""
    batch.control.script_tasks(scripts.slow(600))
    async with batch.client(poll=attrs.evolve(POLL, deadline=0.1)) as ez:
        await batch.done(batch.photos(1), ez)
    no_such_task = faults.Answer(200, '{"code":4,"description":"task_no_exist"}', JSON)
    batch.control.script("fetch", *[no_such_task] * 8)
    batch.control.advance(600)
    ended = await batch.done(batch.photos(1))
    assert ended.only.status == "succeeded"


# --- the clock


async def test_a_clock_that_is_set_back_changes_nothing(batch: BatchHarness) -> None:
    batch.account = True
    times = iter(range(2_000_000_000, 0, -100_000))
    options = batch.options(clock=lambda: float(next(times)))
    batch.control.script("submit", faults.Drop(job=True))
    async with batch.client() as ez:
        async with batch.run(ez, batch.photos(3), options) as run:
            first = await read(run)
        async with batch.run(ez, batch.photos(3), options) as run:
            again = await read(run)
    assert first.counts == {"succeeded": 3}
    assert again.counts == {"skipped": 3}
    assert batch.charges == 3


# --- leaving


async def test_a_run_that_was_left_is_resumed_without_a_second_payment(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        batch.control.script_tasks(*[scripts.slow(600)] * 3)
        async with batch.run(ez, batch.photos(40)) as run:
            async for outcome in run:
                assert outcome.status == "succeeded"
                break
        outcomes = [outcome, *run.unread()]
        assert len(outcomes) == 40
        sent = batch.sent
        batch.control.advance(600)
        ended = await batch.done(batch.photos(40), ez)
        assert not {"failed", "unknown"} & set(ended.counts)
        assert batch.charges == 40
        assert sent < 40


async def test_halting_a_run_cancels_queued_submits(batch: BatchHarness) -> None:
    batch.control.standing("submit", faults.queue_full())
    patient = RetryPolicy(first=600, longest=600, timeout=86_400)
    async with batch.client(retry=patient) as ez, batch.run(ez, batch.photos(9)) as run:
        while not batch.sent:
            await asyncio.sleep(0)
        run.halt("Interrupted: nothing was sent")
        outcomes = [outcome async for outcome in run]
    assert [each.error for each in outcomes] == ["Interrupted: nothing was sent"] * 9
    assert batch.states().keys() <= {"planned"}
    assert batch.charges == 0


async def test_an_unanswered_submit_of_a_closed_client_is_unknown(
    batch: BatchHarness,
) -> None:
    held = HeldRequest(answers_first=True)
    batch.control.script("submit", held)
    timeouts = attrs.evolve(TIMEOUTS, close=0.05)
    client = batch.client(timeouts=timeouts)
    async with client as ez, batch.run(ez, batch.photos(1)) as run:
        await held.arrived.wait()
    (left,) = run.unread()
    assert left.status == "unknown"
    held.release.set()
    assert batch.states() == {"unknown": 1}
    assert (await batch.done(batch.photos(1))).counts == {"unknown": 1}


async def test_closing_the_client_ends_the_run_with_an_error(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(*[scripts.slow(600)] * 99)
    async with batch.client() as ez, batch.run(ez, batch.photos(40)) as run:
        reading = asyncio.create_task(read(run))
        while len(batch.control.tasks) < 4:
            await asyncio.sleep(0)
        await ez.aclose()
        ended = await reading
        assert isinstance(ended.error, ClientClosedError)
    outcomes = [*ended.outcomes, *run.unread()]
    assert len(outcomes) == 40
    batch.control.advance(600)
    assert (await batch.done(batch.photos(4))).counts == {"succeeded": 4}
    assert batch.charges == 4


async def test_outcomes_can_be_read_after_the_client_was_closed(
    batch: BatchHarness,
) -> None:
    async with batch.client(concurrency=1) as ez:
        async with batch.run(ez, batch.photos(60)) as run:
            while batch.charges < 12:
                await asyncio.sleep(0)
            await ez.aclose()
            ended = await read(run)
        assert isinstance(ended.error, ClientClosedError)
        assert len([*ended.outcomes, *run.unread()]) == 60


async def test_a_run_cancelled_twice_closes_its_journal(batch: BatchHarness) -> None:
    async with batch.client() as ez:
        batch.control.script_tasks(*[scripts.slow(600)] * 9)
        entered = asyncio.Event()

        async def work() -> None:
            async with batch.run(ez, batch.photos(4)) as run:
                entered.set()
                await read(run)

        task = asyncio.create_task(work())
        await entered.wait()
        while len(batch.control.tasks) < 4:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        await cancel(task)
        batch.control.advance(600)
        assert (await batch.done(batch.photos(4), ez)).counts == {"succeeded": 4}
        assert batch.charges == 4


async def test_pairs_of_a_run_that_is_left_at_once_are_skipped(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        async with batch.run(ez, batch.photos(3)) as run:
            pass
        assert {each.error for each in run.unread()} == {
            "Interrupted: nothing was sent"
        }
        assert list(run.unread()) == []
        assert batch.sent == 0
        assert (await batch.done(batch.photos(3), ez)).counts == {"succeeded": 3}


async def test_journal_that_fails_while_pairs_are_entered_halts_the_run(
    batch: BatchHarness,
) -> None:
    await batch.done(batch.photos(1))
    with contextlib.closing(sqlite3.connect(batch.journal)) as sql:
        sql.execute(
            "CREATE TRIGGER full BEFORE INSERT ON jobs "
            "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
    ended = await batch.done([batch.photo("new.jpg", 9_000)])
    assert ended.counts == {"skipped": 1}
    assert "disk is full" in (ended.only.error or "")
    assert batch.charges == 1


async def test_left_run_pays_for_nothing_while_its_iterator_cleans_up(
    batch: BatchHarness,
) -> None:
    photos = batch.photos(6)

    async def pairs() -> AsyncIterator[tuple[Path, Path]]:
        try:
            for photo in photos:
                yield batch.face, photo
            await asyncio.Event().wait()
        finally:
            for _ in range(500):  # round trips, in which another submit passes
                await ez.fetch_tasks(["1"])

    async with batch.client(concurrency=1) as ez:
        async with run_batch(ez, None, pairs(), output=batch.output) as run:
            await anext(run)
            paid = batch.charges
        assert batch.charges <= paid + 1  # the one that was being sent


async def test_leaving_while_earlier_jobs_are_resumed_reports_each_pair_once(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(*[scripts.slow(600)] * 30)
    batch.control.script("submit", *[faults.Drop(job=True)] * 2)
    soon = attrs.evolve(POLL, deadline=0.05)
    async with batch.client(poll=soon, concurrency=32) as ez:
        await batch.done(batch.photos(30), ez)
    async with batch.client(concurrency=1) as ez:
        async with batch.run(ez, batch.photos(30)) as run:
            while not run.in_progress:
                await asyncio.sleep(0)
        outcomes = list(run.unread())
    names = [each.target.name for each in outcomes]
    assert sorted(set(names)) == sorted(names)
    assert len(outcomes) == 30 + run.extra
    assert sum(each.status == "unknown" for each in outcomes) == 2


async def test_a_halted_run_reports_earlier_jobs_once(batch: BatchHarness) -> None:
    batch.control.script_tasks(*[scripts.slow(600)] * 3)
    batch.control.script("submit", faults.Drop(job=True))
    async with batch.client(poll=attrs.evolve(POLL, deadline=0.05)) as ez:
        await batch.done(batch.photos(3), ez)
    batch.control.advance(600)
    async with batch.client() as ez, batch.run(ez, batch.photos(4)) as run:
        run.halt("Interrupted: by a test")
        ended = await read(run)
    assert len(ended.outcomes) == 4
    assert run.extra == 0
    assert ended.counts == {"succeeded": 2, "unknown": 1, "skipped": 1}


async def test_a_halted_run_waits_for_no_second_deadline(batch: BatchHarness) -> None:
    batch.control.script_tasks(scripts.stuck())
    soon = attrs.evolve(POLL, deadline=0.05)
    async with batch.client(poll=soon) as ez, batch.run(ez, batch.photos(1)) as run:
        while not batch.control.tasks:
            await asyncio.sleep(0)
        run.halt("Interrupted: by a test")
        ended = await read(run)
    assert ended.only.status == "failed"
    looks = [each for each in batch.control.requests if "fetch" in each.path]
    assert looks
    assert batch.states() == {"submitted": 1}


async def test_a_timed_out_task_is_reported_with_its_id_when_the_run_is_left(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.stuck(), scripts.slow(600))
    soon = attrs.evolve(POLL, deadline=0.1)
    client = batch.client(poll=soon, concurrency=1)
    async with client as ez, batch.run(ez, batch.photos(2)) as run:
        # The second task is created when the first has given its slot back.
        while len(batch.control.tasks) < 2:
            await asyncio.sleep(0)
    outcomes = {each.target.name: each for each in run.unread()}
    assert len(outcomes) == 2
    assert outcomes["0.jpg"].status == "failed"
    assert outcomes["0.jpg"].task_id


async def test_an_error_of_the_pairs_is_raised_after_the_last_outcome(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        photos = batch.photos(5)

        async def pairs() -> AsyncIterator[tuple[Path, Path]]:
            for photo in photos:
                yield batch.face, photo
            raise LookupError("line 6")

        async with run_batch(ez, None, pairs(), output=batch.output) as run:
            ended = await read(run)
        assert isinstance(ended.error, LookupError)
        assert ended.counts == {"succeeded": 5}


async def test_a_value_that_is_no_pair_is_refused(batch: BatchHarness) -> None:
    async with batch.client() as ez:
        pairs = iter([("only one",)])
        async with run_batch(ez, None, pairs, output=batch.output) as run:  # type: ignore[arg-type]
            ended = await read(run)
        assert isinstance(ended.error, ConfigurationError)
        assert "a pair is" in str(ended.error)


# --- slow readers, and memory


async def test_a_slow_reader_stops_the_intake_but_not_the_saving(
    batch: BatchHarness,
) -> None:
    async with batch.client(concurrency=2) as ez:
        taken = 0

        def pairs() -> Iterator[tuple[Path, Path]]:
            nonlocal taken
            for photo in batch.photos(100):
                taken += 1
                yield batch.face, photo

        async with run_batch(ez, None, pairs(), output=batch.output) as run:
            while len(batch.names()) < 1 + 10:
                await asyncio.sleep(0)
            for _ in range(2_000):
                await asyncio.sleep(0)
            assert batch.charges <= 2 * (2 + 8)
            assert taken < 100
            await anext(run)
            assert len([each async for each in run]) == 99
        assert batch.charges == 100


async def test_pairs_of_a_slow_iterator_are_reported_after_leaving(
    batch: BatchHarness,
) -> None:
    asked, answered = threading.Event(), threading.Event()
    async with batch.client() as ez:
        photos = batch.photos(20)

        def pairs() -> Iterator[tuple[Path, Path]]:
            yield batch.face, photos[0]
            asked.set()
            answered.wait(20)
            yield from ((batch.face, photo) for photo in photos[1:])

        async with run_batch(ez, None, pairs(), output=batch.output) as run:
            await asyncio.to_thread(asked.wait)
        threading.Timer(0.05, answered.set).start()
        outcomes = await asyncio.to_thread(lambda: list(run.unread()))
        assert len(outcomes) == 20
        assert batch.sent == 0


def _alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


async def test_read_outcomes_and_ended_jobs_are_released(batch: BatchHarness) -> None:
    """Two runs over 100 targets keep a bounded number of both alive."""
    limit = 4 + 8
    async with batch.client(concurrency=4) as ez:
        photos = batch.photos(100)
        for _ in range(2):
            outcomes, jobs = _alive(BatchOutcome), _alive(RunningJob)
            count = 0
            async with batch.run(ez, iter(photos)) as run:
                async for outcome in run:
                    del outcome
                    count += 1
                    if count % 50 == 0:
                        assert _alive(RunningJob) <= jobs + 2 * limit
                        alive = _alive(BatchOutcome) - outcomes
                        assert alive <= 3 * limit + 256 * (run.accepted == 0)
            assert count == 100


async def test_an_answer_after_leaving_is_written_and_holds_the_folder_until_then(
    batch: BatchHarness,
) -> None:
    held = HeldRequest(answers_first=True)
    batch.control.script("submit", held)
    timeouts = attrs.evolve(TIMEOUTS, close=0.05)
    async with batch.client(timeouts=timeouts) as ez:
        async with batch.run(ez, batch.photos(1)) as run:
            await held.arrived.wait()
        (left,) = run.unread()
        assert left.status == "unknown"
        assert left.request_id
        with pytest.raises(ConfigurationError, match="another run"):
            await batch.done(batch.photos(1), ez)
        held.release.set()
        await batch.journal_closed()
        assert batch.states() == {"submitted": 1}
        ended = await batch.done(batch.photos(1), ez)
    assert ended.only.status == "succeeded"
    assert batch.charges == 1


async def test_pairs_that_are_checked_while_the_run_is_left_are_skipped(
    batch: BatchHarness,
) -> None:
    checking, go_on = threading.Event(), threading.Event()

    def is_given(_: object) -> bool:
        checking.set()
        return not go_on.wait()

    photos = batch.photos(9)
    batch.output.mkdir()
    for photo in photos:
        (batch.output / photo.name).write_bytes(jpeg(7_000))
    options = batch.options(is_given=is_given)
    async with batch.client() as ez:
        async with batch.run(ez, photos, options) as run:
            await asyncio.to_thread(checking.wait)
        left = list(run.unread())
        go_on.set()
    assert {each.error for each in left} == {"Interrupted: nothing was sent"}
    assert len({each.target for each in left}) == len(left) == 9


async def test_a_journal_that_cannot_be_written_halts_the_run(
    batch: BatchHarness,
) -> None:
    """SQLite refuses the time of the first submit; nothing is sent."""
    times = itertools.chain([1.0], itertools.repeat(cast("float", Fraction(1))))
    options = batch.options(clock=lambda: next(times))
    async with (
        batch.client(concurrency=1) as ez,
        batch.run(ez, batch.photos(20), options) as run,
    ):
        ended = await read(run)
    assert len(ended.outcomes) == 20
    assert all("journal cannot be written" in str(e.error) for e in ended.outcomes)
    assert batch.sent == 0
    assert (await batch.done(batch.photos(20))).counts == {"succeeded": 20}


async def test_a_bug_is_logged_and_is_the_outcome_of_one_pair(
    batch: BatchHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The clock fails at the second submit, once."""
    calls = itertools.count(1)

    def clock() -> float:
        if next(calls) == 4:  # after the start of the run and the first submit
            raise LookupError("no such thing")
        return 1.0

    options = batch.options(clock=clock)
    async with (
        batch.client(concurrency=1) as ez,
        batch.run(ez, batch.photos(3), options) as run,
    ):
        ended = await read(run)
    assert "this is a bug" in caplog.text
    assert ended.counts["succeeded"] == 2
    (failed,) = [each for each in ended.outcomes if each.status != "succeeded"]
    assert failed.error is not None


async def test_the_end_of_a_queue_is_returned_again_and_again() -> None:
    queue = OutcomeQueue(1)
    outcome = skipped(Pair(Path("me.jpg"), Path("a.jpg"), "a").order())
    await queue.put(outcome)
    queue.end()
    assert await queue.next() == outcome
    assert [await queue.next(), await queue.next()] == [None, None]
    assert list(queue.unread()) == []
    await queue.put(outcome)
    queue.end()
    assert list(queue.unread()) == [outcome]


async def test_a_job_found_while_its_checked_pair_waits_is_swapped_once(
    batch: BatchHarness,
) -> None:
    """The pair is checked again when its turn comes."""
    photos = batch.photos(12)
    batch.control.script("submit", faults.Drop(job=True))
    await batch.done(photos[11:])
    batch.account = True
    looking, sending = HeldRequest(), HeldRequest()
    async with batch.client(concurrency=1) as ez, batch.run(ez, photos) as run:
        batch.control.standing("account", looking)
        batch.control.standing("submit", sending)
        await looking.arrived.wait()
        await sending.arrived.wait()
        looking.release.set()
        await looking.answered.wait()
        sending.release.set()
        ended = await read(run)
    assert ended.counts == {"succeeded": 12}
    assert batch.charges == 12


async def test_results_that_no_thread_could_save_are_fetched_by_the_next_run(
    batch: BatchHarness,
) -> None:
    """They are paid, and stay at the server."""
    photos = batch.photos(3)
    with out_of_threads("ezlink-write"):
        ended = await batch.done(photos)
    assert ended.counts == {"failed": 3}
    assert all("ulimit -u" in (each.error or "") for each in ended.outcomes)
    assert all(each.resumable for each in ended.outcomes)
    assert batch.charges == 3
    assert (await batch.done(photos)).counts == {"succeeded": 3}
    assert batch.charges == 3


@pytest.mark.parametrize("name", ["asyncio", "ezlink-journal"])
async def test_run_whose_journal_has_no_thread_sends_nothing_and_says_why(
    batch: BatchHarness, name: str
) -> None:
    photos = batch.photos(1)
    async with batch.client() as ez:
        with (
            out_of_threads(name),
            pytest.raises(ConfigurationError, match="no thread can be started"),
        ):
            await batch.run(ez, photos).__aenter__()
        assert batch.sent == 0
        assert (await batch.done(photos, ez)).counts == {"succeeded": 1}


# Words of a server that are no text


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (400, '{"error":{"message":"\\ud800 word","type":"api_error"}}', "failed"),
        (200, '{"code":1,"description":"ok","result":"17\\ud800"}', "submitted"),
    ],
    ids=["refusal", "id"],
)
async def test_an_answer_with_half_a_character_is_in_the_journal(
    batch: BatchHarness, status: int, body: str, state: str
) -> None:
    batch.control.script("submit", faults.Answer(status, body, JSON))
    async with batch.client(poll=attrs.evolve(POLL, deadline=0.05)) as ez:
        ended = await batch.done(batch.photos(1), ez)
    assert ended.error is None
    assert ended.only.status == "failed"
    (row,) = batch.jobs()
    assert row["state"] == state
    assert r"\ud800" in (row["error"] if state == "failed" else row["task_id"])


async def test_a_failure_with_half_a_character_is_in_the_journal(
    batch: BatchHarness,
) -> None:
    batch.control.script_tasks(scripts.slow(600))
    fetched = '{"id":"%s","status":"FAILURE","progress":"50%%","failReason":"a\\udfff"}'

    async with batch.client() as ez, batch.run(ez, batch.photos(1)) as run:
        while not batch.control.charges:
            await asyncio.sleep(0)
        (task_id,) = [each.task_id for each in ez.pending()] or [""]
        answer = faults.Answer(200, fetched % task_id, JSON)
        batch.control.script("fetch", answer)
        (outcome,) = [each async for each in run]
    assert outcome.status == "failed"
    assert batch.states() == {"failed": 1}
    assert r"a\udfff" in batch.jobs()[0]["error"]


async def test_a_run_removes_the_parts_that_a_kill_has_left(
    batch: BatchHarness,
) -> None:
    """In each folder of the results; other files stay."""
    photos, day = batch.folder / "photos", batch.output / "day 1"
    (photos / "day 1").mkdir()
    batch.photo("day 1/a.jpg", 4_000)
    assert (await batch.done([photos])).only.output == day / "a.jpg"
    name = ".ezlink-0123456789abcdef.part"
    folders = batch.output, day, batch.folder
    for folder in folders:
        (folder / name).write_bytes(b"half of a result")
    kept = batch.output / "notes.part"
    kept.write_bytes(b"theirs")
    await batch.done([photos])
    assert [(folder / name).exists() for folder in folders] == [False, False, True]
    assert kept.exists()
    assert (day / "a.jpg").exists()
