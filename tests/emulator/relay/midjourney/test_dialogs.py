"""Buttons that ask for input, their modals, and the two rows of one id."""

from __future__ import annotations

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, scripts, serving
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.pictures.sketch import Sketch
from tests.support.emulator_drawings import (
    Task,
    charged_units,
    custom_id_of,
    png_uri,
    sketch_of,
)
from tests.support.emulator_requests import RawApi


async def _dialog(
    api: RawApi, label: str, fault: tuple[Emulator, faults.Fault] | None = None
) -> Task:
    """Press a button of a single picture that asks for input; return its answer."""
    grid = await api.draw("imagine", prompt="a fox --turbo")
    single = await api.press(grid, "U1")
    if fault is not None:
        fault[0].control.script("action", fault[1])
    custom_id = custom_id_of(single, label)
    call = await api.call("action", taskId=single["id"], customId=custom_id)
    return {**call.fields(), "parent": single["id"]}


async def test_region_waits_for_its_modal_and_changes_the_white_only(
    emu: Emulator, api: RawApi
) -> None:
    """The action is free with code 21, the modal costs by the parent's mode."""
    answer = await _dialog(api, "Vary (Region)")
    task_id = answer["result"]
    assert (answer["code"], answer["description"]) == (21, "Waiting for window confirm")
    assert answer["properties"] == {"finalPrompt": "a fox --turbo", "remix": True}
    waiting = await api.fetch(str(task_id))
    assert (waiting["action"], waiting["status"]) == ("INPAINT", "MODAL")
    paid = emu.control.charged

    # A mask of four by four pixels, the left half of which is white.
    mask = Sketch((bytes([215, 215, 0, 0]),) * 4).to_png()
    modal = await api.call(
        "modal", taskId=task_id, prompt="a hat", maskBase64=png_uri(mask)
    )
    done = await api.fetch_end(str(task_id))

    assert modal.fields()["result"] == task_id
    assert emu.control.charged - paid == 40_000
    assert (done["action"], done["promptEn"]) == ("INPAINT", "a hat")
    old = await sketch_of(api, {"id": answer["parent"]})
    new = await sketch_of(api, done)
    fresh = sketch.single(old.digest, "a hat", 1024, 1024)
    for y in range(1024):
        assert new.rows[y][512:] == old.rows[y][512:]
        assert new.rows[y][:512] == fresh.rows[y][:512]


async def test_region_without_a_mask_is_drawn_anew(api: RawApi) -> None:
    answer = await _dialog(api, "Vary (Region)")
    await api.call("modal", taskId=answer["result"])
    done = await api.fetch_end(str(answer["result"]))

    old = await sketch_of(api, {"id": answer["parent"]})
    fresh = sketch.single(old.digest, "a fox --turbo", 1024, 1024)
    assert (await sketch_of(api, done)).rows == fresh.rows


@pytest.mark.parametrize(
    ("prompt", "factor"), [("a fox --zoom 1.4", 1.4), ("a fox", 2.0), ("--zoom 9", 2.0)]
)
async def test_custom_zoom_takes_its_factor_from_the_modal(
    prompt: str, factor: float, api: RawApi
) -> None:
    answer = await _dialog(api, "Custom Zoom")
    await api.call("modal", taskId=answer["result"], prompt=prompt)
    done = await api.fetch_end(str(answer["result"]))

    old = await sketch_of(api, {"id": answer["parent"]})
    wanted = sketch.framed(old, factor, prompt)
    assert (await sketch_of(api, done)).rows == wanted.rows


async def test_modal_makes_a_second_row_that_is_refreshed_first(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    """The old row stays MODAL while the new one runs, and follows a refresh later."""
    control, api = stopped.control, stopped_api
    task_id = await _waiting_region(stopped, api)
    steps = ({"status": "IN_PROGRESS", "progress": "40%"}, _FAILED)
    control.script_tasks(scripts.sequence(*steps))
    await api.call("modal", taskId=task_id, prompt="a hat", state="new")

    shown, waiting = [], await api.rows(task_id)
    for _ in range(4):
        control.beat()
        rows = await api.rows(task_id)
        shown.append([(row["status"], row["state"]) for row in rows])
    assert [(row["action"], row["status"]) for row in waiting] == [
        ("INPAINT", "MODAL"),
        ("MODAL", ""),
    ]
    old, done = ("MODAL", "old"), ("FAILURE", "new")
    assert shown == [
        [old, ("IN_PROGRESS", "new")],
        [old, done],
        [done, done],
        [done, done],
    ]
    # Each row gives back its price, the free one too.
    assert [each.units for each in control.refunds] == [18_000, 18_000]


_FAILED = {"status": "FAILURE", "failReason": "no"}


async def _waiting_region(emu: Emulator, api: RawApi) -> str:
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/"}
    emu.control.script_tasks(scripts.sequence(view))
    parent = (await api.call("imagine", prompt="a fox")).fields()["result"]
    emu.control.beat()
    custom_id = "MJ::Inpaint::1::u::SOLO"
    answer = await api.call("action", taskId=parent, customId=custom_id, state="old")
    emu.control.beat()
    return str(answer.fields()["result"])


async def test_action_on_an_id_behind_a_modal_is_refused_until_both_rows_are_done(
    stopped: Emulator, stopped_api: RawApi
) -> None:
    task_id = await _waiting_region(stopped, stopped_api)
    done = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/"}
    stopped.control.script_tasks(scripts.sequence(done))
    await stopped_api.call("modal", taskId=task_id)
    texts = []
    for _ in range(3):
        custom_id = "MJ::JOB::pan_left::1::u::SOLO"
        answer = await stopped_api.call("action", taskId=task_id, customId=custom_id)
        texts.append(answer.fields()["description"])
        stopped.control.beat()

    assert texts == [*["task_status_not_success "] * 2, "提交成功"]


async def test_scripted_dialog_waits_after_its_steps(
    emu: Emulator, api: RawApi
) -> None:
    life = scripts.sequence({"status": "SUBMITTED", "progress": "0%"}, swap=True)
    answer = await _dialog(api, "Vary (Region)", (emu, faults.Life(life)))

    seen: list[object] = []
    while seen[-2:] != ["MODAL", "MODAL"] and len(seen) < 1_000:
        seen.append((await api.fetch(str(answer["result"])))["status"])

    assert answer["code"] == 21
    # The first look at what is made in a thread may come before it is there.
    assert seen[0] == "SUBMITTED"
    assert set(seen[1:-2]) <= {"IN_PROGRESS"}
    assert seen[-2:] == ["MODAL", "MODAL"]


async def test_modal_of_a_task_that_waits_for_nothing_is_a_task_of_its_own(
    emu: Emulator, api: RawApi
) -> None:
    """It is accepted and charged, whether the other task is done or not."""
    grid = await api.draw("imagine", prompt="a fox --relax")
    done = await api.draw("modal", taskId=grid["id"], prompt="a hat")

    assert (done["action"], done["prompt"]) == ("MODAL", "a fox --relax")
    assert done["id"] != grid["id"]
    assert (await sketch_of(api, done)).digest == sketch.grid("a hat").digest
    assert charged_units(emu) == [6_000, 6_000]


async def test_task_that_a_script_leaves_in_modal_goes_on_with_a_modal(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script_tasks(scripts.sequence({"status": "MODAL", "progress": "0%"}))
    answer = (await api.call("imagine", prompt="a fox")).fields()
    task_id = str(answer["result"])
    assert (await api.fetch(task_id))["status"] == "MODAL"

    again = await api.call("modal", taskId=task_id, prompt="a hat", notifyHook="h")

    assert again.fields()["result"] == task_id
    done = await api.fetch_end(task_id)
    assert (await sketch_of(api, done)).digest == sketch.grid("a hat").digest


@pytest.mark.parametrize("label", ["🔄", "V1"])
async def test_remix_asks_after_the_button_was_charged(label: str) -> None:
    """The dialog's code 21 reaches the caller as 1; the modal is charged again."""
    async with serving(EmulatorSettings(remix=True)) as emu:
        api = RawApi(emu)
        grid = await api.draw("imagine", prompt="a fox")
        custom_id = custom_id_of(grid, label)
        answer = await api.call("action", taskId=grid["id"], customId=custom_id)
        task_id = str(answer.fields()["result"])
        waiting = await api.fetch(task_id)
        await api.call("modal", taskId=task_id, prompt="a hat")
        done = await api.fetch_end(task_id)

        assert answer.fields()["code"] == 1
        assert answer.fields()["properties"] == {"finalPrompt": "a fox", "remix": True}
        assert waiting["status"] == "MODAL"
        assert done["promptEn"] == "a hat"
        assert charged_units(emu) == [18_000] * 3
