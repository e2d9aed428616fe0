"""Batches of jobs of several kinds: their results, their buttons, what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import attrs
import pytest

from ezlink_async import AsyncEzlink, Image
from ezlink_async.batch import Order, Pair, read_manifest, run_jobs
from ezlink_async.batch.journal.jobs import Reason
from ezlink_async.emulator import EmulatorSettings, faults, scripts, serving
from ezlink_async.errors import ConfigurationError
from ezlink_async.services.midjourney.creations import (
    Blend,
    Describe,
    Imagine,
    Shorten,
)
from ezlink_async.services.midjourney.follow_ups import Action, Modal
from tests.support.batch_harness import BatchHarness, Ended, read
from tests.support.pictures import png, recorded_jpeg

FOX = Imagine("a red fox")


async def _run(batch: BatchHarness, *orders: object, **options: object) -> Ended:
    async with batch.client() as ez:
        return await _run_with(ez, batch, orders, **options)


async def _run_with(
    ez: AsyncEzlink, batch: BatchHarness, orders: object, **options: object
) -> Ended:
    async with run_jobs(ez, orders, output=batch.output, **options) as run:  # type: ignore[arg-type]
        return await read(run)


def _cat(batch: BatchHarness) -> Path:
    """Make a picture that the server can describe."""
    photo = batch.photo("cat.jpg", 9_000)
    photo.write_bytes(recorded_jpeg())
    return photo


def _by_label(ended: Ended) -> dict[str, str]:
    return {each.label: each.status for each in ended.outcomes}


def _records(batch: BatchHarness) -> list[dict[str, object]]:
    return [json.loads(row["record"] or "null") for row in batch.jobs()]


# --- results


async def test_jobs_of_several_kinds_are_done_once(batch: BatchHarness) -> None:
    """Pictures and texts; the next run finds them all, as does one after a change."""
    photo = _cat(batch)
    orders = (
        FOX,
        Order.of(Imagine("a blue cat", mode="relax"), output="cats/blue"),
        Blend([photo, Image.from_bytes(png())]),
        Order.of(Describe(photo), output="words"),
        Shorten("a very long prompt"),
        Pair(batch.face, photo).order(),
    )
    ended = await _run(batch, *orders)
    assert ended.counts == {"succeeded": 6}
    assert {each.kind: each.label for each in ended.outcomes} == {
        "imagine": "a blue cat",
        "blend": f"{photo}, images",
        "describe": str(photo),
        "shorten": "a very long prompt",
        "swap": str(photo),
    } or {each.kind for each in ended.outcomes} == {
        *("imagine", "blend", "describe", "shorten", "swap")
    }
    names = {"a red fox.png", "cat.png", "words.txt", "a very long prompt.txt"}
    assert {*batch.names()} >= names | {"cats", "cat-2.jpg"}
    assert (batch.output / "cats" / "blue.png").exists()
    charges, again = batch.charges, await _run(batch, *orders)
    assert again.counts == {"skipped": 6}
    assert batch.charges == charges == 6
    for first, second in zip(
        sorted(ended.outcomes, key=lambda each: each.label + each.kind),
        sorted(again.outcomes, key=lambda each: each.label + each.kind),
        strict=True,
    ):
        assert (second.outputs, second.text) == (first.outputs, first.text)
        assert second.output == second.outputs[0]


async def test_a_text_is_a_file_and_stands_in_the_outcome(batch: BatchHarness) -> None:
    photo = _cat(batch)
    ended = await _run(batch, Describe(photo))
    (path,) = ended.only.outputs
    assert path == batch.output / "cat.txt"
    assert ended.only.text
    assert path.read_text().rstrip("\n") == ended.only.text
    pictures = await _run(batch, FOX)
    assert pictures.only.text == ""


async def test_a_text_that_the_server_lost_is_paid_and_not_asked_for_again(
    batch: BatchHarness,
) -> None:
    """Only --retry-failed sends the job again."""
    photo = _cat(batch)
    lost = scripts.sequence({"status": "SUCCESS", "progress": "100%"})
    batch.control.script_tasks(lost)
    for _ in range(2):
        ended = await _run(batch, Describe(photo))
        assert ended.only.status == "failed"
        assert (ended.only.error or "").startswith("TextLostError: ")
        assert not ended.only.resumable
    assert batch.states() == {"failed": 1}
    assert batch.charges == 1
    again = await _run(batch, Describe(photo), retry_failed=True)
    assert again.counts == {"succeeded": 1}
    assert batch.charges == 2


async def test_the_same_order_twice_is_one_job(batch: BatchHarness) -> None:
    """Other places are other jobs."""
    ended = await _run(batch, FOX, FOX, Order.of(FOX, output="another"))
    assert ended.counts == {"succeeded": 2, "skipped": 1}
    assert batch.charges == 2


async def test_results_of_one_name_are_numbered_in_their_order(
    batch: BatchHarness,
) -> None:
    prompts = [f"{'w' * 60} {number}" for number in range(3)]
    orders = [Imagine(prompt) for prompt in prompts]
    await _run(batch, *orders)
    name = "w" * 60
    assert {*batch.names()} >= {f"{name}.png", f"{name}-2.png", f"{name}-3.png"}
    more = await _run(batch, Imagine(f"{'w' * 60} new"), *reversed(orders))
    assert more.counts == {"succeeded": 1, "skipped": 3}
    assert f"{name}-4.png" in batch.names()


async def test_a_file_that_is_there_stays(batch: BatchHarness) -> None:
    batch.output.mkdir()
    there = [batch.output / name for name in ("a red fox.png", "words.txt")]
    there[0].write_bytes(png())
    there[1].write_text("mine")
    photo = _cat(batch)
    orders = FOX, Order.of(Describe(photo), output="words")
    ended = await _run(batch, *orders)
    assert {each.reason for each in ended.outcomes} == {Reason.EXISTS}
    assert {each.output for each in ended.outcomes} == {*there}
    assert batch.charges == 0
    assert there[1].read_text() == "mine"
    ended = await _run(batch, *orders, existing="replace")
    assert ended.counts == {"succeeded": 2}


async def test_another_server_has_other_jobs(
    batch: BatchHarness, tmp_path: Path
) -> None:
    """What the first one made stays, and is named."""
    await _run(batch, FOX)
    (tmp_path / "other").mkdir()
    async with serving() as server:
        there = BatchHarness(tmp_path / "other", server)
        async with there.client() as ez:
            ended = await _run_with(ez, batch, [FOX])
            assert ended.only.reason is Reason.EXISTS
            says = f"a red fox.png is the result of this job at {batch.server.base_url}"
            assert says in str(ended.only.error)
            ended = await _run_with(ez, batch, [FOX], existing="replace")
            assert ended.counts == {"succeeded": 1}
    assert batch.charges == there.charges == 1


async def test_orders_come_from_a_manifest(batch: BatchHarness) -> None:
    """A swap of it is the swap of a pair."""
    batch.photo("a.jpg", 9_000)
    manifest = batch.folder / "jobs.jsonl"
    rows = [
        {"kind": "imagine", "prompt": "a fox", "count": 2, "then": ["U1"]},
        {"kind": "swap", "source": "me.jpg", "target": "photos/a.jpg"},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    async with batch.client() as ez:
        ended = await _run_with(ez, batch, read_manifest(manifest))
    assert ended.counts == {"succeeded": 5}
    assert {*batch.names()} == {
        *("a fox.png", "a fox+U1.png", "a fox-2.png", "a fox-2+U1.png"),
        *("photos", ".ezlink"),
    }
    pair = Pair(batch.face, batch.folder / "photos" / "a.jpg", "photos/a")
    again = await _run(batch, pair.order())
    assert again.counts == {"skipped": 1}


async def test_second_modal_of_a_task_fails_alone(batch: BatchHarness) -> None:
    async with batch.client(concurrency=1) as ez:
        grid = await (await ez.midjourney.imagine("a red fox"))
        one = await (await ez.midjourney.action(grid.upscale(2)))
        waits = (await ez.midjourney.action(one.custom_zoom())).task_id
        modals = [Modal(waits, prompt="a hat"), Modal(waits, prompt="a coat")]
        ended = await _run_with(ez, batch, [*modals, FOX])
    assert ended.error is None
    assert ended.counts == {"succeeded": 2, "failed": 1}
    assert batch.charges == 4


async def test_nothing_is_sent_of_a_manifest_with_a_wrong_last_line(
    batch: BatchHarness,
) -> None:
    manifest = batch.folder / "jobs.csv"
    manifest.write_text("kind,prompt\n" + "imagine,a fox\n" * 500 + "imagine,\n")
    async with batch.client() as ez:
        ended = await _run_with(ez, batch, read_manifest(manifest))
    assert ended.outcomes == []
    assert isinstance(ended.error, ConfigurationError)
    assert "line 502: imagine needs the field 'prompt'" in str(ended.error)
    assert batch.charges == 0


@pytest.mark.parametrize("wrong", [3, None, FOX])
async def test_orders_that_are_no_iterable_are_refused(
    batch: BatchHarness, wrong: object
) -> None:
    async with batch.client() as ez:
        with pytest.raises(ConfigurationError, match="orders are an iterable of"):
            run_jobs(ez, wrong, output=batch.output)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 7, b"out", "a\0b", "\ud800"])
async def test_output_that_is_no_folder_is_refused(
    batch: BatchHarness, wrong: object
) -> None:
    async with batch.client() as ez:
        with pytest.raises(ConfigurationError, match="saved"):
            run_jobs(ez, [FOX], output=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[], None, "keep"])
async def test_existing_that_is_no_choice_is_refused(
    batch: BatchHarness, wrong: object
) -> None:
    async with batch.client() as ez:
        with pytest.raises(ConfigurationError, match='existing is "skip" or'):
            run_jobs(ez, [FOX], output=batch.output, existing=wrong)  # type: ignore[arg-type]


async def test_journal_that_is_no_path_is_refused(batch: BatchHarness) -> None:
    async with batch.client() as ez:
        with pytest.raises(ConfigurationError, match="journal is a file at a path"):
            run_jobs(ez, [FOX], output=batch.output, journal=5)  # type: ignore[arg-type]


async def test_options_of_the_command_are_none_of_a_program(
    batch: BatchHarness,
) -> None:
    """With ``local`` each run would send the unfinished jobs again."""
    async with batch.client() as ez:
        with pytest.raises(TypeError, match="a batch has no option 'local'"):
            run_jobs(ez, [FOX], output=batch.output, local=True)  # type: ignore[call-arg]


async def test_orders_come_one_by_one_from_an_async_iterable(
    batch: BatchHarness,
) -> None:
    async def orders() -> AsyncIterator[object]:
        yield FOX
        yield Order.of(Imagine("a cat"))
        yield "a dog"

    async with batch.client() as ez:
        ended = await _run_with(ez, batch, orders())
    assert ended.counts == {"succeeded": 2}
    assert "made of a job request" in str(ended.error)


async def test_the_record_is_on_disk_before_the_result_is_fetched(
    batch: BatchHarness,
) -> None:
    """So a later run needs no query to know where the result is."""
    batch.control.standing("image", faults.Answer(403))
    ended = await _run(batch, FOX)
    assert ended.only.resumable
    (record,) = _records(batch)
    assert record["status"] == "SUCCESS"
    assert str(record["image_url"]).startswith("http")
    assert {button["label"] for button in record["buttons"]} >= {"U1", "V4"}  # type: ignore[attr-defined]
    batch.control.standing("image", None)
    for query in ("fetch", "list"):
        batch.control.standing(query, faults.Answer(500))
    assert (await _run(batch, FOX)).counts == {"succeeded": 1}
    assert batch.charges == 1


# --- buttons


async def test_buttons_are_pressed_once_their_job_is_done(batch: BatchHarness) -> None:
    """In the same run, in the next one, and only those that are new."""
    ended = await _run(batch, Order.of(FOX, then=["U2"]))
    assert _by_label(ended) == {"a red fox": "succeeded", "a red fox: U2": "succeeded"}
    grid, single = (batch.output / f"a red fox{end}.png" for end in ("", "+U2"))
    assert grid.read_bytes() != single.read_bytes()
    assert (batch.charges, _stored(batch)) == (2, ["imagine", "action"])
    ended = await _run(batch, Order.of(FOX, then=["u2", "V1"]))
    assert _by_label(ended) == {
        "a red fox": "skipped",
        "a red fox: U2": "skipped",
        "a red fox: V1": "succeeded",
    }
    assert batch.charges == 3


def _stored(batch: BatchHarness) -> list[str]:
    return [str(row["kind"]) for row in batch.jobs()]


async def test_buttons_of_an_order_that_is_given_twice_are_all_pressed(
    batch: BatchHarness,
) -> None:
    """Each once, in the run that makes the job and in one that finds it."""
    orders = [Order.of(FOX, then=then) for then in (["U1"], ["U1", "U2"], [])]
    ended = await _run(batch, *orders)
    assert ended.counts["succeeded"] == 3
    assert batch.charges == 3
    more = Order.of(FOX, then=["V1"])
    ended = await _run(batch, *orders, more)
    assert ended.counts["succeeded"] == 1
    assert batch.charges == 4


async def test_a_button_is_known_by_the_request_before_it(batch: BatchHarness) -> None:
    """Not by the id of its task, so that it is found after a job was sent again."""
    await _run(batch, Order.of(FOX, then=["U1"]))
    (_, action) = batch.jobs()
    assert json.loads(action["request"]) == {
        "button": "U1",
        "parent": {"prompt": "a red fox"},
    }
    assert action["place"] == "a red fox+U1"


async def test_buttons_that_cannot_be_pressed_fail_alone(batch: BatchHarness) -> None:
    ended = await _run(batch, Order.of(FOX, then=["U1", "U9", "Vary (Region)"]))
    assert ended.counts == {"succeeded": 2, "failed": 2}
    for label in ("a red fox: U9", "a red fox: Vary (Region)"):
        (failed,) = [each for each in ended.outcomes if each.label == label]
        assert "there is no button" in (failed.error or "")
        assert failed.kind == "action"
    assert batch.charges == 2


async def test_a_button_that_needs_input_is_no_job_of_a_batch(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        grid = await ez.task(await _made(ez, FOX))
        one = await _made(ez, Action(grid.upscale(1), grid))
        record = await ez.task(one)
        region = record.region()
    batch.control.reset()
    single = Action(grid.upscale(1), grid)
    ended = await _run(batch, Order.of(single, then=[region.name, "U1"]))
    (failed, *_) = [each for each in ended.outcomes if region.name in each.label]
    assert "needs a prompt or a mask" in (failed.error or "")


async def _made(ez: AsyncEzlink, request: object) -> str:
    handle = await ez.submit(request)  # type: ignore[arg-type]
    return str((await handle).task_id)


async def test_no_button_of_a_failed_job_is_pressed(batch: BatchHarness) -> None:
    batch.control.script_tasks(scripts.fails())
    ended = await _run(batch, Order.of(FOX, then=["U1"]))
    assert _by_label(ended) == {"a red fox": "failed"}
    assert _stored(batch) == ["imagine"]


async def test_a_task_without_a_record_is_asked_for_once_more(
    batch: BatchHarness,
) -> None:
    """Only the picture of a swap is found by the id alone."""
    photo = _cat(batch)
    orders = Order.of(Describe(photo), output="words"), Pair(batch.face, photo).order()
    assert (await _run(batch, *orders)).counts == {"succeeded": 2}
    for record in ("NULL", "'{}'"):
        with contextlib.closing(sqlite3.connect(batch.journal)) as sql:
            sql.execute(f"UPDATE jobs SET record = {record}")  # noqa: S608
            sql.commit()
        for name in ("words.txt", "cat.jpg"):
            (batch.output / name).unlink()
        assert (await _run(batch, *orders)).counts == {"succeeded": 2}
    assert (batch.output / "words.txt").read_text()
    assert batch.charges == 2


async def test_a_button_of_an_unknown_record_is_a_problem(batch: BatchHarness) -> None:
    """A journal of an earlier version knows where a result is, and nothing else."""
    await _run(batch, FOX)
    with contextlib.closing(sqlite3.connect(batch.journal)) as sql:
        sql.execute("UPDATE jobs SET record = NULL")
        sql.commit()
    ended = await _run(batch, Order.of(FOX, then=["U1"]))
    assert "is not known any more" in str(ended.outcomes[1].error)
    assert batch.charges == 1


async def test_buttons_of_a_job_that_was_left_are_pressed_by_the_next_run(
    batch: BatchHarness,
) -> None:
    """The journal has the job, and only the order knows its buttons."""
    batch.control.standing("image", faults.Answer(403))
    order = Order.of(FOX, then=["U1"])
    assert (await _run(batch, order)).counts == {"failed": 1}
    batch.control.standing("image", None)
    ended = await _run(batch, order)
    assert ended.counts == {"succeeded": 2}
    assert batch.charges == 2


@pytest.mark.parametrize("saved", [False, True])
async def test_buttons_of_a_job_that_ended_before_its_order_came(
    batch: BatchHarness, *, saved: bool
) -> None:
    """They are pressed if the run has saved its result."""
    order, other = Order.of(FOX, then=["U1"]), Imagine("a cat")
    batch.control.standing("image", faults.Answer(403))
    assert (await _run(batch, other, order)).counts == {"failed": 2}
    if saved:
        batch.control.standing("image", None)
    resumed = asyncio.Event()

    async def late() -> AsyncIterator[Order]:
        await resumed.wait()
        yield order

    found: list[str] = []
    async with (
        batch.client() as ez,
        run_jobs(ez, late(), output=batch.output) as run,
    ):
        async for each in run:
            found.append(each.label)
            if {"a red fox", "a cat"} <= {*found}:
                resumed.set()
    assert ("a red fox: U1" in found) is saved
    assert len(found) == 2 + saved
    assert batch.charges == 2 + saved


async def test_buttons_of_a_halted_run_are_left_for_the_next(
    batch: BatchHarness,
) -> None:
    async with batch.client() as ez:
        run = run_jobs(ez, [Order.of(FOX, then=["U1"])], output=batch.output)
        async with run:
            first = await anext(run)
            run.halt("Interrupted: that is enough")
            rest = [each async for each in run]
    assert first.label == "a red fox"
    assert {each.status for each in rest} <= {"skipped", "succeeded"}
    done = await _run(batch, Order.of(FOX, then=["U1"]))
    assert {each.status for each in done.outcomes} <= {"skipped", "succeeded"}
    assert batch.charges == 2


# --- what is counted


async def test_the_budget_counts_buttons_and_all_that_may_be_paid(
    batch: BatchHarness,
) -> None:
    orders = [Order.of(FOX, then=["U1", "U2"]), Imagine("a cat")]
    ended = await _run(batch, *orders, budget=2)
    assert ended.counts["succeeded"] == 2
    assert {each.reason for each in ended.outcomes if each.error} == {Reason.BUDGET}
    assert batch.charges == 2
    done = await _run(batch, *orders)
    assert done.summary.total == 4
    assert batch.charges == 4


async def _dialog(batch: BatchHarness) -> Action:
    """Return the request that presses a button which asks for input."""
    async with batch.client() as ez:
        grid = await ez.task(await _made(ez, FOX))
        single = await ez.task(await _made(ez, Action(grid.upscale(1), grid)))
        return Action(single.region(), single)


async def test_a_waiting_task_is_left_alone_until_an_order_asks_for_it(
    batch: BatchHarness,
) -> None:
    dialog = await _dialog(batch)
    waits = await _run(batch, dialog)
    assert waits.only.reason is Reason.INPUT
    other = await _run(batch, Shorten("x y z"))
    assert _by_label(other) == {"x y z": "succeeded"}
    again = await _run(batch, dialog)
    assert again.only.task_id == waits.only.task_id


async def test_free_jobs_are_outside_of_the_budget(batch: BatchHarness) -> None:
    """A dialog costs nothing, and a batch leaves it to the user."""
    dialog = await _dialog(batch)
    paid = batch.charges
    ended = await _run(batch, dialog, budget=0)
    assert ended.only.status == "failed"
    assert (ended.only.error or "").startswith("ModalNeededError: ")
    assert ended.only.task_id
    assert not ended.only.resumable
    assert ended.summary.accepted == 1
    assert batch.charges == paid
    again = await _run(batch, dialog, budget=0)
    assert again.only.task_id == ended.only.task_id
    assert again.summary.accepted == 0


async def test_a_dialog_of_a_remix_ends_its_job_without_holding_up_others(
    tmp_path: Path,
) -> None:
    async with serving(EmulatorSettings(remix=True)) as server:
        batch = BatchHarness(tmp_path, server)
        ended = await _run(batch, Order.of(FOX, then=["V1", "U1"]))
    assert _by_label(ended) == {
        "a red fox": "succeeded",
        "a red fox: V1": "failed",
        "a red fox: U1": "succeeded",
    }


async def test_metadata_that_is_left_out_makes_another_job(batch: BatchHarness) -> None:
    """Of the same picture; a job without pictures is the same."""
    photo = _cat(batch)
    orders: Iterable[Order] = (
        Order.of(Describe(photo)),
        Order.of(Shorten("x y z"), output="short"),
    )
    await _run(batch, *orders)
    renamed = [attrs.evolve(each, wanted_path=f"{each.kind}") for each in orders]
    renamed[1] = Order.of(Shorten("x y z"), output="short")
    ended = await _run(batch, *renamed, strip_metadata=True)
    assert _by_label(ended)["x y z"] == "skipped"
    assert batch.charges == 3
