"""
The submit of a face swap.

After ye4293/one-api ``relay/controller/midjourney.go`` RelaySwapFace.
"""

from __future__ import annotations

from attrs import evolve

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, api_error
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
    is_json,
    is_list_of_texts,
    text_of,
)
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Row
from ezlink_async.emulator.upstream.requests import SwapRequest, UpstreamReply

_MODEL = "swap_face"
_MISSING = "sour_base64_and_target_base64_is_required"


async def swap(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Submit a face swap: check it, forward it, charge it, add a row."""
    state.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    if "panic" in exchange.overrides.trouble:
        return Reply(500, b"", None)
    try:
        request = await _read_request(exchange)
        if "no_channel" in exchange.overrides.trouble or state.gone_channel is not None:
            return no_channel(exchange, key, _MODEL)
        _check(state, exchange, key, request)
        reply = await _forward(state, exchange, request, len(body))
        return _charge_and_record(state, exchange, key, reply)
    except BadBodyError:
        return api_error(400, "Model name is required", exchange.request_id)
    except RefusedCallError as refused:
        log_refusal(state, exchange, key, refused, _MODEL)
        return refused.reply


async def _read_request(exchange: Exchange) -> SwapRequest:
    fields = await fields_of(exchange)
    for name in ("sourceBase64", "targetBase64"):
        typed = is_list_of_texts(go_json.folded(fields, name))
        if not typed and is_json(exchange.header("Content-Type")):
            raise RefusedCallError(4, "bind_request_body_failed")
    return SwapRequest(
        source=text_of(fields, "sourceBase64"),
        target=text_of(fields, "targetBase64"),
        state=text_of(fields, "state"),
        hook=text_of(fields, "notifyHook"),
        request_id=exchange.request_id,
    )


def _check(
    state: RelayState, exchange: Exchange, key: Key, request: SwapRequest
) -> None:
    if not (request.source and request.target):
        raise RefusedCallError(4, _MISSING)
    if "user_quota_lookup" in exchange.overrides.trouble:
        raise RefusedCallError(4, "Failed to get user quota", "Error")
    if key.account.balance < state.settings.price:
        raise RefusedCallError(4, "User quota is not enough", "Error")


async def _forward(
    state: RelayState, exchange: Exchange, request: SwapRequest, size: int
) -> UpstreamReply:
    answer = exchange.overrides.upstream
    if answer is None and size > state.settings.max_body:
        # Kestrel refuses the length with a 413 that has no body.
        answer = faults.Upstream(413, "")
    if answer is not None:
        return read_upstream_reply(answer)
    reply = await state.upstream.submit(request, exchange.overrides.life)
    if reply.code == 1 and "queued" in exchange.overrides.trouble:
        return evolve(reply, code=QUEUED)
    return reply


def _charge_and_record(
    state: RelayState, exchange: Exchange, key: Key, reply: UpstreamReply
) -> Reply:
    if reply.code not in ACCEPTED:
        raise RefusedCallError(reply.code, reply.description, reply.result)
    if reply.status == OK and reply.code == 1:
        _charge(state, exchange, key, reply)
    if "insert_failed" in exchange.overrides.trouble:
        raise RefusedCallError(4, "insert_midjourney_task_failed")
    now = state.settings.clock.milliseconds()
    row = Row(
        number=state.store.next_number(),
        account=key.account,
        task_id=reply.result,
        code=reply.code,
        description=reply.description,
        quota=state.settings.price,
        submit_time=now,
        start_time=now,
        request_id=exchange.request_id,
    )
    state.store.add_row(row)
    return accepted(state, reply.status, go_json.dumps(shown_reply(reply)))


def _charge(
    state: RelayState, exchange: Exchange, key: Key, reply: UpstreamReply
) -> None:
    charge = Charge(
        request_id=exchange.request_id,
        task_id=reply.result,
        units=state.settings.price,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
    )
    state.store.charge(key, charge)
