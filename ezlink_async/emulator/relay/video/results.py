"""
The query for a video: asked at the provider, and what it costs or gives back.

After ye4293/one-api ``relay/controller/directvideo.go`` and ``relay/channel``. Each key
may ask for each id. A query that sees a failure gives the price back, each time that
the one before saw something else; each query that sees a finished Doubao video settles
its price, with the caller.
"""

from __future__ import annotations

import base64
import binascii
import secrets

from attrs import evolve

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, as_json, image_error
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Key
from ezlink_async.emulator.relay.video.answers import (
    OK,
    FailedQueryError,
    below,
    number_in,
)
from ezlink_async.emulator.relay.video.calls import omni_price, settled_price
from ezlink_async.emulator.relay.video.providers import Look, read_look
from ezlink_async.emulator.relay.video_rows import (
    VideoRow,
    charge_of,
    settle,
)
from ezlink_async.emulator.upstream import provider_answers

FILES = "/__emu/video"
_CACHED = "Video retrieved from cache"
_KEPT = {"grok", "veo", "omni"}  # providers that are not asked again after a success
_INLINE = "data:video/mp4;base64,"


async def result(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Handle ``/v1/video/generations/result?taskid=...``."""
    query = exchange.request.query
    wants_links = query.get("response_format") == "url"
    task_id = query.get("taskid", "")
    return _answer(state, exchange, key, task_id, wants_links=wants_links)


async def result_by_path(state: RelayState, exchange: Exchange, key: Key) -> Reply:
    """Handle ``/api/v3/contents/generations/tasks/{id}``: the same, by another path."""
    return _answer(state, exchange, key, exchange.task_id, wants_links=False)


async def file(state: RelayState, exchange: Exchange) -> Reply:
    """Serve a finished video; its address asks for no key."""
    name = exchange.task_id
    content = state.videos.files.get(name) or state.providers.file(name)
    if content is None:
        return image_error(404, "the link has expired")
    return Reply(OK, content, "video/mp4")


def _answer(
    state: RelayState, exchange: Exchange, key: Key, task_id: str, *, wants_links: bool
) -> Reply:
    row = state.videos.find(task_id)
    if row is None:
        text = f"failed to get video: no record found for task_id: {task_id}"
        return image_error(500, text)
    if "channel_deleted" in exchange.overrides.trouble:
        return image_error(500, "failed to get channel: record not found")
    if row.stored and row.provider in _KEPT:
        return as_json(_cached(row).shown(cached=True), content_type=JSON_UTF8)
    answer = ask(state, exchange, row)
    try:
        look = read_look(row, answer, state.settings.provider_address)
    except FailedQueryError as failed:
        return failed.reply
    if look.addresses and row.provider in _KEPT:
        if wants_links and "storage_down" not in exchange.overrides.trouble:
            look = _with_links(state, row, look)
        row.stored = look.addresses or ()
        _charge_at_the_end(state, row, look)
    _book(state, key, row, look)
    return as_json(look.shown(), content_type=JSON_UTF8)


def ask(state: RelayState, exchange: Exchange, row: VideoRow) -> Upstream:
    """Return the provider's answer about a row, that of a script or its own."""
    if exchange.overrides.upstream is not None:
        return exchange.overrides.upstream
    task = state.providers.look(row.task_id)
    names = list(task.files()) if task else []
    # Each answer of Doubao has the file at a new address, which is signed anew.
    fresh = f"?signed={task.asked}" if task and row.provider == "doubao" else ""
    addresses = [f"{state.base_url}{FILES}/{name}{fresh}" for name in names]
    return provider_answers.shown(row.provider, task, addresses)


def _cached(row: VideoRow) -> Look:
    return Look(
        task_id=row.task_id,
        status="succeed",
        message=_CACHED,
        video_id=row.task_id,
        duration=row.duration,
        addresses=row.stored,
        usage=row.usage,
    )


def _with_links(state: RelayState, row: VideoRow, look: Look) -> Look:
    """Return the look with its inline videos copied to the relay's storage."""
    found = [_link(state, row, address) for address in look.addresses or ()]
    return evolve(look, addresses=tuple(found))


def _link(state: RelayState, row: VideoRow, address: str) -> str:
    if not address.startswith(_INLINE):
        return address
    try:
        content = base64.b64decode(address.removeprefix(_INLINE), validate=True)
    except binascii.Error:
        return address
    number = row.account.number
    name = f"{number}_{state.seconds}_{secrets.token_hex(8)}.mp4"
    state.videos.files.put(name, content)
    return f"{state.base_url}{FILES}/{name}"


def _book(state: RelayState, key: Key, row: VideoRow, look: Look) -> None:
    if row.quota and look.status == "failed" != row.status:
        state.store.refund(row, state.seconds)
    row.status = look.status
    if look.tokens:
        price = settled_price(look.model, look.tokens)
        settle(state.store, key, row, price, int(look.tokens), state.seconds)


def _charge_at_the_end(state: RelayState, row: VideoRow, look: Look) -> None:
    """Charge an Omni video with the key of its submit; it is asked for no more."""
    if row.provider != "omni":
        return
    row.usage = look.usage
    videos = sum(
        number_in(each, "tokens")
        for each in _list_in(look.usage, "output_tokens_by_modality")
    )
    texts = number_in(look.usage, "total_output_tokens") - videos
    price = omni_price(number_in(look.usage, "total_input_tokens"), texts, videos)
    if price:
        state.store.charge(row.key, charge_of(row, row.key, price, state.seconds))


def _list_in(value: object, name: str) -> list[object]:
    found = below(value, name)
    return found if isinstance(found, list) else []
