"""Midjourney's jobs by the client, against the emulator over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io

import pytest
from PIL import Image as Pillow

from ezlink_async import (
    AsyncEzlink,
    ConfigurationError,
    EzlinkError,
    ModalNeededError,
    RejectedError,
    SubmitUnknownError,
    TaskRecord,
    TaskStatus,
    TextLostError,
    Timeouts,
)
from ezlink_async._client import session
from ezlink_async._client.handle import FollowedHandle
from ezlink_async.emulator import EmulatorSettings, faults, scripts
from ezlink_async.requests import Action, Describe, Imagine, Modal
from tests.support.client_harness import POLL, EmulatedClient, emulated_client, until
from tests.support.photographs import encoded, photo
from tests.support.pictures import jpeg, png

DIALOGS = 200


BEATS = EmulatorSettings(poll_interval=0.05)
"""The rows are renewed at regular moments, as those of the real server."""


async def _upscaled(here: EmulatedClient) -> TaskRecord:
    """Return a finished upscale, which has all buttons."""
    grid = await (await here.ez.midjourney.imagine("a red fox"))
    return await (await here.ez.midjourney.action(grid.upscale(2)))


def _other_client(here: EmulatedClient) -> AsyncEzlink:
    """Return the client of a later process."""
    server = here.server
    return AsyncEzlink(server.api_key, base_url=server.base_url, poll=POLL)


def _posts(here: EmulatedClient, call: str) -> int:
    return sum(path.endswith(f"/submit/{call}") for path in here.paths)


def _pixels(content: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(content)).convert("RGB")


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


async def test_refused_modal_may_be_sent_again() -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script("modal", faults.banned_word())
        with pytest.raises(RejectedError):
            await here.ez.midjourney.modal(dialog, prompt="a word")
        handle = await here.ez.midjourney.modal(dialog, prompt="a fox")
        assert (await handle).status is TaskStatus.SUCCESS


@pytest.mark.parametrize(
    "fault",
    [
        faults.Drop(),
        faults.proxy(504),
        faults.Trouble("panic"),
        faults.Trouble("insert_failed"),
        faults.Answer(200, "<html>", job=True),
        faults.Upstream(body={"code": 1, "description": "no id"}),
    ],
    ids=str,
)
async def test_free_button_whose_answer_was_lost_is_pressed_again(
    fault: faults.Fault,
) -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        here.server.control.script("action", fault)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        with pytest.raises(ModalNeededError):
            await dialog
        here.server.control.standing("action", fault)
        with pytest.raises(EzlinkError, match="costs nothing") as lost:
            await here.ez.midjourney.action(parent.custom_zoom())
        assert (lost.value.retry_safe, lost.value.maybe_charged) == (True, False)
        assert here.charges == 2


@pytest.mark.parametrize("turns", [0, 1, 2, 4, 6, 8, 10, 15, 60])
async def test_modal_that_is_cancelled_is_sent_once_and_only_once(turns: int) -> None:
    """It is cancelled at every step: what was not sent may be sent again."""
    async with emulated_client(BEATS, max_concurrency=1) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        calling = asyncio.create_task(here.ez.midjourney.modal(dialog, prompt="a fox"))
        for _ in range(turns):
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])
        if not calling.cancelled():
            await calling
        with contextlib.suppress(ConfigurationError):
            await here.ez.midjourney.modal(dialog, prompt="a fox")
        await until(here.server, "charges", 3)
        last = await (await here.ez.midjourney.imagine("a cat"))  # its slot is free
        assert last.status is TaskStatus.SUCCESS
        units = [charge.units for charge in here.server.control.charges]
        assert units == [18_000, 9_000, 18_000, 18_000]


async def test_modal_that_is_meant_again_counts_as_sent() -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        for _ in range(2):
            await here.ez.midjourney.modal(dialog, prompt="a fox", again=True)
        with pytest.raises(ConfigurationError, match="sent already"):
            await here.ez.midjourney.modal(dialog, prompt="a fox")
        assert _posts(here, "modal") == 2


async def test_row_of_one_modal_is_not_taken_for_that_of_another() -> None:
    """Two are meant at once; the answer to one is lost, and it left no row."""
    timeouts = Timeouts(submit=1, reconcile=0.3)
    async with emulated_client(BEATS, timeouts=timeouts) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        here.server.control.script("modal", faults.Delay(0), faults.Drop())
        modals = [Modal(dialog, prompt=prompt, again=True) for prompt in "ab"]
        one, other = await asyncio.gather(
            *map(here.ez.submit, modals), return_exceptions=True
        )
        assert {type(one), type(other)} == {FollowedHandle, SubmitUnknownError}
        assert (_posts(here, "modal"), here.charges) == (2, 3)


async def test_refusal_of_a_modal_that_is_meant_again_forgets_no_earlier_one() -> None:
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        await here.ez.midjourney.modal(dialog, prompt="a fox")
        here.server.control.script("modal", faults.banned_word())
        with pytest.raises(RejectedError):
            await here.ez.midjourney.modal(dialog, prompt="a word", again=True)
        with pytest.raises(ConfigurationError, match="sent already"):
            await here.ez.midjourney.modal(dialog, prompt="a fox")


async def test_request_that_is_refused_at_once_does_not_end_a_stream() -> None:
    """A second modal of one task, and what is no request at all."""
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialog = await here.ez.midjourney.action(parent.custom_zoom())
        modals = [Modal(dialog, prompt=prompt) for prompt in ("a fox", "a cat")]
        requests = [*modals, "no request", Imagine("a dog")]
        async with here.ez.submit_all(requests) as jobs:  # type: ignore[arg-type]
            errors = {str(job.request): type(job.error) async for job in jobs}

    assert [errors[str(each)] for each in requests] == [
        *(type(None), ConfigurationError),
        *(ConfigurationError, type(None)),
    ]


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


_WORDS = "The token quota has been exhausted (request id: 2026)"

_USED_UP = faults.Answer(
    401,
    f'{{"error":{{"message":"{_WORDS}","type":"api_error"}}}}',
    "application/json",
)


@pytest.mark.parametrize("is_shown", [True, False])
async def test_preview_of_a_task_whose_key_is_used_up_is_not_its_result(
    *, is_shown: bool
) -> None:
    """The picture at its address is unfinished, and nothing else says so."""
    drawing = {"status": "IN_PROGRESS", "progress": "40%", "imageUrl": "http://up/a"}
    async with emulated_client(BEATS) as here:
        here.server.control.script_tasks(scripts.sequence(drawing))
        here.server.control.standing("image", faults.Picture(content=png()))
        calls = ("fetch", "list")
        if not is_shown:
            for call in calls:
                here.server.control.standing(call, _USED_UP)
        handle = await here.ez.midjourney.imagine("a red fox")
        if is_shown:
            async for record in handle.updates():
                if record.image_url:
                    break
            for call in calls:
                here.server.control.standing(call, _USED_UP)
        asked = len(here.paths)
        while len(here.paths) < asked + 40 and not handle.done():
            await asyncio.sleep(0)
        assert not handle.done()


async def test_saved_handle_with_a_preview_is_not_ended_by_it() -> None:
    drawing = {"status": "IN_PROGRESS", "progress": "40%", "imageUrl": "http://up/a"}
    async with emulated_client(BEATS) as here:
        here.server.control.script_tasks(scripts.sequence(drawing))
        here.server.control.standing("image", faults.Picture(content=png()))
        handle = await here.ez.midjourney.imagine("a red fox")
        async for record in handle.updates():
            if record.image_url:
                break
        async with _other_client(here) as other:
            here.server.control.standing("fetch", _USED_UP)
            here.server.control.standing("list", _USED_UP)
            again = other.restore(handle.to_dict())
            asked = len(here.paths)
            while len(here.paths) < asked + 40 and not again.done():
                await asyncio.sleep(0)
            assert not again.done()


async def test_preview_of_a_task_known_by_its_id_alone_is_not_its_result() -> None:
    """Nothing says whether it is a drawing."""
    drawing = {"status": "IN_PROGRESS", "progress": "40%", "imageUrl": "http://up/a"}
    async with emulated_client(BEATS) as here:
        here.server.control.script_tasks(scripts.sequence(drawing))
        here.server.control.standing("image", faults.Picture(content=png()))
        task_id = (await here.ez.midjourney.imagine("a red fox")).task_id
        for call in ("fetch", "list"):
            here.server.control.standing(call, _USED_UP)
        async with _other_client(here) as other:
            handle = other.task(task_id)
            asked = len(here.paths)
            while len(here.paths) < asked + 40 and not handle.done():
                await asyncio.sleep(0)
            assert not handle.done()
            assert not any("/mj/image/" in path for path in here.paths[asked:])


async def test_swap_known_by_its_id_is_ended_by_its_picture_once_a_record_says_so() -> (
    None
):
    drawing = {"status": "IN_PROGRESS", "progress": "40%", "imageUrl": "http://up/a"}
    async with emulated_client(BEATS) as here:
        here.server.control.script_tasks(scripts.sequence(drawing))
        handle = await here.ez.swap_face(jpeg(2_000), jpeg(3_000))
        async with _other_client(here) as other:
            again = other.task(handle.task_id)
            async for record in again.updates():
                if record.action == "SWAP_FACE":
                    break
            for call in ("fetch", "list"):
                here.server.control.standing(call, _USED_UP)
            here.server.control.standing("image", faults.Picture(content=png()))
            assert (await again).status is TaskStatus.SUCCESS


async def test_lost_imagine_is_found_by_its_state() -> None:
    timeouts = Timeouts(submit=1, reconcile=1)
    async with emulated_client(with_account=True, timeouts=timeouts) as here:
        here.server.control.script("imagine", faults.Drop(job=True))
        handle = await here.ez.submit(Imagine("a red fox"))
        assert (await handle).status is TaskStatus.SUCCESS
        assert (_posts(here, "imagine"), here.charges) == (1, 1)


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
    assert caplog.messages == [
        f"task {handle.task_id} ended well, but the server has lost its text"
    ]


async def test_bad_request_sends_nothing() -> None:
    async with emulated_client() as here:
        with pytest.raises(ConfigurationError):
            await here.ez.midjourney.imagine("a --turbo fox --relax")
        with pytest.raises(ConfigurationError, match="no job request"):
            await here.ez.submit("a red fox")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="iterable of job requests"):
            here.ez.submit_all(7)  # type: ignore[arg-type]
        jobs = here.ez.submit_all(["a red fox"])  # type: ignore[list-item]
        assert isinstance((await anext(jobs)).error, ConfigurationError)
        with pytest.raises(StopAsyncIteration):
            await anext(jobs)
        assert here.paths == []


async def test_stream_that_is_left_names_what_is_paid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with emulated_client() as here:
        here.server.control.script_tasks(scripts.stuck())
        async with here.ez.submit_all([Imagine("a red fox")]) as jobs:
            reading = asyncio.create_task(anext(jobs))
            while not any(handle.record for handle in here.ez.pending()):
                await asyncio.sleep(0)
            reading.cancel()
    (line,) = caplog.messages
    assert "of submit_all() were not read" in line
    assert "(target a red fox)" in line


async def test_keys_of_modals_are_forgotten_after_many_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "_REMEMBERED", 1)
    async with emulated_client(BEATS) as here:
        parent = await _upscaled(here)
        dialogs = [await here.ez.submit(Action(parent.custom_zoom())) for _ in "ab"]
        for dialog in dialogs:
            await here.ez.midjourney.modal(dialog, prompt="a fox")
        with pytest.raises(ConfigurationError, match="sent already"):
            await here.ez.midjourney.modal(dialogs[1], prompt="a fox")
        await here.ez.midjourney.modal(dialogs[0], prompt="a fox")
        assert _posts(here, "modal") == 3
