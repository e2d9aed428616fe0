"""Submits of Midjourney over a socket: pictures, texts, dialogs, rows and money."""

from __future__ import annotations

import base64
import json

import pytest

from ezlink_async.emulator import (
    Clock,
    Emulator,
    EmulatorSettings,
    faults,
    scripts,
    serving,
)
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.pictures.sketch import Sketch
from tests.support.emulator_drawings import (
    charged_units,
    custom_id_of,
    labels_of,
    png_uri,
    sketch_of,
)
from tests.support.emulator_requests import RawApi, data_uri, picture

_PARTS = ["U1", "U2", "U3", "U4", "🔄", "V1", "V2", "V3", "V4"]
_SINGLE = [
    *("Upscale (Subtle)", "Upscale (Creative)", "Vary (Subtle)", "Vary (Strong)"),
    *("Vary (Region)", "Zoom Out 2x", "Zoom Out 1.5x", "Custom Zoom"),
    *("⬅️", "➡️", "⬆️", "⬇️"),
]

# The buttons that ask for no input.
_AT_ONCE = [each for each in _SINGLE if each not in {"Vary (Region)", "Custom Zoom"}]


async def test_imagine_is_a_grid_with_nine_buttons(emu: Emulator, api: RawApi) -> None:
    """The picture follows from the prompt, which the row keeps."""
    task = await api.draw("imagine", prompt="a red fox --relax", state="s")

    assert (task["action"], task["status"]) == ("IMAGINE", "SUCCESS")
    assert (task["prompt"], task["state"]) == ("a red fox --relax", "s")
    assert task["properties"] == {
        "finalPrompt": "a red fox --relax",
        "finalZhPrompt": "",
    }
    assert labels_of(task) == _PARTS
    drawn = await sketch_of(api, task)
    assert drawn.digest == sketch.grid("a red fox --relax").digest
    assert charged_units(emu) == [6_000]
    (seen,) = emu.control.tasks
    assert (seen.action, seen.prompt) == ("IMAGINE", "a red fox --relax")


@pytest.mark.parametrize("prompt", ["a\ncat\0", "\ud800", "--turbo", " ", "é" * 3000])
async def test_odd_prompt_is_drawn(prompt: str, api: RawApi) -> None:
    task = await api.draw("imagine", prompt=prompt)

    assert (await sketch_of(api, task)).width == 1024


async def test_upscale_is_a_tile_and_variation_a_grid_of_it(
    emu: Emulator, api: RawApi
) -> None:
    grid = await api.draw("imagine", prompt="a red fox")
    upscaled, varied = await api.press(grid, "U2"), await api.press(grid, "V3")
    rerolled = await api.press(grid, "🔄")

    assert [task["action"] for task in (upscaled, varied, rerolled)] == [
        *("UPSCALE", "VARIATION", "REROLL")
    ]
    assert labels_of(upscaled) == _SINGLE
    assert labels_of(varied) == labels_of(rerolled) == _PARTS
    whole = await sketch_of(api, grid)
    tile = sketch.enlarged(sketch.tile_of(whole, 2))
    assert (await sketch_of(api, upscaled)).rows == tile.rows
    seed = sketch.tile_of(whole, 3).digest
    wanted = sketch.grid("a red fox", seed)
    assert (await sketch_of(api, varied)).digest == wanted.digest
    digests = {(await sketch_of(api, one)).digest for one in (grid, varied, rerolled)}
    assert len(digests) == 3
    assert charged_units(emu) == [18_000, 9_000, 18_000, 18_000]


async def test_buttons_of_one_picture_change_it(emu: Emulator, api: RawApi) -> None:
    """Zoom, pan and the variations begin with the very picture."""
    single = await api.press(await api.draw("imagine", prompt="a fox"), "U1")
    old = await sketch_of(api, single)
    emu.control.reset()

    tasks = {label: await api.press(single, label) for label in _AT_ONCE}
    drawn = {label: await sketch_of(api, task) for label, task in tasks.items()}

    assert drawn["Zoom Out 2x"].rows == sketch.framed(old, 2.0, "a fox").rows
    assert drawn["Zoom Out 1.5x"].rows == sketch.framed(old, 100 / 75, "a fox").rows
    sides: dict[str, sketch.Side]
    sides = {"⬅️": "left", "➡️": "right", "⬆️": "up", "⬇️": "down"}
    for label, side in sides.items():
        assert drawn[label].rows == sketch.shifted(old, side, "a fox").rows
    assert drawn["Upscale (Subtle)"].rows == sketch.enlarged(old).rows
    assert drawn["Vary (Subtle)"].digest != drawn["Vary (Strong)"].digest

    prices = [*[9_000] * 2, *[18_000] * 2, *[9_000] * 2, *[18_000] * 4]
    assert charged_units(emu) == prices


async def test_tile_that_a_grid_has_not_fails_and_is_refunded(
    emu: Emulator, api: RawApi
) -> None:
    grid = await api.draw("imagine", prompt="a fox")
    custom_id = custom_id_of(grid, "U1").replace("::1::", "::9::")
    task = await api.draw("action", taskId=grid["id"], customId=custom_id)

    assert (task["status"], task["failReason"]) == ("FAILURE", "a grid has no tile 9")
    assert [refund.units for refund in emu.control.refunds] == [9_000]


async def test_same_upscale_again_leads_to_the_same_task_and_is_paid_again(
    emu: Emulator, api: RawApi
) -> None:
    """The upstream answers 21, the relay 1, and its new row is finished at once."""
    grid = await api.draw("imagine", prompt="a fox")
    first = await api.press(grid, "U2")
    custom_id = custom_id_of(grid, "U2")

    answer = (await api.call("action", taskId=grid["id"], customId=custom_id)).fields()

    assert (answer["code"], answer["description"]) == (1, "任务已存在")
    assert answer["result"] == first["id"]
    rows = await api.rows(str(first["id"]))
    assert [row["status"] for row in rows] == ["SUCCESS", "SUCCESS"]
    assert charged_units(emu) == [18_000, 9_000, 9_000]


@pytest.mark.parametrize(
    ("properties", "status"),
    [
        ({"status": "IN_PROGRESS", "imageUrl": "https://x.example/"}, "IN_PROGRESS"),
        ({"status": "SUCCESS"}, ""),
        ({"status": 1, "imageUrl": "https://x.example/"}, ""),
        (None, ""),
    ],
)
async def test_row_of_a_known_task_begins_with_its_status_and_picture(
    properties: object, status: str, emu: Emulator, api: RawApi
) -> None:
    """Both must be texts; only a SUCCESS is at 100 % at once."""
    answer = {"code": 21, "description": "x", "result": "7", "properties": properties}
    emu.control.script("imagine", faults.Upstream(body=answer))
    await api.call("imagine", prompt="a fox")

    row = await api.fetch("7")

    assert (row["status"], row["progress"]) == (status, "0%")


async def test_upscale_that_failed_is_drawn_anew(emu: Emulator, api: RawApi) -> None:
    grid = await api.draw("imagine", prompt="a fox")
    emu.control.script_tasks(scripts.fails())
    failed = await api.press(grid, "U2")

    again = await api.press(grid, "U2")

    assert (failed["status"], again["status"]) == ("FAILURE", "SUCCESS")
    assert failed["id"] != again["id"]


async def test_button_of_a_picture_that_expired_fails(api: RawApi) -> None:
    """The upstream keeps finished pictures up to a number of bytes."""
    async with serving(EmulatorSettings(kept_bytes=1)) as emu:
        api = RawApi(emu)
        grid = await api.draw("imagine", prompt="a fox")
        await api.draw("imagine", prompt="a cat")

        task = await api.press(grid, "U1")

    assert "is gone" in str(task["failReason"])


# Blend, describe, shorten


_RED, _BLUE = (
    Sketch((bytes([sketch.nearest(colour)]) * 8,) * 4).to_png()
    for colour in ((204, 0, 0), (0, 0, 204))
)


async def test_blend_has_a_stripe_for_each_picture(emu: Emulator, api: RawApi) -> None:
    """A picture that cannot be decoded gives the colour of its hash."""
    broken = data_uri(picture("x"))
    task = await api.draw("blend", base64Array=[png_uri(_RED), png_uri(_BLUE), broken])

    first = (await sketch_of(api, task)).rows[0]
    assert first[:170] == bytes([sketch.nearest((204, 0, 0))]) * 170
    assert first[171:340] == bytes([sketch.nearest((0, 0, 204))]) * 169
    assert labels_of(task) == _PARTS
    assert charged_units(emu) == [18_000]


async def test_describe_tells_format_size_and_colour(
    emu: Emulator, api: RawApi
) -> None:
    """The four lines stand in both fields, and the picture is the one described."""
    task = await api.draw("describe", base64=png_uri(_RED))

    text = str(task["promptEn"])
    assert [line[:3] for line in text.split("\n\n")] == ["1️⃣", "2️⃣", "3️⃣", "4️⃣"]
    assert "PNG picture of 8 x 4 pixels" in text
    assert "red (#cc0000)" in text
    assert task["properties"] == {"finalPrompt": text, "finalZhPrompt": ""}
    assert (await api.image(str(task["id"]))).body == _RED
    buttons = [custom_id_of(task, "1️⃣"), custom_id_of(task, "4️⃣")]
    assert buttons == ["MJ::Job::PicReader::1", "MJ::Job::PicReader::4"]
    assert charged_units(emu) == [9_000]


async def test_shorten_leaves_filler_words_out(emu: Emulator, api: RawApi) -> None:
    """The text has no picture; the row's prompt is the long one."""
    task = await api.draw("shorten", prompt="A very long cat that is quite red --relax")

    assert task["promptEn"] == "1️⃣ long cat red --relax"
    assert task["imageUrl"] == ""
    assert task["prompt"] == "A very long cat that is quite red --relax"
    assert custom_id_of(task, "1️⃣") == "MJ::Job::PromptAnalyzer::1"
    assert charged_units(emu) == [6_000]


@pytest.mark.parametrize("name", ["blend", "describe"])
async def test_call_without_a_picture_is_charged_and_fails(
    name: str, emu: Emulator, api: RawApi
) -> None:
    """The relay checks nothing; the failure is refunded."""
    task = await api.draw(name)

    assert (task["status"], "no picture" in str(task["failReason"])) == (
        "FAILURE",
        True,
    )
    assert charged_units(emu) == [refund.units for refund in emu.control.refunds]


async def test_unreadable_base64_is_refused_by_the_upstream(
    emu: Emulator, api: RawApi
) -> None:
    answer = await api.call("blend", base64Array=["data:image/png;base64,%"])

    assert answer.fields()["description"] == "base64格式错误 "
    assert (answer.status, charged_units(emu)) == (400, [])


# Change


async def test_change_is_not_served_by_todays_upstream(
    emu: Emulator, api: RawApi
) -> None:
    grid = await api.draw("imagine", prompt="a fox")
    answer = await api.call("change", taskId=grid["id"], action="UPSCALE", index=1)

    assert answer.fields()["description"] == "empty_response_body "
    assert charged_units(emu) == [18_000]


@pytest.mark.parametrize("name", ["change", "simple-change"])
async def test_change_does_what_the_button_does_where_it_is_served(name: str) -> None:
    async with serving(EmulatorSettings(serves_change=True)) as emu:
        api = RawApi(emu)
        grid = await api.draw("imagine", prompt="a fox")
        task = await api.draw(name, taskId=grid["id"], action="UPSCALE", index=3)

        tile = sketch.enlarged(sketch.tile_of(await sketch_of(api, grid), 3))
        assert (await sketch_of(api, task)).rows == tile.rows


async def test_action_that_the_upstream_does_not_know_fails() -> None:
    """The relay passes an action in small letters on."""
    async with serving(EmulatorSettings(serves_change=True)) as emu:
        api = RawApi(emu)
        grid = await api.draw("imagine", prompt="a fox")
        task = await api.draw("change", taskId=grid["id"], action="upscale", index=1)

    assert "knows no action upscale" in str(task["failReason"])
    assert task["action"] == "upscale"


# Trouble


_FAULTS: dict[str, tuple[faults.Fault, int, str, int]] = {
    "panic": (faults.Trouble("panic"), 500, "", 0),
    "no channel": (faults.Trouble("no_channel"), 503, "for model mj_imagine", 0),
    "quota": (faults.Trouble("user_quota_lookup"), 400, "Failed to get user quota", 0),
    "queued": (faults.Trouble("queued"), 200, '"code":1,', 18_000),
    "refused": (faults.banned_word(), 400, "可能包含敏感词 ", 0),
    "saturated": (faults.saturated(), 429, "load is saturated", 0),
    "array": (faults.Upstream(body=[1]), 400, "unmarshal_response_body_failed", 0),
}


@pytest.mark.parametrize("name", _FAULTS)
async def test_trouble_of_a_submit(name: str, emu: Emulator, api: RawApi) -> None:
    fault, status, words, charged = _FAULTS[name]
    emu.control.script("imagine", fault)
    answer = await api.call("imagine", prompt="a fox")

    assert answer.status == status
    assert words in answer.body.decode()
    assert emu.control.charged == charged
    emu.control.assert_all_played()


@pytest.mark.parametrize(
    "name", ["imagine", "blend", "describe", "shorten", "action", "modal", "change"]
)
async def test_each_call_has_a_place_for_faults(
    name: str, emu: Emulator, api: RawApi
) -> None:
    """The swap's ``submit`` is another one."""
    emu.control.script(name, faults.Answer(418))
    emu.control.script("submit", faults.Answer(419))

    assert (await api.call(name)).status == 418


async def test_full_queue_refuses_a_drawing_with_code_23() -> None:
    async with serving(EmulatorSettings(concurrency=1, queue=0)) as emu:
        answer = await RawApi(emu).call("imagine", prompt="a fox")

    assert (answer.status, answer.fields()["code"]) == (400, 23)


async def test_body_that_is_no_json_is_refused_in_front_of_the_handler(
    emu: Emulator, api: RawApi
) -> None:
    """Nothing is logged: neither that nor a custom id without an action."""
    answer = await api.post("/mj/submit/imagine", b"{")
    await api.call("action", customId="MJ::BOOKMARK::u")

    assert b"Model name is required" in answer.body
    assert emu.control.refusals == []


async def test_body_above_the_upstreams_limit_is_answered_with_an_empty_body() -> None:
    async with serving(EmulatorSettings(max_body=300_000)) as emu:
        answer = await RawApi(emu).call("describe", base64="x" * 300_000)

    assert answer.fields()["description"] == "empty_response_body "


async def test_large_pictures_are_read_in_a_thread(api: RawApi) -> None:
    content = base64.b64encode(b"\xff\xd8\xff" + bytes(300_000)).decode()

    task = await api.draw("blend", base64Array=[content])

    assert task["status"] == "SUCCESS"


async def test_forwarded_call_has_the_mode_and_no_account_filter(
    emu: Emulator, api: RawApi
) -> None:
    """Numbers arrive as doubles; long fields are shown by their length."""
    fields = {
        "prompt": "a --turbo",
        "n": [1],
        "accountFilter": {},
        "x": {"y": 2},
    }
    body = json.dumps({**fields, "base64Array": ["A" * 400]}).encode()
    await api.post("/mj/submit/imagine?q=1", body)

    (call,) = emu.control.forwarded
    assert (call.method, call.path) == ("POST", "/mj-turbo/mj/submit/imagine?q=1")
    assert call.body == {
        "base64Array": "<404 characters>",
        "n": [1.0],
        "prompt": "a --turbo",
        "x": {"y": 2.0},
    }
    emu.control.reset()
    assert emu.control.forwarded == []


async def test_failed_task_gives_its_price_back_once(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("imagine", faults.Life(scripts.fails("bad")))
    before = emu.control.balance
    task = await api.draw("imagine", prompt="a fox --turbo")
    await api.fetch(str(task["id"]))

    assert (task["status"], task["failReason"]) == ("FAILURE", "bad")
    assert emu.control.balance == before
    assert [refund.units for refund in emu.control.refunds] == [40_000]


async def test_sketches_take_the_stages_of_a_task() -> None:
    """A drawing is as slow as a swap."""
    clock = Clock(ticking=False)
    async with serving(EmulatorSettings(clock=clock, engine_seconds=5)) as emu:
        api = RawApi(emu)
        answer = (await api.call("imagine", prompt="a fox")).fields()
        task_id = str(answer["result"])
        seen = [(await api.fetch(task_id))["status"] for _ in range(3)]
        emu.control.advance(5)

        assert seen[-1] == "IN_PROGRESS"
        assert (await api.fetch_end(task_id))["status"] == "SUCCESS"
