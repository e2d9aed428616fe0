"""An emulator put into the state in which an exchange of videos was recorded."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from ezlink_async.emulator import faults
from tests.emulator.recorded import SAMPLES
from tests.emulator.recorded_video import (
    ANSWERS,
    BALANCES,
    SUBMITS,
    Query,
    accepted,
    provider_of,
    provider_of_submit,
    query_of,
)
from tests.emulator.stage import Stage

SUBMIT = "/v1/video/generations"
_UNKNOWN = {
    *("video-result-unknown", "video-result-no-taskid-clean", "alias-doubao2-unknown"),
    *("rid-echo-video-result", "rid-echo-keyless"),
}


async def prepare(name: str, stage: Stage) -> None:
    """Make the task that the recorded request names, and script its provider."""
    if SAMPLES[name]["request"]["method"] == "POST":
        _submit(name, stage)
    elif name not in _UNKNOWN:
        await _query(name, stage)


def _submit(name: str, stage: Stage) -> None:
    control = stage.control
    if name in BALANCES:
        control.balance = BALANCES[name]
    if name == "video-key-overdraw":
        control.set_key(stage.key, quota=1)
    answer = json.loads(SAMPLES[name]["response"]["body"]["text"])
    task_id = answer.get("task_id") or answer.get("id")
    if name in ANSWERS:
        control.script("video", ANSWERS[name])
    elif task_id:
        provider = provider_of_submit(name)
        control.script("video", accepted(provider, task_id))


async def _query(name: str, stage: Stage) -> None:
    task_id = _task_id(SAMPLES[name]["request"]["path"])
    query = query_of(name, task_id)
    await _make(name, stage, task_id)
    for path, answer in query.earlier:
        stage.control.script(_kind(path), answer)
        await stage.api.get(path)
    _set_keys(name, stage, query)
    if query.answer is not None:
        stage.control.script(_kind(SAMPLES[name]["request"]["path"]), query.answer)


def _task_id(path: str) -> str:
    parts = urlsplit(path)
    if "result" not in parts.path:
        return parts.path.rpartition("/")[2]
    return parse_qs(parts.query).get("taskid", [""])[0]


def _kind(path: str) -> str:
    return "video_keyless" if path.startswith("/doubao") else "video_result"


async def _make(name: str, stage: Stage, task_id: str) -> None:
    provider = provider_of(task_id)
    body = dict(SUBMITS[provider])
    if name == "video-kling-result-slow-130":  # made without a length
        del body["duration"]
    answer: faults.Fault = accepted(provider, task_id)
    stage.control.script("video", answer)
    await stage.api.post(SUBMIT, json.dumps(body).encode())


def _set_keys(name: str, stage: Stage, query: Query) -> None:
    if name == "video-key-exhausted":
        stage.control.set_key(stage.key, quota=0)
    if query.other:
        stage.key = stage.control.add_account(balance=1_000_000)
