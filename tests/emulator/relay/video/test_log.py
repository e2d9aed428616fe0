"""What the account's log shows of videos."""

from __future__ import annotations

import json

import pytest

from ezlink_async.emulator import Emulator, faults, scripts
from tests.support.emulator_videos import DOUBAO, KLING, OMNI, SUBMIT, VideoApi
from tests.support.wire import RawConnection


@pytest.fixture
def api(emu: Emulator) -> VideoApi:
    return VideoApi(emu)


async def _log(
    emu: Emulator, query: str = "page=1&pagesize=20"
) -> list[dict[str, object]]:
    token = ("Authorization", emu.control.account_token())
    async with RawConnection(emu.base_url) as raw:
        answer = await raw.request("GET", f"/api/log/self?{query}", [token])
    data = answer.fields()["data"]
    assert isinstance(data, dict)
    entries: list[dict[str, object]] = data["list"]
    return entries


async def _send(api: VideoApi, body: dict[str, object], number: str) -> str:
    named = ("X-Request-ID", number)
    answer = await api.raw.post(SUBMIT, json.dumps(body).encode(), named)
    return str(answer.fields().get("task_id", ""))


async def test_accepted_video_is_logged_without_its_request_id(
    emu: Emulator, api: VideoApi
) -> None:
    """Nothing is found under the id of the submit, and the page hides the task's."""
    task_id = await _send(api, KLING, "mine")

    assert await _log(emu, "x_request_id=mine") == []
    (entry,) = await _log(emu)
    assert (entry["quota"], entry["model_name"]) == (70_000, "kling-v1")
    assert (entry["x_request_id"], entry["video_task_id"]) == ("", "")
    assert entry["content"] == "模型固定价格 0.14$"
    assert [charge.request_id for charge in emu.control.charges] == ["mine"]
    assert task_id not in json.dumps(entry)


async def test_paid_video_without_an_id_is_logged_with_the_request_id(
    emu: Emulator, api: VideoApi
) -> None:
    emu.control.script("video", faults.Upstream(body={"code": 1200}))
    await _send(api, KLING, "mine")

    (entry,) = await _log(emu, "x_request_id=mine")
    assert (entry["type"], entry["quota"]) == (2, 70_000)


async def test_refused_video_is_logged_with_the_raw_text(
    emu: Emulator, api: VideoApi
) -> None:
    """The answer hides the host, the log does not."""
    emu.control.script("video", faults.Upstream(broken="refused"))
    await _send(api, KLING, "mine")

    (entry,) = await _log(emu, "x_request_id=mine")
    assert (entry["type"], entry["quota"]) == (2, 0)
    assert entry["content"] == (
        'Post "http://127.0.0.1:9/v1/videos/text2video": dial tcp 127.0.0.1:9:'
        " connect: connection refused"
    )


async def test_settlements_rewrite_the_entry_of_the_submit(
    emu: Emulator, api: VideoApi
) -> None:
    """It shows the true price, however often that was paid."""
    first, second = [await _send(api, DOUBAO, number) for number in "ab"]
    for task_id in (second, second):
        await api.result(task_id)

    newest, oldest = await _log(emu)
    assert (newest["quota"], newest["completion_tokens"]) == (171_771, 245_388)
    assert (oldest["quota"], oldest["completion_tokens"]) == (98_000, 0)
    assert first != second
    assert emu.control.charged == 2 * 98_000 + 2 * 73_771


async def test_refund_leaves_no_entry(emu: Emulator, api: VideoApi) -> None:
    emu.control.script_tasks(scripts.fails())
    await api.result(await _send(api, KLING, "mine"))

    assert [entry["quota"] for entry in await _log(emu)] == [70_000]
    assert len(emu.control.refunds) == 1


async def test_omni_is_logged_when_it_is_charged(emu: Emulator, api: VideoApi) -> None:
    task_id = await _send(api, OMNI, "mine")
    assert await _log(emu) == []

    await api.result(task_id)

    (entry,) = await _log(emu)
    assert (entry["quota"], entry["x_request_id"]) == (512_749, "")


async def test_refused_in_front_of_the_handler_leaves_no_entry(
    emu: Emulator, api: VideoApi
) -> None:
    emu.control.lose_channel()
    await _send(api, KLING, "mine")

    assert await _log(emu) == []
