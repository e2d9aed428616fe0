"""
The relay's handlers of the Midjourney family.

Each takes the desk, the exchange, the caller's key and the id in the path. After
ye4293/one-api ``relay/controller/midjourney.go`` (RelaySwapFace,
RelayMidjourneyTask, RelayMidjourneyTaskImageSeed).
"""

from __future__ import annotations

import asyncio

from attrs import frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.overrides import PictureTrouble, UpstreamAnswer
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
from ezlink_async.emulator.relay.state import Desk
from ezlink_async.emulator.relay.store import Charge, Key, Row
from ezlink_async.emulator.upstream.requests import Order

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


class BadBodyError(ValueError):
    """The body is refused; *early* when before the handler, by the distributor."""

    def __init__(self, *, early: bool) -> None:
        super().__init__(early)
        self.early = early


@frozen
class SwapBody:
    """The fields of a face swap; an empty string is a field left out."""

    source: str = ""
    target: str = ""
    state: str = ""
    hook: str = ""


def read_swap(body: bytes, content_type: str) -> SwapBody:
    """Return the fields of a submit, or raise :class:`BadBodyError`."""
    kind = content_type.partition(";")[0].strip()
    if kind in _FORMS:
        raise BadBodyError(early=True)
    strict = content_type.startswith("application/json")
    try:
        value = go_json.loads(body)
    except ValueError:
        if strict:
            raise BadBodyError(early=True) from None
        return SwapBody()
    return _bound(value, strict=strict)


def _bound(value: object, *, strict: bool) -> SwapBody:
    if value is None:
        return SwapBody()
    if not isinstance(value, dict):
        if strict:
            raise BadBodyError(early=True)
        return SwapBody()
    if strict and not _is_general(value):
        raise BadBodyError(early=True)
    pictures = [_last(value, name) for name in ("sourceBase64", "targetBase64")]
    if not all(isinstance(picture, str) for picture in pictures):
        if strict:
            raise BadBodyError(early=False)
        return SwapBody()
    texts = [*pictures, _last(value, "state"), _last(value, "notifyHook")]
    return SwapBody(*(item if isinstance(item, str) else "" for item in texts))


def _is_general(value: dict[str, object]) -> bool:
    texts = (item for name in _TEXTS for item in go_json.folded(value, name))
    if not all(isinstance(item, str | None) for item in texts):
        return False
    numbers = go_json.folded(value, "index")
    if not all(item is None or _is_integer(item) for item in numbers):
        return False
    return all(map(_is_list_of_texts, go_json.folded(value, "base64Array")))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_texts(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(i, str | None) for i in value)


def _last(value: dict[str, object], name: str) -> object:
    # encoding/json: a later key wins, null leaves what was there, and a wrong type
    # anywhere fails the whole.
    found = [item for item in go_json.folded(value, name) if item is not None]
    wrong = [item for item in found if not isinstance(item, str)]
    return (wrong or found or [""])[-1]


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


_OK = 200

_MAGIC = {b"\x89PNG": "image/png", b"RIFF": "image/webp"}


async def image(desk: Desk, exchange: Exchange, task_id: str) -> Reply:
    """Stream the picture of a task; no key is asked for."""
    desk.look()
    rows = desk.store.rows_of(task_id)
    if not rows or "tasks_unreadable" in exchange.overrides.trouble:
        return image_error(400, "midjourney_task_not_found")
    trouble = exchange.overrides.picture or PictureTrouble()
    if trouble.broken or not rows[0].image_url:
        return image_error(500, "http_get_image_failed")
    return _passed_on(trouble, desk.upstream.gallery.get(task_id))


def _passed_on(trouble: PictureTrouble, kept: bytes | None) -> Reply:
    if trouble.status != _OK:
        text = (trouble.content or b"").decode("utf-8", "replace")
        return image_error(trouble.status, text)
    content = kept if trouble.content is None else trouble.content
    if content is None:
        return image_error(404, "the link has expired")
    named = trouble.content_type
    if named == "":
        named = _MAGIC.get(content[:4], "image/jpeg")
    return Reply(
        _OK,
        content if trouble.keep is None else content[: trouble.keep],
        named or "image/jpeg",
        drip=trouble.drip,
        block=trouble.block,
    )


async def cdn(desk: Desk, _exchange: Exchange, task_id: str) -> Reply:
    """Serve a result at the address the upstream names in its notifications."""
    return _passed_on(PictureTrouble(), desk.upstream.gallery.get(task_id))


_BROKEN = {
    "refused": "do_request_failed",
    "reset": "do_request_failed",
    "half": "read_response_body_failed",
}

_UNREADABLE = "unmarshal_response_body_failed"


class BrokenCallError(Exception):
    """The call to the upstream came to nothing, in the relay's words (code 5)."""


@frozen
class Verdict:
    """What the upstream said, in the relay's types."""

    status: int
    code: int
    description: str
    properties: object
    result: str

    def as_answer(self) -> dict[str, object]:
        """Return the four keys that a client is sent, in their order."""
        return {
            "code": self.code,
            "description": self.description,
            "properties": self.properties,
            "result": self.result,
        }


def read_verdict(answer: UpstreamAnswer) -> Verdict:
    """Read *answer*, or raise :class:`BrokenCallError`."""
    if answer.broken:
        raise BrokenCallError(_BROKEN[answer.broken])
    if not answer.body:
        raise BrokenCallError("empty_response_body")
    try:
        value = go_json.loads(answer.body)
    except ValueError:
        raise BrokenCallError(_UNREADABLE) from None
    fields = {} if value is None else value
    if not isinstance(fields, dict):
        raise BrokenCallError(_UNREADABLE)
    code = _typed(fields, "code")
    return Verdict(
        answer.status,
        code if isinstance(code, int) else 0,
        str(_typed(fields, "description") or ""),
        go_json.ordered(_last_field(fields, "properties")),
        str(_typed(fields, "result") or ""),
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


_INLINE = 256 * 1024

_ACCEPTED = {1, 21, 22}

_QUEUED = 22

_MISSING = "sour_base64_and_target_base64_is_required"


async def swap(desk: Desk, exchange: Exchange, key: Key, _task_id: str) -> Reply:
    """Take a face swap: check, forward, charge, keep a row."""
    desk.store.attempts[exchange.request_id] += 1
    body = await exchange.read()
    desk.store.uploads[exchange.request_id] += 1
    if "panic" in exchange.overrides.trouble:
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
    trouble = exchange.overrides.trouble
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
    told = exchange.overrides.upstream
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
    properties = go_json.ordered(answer.properties)
    queued = answer.code == 1 and "queued" in exchange.overrides.trouble
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
    if "insert_failed" in exchange.overrides.trouble:
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
    if row is None or "tasks_unreadable" in exchange.overrides.trouble:
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
    if "tasks_unreadable" in exchange.overrides.trouble:
        return Reply(200, b"[]", JSON)
    rows = desk.store.rows_for(key.account, ids)
    return as_json(_shown(desk, exchange, rows))


def _shown(desk: Desk, exchange: Exchange, rows: list[Row]) -> list[dict[str, object]]:
    now = desk.settings.clock.nanoseconds()
    shown = [row.shown(desk.address, now) for row in rows]
    trouble = exchange.overrides.rows
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
    told = exchange.overrides.upstream or UpstreamAnswer(200, refused)
    if not told.body and not told.broken:
        verdict = Verdict(told.status, 5, "empty_response_body", None, "")
        return sniffed_json(told.status, verdict.as_answer())
    try:
        verdict = read_verdict(told)
    except BrokenCallError as fault:
        return upstream_error(5, str(fault))
    return sniffed_json(verdict.status, verdict.as_answer())
