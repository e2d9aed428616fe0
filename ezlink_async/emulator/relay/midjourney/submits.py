"""
The submits of the Midjourney family, but for the face swap.

After ye4293/one-api ``relay/controller/midjourney.go`` RelayMidjourneySubmit. The
upstream's answer is passed on byte for byte, but for its codes 21 and 22.
"""

from __future__ import annotations

from urllib.parse import unquote

from attrs import define, evolve

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, api_error
from ezlink_async.emulator.relay.midjourney import calls
from ezlink_async.emulator.relay.midjourney.answers import (
    ACCEPTED,
    OK,
    QUEUED,
    RefusedCallError,
    accepted,
    log_refusal,
    no_channel,
    read_upstream_reply,
    shown_reply,
)
from ezlink_async.emulator.relay.midjourney.bodies import (
    BadBodyError,
    fields_of,
    text_of,
    texts_of,
)
from ezlink_async.emulator.relay.midjourney.calls import Call
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Row
from ezlink_async.emulator.upstream.requests import DrawingRequest, UpstreamReply

_PANIC = Reply(500, b"", None)
_SHOWN = 300  # characters of a forwarded field that are kept
_EXISTING = 21
_NO_CHANNEL = {
    "channel_disabled": "The channel to which this task belongs has been disabled",
    "channel_deleted": "get_channel_info_failed",
}


@define
class _Submit:
    """One submit on its way through the relay; *prompt* and *mode* are the row's."""

    state: RelayState
    exchange: Exchange
    key: Key
    call: Call
    prompt: str = ""
    mode: str = "fast"

    @property
    def trouble(self) -> frozenset[str]:
        return self.exchange.overrides.trouble

    @property
    def prefix(self) -> str:
        return calls.prefix_of(unquote(self.exchange.path))

    @property
    def price(self) -> int:
        return self.call.price(self.mode)

    @property
    def is_free(self) -> bool:
        return self.call.action in calls.FREE


async def submit(state: RelayState, exchange: Exchange, key: Key, name: str) -> Reply:
    """Handle ``/mj/submit/<name>``: check it, forward it, charge it, add a row."""
    state.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    call = await _call_or_refusal(state, exchange, key, name)
    if isinstance(call, Reply):
        return call
    one = _Submit(state, exchange, key, call)
    try:
        _check(one)
        return _charge_and_record(one, await _forward(one, len(body)))
    except RefusedCallError as refused:
        log_refusal(state, exchange, key, refused, call.model)
        return refused.reply


async def _call_or_refusal(
    state: RelayState, exchange: Exchange, key: Key, name: str
) -> Call | Reply:
    """Return the call, or what is answered in front of the handler: not logged."""
    trouble = exchange.overrides.trouble
    if "panic" in trouble:
        return _PANIC
    try:
        call = calls.read_call(name, await fields_of(exchange))
    except BadBodyError:
        return api_error(400, "Model name is required", exchange.request_id)
    except calls.PanicError:
        return _PANIC
    except RefusedCallError as refused:
        return refused.reply
    if "no_channel" in trouble or state.gone_channel is not None or not call.is_served:
        return no_channel(exchange, key, call.model)
    return call


# Checks


def _check(one: _Submit) -> None:
    call = one.call
    prompt = text_of(call.fields, "prompt")
    if call.name == "imagine" and not prompt:
        raise RefusedCallError(4, "prompt_is_required")
    if call.parent:
        # Mode and prompt of a task that goes on from another are those of the other.
        one.prompt = _parent(one).prompt
        one.mode = calls.read_mode("", one.prompt)
    else:
        one.prompt = calls.row_prompt(one.prefix, prompt)
        one.mode = calls.read_mode(one.prefix, prompt)
    if "user_quota_lookup" in one.trouble:
        raise RefusedCallError(4, "Failed to get user quota", "Error")
    if not one.is_free and one.key.account.balance < one.price:
        raise RefusedCallError(4, "User quota is not enough", "Error")


def _parent(one: _Submit) -> Row:
    """Return the task that the call goes on from, if it may."""
    call, state = one.call, one.state
    if call.name != "modal" and not call.index:
        raise RefusedCallError(4, "index_is_required")
    state.refresh_if_live()
    row = state.store.row_for(one.key.account, call.parent)
    if row is None:
        raise RefusedCallError(4, "task_not_found")
    if call.name != "modal" and row.status != "SUCCESS":
        raise RefusedCallError(4, "task_status_not_success")
    for word, text in _NO_CHANNEL.items():
        if word in one.trouble:
            raise RefusedCallError(4, text)
    return row


# The upstream


async def _forward(one: _Submit, size: int) -> faults.Upstream:
    """Return the upstream's answer, that of a script or its own."""
    state, call, overrides = one.state, one.call, one.exchange.overrides
    _record(one)
    if overrides.upstream is not None:
        return overrides.upstream
    if size > state.settings.max_body:
        return faults.Upstream(413, "")
    if call.name.endswith("change") and not state.settings.serves_change:
        return faults.Upstream(404, "")
    reply = await state.upstream.draw(_drawing(one), overrides.life)
    if reply.code == 1 and "queued" in one.trouble:
        reply = evolve(reply, code=QUEUED)
    return faults.Upstream(reply.status, shown_reply(reply))


def _record(one: _Submit) -> None:
    sent: dict[str, object] = {}
    for name, value in sorted(one.call.fields.items()):
        if name != "accountFilter":
            size = _length(value)
            short = size <= _SHOWN
            sent[name] = _as_doubles(value) if short else f"<{size} characters>"
    settings, prefix = one.state.settings, one.prefix
    path = calls.forwarded_path(prefix, one.mode, one.call.name, settings.channel_type)
    query = one.exchange.request.raw_path[len(one.exchange.path) :]
    one.state.forwarded.append(ForwardedCall("POST", path + query, sent))


def _length(value: object) -> int:
    """Return the length of *value* as JSON, without writing long texts out."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, list):
        return 1 + sum(_length(item) + 1 for item in value)
    return len(go_json.dumps(value).decode())


def _as_doubles(value: object) -> object:
    """Return *value* as Go's ``any`` keeps it: each number is a double."""
    if isinstance(value, dict):
        return {key: _as_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_doubles(item) for item in value]
    return float(value) if type(value) is int else value


def _drawing(one: _Submit) -> DrawingRequest:
    call = one.call
    single = text_of(call.fields, "base64")
    return DrawingRequest(
        action=call.action or call.name.upper(),
        index=call.index,
        custom_id=text_of(call.fields, "customId") or f"{call.action}::{call.index}",
        parent=call.parent,
        prompt=text_of(call.fields, "prompt"),
        pictures=texts_of(call.fields, "base64Array") or ((single,) if single else ()),
        mask=text_of(call.fields, "maskBase64"),
        state=text_of(call.fields, "state"),
        hook=text_of(call.fields, "notifyHook"),
        request_id=one.exchange.request_id,
    )


# Money and rows


def _charge_and_record(one: _Submit, answer: faults.Upstream) -> Reply:
    reply = read_upstream_reply(answer)
    if reply.code not in ACCEPTED:
        raise RefusedCallError(reply.code, reply.description, reply.result)
    if reply.status == OK and not one.is_free:
        _charge(one, reply)
    if "insert_failed" in one.trouble:
        raise RefusedCallError(4, " Insert midjourneyTask failed", "Error")
    one.state.store.add_row(_row(one, reply))
    return accepted(one.state, reply.status, _recoded(one, answer.content))


def _charge(one: _Submit, reply: UpstreamReply) -> None:
    charge = Charge(
        request_id=one.exchange.request_id,
        task_id=reply.result,
        units=one.price,
        account=one.key.account.number,
        key=one.key.text,
        seconds=one.state.seconds,
        model=one.call.model,
        action=one.call.action,
    )
    one.state.store.charge(one.key, charge)


def _row(one: _Submit, reply: UpstreamReply) -> Row:
    now = one.state.settings.clock.milliseconds()
    row = Row(
        number=one.state.store.next_number(),
        account=one.key.account,
        task_id=reply.result,
        code=reply.code,
        description=reply.description,
        quota=one.price,
        submit_time=now,
        start_time=0,
        request_id=one.exchange.request_id,
        action=one.call.action,
        prompt=one.prompt,
        mode=one.call.row_mode(one.mode),
    )
    shown = reply.properties if isinstance(reply.properties, dict) else {}
    status, image_url = shown.get("status"), shown.get("imageUrl")
    if reply.code == _EXISTING and isinstance(status, str) and image_url:
        row.status, row.image_url = status, str(image_url)
        if status == "SUCCESS":
            row.progress, row.start_time, row.finish_time = "100%", now, now
    return row


def _recoded(one: _Submit, body: bytes) -> bytes:
    """Return the upstream's bytes, its codes replaced where they are compact JSON."""
    if not one.is_free:
        body = body.replace(b'"code":21', b'"code":1')
    return body.replace(b'"code":22', b'"code":1')
