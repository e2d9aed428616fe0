"""
The relay's handlers of the Midjourney family.

Each takes the desk, the exchange, the caller's key and the id in the path. After
ye4293/one-api ``relay/controller/midjourney.go`` (RelaySwapFace,
RelayMidjourneyTask, RelayMidjourneyTaskImageSeed).
"""

from __future__ import annotations

import asyncio

from ezlink_async.emulator import gojson
from ezlink_async.emulator.bodies import BadBodyError, SwapBody, read_ids, read_swap
from ezlink_async.emulator.circumstances import UpstreamAnswer
from ezlink_async.emulator.desk import Desk
from ezlink_async.emulator.exchange import Exchange
from ezlink_async.emulator.payloads import Order
from ezlink_async.emulator.replies import (
    JSON,
    TEXT,
    Reply,
    api_error,
    as_json,
    sniffed_json,
    upstream_error,
)
from ezlink_async.emulator.store import Charge, Key, Row
from ezlink_async.emulator.verdicts import BrokenCallError, Verdict, read_verdict

__all__ = ["fetch", "list_by_condition", "seed", "swap"]

_INLINE = 256 * 1024
_ACCEPTED = {1, 21, 22}
_QUEUED = 22
_MISSING = "sour_base64_and_target_base64_is_required"


async def swap(desk: Desk, exchange: Exchange, key: Key, _task_id: str) -> Reply:
    """Take a face swap: check, forward, charge, keep a row."""
    desk.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    desk.store.uploads[exchange.request_id] += 1
    if "panic" in exchange.circumstances.trouble:
        return Reply(500, b"", None)
    try:
        fields = await _fields(body, exchange.header("Content-Type"))
        refusal = _refusal(desk, exchange, key, fields)
        if refusal is not None:
            return refusal
        verdict = await _ask_upstream(desk, exchange, fields, len(body))
    except BadBodyError as fault:
        return _unreadable(fault, exchange)
    except BrokenCallError as fault:
        return upstream_error(5, str(fault))
    if verdict.code not in _ACCEPTED:
        return upstream_error(verdict.code, verdict.description, verdict.result)
    return _book(desk, exchange, key, verdict)


def _unreadable(fault: BadBodyError, exchange: Exchange) -> Reply:
    if fault.early:
        return api_error(400, "Model name is required", exchange.request_id)
    return upstream_error(4, "bind_request_body_failed")


async def _fields(body: bytes, content_type: str) -> SwapBody:
    if len(body) <= _INLINE:
        return read_swap(body, content_type)
    return await asyncio.to_thread(read_swap, body, content_type)


def _refusal(
    desk: Desk, exchange: Exchange, key: Key, fields: SwapBody
) -> Reply | None:
    trouble = exchange.circumstances.trouble
    if "no_channel" in trouble or desk.gone_channel is not None:
        text = (
            "There are no channels available for model swap_face under the"
            f" current group {key.account.group}"
        )
        return api_error(503, text, exchange.request_id)
    if not (fields.source and fields.target):
        return upstream_error(4, _MISSING)
    if "user_quota_lookup" in trouble:
        return upstream_error(4, "Failed to get user quota", "Error")
    if key.account.balance < desk.settings.price:
        return upstream_error(4, "User quota is not enough", "Error")
    return None


async def _ask_upstream(
    desk: Desk, exchange: Exchange, fields: SwapBody, size: int
) -> Verdict:
    told = exchange.circumstances.upstream
    if told is not None:
        return read_verdict(told)
    if size > desk.settings.max_body:
        # Kestrel refuses the length with a 413 that has no body.
        return read_verdict(UpstreamAnswer(413))
    answer = await desk.upstream.submit(
        Order(
            source=fields.source,
            target=fields.target,
            state=fields.state,
            hook=fields.hook,
            request_id=exchange.request_id,
        )
    )
    properties = gojson.ordered(answer.properties)
    queued = answer.code == 1 and "queued" in exchange.circumstances.trouble
    code = _QUEUED if queued else answer.code
    return Verdict(200, code, answer.description, properties, answer.result)


def _book(desk: Desk, exchange: Exchange, key: Key, verdict: Verdict) -> Reply:
    """Charge what was accepted, and keep a row of it unless that fails."""
    if verdict.status == 200 and verdict.code == 1:  # noqa: PLR2004 - HTTP's OK
        desk.store.charge(
            key,
            Charge(
                request_id=exchange.request_id,
                task_id=verdict.result,
                units=desk.settings.price,
                account=key.account.number,
                key=key.text,
                seconds=desk.seconds,
            ),
        )
    if "insert_failed" in exchange.circumstances.trouble:
        return upstream_error(4, "insert_midjourney_task_failed")
    desk.store.add_row(_row(desk, exchange, key, verdict))
    value = verdict.as_answer()
    if desk.settings.plain_text:
        return sniffed_json(verdict.status, value)
    return as_json(value, status=verdict.status)


def _row(desk: Desk, exchange: Exchange, key: Key, verdict: Verdict) -> Row:
    now = desk.settings.clock.milliseconds()
    return Row(
        number=desk.store.next_number(),
        account=key.account,
        task_id=verdict.result,
        code=verdict.code,
        description=verdict.description,
        quota=desk.settings.price,
        submit_time=now,
        start_time=now,
        request_id=exchange.request_id,
    )


async def fetch(desk: Desk, exchange: Exchange, key: Key, task_id: str) -> Reply:
    """Show the oldest row of the caller with this id."""
    desk.look()
    row = desk.store.row_for(key.account, task_id)
    if row is None or "tasks_unreadable" in exchange.circumstances.trouble:
        return upstream_error(4, "Get mj id failed", "Error")
    shown = _shown(desk, exchange, [row])
    if not shown:
        return upstream_error(4, "Get mj id failed", "Error")
    return as_json(shown[0])


async def list_by_condition(
    desk: Desk, exchange: Exchange, key: Key, _task_id: str
) -> Reply:
    """Show all rows of the caller with these ids, by age."""
    try:
        ids = read_ids(await exchange.read())
    except BadBodyError:
        refusal = upstream_error(4, "Bind json failed", "Error")
        return Reply(400, refusal.body, TEXT, sniffed=True)
    desk.look()
    if "tasks_unreadable" in exchange.circumstances.trouble:
        return Reply(200, b"[]", JSON)
    rows = desk.store.rows_for(key.account, ids)
    return as_json(_shown(desk, exchange, rows))


def _shown(desk: Desk, exchange: Exchange, rows: list[Row]) -> list[dict[str, object]]:
    now = desk.settings.clock.nanoseconds()
    shown = [row.shown(desk.address, now) for row in rows]
    trouble = exchange.circumstances.rows
    if trouble is None:
        return shown
    omit = trouble.omit
    if omit is not None:
        shown = [row for row in shown if omit and row["id"] not in omit]
    shown = [{**row, **(trouble.change or {})} for row in shown]
    if trouble.repeat:
        shown = [row for row in shown for _ in range(2)]
    return shown[::-1] if trouble.backwards else shown


async def seed(desk: Desk, exchange: Exchange, key: Key, task_id: str) -> Reply:
    """Forward the question for the seed, and the answer as it is."""
    if desk.store.row_for(key.account, task_id) is None:
        return upstream_error(4, "task_no_found")
    refused = b'{"code":4,"description":"\xe5\x85\xb3\xe8\x81\x94\xe4\xbb\xbb\xe5\x8a'
    refused += b'\xa1\xe7\x8a\xb6\xe6\x80\x81\xe9\x94\x99\xe8\xaf\xaf"}'
    told = exchange.circumstances.upstream or UpstreamAnswer(200, refused)
    if not told.body and not told.broken:
        verdict = Verdict(told.status, 5, "empty_response_body", None, "")
        return sniffed_json(told.status, verdict.as_answer())
    try:
        verdict = read_verdict(told)
    except BrokenCallError as fault:
        return upstream_error(5, str(fault))
    return sniffed_json(verdict.status, verdict.as_answer())
