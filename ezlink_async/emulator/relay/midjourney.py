"""
The Midjourney family: submit, fetch, list, picture and seed of a face swap.

After ye4293/one-api ``relay/controller/midjourney.go`` (RelaySwapFace,
RelayMidjourneyTask, RelayMidjourneyTaskImageSeed). Bodies are read as Go's
``encoding/json`` reads them into typed structs.
"""

from __future__ import annotations

import asyncio

from attrs import evolve

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json, paths
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import (
    JSON,
    TEXT,
    Reply,
    api_error,
    as_json,
    image_error,
    sniffed_json,
    upstream_error,
)
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key, Refusal, Row
from ezlink_async.emulator.upstream.requests import SwapRequest, UpstreamReply

_OK = 200
# Reading less than this takes less time than handing it to a thread.
_INLINE = 256 * 1024
_ACCEPTED = {1, 21, 22}
_QUEUED = 22
_MISSING = "sour_base64_and_target_base64_is_required"


async def swap(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Submit a face swap: check it, forward it, charge it, add a row."""
    state.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    state.store.uploads[exchange.request_id] += 1
    if "panic" in exchange.overrides.trouble:
        return Reply(500, b"", None)
    try:
        request = await _read_request(body, exchange)
        if "no_channel" in exchange.overrides.trouble or state.gone_channel is not None:
            return _no_channel(exchange, key)
        _check(state, exchange, key, request)
        reply = await _forward(state, exchange, request, len(body))
        return _charge_and_record(state, exchange, key, reply)
    except BadBodyError:
        return api_error(400, "Model name is required", exchange.request_id)
    except RefusedCallError as refused:
        _log_refusal(state, exchange, key, refused)
        return refused.reply


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
    if state.store.row_for(key.account, exchange.task_id) is None:
        return upstream_error(4, "task_no_found")
    refused = faults.Upstream(body={"code": 4, "description": "关联任务状态错误"})
    answer = exchange.overrides.upstream or refused
    try:
        if answer.content or answer.broken:
            reply = read_upstream_reply(answer)
        else:
            reply = UpstreamReply(5, "empty_response_body", status=answer.status)
    except RefusedCallError as refused:
        return refused.reply
    return sniffed_json(reply.status, _shown_reply(reply))


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


_MJ = "(?:/[^/]+)?/mj"
ROUTES = (
    Route("POST", f"{_MJ}/insight-face/swap", "submit", with_key(swap)),
    Route("GET", f"{_MJ}/task/([^/]*)/fetch", "fetch", with_key(fetch)),
    Route("POST", f"{_MJ}/task/list-by-condition", "list", with_key(list_by_condition)),
    Route("GET", f"{_MJ}/task/([^/]+)/image-seed", "seed", with_key(seed)),
    Route("GET", f"{_MJ}/image/([^/]+)", "image", image),
    Route("GET", "/__emu/cdn/([^/]+)", "", cdn),
)


# A submit, step by step


async def _read_request(body: bytes, exchange: Exchange) -> SwapRequest:
    content_type = exchange.header("Content-Type")
    try:
        if len(body) <= _INLINE:
            request = read_swap(body, content_type)
        else:
            request = await asyncio.to_thread(read_swap, body, content_type)
    except BadBodyError as exc:
        if exc.early:
            raise
        raise RefusedCallError(4, "bind_request_body_failed") from None
    return evolve(request, request_id=exchange.request_id)


def _no_channel(exchange: Exchange, key: Key) -> Reply:
    text = (
        "There are no channels available for model swap_face under the"
        f" current group {key.account.group}"
    )
    return api_error(503, text, exchange.request_id)


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
        return evolve(reply, code=_QUEUED)
    return reply


def _charge_and_record(
    state: RelayState, exchange: Exchange, key: Key, reply: UpstreamReply
) -> Reply:
    if reply.code not in _ACCEPTED:
        raise RefusedCallError(reply.code, reply.description, reply.result)
    if reply.status == _OK and reply.code == 1:
        charge = Charge(
            request_id=exchange.request_id,
            task_id=reply.result,
            units=state.settings.price,
            account=key.account.number,
            key=key.text,
            seconds=state.seconds,
        )
        state.store.charge(key, charge)
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
    if state.settings.plain_text:
        return sniffed_json(reply.status, _shown_reply(reply))
    return as_json(_shown_reply(reply), status=reply.status)


def _log_refusal(
    state: RelayState, exchange: Exchange, key: Key, refused: RefusedCallError
) -> None:
    refusal = Refusal(
        request_id=exchange.request_id,
        text=str(refused),
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
    )
    state.store.log.append(refusal)


class RefusedCallError(Exception):
    """A handler of the relay, or its upstream, refuses a call."""

    def __init__(self, code: int, description: str, result: str = "") -> None:
        super().__init__(f"{description} {result}".strip())
        self.reply: Reply = upstream_error(code, description, result)


# Bodies as the relay reads them


class BadBodyError(ValueError):
    """The relay refuses a body; *early*: its distributor does, before the handler."""

    def __init__(self, *, early: bool) -> None:
        super().__init__(early)
        self.early = early


_TEXTS = (
    "prompt",
    "customId",
    "botType",
    "notifyHook",
    "action",
    "state",
    "taskId",
    "content",
    "maskBase64",
)
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def read_swap(body: bytes, content_type: str) -> SwapRequest:
    """
    Return the fields of a submit, or raise :class:`BadBodyError`.

    Without a JSON content type the relay reads an unusable body as an empty one.
    """
    kind = content_type.partition(";")[0].strip()
    if kind == "application/x-www-form-urlencoded" and _is_form(body):
        return SwapRequest()  # whose fields are none of the relay's
    if kind in _FORMS:
        raise BadBodyError(early=True)
    if content_type.startswith("application/json"):
        return _bind(body)
    try:
        value = go_json.loads(body)
    except ValueError:
        return SwapRequest()
    return _read_fields(value) if isinstance(value, dict) else SwapRequest()


def _is_form(body: bytes) -> bool:
    # net/url ParseQuery refuses both, and every data URI has a semicolon.
    return b";" not in body and paths.is_well_escaped(body.decode("latin-1"))


def _bind(body: bytes) -> SwapRequest:
    try:
        value = go_json.loads(body)
    except ValueError:
        raise BadBodyError(early=True) from None
    if value is None:
        return SwapRequest()
    if not isinstance(value, dict) or not _is_general(value):
        raise BadBodyError(early=True)
    for name in ("sourceBase64", "targetBase64"):
        if not _is_list_of_texts(go_json.folded(value, name)):
            raise BadBodyError(early=False)
    return _read_fields(value)


def _read_fields(value: dict[str, object]) -> SwapRequest:
    return SwapRequest(
        source=_last(value, "sourceBase64"),
        target=_last(value, "targetBase64"),
        state=_last(value, "state"),
        hook=_last(value, "notifyHook"),
    )


def _is_general(value: dict[str, object]) -> bool:
    """Tell whether the distributor can read the fields that all submits share."""
    texts = [item for name in _TEXTS for item in go_json.folded(value, name)]
    numbers = go_json.folded(value, "index")
    return (
        _is_list_of_texts(texts)
        and all(item is None or type(item) is int for item in numbers)
        and all(map(_is_list_of_texts, go_json.folded(value, "base64Array")))
    )


def _is_list_of_texts(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(i, str | None) for i in value)


def _last(value: dict[str, object], name: str) -> str:
    # encoding/json: a later key wins; null, or a value of a wrong type, leaves what
    # was read before.
    found = [item for item in go_json.folded(value, name) if isinstance(item, str)]
    return found[-1] if found else ""


def read_ids(body: bytes) -> list[str]:
    """Return the ids of a list-by-condition, or raise :class:`BadBodyError`."""
    try:
        value = go_json.loads_first(body)
    except ValueError:
        raise BadBodyError(early=False) from None
    if value is None:
        return []
    if not isinstance(value, dict):
        raise BadBodyError(early=False)
    ids: list[str] = []
    for item in go_json.folded(value, "ids"):
        if not _is_list_of_texts(item):
            raise BadBodyError(early=False)
        ids = [one or "" for one in item] if isinstance(item, list) else []
    return ids


# Answers of the upstream as the relay reads them


_BROKEN = {
    "refused": "do_request_failed",
    "reset": "do_request_failed",
    "half": "read_response_body_failed",
}
_UNREADABLE = "unmarshal_response_body_failed"


class BrokenCallError(RefusedCallError):
    """The relay's call to the upstream failed; *text* is the relay's (code 5)."""

    def __init__(self, text: str) -> None:
        super().__init__(5, text)


def read_upstream_reply(answer: faults.Upstream) -> UpstreamReply:
    """Return *answer* as the relay reads it, or raise :class:`BrokenCallError`."""
    if answer.broken:
        raise BrokenCallError(_BROKEN[answer.broken])
    if not answer.content:
        raise BrokenCallError("empty_response_body")
    try:
        value = go_json.loads(answer.content)
    except ValueError:
        raise BrokenCallError(_UNREADABLE) from None
    fields = {} if value is None else value
    if not isinstance(fields, dict):
        raise BrokenCallError(_UNREADABLE)
    code = _typed(fields, "code")
    return UpstreamReply(
        code if isinstance(code, int) else 0,
        str(_typed(fields, "description") or ""),
        str(_typed(fields, "result") or ""),
        _last_field(fields, "properties"),
        answer.status,
    )


def _last_field(fields: dict[str, object], name: str) -> object:
    return ([None, *go_json.folded(fields, name)])[-1]


def _typed(fields: dict[str, object], name: str) -> object:
    # encoding/json refuses the whole body for one field of another type.
    value = _last_field(fields, name)
    wanted = int if name == "code" else str
    if isinstance(value, bool) or not isinstance(value, wanted | None):
        raise BrokenCallError(_UNREADABLE)
    return value


# Answers of the relay


def _shown_reply(reply: UpstreamReply) -> dict[str, object]:
    return {
        "code": reply.code,
        "description": reply.description,
        "properties": go_json.ordered(reply.properties),
        "result": reply.result,
    }


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
    if picture.status != _OK:
        text = (content or b"").decode("utf-8", "replace")
        return image_error(picture.status, text)
    content = result if content is None else content
    if content is None:
        return image_error(404, "the link has expired")
    named = picture.content_type
    if named == "":
        named = _MAGIC.get(content[:4], "image/jpeg")
    return Reply(
        _OK,
        content if picture.keep is None else content[: picture.keep],
        named or "image/jpeg",
        drip=picture.drip,
        block=picture.block,
    )
