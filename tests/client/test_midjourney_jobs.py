"""Midjourney's jobs by the client, against the emulator over real sockets."""

from __future__ import annotations

import asyncio
import io
import logging
from pathlib import Path

import pytest
from PIL import Image as Pillow

from ezlink_async import (
    ConfigurationError,
    ModalNeededError,
    RejectedError,
    SubmitUnknownError,
    TaskRecord,
    TaskStatus,
    TextLostError,
    Timeouts,
)
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.requests import Action, Describe, Imagine, Shorten
from tests.support.client_harness import EmulatedClient, emulated_client
from tests.support.photographs import encoded, photo

DIALOGS = 200

BEATS = EmulatorSettings(poll_interval=0.05)


async def _upscaled(here: EmulatedClient) -> TaskRecord:
    """Return a finished upscale, which has all buttons."""
    grid = await (await here.ez.midjourney.imagine("a red fox"))
    return await (await here.ez.midjourney.action(grid.upscale(2)))


def _posts(here: EmulatedClient, call: str) -> int:
    return sum(path.endswith(f"/submit/{call}") for path in here.paths)


def _pixels(content: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(content)).convert("RGB")


async def test_upscale_is_its_tile_of_the_grid_pixel_by_pixel() -> None:
    async with emulated_client() as here:
        grid = await here.ez.midjourney.imagine("a red fox --ar 3:2", mode="relax")
        record = await grid
        one = await here.ez.midjourney.action(record.upscale(2))
        tiles, tile = _pixels(await grid.read()), _pixels(await one.read())

    width, height = tiles.size
    second = tiles.crop((width // 2, 0, width, height // 2))
    assert tile.size == tiles.size
    assert second.resize(tile.size, Pillow.Resampling.NEAREST) == tile
    units = [charge.units for charge in here.server.control.charges]
    assert units == [6_000, 9_000]


async def test_region_changes_nothing_outside_the_mask(tmp_path: Path) -> None:
    mask = Pillow.new("L", (1024, 1024))
    mask.paste(255, (300, 300, 600, 600))
    mask.save(tmp_path / "mask.png")
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        old = _pixels(await here.ez.task(parent.task_id).read())
        handle = await here.ez.midjourney.action(
            parent.region(), prompt="a hat", mask=tmp_path / "mask.png"
        )
        new = _pixels(await handle.read())
        assert handle.family == "midjourney-modal"
        assert _posts(here, "modal") == 1

    black = Pillow.new("RGB", old.size)
    inverted = mask.point(lambda value: 255 - value)
    one, other = (Pillow.composite(each, black, inverted) for each in (old, new))
    assert one == other
    assert old != new


async def test_dialogs_end_at_once_and_free_their_slots() -> None:
    """The acceptance says that a dialog waits, so none of them is polled."""
    async with emulated_client(max_concurrency=4) as here:
        parent = await _upscaled(here)
        asked = len(here.paths)
        actions = [Action(parent.custom_zoom()) for _ in range(DIALOGS)]
        async with here.ez.submit_all(actions) as jobs:
            errors = [job.error async for job in jobs]
        assert here.ez.pending() == ()
        assert len(here.paths) - asked == DIALOGS

    assert {type(error) for error in errors} == {ModalNeededError}


async def test_dialog_of_remix_ends_the_handle_in_one_look() -> None:
    """A reroll was charged already; the sentence says that the modal is charged too."""
    settings = EmulatorSettings(remix=True)
    async with emulated_client(settings) as here:
        grid = await (await here.ez.midjourney.imagine("a red fox"))
        handle = await here.ez.midjourney.action(grid.reroll())
        with pytest.raises(ModalNeededError, match="is charged, also") as dialog:
            await handle
        assert dialog.value.maybe_charged
        done = await here.ez.midjourney.modal(dialog.value, prompt="a blue fox")
        assert (await done).status is TaskStatus.SUCCESS

    units = [charge.units for charge in here.server.control.charges]
    assert units == [18_000, 18_000, 18_000]


async def test_modal_is_sent_once_however_long_the_old_row_shows_its_dialog(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script_tasks(scripts.slow(0.2))
        handle = await here.ez.midjourney.modal(dialog, prompt="a fox --zoom 1.8")
        saved = handle.to_dict()
        assert (await handle).action == "MODAL"
        with pytest.raises(ConfigurationError, match="again=True"):
            await here.ez.midjourney.modal(dialog, prompt="another")
        assert _posts(here, "modal") == 1
        assert await here.ez.restore(saved) == await handle
        await here.ez.midjourney.modal(dialog, prompt="another", again=True)
        assert _posts(here, "modal") == 2

    assert saved["family"] == "midjourney-modal"
    assert caplog.messages == []


async def test_refused_modal_may_be_sent_again() -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script("modal", faults.banned_word())
        with pytest.raises(RejectedError):
            await here.ez.midjourney.modal(dialog, prompt="a word")
        handle = await here.ez.midjourney.modal(dialog, prompt="a fox")
        assert (await handle).status is TaskStatus.SUCCESS


async def test_refusal_of_the_second_step_carries_the_id_of_the_first() -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        here.server.control.script("modal", faults.banned_word())
        with pytest.raises(RejectedError) as refused:
            await here.ez.midjourney.action(parent.custom_zoom(), prompt="a word")
        task_id = refused.value.task_id
        assert task_id is not None
        handle = await here.ez.midjourney.modal(task_id, prompt="a fox")
        assert (await handle).status is TaskStatus.SUCCESS


async def test_lost_answer_of_a_modal_is_found_with_the_key_alone() -> None:
    async with emulated_client(BEATS, timeouts=Timeouts(submit=1)) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script("modal", faults.Drop(job=True))
        handle = await here.ez.midjourney.modal(dialog, prompt="a fox")
        assert handle.task_id == dialog.task_id
        assert (await handle).action == "MODAL"
        assert _posts(here, "modal") == 1


async def test_modal_that_left_no_row_stays_unknown() -> None:
    timeouts = Timeouts(submit=1, reconcile=0.3)
    async with emulated_client(BEATS, timeouts=timeouts) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script("modal", faults.Drop())
        with pytest.raises(SubmitUnknownError):
            await here.ez.midjourney.modal(dialog, prompt="a fox")
        with pytest.raises(ConfigurationError, match="sent already"):
            await here.ez.midjourney.modal(dialog, prompt="a fox")
        assert _posts(here, "modal") == 1


@pytest.mark.parametrize("job", [True, False])
async def test_lost_answer_of_a_free_action_is_followed_by_another(
    *, job: bool
) -> None:
    async with emulated_client(timeouts=Timeouts(submit=1)) as here:
        parent = await _upscaled(here)
        here.server.control.script("action", faults.Drop(job=job))
        handle = await here.ez.midjourney.action(parent.custom_zoom())
        with pytest.raises(ModalNeededError):
            await handle
        assert _posts(here, "action") == 3
        assert [c.units for c in here.server.control.charges if not c.units] == []


async def test_lost_answer_of_a_paid_action_is_never_followed_by_another() -> None:
    async with emulated_client(timeouts=Timeouts(submit=1)) as here:
        parent = await _upscaled(here)
        here.server.control.script("action", faults.Drop(job=True))
        with pytest.raises(SubmitUnknownError):
            await here.ez.midjourney.action(parent.zoom(2))
        assert _posts(here, "action") == 2


async def test_lost_imagine_is_found_by_its_state() -> None:
    timeouts = Timeouts(submit=1, reconcile=1)
    async with emulated_client(with_account=True, timeouts=timeouts) as here:
        here.server.control.script("imagine", faults.Drop(job=True))
        handle = await here.ez.submit(Imagine("a red fox"))
        assert (await handle).status is TaskStatus.SUCCESS
        assert (_posts(here, "imagine"), here.charges) == (1, 1)


async def test_text_is_read_and_saved(tmp_path: Path) -> None:
    picture = encoded(photo(), "PNG")
    async with emulated_client() as here:
        described = await here.ez.midjourney.describe(picture)
        record = await described
        path = await described.save(tmp_path / "what.txt")
        shortened = await here.ez.submit(Shorten("please make a nice red fox"))
        (short,) = await shortened.save_all(tmp_path / "short")
        content = await shortened.read()

    assert "96 x 64" in record.text
    assert path.read_text(encoding="utf-8") == record.text
    assert short.name == "short.txt"
    assert short.read_bytes() == content == (await shortened).text.encode()


async def test_lost_text_is_an_error_only_where_it_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = {"status": "SUCCESS", "progress": "100%", "properties": {}, "promptEn": ""}
    async with emulated_client() as here:
        here.server.control.script_tasks(scripts.sequence(lost))
        handle = await here.ez.submit(Describe(encoded(photo(), "PNG")))
        assert (await handle).text == ""
        with pytest.raises(TextLostError) as missing:
            await handle.read()

    assert missing.value.maybe_charged
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "has lost its text" in caplog.messages[0]


async def test_seed_is_a_number_and_costs_nothing() -> None:
    async with emulated_client() as here:
        parent = await _upscaled(here)
        charged = here.charges
        assert await here.ez.midjourney.image_seed(parent) > 0
        assert here.charges == charged


async def test_bad_request_sends_nothing() -> None:
    async with emulated_client() as here:
        with pytest.raises(ConfigurationError):
            await here.ez.midjourney.imagine("a --turbo fox --relax")
        with pytest.raises(ConfigurationError, match="no job request"):
            await here.ez.submit("a red fox")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="iterable of job requests"):
            here.ez.submit_all(7)  # type: ignore[arg-type]
        async with here.ez.submit_all(["a red fox"]) as jobs:  # type: ignore[list-item]
            errors = [job.error async for job in jobs]
        assert here.paths == []

    assert [type(error) for error in errors] == [ConfigurationError]


async def test_stream_that_is_left_names_what_is_paid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with emulated_client() as here:
        here.server.control.script_tasks(scripts.stuck())
        async with here.ez.submit_all([Imagine("a red fox")]) as jobs:
            reading = asyncio.create_task(anext(jobs))
            while not here.ez.pending():
                await asyncio.sleep(0)
            reading.cancel()
    (line,) = caplog.messages
    assert "of submit_all() were not read" in line
    assert "(target a red fox)" in line
