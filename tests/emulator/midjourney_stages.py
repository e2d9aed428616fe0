"""An emulator put into the state in which an exchange of Midjourney was recorded."""

from __future__ import annotations

import json
import re

from ezlink_async.emulator import faults, scripts
from tests.emulator.recorded import SAMPLES, body_of
from tests.emulator.recorded_midjourney import BUTTONS, SEEDS, fault_of
from tests.emulator.stage import Stage
from tests.support.emulator_requests import headers
from tests.support.wire import RawConnection

Row = dict[str, object]

_CALLS = {"IMAGINE": "imagine", "DESCRIBE": "describe", "SHORTEN": "shorten"}
# What a row takes over from the upstream.
_COPIED = (
    *("promptEn", "state", "startTime", "finishTime"),
    *("status", "failReason", "buttons", "properties"),
)


async def prepare(name: str, stage: Stage) -> None:
    """Make the tasks that the recorded request names, and script the upstream."""
    group = name.split("-", maxsplit=1)[0]
    request = SAMPLES[name]["request"]
    if group == "seed":
        (task_id,) = _ids(request["path"])
        await _parent(stage, task_id)
        stage.control.script("seed", SEEDS[name])
    elif group in {"fetch", "list"} or "list" in name or "fetch" in name:
        await _show(name, stage)
    else:
        await _submit(name, stage)


def _ids(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"(?<!\d)\d{16}(?!\d)", text)))


# Submits


async def _submit(name: str, stage: Stage) -> None:
    kind = name.split("-", maxsplit=1)[0].replace("simple", "change")
    body = json.loads(SAMPLES[name]["request"]["body"]["text"])
    facts = SAMPLES[name]["facts"]
    turbo = facts.get("forwarded", "").startswith("POST /mj-turbo")
    prompt = facts.get("row", {}).get("prompt", "a cat --turbo" if turbo else "a cat")
    for task_id in _ids(str(body.get("taskId", ""))):
        done = name != "action-not-success"
        await _parent(stage, task_id, prompt, done=done)
    if fault := fault_of(name):
        stage.control.script(kind, fault)
    if name == "imagine-poor":
        stage.control.balance = 17_999
    if name == "action-inpaint-no-money":
        stage.control.balance = 0
    if name == "action-channel-disabled":
        stage.control.lose_channel()


async def _parent(
    stage: Stage, sample_id: str, prompt: str = "a cat", *, done: bool = True
) -> None:
    """Make a finished imagine in place of the recorded task."""
    view = {"status": "SUCCESS", "progress": "100%", "imageUrl": "https://x.example/1"}
    stage.control.script_tasks(scripts.sequence(view) if done else scripts.stuck())
    stage.ids[sample_id] = await _post(stage, "imagine", {"prompt": prompt})
    stage.control.beat()


async def _post(stage: Stage, call: str, fields: Row) -> str:
    response = await stage.api.post(f"/mj/submit/{call}", json.dumps(fields).encode())
    assert response.status == 200, response.body
    return str(response.fields()["result"])


# Rows


async def _show(name: str, stage: Stage) -> None:
    """Make the rows that the recorded answer shows, each as the relay makes it."""
    shown = json.loads(body_of(name))
    rows: list[Row] = shown if isinstance(shown, list) else [shown]
    # Now, since each refresh is a poll of every task that is made by then.
    await _parent(stage, "parent", str(rows[0]["prompt"] or "a cat"))
    for sample_id in dict.fromkeys(str(row["id"]) for row in rows):
        of_id = [row for row in rows if row["id"] == sample_id]
        stage.ids[sample_id] = await _at_the_upstream(stage, of_id)
        for row in of_id:
            await _row(stage, row)


def _is_refreshed(row: Row) -> bool:
    return row["buttons"] is not None


async def _at_the_upstream(stage: Stage, rows: list[Row]) -> str:
    """Return a task of another account that has the view of each row in turn."""
    views = [_view(row) for row in rows if _is_refreshed(row)]
    stage.control.script_tasks(scripts.sequence(*views) if views else scripts.stuck())
    other = stage.control.add_account(balance=10**6)
    named = [("Authorization", f"Bearer {other}"), *headers(stage.emu)[1:]]
    async with RawConnection(stage.emu.base_url) as raw:
        path, body = "/mj/submit/imagine", b'{"prompt":"x"}'
        response = await raw.request("POST", path, named, body)
    return str(response.fields()["result"])


def _view(row: Row) -> Row:
    view = {name: row[name] for name in _COPIED}
    # The relay itself puts a failure to 100 %, and its own address to a picture.
    view["progress"] = None if row["status"] == "FAILURE" else row["progress"]
    view["imageUrl"] = "https://cdn.example/x.png" if row["imageUrl"] else None
    return view


async def _row(stage: Stage, row: Row) -> None:
    action, task_id = str(row["action"]), stage.ids[str(row["id"])]
    answer = {"code": 1, "description": row["description"], "result": task_id}
    if not _is_refreshed(row) and row["status"]:
        done = {"status": row["status"], "imageUrl": "https://cdn.example/x.png"}
        answer |= {"code": 21, "properties": done}
    call = _CALLS.get(action) or ("modal" if action == "MODAL" else "action")
    fields: Row = {"prompt": row["prompt"]}
    if call in {"action", "modal"}:
        fields = {"taskId": stage.ids["parent"], "customId": BUTTONS.get(action, "")}
    stage.control.script(call, faults.Upstream(body=answer))
    await _post(stage, call, fields)
    if _is_refreshed(row):
        stage.control.beat()
