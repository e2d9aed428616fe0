"""Midjourney over real sockets: what its calls bring, and what they cost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image as Pillow

from ezlink_async import TaskHandle, TaskRecord
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.errors import (
    ConfigurationError,
    ModalNeededError,
    RejectedError,
    SubmitUnknownError,
)
from ezlink_async.models import TaskStatus
from ezlink_async.requests import Imagine
from tests.support.client_harness import EmulatedClient, emulated_client


def _beating() -> EmulatorSettings:
    """Return settings in which rows are renewed in beats, as on the real server."""
    return EmulatorSettings(poll_interval=0.3)


def _units(both: EmulatedClient) -> list[int]:
    return [charge.units for charge in both.server.control.charges]


async def _opened(handle: TaskHandle[TaskRecord]) -> Pillow.Image:
    return Pillow.open(io.BytesIO(await handle.read())).convert("RGB")


async def _enlarged(both: EmulatedClient) -> tuple[TaskHandle[TaskRecord], TaskRecord]:
    """Return the second picture of a new grid, and its record."""
    grid = await (await both.ez.midjourney.imagine("a red fox"))
    one = await both.ez.midjourney.action(grid.upscale(2))
    return one, await one


async def test_upscale_2_is_the_second_tile_of_the_grid() -> None:
    async with emulated_client() as both:
        grid = await both.ez.midjourney.imagine("a red fox --ar 3:2", mode="relax")
        record = await grid
        single = await both.ez.midjourney.action(record.upscale(2))
        await single
        whole, one = await _opened(grid), await _opened(single)
        width, height = whole.size[0] // 2, whole.size[1] // 2
        tile = whole.crop((width, 0, 2 * width, height))
        assert one.resize(tile.size, Pillow.Resampling.NEAREST).tobytes() == (
            tile.tobytes()
        )
        assert _units(both) == [6_000, 9_000]


async def test_region_changes_only_what_the_mask_leaves_white(tmp_path: Path) -> None:
    """One call presses the button, waits for its dialog, and sends the modal."""
    async with emulated_client() as both:
        one, record = await _enlarged(both)
        before = await _opened(one)
        mask = Pillow.new("L", before.size, 0)
        half = before.size[0] // 2
        mask.paste(255, (0, 0, half, before.size[1]))
        mask.save(tmp_path / "mask.png")
        edited = await both.ez.midjourney.action(
            record.region(), prompt="a hat", mask=tmp_path / "mask.png"
        )
        await edited
        after = await _opened(edited)
        right = (half, 0, *before.size)
        assert after.size == before.size
        assert after.crop(right).tobytes() == before.crop(right).tobytes()
        assert after.tobytes() != before.tobytes()
        assert _units(both) == [18_000, 9_000, 18_000]


async def test_texts_come_with_their_records(tmp_path: Path) -> None:
    async with emulated_client() as both:
        Pillow.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
        described = await both.ez.midjourney.describe(tmp_path / "red.png")
        assert "64 x 48" in (await described).text
        assert await described.read() == (await described).text.encode()
        shorter = await both.ez.midjourney.shorten("a very very long cat")
        assert "long cat" in (await shorter).text
        assert _units(both) == [9_000, 18_000]


async def test_task_that_waits_for_input_frees_its_slot() -> None:
    """A dialog would hold it until a person answers."""
    async with emulated_client(max_concurrency=1) as both:
        _, record = await _enlarged(both)
        for _ in range(5):
            handle = await both.ez.midjourney.action(record.region())
            with pytest.raises(ModalNeededError) as caught:
                await handle
            assert caught.value.task_id == handle.task_id
        assert both.ez.pending() == ()
        assert _units(both) == [18_000, 9_000]


async def test_remix_dialog_of_a_reroll_ends_its_handle_and_was_paid() -> None:
    async with emulated_client(EmulatorSettings(remix=True)) as both:
        grid = await (await both.ez.midjourney.imagine("a red fox"))
        handle = await both.ez.midjourney.action(grid.reroll())
        with pytest.raises(ModalNeededError, match="which is charged"):
            await handle
        again = await both.ez.midjourney.modal(handle, prompt="a blue fox")
        assert (await again).status is TaskStatus.SUCCESS
        assert _units(both) == [18_000, 18_000, 18_000]


async def test_modal_is_sent_once_while_its_task_still_shows_the_dialog() -> None:
    """The server shows the old row until two beats after the end."""
    async with emulated_client(_beating()) as both:
        _, record = await _enlarged(both)
        waits = await both.ez.midjourney.action(record.region())
        with pytest.raises(ModalNeededError):
            await waits
        while not (await both.ez.fetch_task(waits.task_id)).needs_input:
            pass
        done = await both.ez.midjourney.modal(waits, prompt="a hat")
        assert (await both.ez.fetch_task(waits.task_id)).needs_input
        with pytest.raises(ConfigurationError, match="again=True"):
            await both.ez.midjourney.modal(waits, prompt="a hat")
        assert (await done).action == "MODAL"
        assert done.family == "midjourney-modal"
        assert sum("/submit/modal" in path for path in both.paths) == 1


async def test_modal_whose_answer_was_lost_is_found_by_the_key_alone() -> None:
    """The account is not asked: a row of its task is the acceptance."""
    async with emulated_client() as both:
        _, record = await _enlarged(both)
        waits = await both.ez.midjourney.action(record.region())
        with pytest.raises(ModalNeededError):
            await waits
        both.server.control.script("modal", faults.Drop(job=True))
        found = await both.ez.midjourney.modal(waits, prompt="a hat")
        assert (await found).status is TaskStatus.SUCCESS
        assert sum("/submit/modal" in path for path in both.paths) == 1
        assert _units(both) == [18_000, 9_000, 18_000]


async def test_free_action_is_sent_again_when_its_answer_was_lost() -> None:
    """Two dialogs cost as little as one."""
    async with emulated_client() as both:
        _, record = await _enlarged(both)
        both.server.control.script("action", faults.Drop(job=True))
        waits = await both.ez.midjourney.action(record.region())
        with pytest.raises(ModalNeededError):
            await waits
        assert _units(both) == [18_000, 9_000]


async def test_paid_action_is_never_sent_again_when_its_answer_was_lost() -> None:
    async with emulated_client() as both:
        grid = await (await both.ez.midjourney.imagine("a red fox"))
        both.server.control.script("action", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError) as caught:
            await both.ez.midjourney.action(grid.upscale(1))
        assert caught.value.maybe_charged
        assert _units(both) == [18_000, 9_000]


async def test_refused_modal_of_a_button_names_the_task_that_waits() -> None:
    async with emulated_client() as both:
        _, record = await _enlarged(both)
        both.server.control.script("modal", faults.banned_word())
        with pytest.raises(RejectedError) as caught:
            await both.ez.midjourney.action(record.region(), prompt="a hat")
        task_id = caught.value.task_id
        assert task_id is not None
        assert (await both.ez.fetch_task(task_id)).needs_input
        done = await both.ez.midjourney.modal(task_id, prompt="a cap")
        assert (await done).status is TaskStatus.SUCCESS


async def test_same_button_again_is_paid_again() -> None:
    async with emulated_client() as both:
        grid = await (await both.ez.midjourney.imagine("a red fox"))
        for _ in range(2):
            await (await both.ez.midjourney.action(grid.upscale(1)))
        assert _units(both) == [18_000, 9_000, 9_000]


async def test_saved_modal_is_resumed_as_one_in_another_client() -> None:
    """Its family is saved with it, so the row of the dialog is passed over."""
    async with emulated_client(_beating()) as both:
        _, record = await _enlarged(both)
        waits = await both.ez.midjourney.action(record.region())
        with pytest.raises(ModalNeededError):
            await waits
        saved = (await both.ez.midjourney.modal(waits, prompt="a hat")).to_dict()
        async with emulated_client(
            api_key=both.server.api_key, base_url=both.server.base_url
        ) as other:
            resumed = other.ez.restore(saved)
            assert (await resumed).status is TaskStatus.SUCCESS
            assert resumed.family == "midjourney-modal"


async def test_seed_of_a_task_is_the_same_each_time() -> None:
    async with emulated_client() as both:
        handle = await both.ez.midjourney.imagine("a red fox")
        record = await handle
        seed = await both.ez.midjourney.image_seed(handle)
        assert seed == await both.ez.midjourney.image_seed(record)
        assert _units(both) == [18_000]


async def test_many_prompts_are_submitted_as_one_stream() -> None:
    prompts = [f"a fox, number {n}" for n in range(6)]
    async with emulated_client(max_concurrency=2) as both:
        requests = (Imagine(prompt, mode="relax") for prompt in prompts)
        async with both.ez.submit_all(requests) as jobs:
            done = [job async for job in jobs]
        assert not any(job.error for job in done)
        assert sorted(job.request.label for job in done) == prompts
        assert _units(both) == [6_000] * 6
