"""The upstream's part in the recorded exchanges of Midjourney."""

from __future__ import annotations

import re

from ezlink_async.emulator import faults

_UUID = "0b6fc7f4-2b3f-4f6c-9d0a-7d1c2f3a4b5c"
#: A custom id for each action.
BUTTONS = {
    "UPSCALE": f"MJ::JOB::upsample::1::{_UUID}",
    "INPAINT": f"MJ::Inpaint::1::{_UUID}::SOLO",
    "CUSTOM_ZOOM": f"MJ::CustomZoom::{_UUID}",
}

_ID = "1795416619000000"
_DONE = {"status": "SUCCESS", "imageUrl": "https://cdn.example/x.png"}
_OK = {"code": 1, "description": "提交成功", "properties": {}, "result": _ID}
_QUEUED = (
    '{"code":22,"description":"q","result":"555","properties":{"numberOfQueues":1}}'
)
_SPACED = (
    '{"code": 22, "description": "q", "result": "556",'
    ' "properties": {"numberOfQueues": 1}}'
)
_NUMBER = {**_OK, "result": 17}
_WINDOW = {
    "code": 21,
    "description": "Waiting for window confirm",
    "result": "880001",
    "properties": {"finalPrompt": "a cat", "remix": True},
}
_CREATED = {
    "code": 1,
    "description": "ok",
    "result": "771",
    "properties": {"a": 1},
    "extra": True,
}
#: The upstream's answers to submits, by name; without one it answers by itself.
ANSWERS: dict[str, faults.Upstream] = {
    "imagine-queued": faults.Upstream(body=_QUEUED),
    "imagine-queued-spaced": faults.Upstream(body=_SPACED),
    "imagine-number": faults.Upstream(body=_NUMBER),
    "imagine-rid-code-5": faults.Upstream(body=_NUMBER),
    "imagine-full": faults.Upstream(body={"code": 23, "description": "full"}),
    "imagine-201": faults.Upstream(201, _CREATED),
    "imagine-no-result": faults.Upstream(body={"code": 1, "description": "ok"}),
    "imagine-rid-no-result": faults.Upstream(body={"code": 1, "description": "ok"}),
    "imagine-banned-word": faults.banned_word(),
    "imagine-existing": faults.Upstream(
        body={
            "code": 21,
            "description": "任务已存在",
            "result": "0741798445574459",
            "properties": _DONE,
        }
    ),
    "imagine-queue-full": faults.queue_full_23(),
    "imagine-rid-empty-404": faults.Upstream(404, ""),
    "imagine-rid-reset": faults.Upstream(broken="reset"),
    "imagine-rid-retried-refused": faults.Upstream(
        body={"code": 24, "description": "bad"}
    ),
    "action-existing": faults.Upstream(
        body={
            "code": 21,
            "description": "任务已存在",
            "result": _ID,
            "properties": {
                "status": "SUCCESS",
                "imageUrl": "http://upstream.example/img/ok",
            },
        }
    ),
    "action-inpaint-21": faults.Upstream(body=_WINDOW),
    # Recorded with an upstream that accepts dialogs like any other button.
    "action-inpaint": faults.Upstream(body=_OK),
    "action-custom-zoom": faults.Upstream(body=_OK),
    "action-inpaint-no-money": faults.Upstream(body=_OK),
    "action-rid-inpaint": faults.Upstream(body=_OK),
    "modal-inpaint": faults.Upstream(
        body={"code": 1, "description": "提交成功", "result": _ID, "properties": {}}
    ),
    "modal-beats-submit": faults.Upstream(
        body={**_OK, "properties": {"finalPrompt": "a cat", "remix": True}}
    ),
    "modal-new-id-submit": faults.Upstream(body={**_OK, "description": "ok"}),
}
_BY_END = {
    "-rid-refused": faults.banned_word(),
    "-rid-code-21": faults.Upstream(
        body={**_OK, "code": 21, "description": "任务已存在"}
    ),
    "-rid-code-22": faults.Upstream(body={**_OK, "code": 22, "description": "排队中"}),
}
TROUBLES = {
    "channel-disabled-second": "channel_disabled",
    "channel-deleted": "channel_deleted",
    "insert-failed": "insert_failed",
}
SEEDS: dict[str, faults.Fault] = {
    "seed-channel-disabled": faults.Trouble("channel_disabled"),
    "seed-channel-deleted": faults.Trouble("channel_deleted"),
    "seed-slow": faults.Upstream(broken="reset"),
    "seed-number": faults.Upstream(
        body={"code": 1, "description": "成功", "result": 103541234}
    ),
    "seed-prefix": faults.Upstream(
        body={
            "code": 1,
            "description": "成功",
            "result": "103541234",
            "properties": {"z": 1, "a": "<&>"},
            "x": 1,
        }
    ),
}


def fault_of(name: str) -> faults.Fault | None:
    """Return what happens to a submit at the upstream or in the relay, if anything."""
    words = [word for end, word in TROUBLES.items() if name.endswith(end)]
    if words:
        return faults.Trouble(words[0])
    ends = (each for end, each in _BY_END.items() if name.endswith(end))
    return ANSWERS.get(name) or next(ends, None)


def sample_ids(text: str) -> list[str]:
    """Return the ids of tasks in *text*, each once, in their order."""
    return list(dict.fromkeys(re.findall(r"(?<!\d)\d{16}(?!\d)", text)))
