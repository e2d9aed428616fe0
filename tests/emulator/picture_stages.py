"""An emulator put into the state in which an exchange about pictures was recorded."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from ezlink_async.emulator import faults
from tests.emulator import recorded_images as recorded
from tests.emulator.recorded import SAMPLES, body_of
from tests.emulator.stage import Stage

_POOR = {"async-flux-poor": 0, "flux-poor": 49_999, "flux-rid-poor": 49_999}
_EXPIRED = {"flux-record-expired", "flux-expired-source-ready", "flux-expired-after"}
_ASYNC = "/v1/async/images/generations"


def is_expired(name: str) -> bool:
    """Return whether the relay's reconciler had failed the record for its age."""
    return name in _EXPIRED


async def prepare(name: str, stage: Stage) -> None:
    """Make the rows that the recorded request asks for, and script the provider."""
    request = SAMPLES[name]["request"]
    if name in _POOR:
        stage.control.balance = _POOR[name]
    if name in recorded.SUBMITS:
        kind = "flux" if request["path"].startswith("/flux/") else "images"
        stage.control.script(kind, recorded.SUBMITS[name])
    if request["method"] == "GET":
        await _query(name, stage)
    if name in recorded.CALLED_IDS:
        await _native(stage, recorded.CALLED_IDS[name], name)


async def _query(name: str, stage: Stage) -> None:
    split = urlsplit(SAMPLES[name]["request"]["path"])
    query = {key: texts[0] for key, texts in parse_qs(split.query).items()}
    task_id = query.get("taskid") or query.get("id") or ""
    if "unknown" in name or name in {"flux-no-id", "async-result-no-taskid-clean"}:
        return
    if name.startswith("flux-"):
        await _native(stage, task_id, name)
    else:
        await _async(stage, task_id)
    if name == "async-flux-other-user":
        stage.key = stage.control.add_account(balance=1)
    await _bring_forward(name, stage, task_id)
    _script_query(name, stage, from_source="from_source" in query)


async def _async(stage: Stage, task_id: str) -> None:
    """Make the row of an async image; its id says by whom it is."""
    fields: dict[str, object] = {"model": "flux-pro-1.1", "prompt": "a cat"}
    body: dict[str, object] = {"id": task_id}
    if task_id.startswith("ak-"):
        fields, body = {"model": "kling-v2", "n": 2}, {"data": {"task_id": task_id}}
    elif task_id.startswith("aw-"):
        fields = {"model": "wan2.5-i2i-preview", "parameters": {"n": 1}}
        body = {"output": {"task_id": task_id}}
    stage.control.script("images", faults.Upstream(body=body))
    response = await stage.api.post(_ASYNC, json.dumps(fields).encode())
    assert response.status == 200, response.body


async def _native(stage: Stage, task_id: str, name: str) -> None:
    """Make the row of a native task."""
    stage.control.script("flux", faults.Upstream(body={"id": task_id}))
    number = recorded.SUBMITTED_AS.get(name, "earlier")
    response = await stage.api.post(
        "/flux/v1/flux-2-pro", b'{"prompt":"a cat"}', ("X-Request-ID", number)
    )
    assert response.status == 200, response.body


async def _bring_forward(name: str, stage: Stage, task_id: str) -> None:
    """Let happen what had happened to the row before the recorded look."""
    if name in recorded.BEFORE:
        stage.control.script("flux_result", _said(recorded.BEFORE[name]))
        await stage.api.get(f"/flux/v1/get_result?id={task_id}&from_source=true")
    if name in recorded.CALLED:
        body = recorded.CALLED[name].encode()
        await stage.api.post("/flux/internal/callback", body)
    if is_expired(name):
        stage.control.advance(901)


def _script_query(name: str, stage: Stage, *, from_source: bool) -> None:
    if name.endswith("channel-deleted"):
        kind = "flux_result" if from_source else "images_result"
        stage.control.script(kind, faults.Trouble("channel_deleted"))
    elif name in recorded.QUERIES:
        stage.control.script("images_result", recorded.QUERIES[name])
    elif name == "flux-source-reset":
        stage.control.script("flux_result", faults.Upstream(broken="reset"))
    elif from_source:
        stage.control.script("flux_result", _said(name))


def _said(name: str) -> faults.Upstream:
    """Return the provider's answer that the relay passed on as it was."""
    return faults.Upstream(SAMPLES[name]["response"]["status"], body_of(name).decode())
