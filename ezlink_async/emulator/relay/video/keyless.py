"""
Doubao's own paths, of which the query asks for no key.

After ye4293/one-api ``controller/doubao_video.go``: answers of the provider are passed
on as they are, a success is kept, and no query settles a price.
"""

from __future__ import annotations

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON, JSON_UTF8, Reply, as_json
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Key
from ezlink_async.emulator.relay.video import calls
from ezlink_async.emulator.relay.video.answers import (
    BadJsonError,
    connection_error,
    object_of,
    text_in,
)
from ezlink_async.emulator.relay.video.calls import VideoCall
from ezlink_async.emulator.relay.video.results import ask
from ezlink_async.emulator.relay.video.submits import (
    charge_and_record,
    forward,
    read_body,
)
from ezlink_async.emulator.relay.video_rows import VideoRow

_PATH = "/api/v3/contents/generations/tasks"
_WORDS = {
    "succeeded": "succeed",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
}


async def submit(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Handle ``POST /doubao/api/v3/contents/generations/tasks``."""
    body = await read_body(state, exchange, key)
    if isinstance(body, Reply):
        return body
    if key.account.balance < calls.DOUBAO_PREPAID:
        return _error(402, "insufficient quota", "insufficient_quota")
    call = VideoCall(
        provider="doubao",
        model=str(body["model"]),
        path=_PATH,
        body=body,
        price=calls.DOUBAO_PREPAID,
    )
    answer = forward(state, exchange, call)
    if answer.broken:
        return _unreachable(state, answer, "Post", _PATH)
    fields = _fields_of(answer)
    if fields is not None and fields.get("error") is None:
        charge_and_record(state, exchange, key, call, text_in(fields, "id"))
    return Reply(answer.status, answer.content, JSON)


async def result(state: RelayState, exchange: Exchange) -> Reply:
    """Handle ``GET /doubao/api/v3/contents/generations/tasks/{id}``, without a key."""
    task_id = exchange.task_id
    row = state.videos.find(task_id)
    if row is None:
        return _error(404, f"task not found: {task_id}", "task_not_found")
    if row.status == "succeed" and row.stored:
        content = {"video_url": row.stored[0]}
        kept = {"content": content, "id": row.task_id, "status": "succeeded"}
        return as_json(kept, content_type=JSON_UTF8)
    if "channel_deleted" in exchange.overrides.trouble:
        return _error(500, "record not found", "get_channel_failed")
    answer = ask(state, exchange, row)
    if answer.broken:
        return _unreachable(state, answer, "Get", f"{_PATH}/{task_id}")
    fields = _fields_of(answer)
    if fields is not None:
        _book(state, row, fields)
    return Reply(answer.status, answer.content, JSON)


def _fields_of(answer: Upstream) -> dict[str, object] | None:
    try:
        return object_of(answer.content)
    except BadJsonError:
        return None


def _book(state: RelayState, row: VideoRow, fields: dict[str, object]) -> None:
    status = _WORDS.get(text_in(fields, "status"), "processing")
    if status == row.status:
        return
    if status == "failed" and row.status == "processing":
        state.store.refund(row, state.seconds)
    address = text_in(fields, "content", "video_url")
    if status == "succeed" and address:
        row.stored = (address,)
    row.status = status


def _unreachable(state: RelayState, answer: Upstream, method: str, path: str) -> Reply:
    if answer.broken == "half":
        whose = "_upstream" if method == "Post" else ""
        return _error(500, "unexpected EOF", f"read{whose}_response_failed")
    address = state.settings.provider_address + path
    return _error(
        502, connection_error(answer, method, address), "upstream_request_failed"
    )


def _error(status: int, text: str, code: str) -> Reply:
    body = {"message": text, "type": "api_error", "param": "", "code": code}
    return as_json(body, status=status, content_type=JSON_UTF8)
