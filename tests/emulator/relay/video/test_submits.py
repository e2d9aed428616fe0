"""Submits of videos over a socket: providers, money, refusals, what is forwarded."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.emulator.recorded_video import SUBMITS
from tests.support.boxes import assert_whole_video, request_in
from tests.support.emulator_videos import (
    DOUBAO,
    KLING,
    OWN,
    SUBMIT,
    VEO,
    VideoApi,
    addresses,
)

_UNITS = {
    "kling": [70_000],
    "doubao": [98_000, 73_771],
    "minimax": [50_000],
    "veo": [50_000],
    "grok": [125_000],
    "wan": [50_000],
    "omni": [512_749],
}


_MODELS = "/v1/projects/p/locations/global/publishers/google/models"


@pytest.fixture
def api(emu: Emulator) -> VideoApi:
    return VideoApi(emu)


@pytest.mark.parametrize("provider", SUBMITS)
async def test_each_provider_makes_a_real_video(
    provider: str, emu: Emulator, api: VideoApi
) -> None:
    """The file says what it is and carries what the provider was sent."""
    shown = await api.result(await api.submit(SUBMITS[provider]))

    assert shown["task_status"] in {"succeed", "succeeded"}
    (address,) = addresses(shown)
    assert shown["video_result"] == address
    file = await api.file(address)
    assert (file.status, file.header("Content-Type")) == (200, "video/mp4")
    assert_whole_video(file.body, 2)
    sent = request_in(file.body)
    assert (sent["provider"], sent["number"]) == (provider, 1)
    assert sent["request"] == emu.control.forwarded[0].body
    assert [charge.units for charge in emu.control.charges] == _UNITS[provider]
    (task,) = emu.control.tasks
    assert (task.action, task.status) == ("VIDEO", "SUCCESS")
    assert task.prompt.startswith("a cat")


async def test_tasks_are_named_as_at_their_providers(api: VideoApi) -> None:
    """Ids of one provider differ, also within one second."""
    ids = {name: await api.submit(body) for name, body in SUBMITS.items()}

    assert ids["doubao"].startswith("cgt-")
    assert ids["kling"].isdigit()
    assert len(set(ids.values())) == len(ids)
    assert await api.submit(DOUBAO) != ids["doubao"]


# Money


@pytest.mark.parametrize(
    ("body", "bar"),
    [
        (KLING, 100_000),
        (VEO, 3_000_000),
        ({"model": "grok-imagine-video", "duration": 5}, 125_000),
        ({"model": "grok-imagine-video", "duration": 1}, 100_000),
    ],
)
async def test_balance_is_compared_with_a_bar(
    body: dict[str, object], bar: int, emu: Emulator, api: VideoApi
) -> None:
    """One unit below it nothing is sent; Grok and Wan compare with the price too."""
    emu.control.balance = bar - 1
    assert (await api.refused(body))[:2] == (400, "User balance is not enough")
    assert emu.control.forwarded == []
    assert emu.control.charged == 0

    emu.control.balance = bar
    assert (await api.send(body)).status == 200


async def test_dear_video_takes_balance_and_key_below_zero(
    emu: Emulator, api: VideoApi
) -> None:
    emu.control.balance = 100_000
    emu.control.set_key(emu.api_key, quota=1)

    task_id = await api.submit({"model": "kling-v2-master", "prompt": "x"})

    assert task_id
    assert emu.control.balance == 100_000 - 1_400_000
    assert (await api.raw.get(f"{SUBMIT}/result?taskid={task_id}")).status == 401


async def test_accepted_without_an_id_is_charged(emu: Emulator, api: VideoApi) -> None:
    emu.control.script("video", faults.Upstream(body={"code": 1200}))

    assert await api.submit(KLING) == ""
    assert [charge.units for charge in emu.control.charges] == [70_000]


@pytest.mark.parametrize(
    ("body", "units"),
    [
        ({"model": "kling-v9"}, 50_000),
        ({"model": "MiniMax-Hailuo-02", "duration": 10}, 277_777),
        ({"model": "MiniMax-Hailuo-02", "resolution": "2K"}, 138_888),
        ({"model": "MiniMax-Hailuo-2.3", "resolution": "1080P"}, 243_055),
        ({"model": "grok-imagine-video", "resolution": "720p"}, 210_000),
        ({"model": "grok-imagine-video", "duration": 99}, 375_000),
        ({"model": "grok-imagine-video", "image": {"url": "u"}}, 151_000),
        ({"model": "grok-imagine-video", "video": {"url": "u"}}, 180_000),
    ],
)
async def test_prices_follow_from_the_body(
    body: dict[str, object], units: int, emu: Emulator, api: VideoApi
) -> None:
    await api.submit(body)

    assert [charge.units for charge in emu.control.charges] == [units]


# Refusals


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"model": "sora-2", "prompt": "x"}, "unsupported_model", "unsupported model"),
        ({**KLING, "prompt": True}, "invalid_text_request", "bool into"),
        ({**KLING, "image_url": {}}, "invalid_text_request", "object into"),
        ({**KLING, "prompt": [1]}, "invalid_text_request", "array into"),
        ({**DOUBAO, "content": []}, "invalid_request_error", "content is required"),
        ({**DOUBAO, "content": "x"}, "parse_doubao_request_failed", "string into"),
        ({"model": "T2V-01", "resolution": 7}, "invalid_request_error", "number into"),
        (
            {"model": "grok-imagine-video", "duration": "5"},
            "invalid_video_request",
            "string into",
        ),
    ],
)
async def test_bodies_that_the_handler_refuses_cost_nothing(
    body: dict[str, object], code: str, words: str, emu: Emulator, api: VideoApi
) -> None:
    status, found, message = await api.refused(body)

    assert (status, found) == (400, code)
    assert words in message
    assert (emu.control.charged, emu.control.forwarded) == (0, [])
    assert [refusal.model for refusal in emu.control.refusals] == [body["model"]]


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"model":7}', b'{"model":""}'])
async def test_body_without_a_model_is_refused_in_front(
    body: bytes, emu: Emulator, api: VideoApi
) -> None:
    answer = await api.raw.post(SUBMIT, body)

    assert answer.status == 400
    assert b"Model name is required (request id: " in answer.body
    assert emu.control.refusals == []


async def test_relay_without_a_channel_says_so(emu: Emulator, api: VideoApi) -> None:
    emu.control.lose_channel()

    answer = await api.send(KLING)

    assert answer.status == 503
    assert b"no channels available for model kling-v1 under" in answer.body


async def test_panic_is_an_empty_500(emu: Emulator, api: VideoApi) -> None:
    emu.control.script("video", faults.Trouble("panic"))

    answer = await api.send(KLING)

    assert (answer.status, answer.body) == (500, b"")


async def test_recorded_answer_of_another_provider_is_played(
    emu: Emulator, api: VideoApi
) -> None:
    """What no provider here would say can be said all the same."""
    body = '{"error":{"code":"api_error","message":"luma","param":"","type":""}}'
    emu.control.script("video", faults.Answer(200, body, "application/json"))

    assert (await api.send({"model": "luma-ray2"})).status == 200
    emu.control.assert_all_played()


# What is forwarded


@pytest.mark.parametrize(
    ("body", "path", "sent"),
    [
        (
            {"model": "kling-v1", "image": "i", "x": 1},
            "/v1/videos/image2video",
            {"image": "i", "x": 1, "model_name": "kling-v1"},
        ),
        (
            {"model": "kling-v1", "image_tail": "i"},
            "/v1/videos/image2video",
            {"image_tail": "i", "model_name": "kling-v1"},
        ),
        (
            {"model": "kling-v1", "image": "i", "image_list": [{"image": "j"}]},
            "/v1/videos/multi-image2video",
            {"image": "i", "image_list": [{"image": "j"}], "model_name": "kling-v1"},
        ),
        (
            {"model": "kling-v1", "image_list": []},
            "/v1/videos/text2video",
            {"image_list": [], "model_name": "kling-v1"},
        ),
        (
            {
                "model": "doubao-seaweed",
                "content": [
                    {"type": "text", "text": "t", "x": 1},
                    {"type": "image_url", "image_url": {"url": "u"}, "role": "r"},
                    7,
                ],
                "callback_url": "c",
                "seed": 3,
            },
            "/api/v3/contents/generations/tasks",
            {
                "model": "doubao-seaweed",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "u"}, "role": "r"},
                    {"type": ""},
                ],
                "callback_url": "c",
            },
        ),
        (
            {
                "model": "T2V-01",
                "prompt": "p",
                "prompt_optimizer": False,
                "fast_pretreatment": True,
                "subject_reference": [1],
                "duration": "x",
                "seed": 3,
            },
            "/v1/video_generation",
            {
                "model": "T2V-01",
                "prompt": "p",
                "resolution": "768P",
                "fast_pretreatment": True,
                "subject_reference": [1],
                "duration": 6,
            },
        ),
        (
            {"model": "veo-9", "parameters": 7, "prompt": "p"},
            f"{_MODELS}/veo-9:predictLongRunning",
            {"parameters": {}, "prompt": "p"},
        ),
        (
            {"model": "grok-imagine-video", "video": {"url": "u"}, "z": 1},
            "/v1/videos/edits",
            {"model": "grok-imagine-video", "video": {"url": "u"}, "z": 1},
        ),
        (
            {"model": "gemini-omni-x", "prompt": "p", "image_url": "u", "seed": 1},
            "/v1beta/interactions?key=UPSTREAM-KEY",
            {
                "model": "gemini-omni-flash-preview",
                "input": [
                    {"type": "image", "uri": "u"},
                    {"type": "text", "text": "p"},
                ],
            },
        ),
    ],
)
async def test_each_provider_is_sent_what_the_relay_leaves(
    body: dict[str, object],
    path: str,
    sent: dict[str, object],
    emu: Emulator,
    api: VideoApi,
) -> None:
    await api.submit(body)

    (call,) = emu.control.forwarded
    assert (call.method, call.path, call.body) == ("POST", path, sent)


async def test_long_body_is_read_as_well(emu: Emulator, api: VideoApi) -> None:
    """One of a picture, and one that is cut."""
    body = json.dumps({**KLING, "image": "x" * 300_000}).encode()
    seen = [await api.raw.post(SUBMIT, each) for each in (body, body[:-1])]

    assert [answer.status for answer in seen] == [200, 400]
    (call,) = emu.control.forwarded
    assert call.path == "/v1/videos/image2video"


async def test_pictures_are_shown_by_length_and_hash(
    emu: Emulator, api: VideoApi
) -> None:
    """Two requests with different pictures make different videos."""
    for letter in "ab":
        await api.submit({**DOUBAO, "content": [_picture(letter * 400)]})

    bodies = [json.dumps(call.body) for call in emu.control.forwarded]
    assert len(set(bodies)) == 2
    assert all("<400 characters, sha256 " in body for body in bodies)


def _picture(address: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": address}}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"model": "kling-v1", "duration": 10.9}, "10"),
        ({"model": "kling-v1", "duration": "5s"}, "5s"),
        ({"model": "kling-v1", "duration": True}, ""),
        ({"model": "kling-v1", "duration": []}, ""),
        ({"model": "T2V-01", "duration": "9"}, "9"),
        ({"model": "wan2.5", "parameters": {"duration": 8}}, "8"),
        ({"model": "wan2.5"}, "5"),
        ({"model": "veo-3", "parameters": {"durationSeconds": 4}}, "4"),
        ({"model": "veo-3", "parameters": {"durationSeconds": "4"}}, "8"),
        ({"model": "grok-imagine-video"}, "6"),
    ],
)
async def test_length_is_shown_as_text(
    body: dict[str, object], shown: str, emu: Emulator, api: VideoApi
) -> None:
    emu.control.script_tasks(scripts.stuck())

    assert (await api.result(await api.submit(body)))["duration"] == shown


async def test_other_general_path_takes_the_same_submits(
    emu: Emulator, api: VideoApi
) -> None:
    path = OWN.removeprefix("/doubao")
    task_id = (await api.send(DOUBAO, path)).fields()["task_id"]

    shown = (await api.raw.get(f"{path}/{task_id}")).fields()

    assert (shown["task_id"], shown["task_status"]) == (task_id, "succeeded")
    assert [charge.units for charge in emu.control.charges] == [98_000, 73_771]
