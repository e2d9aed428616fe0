"""
Tasks as the relay shows them: fetch, list, picture and seed.

After ye4293/one-api ``relay/controller/midjourney.go`` RelayMidjourneyTask and
RelayMidjourneyTaskImageSeed, ``controller/midjourney.go`` RelayMidjourneyImage.
"""

from __future__ import annotations

import hashlib

from ezlink_async.emulator import faults
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import (
    JSON,
    TEXT,
    Reply,
    as_json,
    image_error,
    sniffed_json,
    upstream_error,
)
from ezlink_async.emulator.relay.midjourney.answers import (
    OK,
    RefusedCallError,
    read_upstream_reply,
    shown_reply,
)
from ezlink_async.emulator.relay.midjourney.bodies import BadBodyError, read_ids
from ezlink_async.emulator.relay.state import ForwardedCall, RelayState
from ezlink_async.emulator.relay.store import Key, Row
from ezlink_async.emulator.upstream.requests import UpstreamReply

_NO_CHANNEL = {
    "channel_disabled": "该任务所属渠道已被禁用",
    "channel_deleted": "get_channel_info_failed",
}


async def fetch(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Show the oldest row of the caller with this id."""
    state.refresh_if_live()
    task_id = exchange.task_id
    row = state.store.row_for(key.account, task_id) if task_id else None
    shown = [] if row is None else _shown_rows(state, exchange, [row])
    if not shown or "tasks_unreadable" in exchange.overrides.trouble:
        return upstream_error(4, "Get mj id failed", "Error")
    return as_json(shown[0])


async def list_by_condition(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Show all rows of the caller with these ids, oldest first."""
    try:
        ids = read_ids(await exchange.read())
    except BadBodyError:
        refusal = upstream_error(4, "Bind json failed", "Error")
        return Reply(400, refusal.body, TEXT, sniffed=True)
    state.refresh_if_live()
    if "tasks_unreadable" in exchange.overrides.trouble:
        return Reply(200, b"[]", JSON)
    rows = state.store.rows_for(key.account, ids)
    return as_json(_shown_rows(state, exchange, rows))


async def seed(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Forward the question for the seed, and the upstream's answer as it is."""
    row = state.store.row_for(key.account, exchange.task_id)
    if row is None:
        return upstream_error(4, "task_no_found")
    for word, text in _NO_CHANNEL.items():
        if word in exchange.overrides.trouble:
            return upstream_error(4, text)
    path = exchange.request.raw_path
    state.forwarded.append(ForwardedCall("GET", path, None))
    answer = exchange.overrides.upstream or _seed_of(state, row.task_id)
    try:
        if answer.content or answer.broken:
            reply = read_upstream_reply(answer)
        else:
            reply = UpstreamReply(5, "empty_response_body", status=answer.status)
    except RefusedCallError as refused:
        return refused.reply
    return sniffed_json(reply.status, shown_reply(reply))


def _seed_of(state: RelayState, task_id: str) -> faults.Upstream:
    """Return the upstream's answer: a number for each finished task but a swap."""
    task = state.upstream.tasks.get(task_id)
    if task is None or task.status != "SUCCESS" or task.action == "SWAP_FACE":
        return faults.Upstream(body={"code": 4, "description": "关联任务状态错误"})
    number = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:4])
    body = {"code": 1, "description": "成功", "result": str(number)}
    return faults.Upstream(body=body)


async def image(state: RelayState, exchange: Exchange) -> Reply:
    """Stream the picture of a task; the server asks for no key."""
    state.refresh_if_live()
    rows = state.store.rows_of(exchange.task_id)
    if not rows or "tasks_unreadable" in exchange.overrides.trouble:
        return image_error(400, "midjourney_task_not_found")
    picture = exchange.overrides.picture or faults.Picture()
    if picture.broken or not rows[0].image_url:
        return image_error(500, "http_get_image_failed")
    return _passed_on(picture, state.upstream.results.get(exchange.task_id))


async def cdn(state: RelayState, exchange: Exchange) -> Reply:
    """Serve a result at the address that the upstream's notifications name."""
    return _passed_on(faults.Picture(), state.upstream.results.get(exchange.task_id))


def _shown_rows(
    state: RelayState, exchange: Exchange, rows: list[Row]
) -> list[dict[str, object]]:
    now = state.settings.clock.nanoseconds()
    shown = [row.shown(state.address, now) for row in rows]
    fault = exchange.overrides.rows
    if fault is None:
        return shown
    omit = fault.omit
    if omit is not None:
        shown = [row for row in shown if omit and row["id"] not in omit]
    shown = [{**row, **(fault.change or {})} for row in shown]
    if fault.repeat:
        shown = [row for row in shown for _ in range(2)]
    return shown[::-1] if fault.backwards else shown


_MAGIC = {b"\x89PNG": "image/png", b"RIFF": "image/webp"}


def _passed_on(picture: faults.Picture, result: bytes | None) -> Reply:
    content = picture.content
    if isinstance(content, str):
        content = content.encode()
    if picture.status != OK:
        text = (content or b"").decode("utf-8", "replace")
        return image_error(picture.status, text)
    content = result if content is None else content
    if content is None:
        return image_error(404, "the link has expired")
    named = picture.content_type
    if named == "":
        named = _MAGIC.get(content[:4], "image/jpeg")
    return Reply(
        OK,
        content if picture.keep is None else content[: picture.keep],
        named or "image/jpeg",
        drip=picture.drip,
        block=picture.block,
    )
