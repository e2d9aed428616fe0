"""
The submit of a video: checked, forwarded, charged, and written down.

After ye4293/one-api ``relay/controller/directvideo.go``. The balance is compared with a
fixed bar and not with the price, so that an account may end far below zero; what the
provider accepts is charged, also without an id of a task.
"""

from __future__ import annotations

import asyncio
import hashlib

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, api_error, as_json
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Key, Refusal
from ezlink_async.emulator.relay.video import calls
from ezlink_async.emulator.relay.video.answers import RefusedVideoError, wrong_type
from ezlink_async.emulator.relay.video.calls import VideoCall
from ezlink_async.emulator.relay.video.providers import read_submit
from ezlink_async.emulator.relay.video_rows import VideoRow, charge_of
from ezlink_async.emulator.upstream import provider_answers
from ezlink_async.emulator.upstream.videos import VideoJob

_PANIC = Reply(500, b"", None)
# Reading less than this takes less time than handing it to a thread.
_INLINE = 256 * 1024
_SHOWN = 300  # characters of a forwarded text that are kept
_POOR = "用户余额不足"


async def submit(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Handle ``/v1/video/generations``."""
    body = await read_body(state, exchange, key)
    if isinstance(body, Reply):
        return body
    model = str(body["model"])
    try:
        call = _checked(key, model, body)
        done = read_submit(
            call, forward(state, exchange, call), state.settings.provider_address
        )
    except RefusedVideoError as refused:
        log_refusal(state, exchange, key, model, str(refused))
        return refused.reply
    charge_and_record(state, exchange, key, call, done.task_id)
    shown = {"task_id": done.task_id, "task_status": "succeed", "message": done.message}
    return as_json(shown, content_type=JSON_UTF8)


async def read_body(
    state: RelayState, exchange: Exchange, key: Key
) -> dict[str, object] | Reply:
    """Return the body, or what is answered in front of every handler: not logged."""
    state.store.attempts[exchange.request_id] += 1
    content = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    number, trouble = exchange.request_id, exchange.overrides.trouble
    if "panic" in trouble:
        return _PANIC
    body = await _loaded(content)
    model = body.get("model") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(model, str) or not model:
        return api_error(400, "Model name is required", number)
    if "no_channel" in trouble or state.gone_channel is not None:
        text = (
            f"There are no channels available for model {model} under the"
            f" current group {key.account.group}"
        )
        return api_error(503, text, number)
    return body


async def _loaded(content: bytes) -> object:
    try:
        if len(content) <= _INLINE:
            return go_json.loads(content)
        return await asyncio.to_thread(go_json.loads, content)
    except ValueError:
        return None


def _checked(key: Key, model: str, body: dict[str, object]) -> VideoCall:
    for name in ("prompt", "image_url"):
        if not isinstance(body.get(name), str | None):
            text = wrong_type(body[name], "string")
            raise RefusedVideoError(400, "invalid_text_request", text)
    provider = calls.provider_of(model)
    if key.account.balance < calls.bar_of(provider, 0):
        raise RefusedVideoError(400, "User balance is not enough", _POOR)
    call = calls.read_call(provider, model, body)
    if key.account.balance < calls.bar_of(provider, call.price):
        raise RefusedVideoError(400, "User balance is not enough", _POOR)
    return call


def forward(state: RelayState, exchange: Exchange, call: VideoCall) -> Upstream:
    """Return the provider's answer, that of a script or its own."""
    sent = {name: _cut(value) for name, value in call.body.items()}
    state.forwarded.append(ForwardedCall("POST", call.path, sent))
    if exchange.overrides.upstream is not None:
        return exchange.overrides.upstream
    job = VideoJob(
        provider=call.provider,
        model=call.model,
        body=sent,
        prompt=call.prompt,
        count=call.count,
        request_id=exchange.request_id,
    )
    task = state.providers.submit(job, exchange.overrides.life)
    return provider_answers.accepted(task)


def _cut(value: object) -> object:
    """Return *value* with each long text as its length and hash, as of a picture."""
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, str) and len(value) > _SHOWN:
        digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
        return f"<{len(value)} characters, sha256 {digest[:16]}>"
    return value


def charge_and_record(
    state: RelayState, exchange: Exchange, key: Key, call: VideoCall, task_id: str
) -> None:
    """Add a row, and charge the submit unless it is charged at its end."""
    row = VideoRow(
        account=key.account,
        key=key,
        task_id=task_id,
        provider=call.provider,
        model=call.model,
        path=call.query_path,
        quota=call.price,
        duration=call.duration,
        request_id=exchange.request_id,
    )
    state.videos.add(row)
    if call.price:
        state.store.charge(key, charge_of(row, key, call.price, state.seconds))


def log_refusal(
    state: RelayState, exchange: Exchange, key: Key, model: str, text: str
) -> None:
    """Add a refusal to the log: an entry that costs nothing, with the raw text."""
    refusal = Refusal(
        request_id=exchange.request_id,
        text=text,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
        model=model,
    )
    state.store.log.append(refusal)
