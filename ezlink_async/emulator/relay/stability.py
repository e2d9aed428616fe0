"""
Stability's calls, as the relay served them until January 2026; else their 404.

After ye4293/one-api ``relay/controller/sd.go`` RelaySdGenerate and GetUpscaleResults
and ``relay/channel/stability/main.go``, before they were removed. The relay passed the
provider's status and body on, without its headers, and charged for status 200. Its own
refusals are 400 with one word of error. Only the 404 was ever recorded.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import unquote

from attrs import frozen

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import forms, go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import (
    JSON_UTF8,
    TEXT,
    Reply,
    api_error,
    as_json,
    unknown_path,
)
from ezlink_async.emulator.relay.routes import Route, with_key
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Charge, Key
from ezlink_async.emulator.upstream.stability import CALLS, Answer, Call, Form

_OK = 200

_PICTURES = "image/*"

_BROKEN = "failed to get response"


@frozen
class _Seen:
    """The provider's answer as it came to the relay."""

    status: int
    content: bytes


async def submit(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Forward one form, charge for status 200, and pass the answer on."""
    state.store.attempts[exchange.request_id] += 1
    form = await _form(exchange)
    state.store.uploads[exchange.request_id] += 1
    call = CALLS[_path(exchange)]
    refused = _refusal(exchange, key, call)
    if refused is not None:
        return refused
    answer = None if form is None else await _asked(state, exchange, form)
    if answer is None or not _is_readable(exchange, answer):
        return _refused(_BROKEN)
    if answer.status == _OK:
        state.store.charge(key, _charge(state, exchange, call, key))
    if "insert_failed" in exchange.overrides.trouble:
        return _refused("failed to Insert sdTask")
    return _passed_on(answer)


def _refusal(exchange: Exchange, key: Key, call: Call) -> Reply | None:
    """Return what the relay answers before it asks the provider, if anything."""
    trouble = exchange.overrides.trouble
    if "panic" in trouble:
        return Reply(500, b"", None)
    if "no_channel" in trouble:
        text = f"There are no channels available for model {call.model} under the"
        where = f"current group {key.account.group}"
        return api_error(503, f"{text} {where}", exchange.request_id)
    if "user_quota_lookup" in trouble:
        return _refused("Failed to get userQuota")
    is_poor = key.account.balance < call.price
    return _refused("User balance is not enough") if is_poor else None


async def result(state: RelayState, exchange: Exchange, _key: Key) -> Reply:
    """Ask the provider for the result of a task, whichever account has made it."""
    if exchange.task_id not in state.stability.generations:
        return _refused("get_channel_id_failed")
    now = state.settings.clock.milliseconds()
    if exchange.overrides.upstream is not None:
        answer = _scripted(exchange.overrides.upstream)
    else:
        found = state.stability.result(_path(exchange), exchange.task_id, now)
        answer = _sent(exchange, found)
    if answer is None or not _is_readable(exchange, answer):
        return _refused(_BROKEN)
    return _passed_on(answer)


async def removed(_state: RelayState, exchange: Exchange) -> Reply:
    """Answer as a server without the routes does: any method, and without a key."""
    reply = unknown_path(exchange.method, exchange.path)
    return reply.packed_for(exchange.header("Accept-Encoding"))


def _path(exchange: Exchange) -> str:
    """Return the call that the path names, as the provider spells it."""
    behind = unquote(exchange.path).partition("/v2beta/")[2]
    return behind.partition("/result/")[0]


async def _form(exchange: Exchange) -> Form | None:
    """Return the form that was sent, ``None`` for another body or a broken one."""
    boundary = forms.boundary_of(exchange.header("Content-Type"))
    blocks = _one_block(await exchange.read())
    try:
        found = await forms.read_form(blocks, boundary, keeps_files=True)
    except ValueError:
        return None
    files = {file.field: file.content for file in found.files}
    return Form(fields=found.fields, files=files)


async def _one_block(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _asked(state: RelayState, exchange: Exchange, form: Form) -> _Seen | None:
    """Return the provider's answer to a call; ``None`` when there is none."""
    if exchange.overrides.upstream is not None:
        return _scripted(exchange.overrides.upstream)
    settings = state.settings
    took = settings.start_seconds + settings.submit_seconds + settings.engine_seconds
    ready = settings.clock.milliseconds() + round(1000 * took)
    ask = partial(state.stability.call, _path(exchange), form, ready)
    loop = asyncio.get_running_loop()
    return _sent(exchange, await loop.run_in_executor(state.upstream.executor, ask))


def _scripted(answer: faults.Upstream) -> _Seen | None:
    return None if answer.broken else _Seen(answer.status, answer.content)


def _sent(exchange: Exchange, answer: Answer) -> _Seen:
    """Return *answer* as the provider sends it: a picture alone where that is asked."""
    picture = answer.body.get("image")
    if exchange.header("Accept") == _PICTURES and isinstance(picture, str):
        return _Seen(answer.status, base64.b64decode(picture))
    return _Seen(answer.status, answer.content)


def _is_readable(exchange: Exchange, answer: _Seen) -> bool:
    """Return whether the relay can read the answer, which has to be JSON."""
    if exchange.header("Accept") == _PICTURES:
        return True
    try:
        go_json.loads(answer.content)
    except ValueError:
        return False
    return True


def _charge(state: RelayState, exchange: Exchange, call: Call, key: Key) -> Charge:
    return Charge(
        request_id=exchange.request_id,
        task_id="",
        units=call.price,
        account=key.account.number,
        key=key.text,
        seconds=state.seconds,
        model=call.model,
        action=call.model.upper(),
    )


def _passed_on(answer: _Seen) -> Reply:
    # No content type is set, so Go's server finds one; JSON is text to it.
    kind = "image/png" if answer.content.startswith(b"\x89PNG") else TEXT
    return Reply(answer.status, answer.content, kind, sniffed=True)


def _refused(word: str) -> Reply:
    return as_json({"error": word}, status=400, content_type=JSON_UTF8)


_CALLS = "|".join(map(re.escape, CALLS))
_TASKS = "|".join(re.escape(path) for path, call in CALLS.items() if call.task)

ROUTES = (
    Route("POST", f"(?:/sd)?/v2beta/(?:{_CALLS})", "stability", with_key(submit)),
    Route(
        "GET",
        f"(?:/sd)?/v2beta/(?:{_TASKS})/result/([^/]+)",
        "stability_result",
        with_key(result),
    ),
)

#: Where the calls are removed: nothing below ``/v2beta`` is served.
REMOVED = tuple(
    Route(method, "(?:/sd)?/v2beta(?:/.*)?", "stability", removed)
    for method in ("GET", "POST")
)
