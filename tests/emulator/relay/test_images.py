"""Async images over a socket: pictures, rows, money, and what a script lets happen."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import Emulator, EmulatorSettings, faults, scripts, serving
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.relay.picture_answers import why_no_json
from tests.support.emulator_requests import RawApi
from tests.support.wire import RawConnection, RawResponse

SUBMIT = "/v1/async/images/generations"
RESULT = "/v1/async/images/result?taskid="
WAN = "wan2.5-i2i-preview"


async def _submit(api: RawApi, **fields: object) -> dict[str, object]:
    return (await api.post(SUBMIT, json.dumps(fields).encode())).fields()


async def _end(api: RawApi, task_id: object) -> dict[str, object]:
    """Ask until the task has ended."""
    while True:
        shown = (await api.get(f"{RESULT}{task_id}")).fields()
        if shown["task_status"] != "processing":
            return shown


async def _made(api: RawApi, **fields: object) -> list[str]:
    """Return the addresses of new pictures."""
    shown = await _end(api, (await _submit(api, **fields))["task_id"])
    urls = shown["image_urls"]
    assert isinstance(urls, list), shown
    return urls


async def _fetched(emu: Emulator, url: str) -> RawResponse:
    async with RawConnection(emu.base_url) as raw:
        return await raw.request("GET", url.removeprefix(emu.base_url), [])


@pytest.mark.parametrize(
    ("fields", "size", "count", "units"),
    [
        ({"model": WAN}, (1024, 1024), 4, 400_000),
        (
            {"model": WAN, "parameters": {"n": 2, "size": "300*200"}},
            *((300, 200), 2, 200_000),
        ),
        (
            {"model": "kling-v2", "n": 3, "aspect_ratio": "16:9"},
            *((1365, 768), 3, 150_000),
        ),
        (
            {"model": "flux-pro-1.1", "width": 320, "height": 99999},
            *((320, 2048), 1, 20_000),
        ),
        ({"model": "flux-dev", "width": 1, "height": 1}, (64, 64), 1, 12_500),
    ],
)
async def test_pictures_have_number_and_size_of_the_request(
    fields: dict[str, object],
    size: tuple[int, int],
    count: int,
    units: int,
    emu: Emulator,
    api: RawApi,
) -> None:
    urls = await _made(api, prompt="a fox", **fields)
    files = [await _fetched(emu, url) for url in urls]
    pictures = [sketch.read_sketch(file.body) for file in files]
    assert {(each.width, each.height) for each in pictures} == {size}
    assert len({each.digest for each in pictures}) == count
    assert [charge.units for charge in emu.control.charges] == [units]
    assert files[0].header("Content-Type") == "image/png"


async def test_same_request_gives_the_same_picture_and_another_another(
    emu: Emulator, api: RawApi
) -> None:
    bodies = []
    for seed in (1, 1, 2):
        (url,) = await _made(api, model="kling-v2", prompt="a fox", seed=seed)
        bodies.append((await _fetched(emu, url)).body)
    assert bodies[0] == bodies[1] != bodies[2]


async def test_link_of_flux_ends_and_those_of_others_do_not(
    emu: Emulator, api: RawApi
) -> None:
    (flux,) = await _made(api, model="flux-pro-1.1", prompt="a fox")
    (kling,) = await _made(api, model="kling-v2", prompt="a fox")
    emu.control.advance(599)
    assert (await _fetched(emu, flux)).status == 200
    emu.control.advance(2)
    assert (await _fetched(emu, flux)).status == 403
    assert (await _fetched(emu, flux.partition("?")[0])).status == 403
    assert (await _fetched(emu, kling)).status == 200


@pytest.mark.parametrize("number", ["0", "2", "9"])
async def test_picture_that_was_not_made_is_missing(
    number: str, emu: Emulator, api: RawApi
) -> None:
    (url,) = await _made(api, model="kling-v2", prompt="a fox")
    assert (await _fetched(emu, url.replace("1.png", f"{number}.png"))).status == 404
    assert (await _fetched(emu, "/__emu/pictures/none/1.png")).status == 404


@pytest.mark.parametrize(
    ("model", "message", "given_back"),
    [
        (WAN, "no", 400_000),
        ("kling-v2", "SUCCEED", 0),
        ("flux-pro-1.1", "Image generation failed", 0),
    ],
)
async def test_failure_is_given_back_once_and_for_wan_alone(
    model: str, message: str, given_back: int, emu: Emulator, api: RawApi
) -> None:
    emu.control.script_tasks(scripts.fails("no"))
    task_id = (await _submit(api, model=model, prompt="x"))["task_id"]
    for _ in range(2):
        shown = await _end(api, task_id)
        assert (shown["task_status"], shown["message"]) == ("failed", message)
        assert shown["image_urls"] is None
    assert sum(charge.units for charge in emu.control.refunds) == given_back
    shown = await _end(api, task_id)


async def test_other_models_are_refused_in_front_or_by_name(
    emu: Emulator, api: RawApi
) -> None:
    async def refused(**fields: object) -> tuple[int, object]:
        response = await api.post(SUBMIT, json.dumps(fields).encode())
        return response.status, response.fields()["error"]

    status, error = await refused(model="dall-e-3")
    assert status == 400
    assert isinstance(error, dict)
    assert error["code"] == "unsupported_model"
    for model in ("flux-none", "wan9", "other", ""):
        status, error = await refused(model=model)
        assert status == 503
        assert "request id" in str(error)
    assert not emu.control.charges
    assert not emu.control.refusals


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
async def test_body_that_is_no_object_names_no_model(body: bytes, api: RawApi) -> None:
    response = await api.post(SUBMIT, body)
    assert response.status == 400
    assert b"Model name is required" in response.body


async def test_troubles_of_the_relay_charge_nothing(emu: Emulator, api: RawApi) -> None:
    for word, status in (("panic", 500), ("no_channel", 503)):
        emu.control.script("images", faults.Trouble(word))
        body = b'{"model":"kling-v2","prompt":"x"}'
        assert (await api.post(SUBMIT, body)).status == status
    assert not emu.control.charges


@pytest.mark.parametrize("broken", ["refused", "reset", "half", "slow"])
async def test_query_whose_call_breaks_is_a_fault(
    broken: str, emu: Emulator, api: RawApi
) -> None:
    task_id = (await _submit(api, model="kling-v2", prompt="x"))["task_id"]
    emu.control.script("images_result", faults.Upstream(broken=broken))
    response = await api.get(f"{RESULT}{task_id}")
    assert response.status == 500
    assert b'"api_error"' in response.body
    emu.control.script("images_result", faults.Upstream(body="<html>"))
    response = await api.get(f"{RESULT}{task_id}")
    assert (response.status, b"invalid character" in response.body) == (500, True)


async def test_provider_that_has_lost_the_task_is_a_404(
    emu: Emulator, api: RawApi
) -> None:
    emu.control.script("images", faults.Upstream(body={"id": "lost"}))
    await _submit(api, model="flux-pro-1.1", prompt="x")
    response = await api.get(f"{RESULT}lost")
    assert response.status == 404
    assert b"Task not found" in response.body


async def test_odd_answers_of_a_provider_are_read_as_go_reads_them(
    emu: Emulator, api: RawApi
) -> None:
    odd = [
        (422, {"detail": "x"}, 422),
        (200, "[1]", 500),
        (200, '"x"', 500),
        (200, "7", 500),
        (200, "null", 200),
    ]
    for status, body, expected in odd:
        emu.control.script("images", faults.Upstream(status, body))
        response = await api.post(SUBMIT, b'{"model":"flux-pro-1.1","prompt":"x"}')
        assert response.status == expected, response.body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b"<", "invalid character '<' looking for beginning of value"),
        (b"{}", "unexpected end of JSON input"),  # asked only about what is broken
    ],
)
def test_words_about_broken_json_are_those_of_go(body: bytes, words: str) -> None:
    assert why_no_json(body) == words


async def test_task_is_shown_to_every_key_and_counted_with_the_rows(
    emu: Emulator, api: RawApi
) -> None:
    task_id = (await _submit(api, model="kling-v2", prompt="x"))["task_id"]
    other = emu.control.add_account(balance=0)
    async with RawConnection(emu.base_url) as raw:
        key = ("Authorization", f"Bearer {other}")
        shown = await raw.request("GET", f"{RESULT}{task_id}", [key])
    assert shown.status == 200
    assert emu.control.state()["rows"] == 1
    (task,) = emu.control.tasks
    assert (task.action, task.prompt, task.task_id) == ("KLING", "x", task_id)


async def test_provider_of_pictures_has_a_queue_without_an_end() -> None:
    """Midjourney's is full after so many; these are never refused."""
    async with serving(EmulatorSettings(concurrency=1, queue=1)) as emu:
        api = RawApi(emu)
        emu.control.script_tasks(*[scripts.stuck()] * 4)
        for _ in range(4):
            answer = await _submit(api, model="kling-v2", prompt="x")
            assert answer["task_status"] == "succeed"
