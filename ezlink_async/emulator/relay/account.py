"""
The account's pages, opened by its access token, and the balance of a key.

After ye4293/one-api ``controller/log.go``, ``controller/midjourney.go``
GetUserMidjourney and ``controller/user.go`` GetSelf. The account's pages report
errors with status 200; only a bad token is a 401.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from attrs import evolve

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, as_json
from ezlink_async.emulator.relay.routes import (
    AccountHandler,
    Handler,
    KeyHandler,
    Route,
    with_account,
    with_key,
)
from ezlink_async.emulator.relay.state import RelayState
from ezlink_async.emulator.relay.store import Account, Charge, Key, Refusal, Row
from ezlink_async.emulator.relay.video_rows import VIDEO, VideoRows, listed_price

_UNITS_PER_DOLLAR = 500_000
_DIGITS = re.compile("[0-9]{1,19}")
_LARGEST = 2**63 - 1
_CONSUMPTION = 2
_FIRST_ROWS = 10
_NO_LIMIT = 100_000_000  # dollars, the server's figure for a key without limit


async def show_account(
    _state: RelayState, _exchange: Exchange, owner: Account
) -> Reply:
    """Show the account, its token included."""
    return _success(_shown_account(owner))


async def show_log(state: RelayState, exchange: Exchange, owner: Account) -> Reply:
    """Show charges and refusals that pass the filters, newest first."""
    since, until = _between(exchange)
    entries = [
        _shown_entry(number, entry, state.videos)
        for number, entry in enumerate(state.store.log, 1)
        if entry.account == owner.number and since <= entry.seconds <= until
        if _is_logged(entry, state)
    ]
    kept = _filtered(entries, exchange, "x_request_id", "model_name", "token_name")
    if kind := _number(exchange.request.query, "type", 0):
        kept = [entry for entry in kept if entry["type"] == kind]
    query = exchange.request.query
    page, size = _number(query, "page", 1), _number(query, "pagesize", 10)
    return _paged(kept[::-1], page, size)


async def show_tasks(state: RelayState, exchange: Exchange, owner: Account) -> Reply:
    """
    Show the tasks of the account that pass the filters, newest first.

    Without a size the list is empty, without a number it is the first page. The end
    of the period is compared with the finish of a task: an unfinished task is before
    any end.
    """
    state.refresh_if_live()
    since, until = _between(exchange)
    rows = [
        _shown_row(row, state)
        for row in state.store.rows
        if row.account is owner
        and since <= row.submit_time
        and row.finish_time <= until
    ]
    kept = _filtered(rows, exchange, "mj_id", "status", "type")
    query = exchange.request.query
    page, size = _number(query, "page", 0), _number(query, "pagesize", 0)
    return _paged(kept[::-1], page, size)


async def show_pictures(state: RelayState, exchange: Exchange, owner: Account) -> Reply:
    """
    Show the account's pictures that pass the filters, newest first.

    Without a page or a size the answer says 0 and has the first ten. The name of a
    user filters by model.
    """
    since, until = _between(exchange)
    rows = [
        row.shown()
        for row in state.pictures.rows
        if row.account is owner and since <= row.created_at <= until
    ]
    query = exchange.request.query
    wanted = {
        "task_id": query.get("taskid", ""),
        "provider": query.get("provider", ""),
        "model": query.get("username", ""),
    }
    for name, text in wanted.items():
        rows = [row for row in rows if text in {"", row[name]}]
    page, size = _number(query, "page", 0), _number(query, "pagesize", 0)
    start = max(0, page - 1) * size
    shown = rows[::-1][start : start + (size or _FIRST_ROWS)]
    return _success(
        {"currentPage": page, "list": shown, "pageSize": size, "total": len(rows)}
    )


async def show_subscription(state: RelayState, _exchange: Exchange, key: Key) -> Reply:
    """Show a limit in dollars: the sum of the key's remaining and used quota."""
    limit: float = _NO_LIMIT
    expires = key.expires
    if state.settings.shows_account:
        # The used quota is not added here: a slip in GetSubscription.
        limit, expires = key.account.balance / _UNITS_PER_DOLLAR, 0
    elif key.quota is not None:
        limit = (key.quota + key.used) / _UNITS_PER_DOLLAR
    value = {
        "object": "billing_subscription",
        "has_payment_method": True,
        "soft_limit_usd": limit,
        "hard_limit_usd": limit,
        "system_hard_limit_usd": limit,
        "access_until": expires,
    }
    return as_json(value, content_type=JSON_UTF8)


async def show_usage(state: RelayState, _exchange: Exchange, key: Key) -> Reply:
    """Show the used quota of the key, or of its account, in cents."""
    used = key.account.used if state.settings.shows_account else key.used
    value = {"object": "list", "total_usage": used / _UNITS_PER_DOLLAR * 100}
    return as_json(value, content_type=JSON_UTF8)


def _packed(handler: Handler) -> Handler:
    """Return *handler* behind gin-contrib/gzip, which packs refusals too."""

    async def pack(state: RelayState, exchange: Exchange) -> Reply:
        reply = await handler(state, exchange)
        return reply.packed_for(exchange.header("Accept-Encoding"))

    return pack


def _page(path: str, handler: AccountHandler) -> Route:
    return Route("GET", path, "account", _packed(with_account(handler)))


def _bill(path: str, handler: KeyHandler) -> Route:
    return Route("GET", f"{_BILLING}/{path}", "usage", _packed(with_key(handler)))


_BILLING = "(?:/v1)?/dashboard/billing"
ROUTES = (
    _bill("subscription", show_subscription),
    _bill("usage", show_usage),
    _page("/api/log/self", show_log),
    _page("/api/image/self", show_pictures),
    _page("/api/mj/self", show_tasks),
    _page("/api/user/self", show_account),
)


def _is_logged(entry: Charge | Refusal, state: RelayState) -> bool:
    lag = state.account_lag
    if isinstance(entry, Charge) and entry.entry == "none":
        return False
    return lag.log and entry.seconds + lag.log_delay <= state.seconds


def _between(exchange: Exchange) -> tuple[int, float]:
    query = exchange.request.query
    until = _number(query, "end_timestamp", 0)
    return _number(query, "start_timestamp", 0), until or math.inf


def _filtered(
    entries: list[dict[str, object]], exchange: Exchange, *names: str
) -> list[dict[str, object]]:
    for name in names:
        wanted = exchange.request.query.get(name, "")
        if wanted not in {"", "0"}:  # type 0 means every type
            entries = [each for each in entries if str(each[name]) == wanted]
    return entries


def _success(value: object) -> Reply:
    body = {"data": value, "message": "", "success": True}
    return as_json(body, content_type=JSON_UTF8, vary=1)


def _paged(entries: list[dict[str, object]], page: int, size: int) -> Reply:
    start = max(0, page - 1) * size
    shown = entries[start : start + size]
    total = len(entries)
    return _success(
        {"currentPage": page, "list": shown, "pageSize": size, "total": total}
    )


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a number above 0 that Go's ``int`` can hold, else *default*."""
    text = query.get(name, "")
    number = int(text) if _DIGITS.fullmatch(text) else 0
    return number if 0 < number <= _LARGEST else default


def _shown_account(account: Account) -> dict[str, object]:
    blank = dict.fromkeys(("email", "github_id", "google_id", "wechat_id"), "")
    return {
        "id": account.number,
        "username": f"user{account.number}",
        "password": "",
        "display_name": "x",
        "role": 1,
        "status": 2 if account.banned else 1,
        **blank,
        "verification_code": "",
        "access_token": account.token,
        "quota": account.balance,
        "used_quota": account.used,
        "request_count": account.requests,
        "group": account.group,
        "aff_code": f"aff{account.number}",
        "inviter_id": 0,
        "user_remind_threshold": 0,
        "user_last_notice_time": 0,
        "channel_ratios": "",
    }


def _price_and_text(entry: Charge | Refusal) -> tuple[int, str]:
    if isinstance(entry, Refusal):
        return 0, entry.text
    if entry.text:
        return entry.units, entry.text
    price = f"{entry.units / _UNITS_PER_DOLLAR:.2f}"
    if entry.action == VIDEO:
        listed = listed_price(entry.model) / _UNITS_PER_DOLLAR
        return entry.units, f"模型固定价格 {listed:.2f}$"
    text = f"模型固定价格 {price}，分组倍率 1.00，操作 {entry.action}"
    return entry.units, text


def _token_name(entry: Charge | Refusal) -> str:
    return "" if isinstance(entry, Charge) and not entry.names_key else "n"


def _shown_request_id(entry: Charge | Refusal) -> str:
    hides_it = isinstance(entry, Charge) and entry.entry == "nameless"
    return "" if hides_it else entry.request_id


def _shown_entry(
    number: int, entry: Charge | Refusal, videos: VideoRows
) -> dict[str, object]:
    units, text = _price_and_text(entry)
    row = videos.find(entry.task_id) if isinstance(entry, Charge) else None
    if row is not None and row.settled is not None:
        units = row.settled  # a settlement rewrites the entry of the submit
    return {
        "id": number,
        "request_id": "",
        "user_id": entry.account,
        "created_at": entry.seconds,
        "type": entry.kind if isinstance(entry, Refusal) else _CONSUMPTION,
        "content": text,
        "username": f"user{entry.account}",
        "token_name": _token_name(entry),
        "model_name": entry.model,
        "quota": units,
        "prompt_tokens": 0,
        "completion_tokens": row.tokens if row else 0,
        "cached_tokens": 0,
        "channel": 1,
        "duration": 0,
        "speed": 0,
        "title": "",
        "http_referer": "",
        "provider": "",
        "x_request_id": _shown_request_id(entry),
        "x_response_id": "",
        "first_word_latency": 0,
        "video_task_id": "",
        "is_stream": False,
        "other": "ip:127.0.0.1",
    }


def _shown_row(row: Row, state: RelayState) -> dict[str, object]:
    age = state.settings.clock.milliseconds() / 1000 - row.submit_time / 1000
    if state.account_lag.state_delay > age:  # as before its first refresh
        row = evolve(row, state="", status="", progress="0%")
    return {
        "id": row.number,
        "code": row.code,
        "user_id": row.account.number,
        "action": row.action,
        "mj_id": row.task_id,
        "prompt": row.prompt,
        "prompt_en": row.prompt_en,
        "description": row.description,
        "state": row.state,
        "submit_time": row.submit_time,
        "start_time": row.start_time,
        "finish_time": row.finish_time,
        "image_url": _picture_address(row, state),
        "status": row.status,
        "progress": row.progress,
        "fail_reason": row.fail_reason,
        "channel_id": 1,
        "quota": row.quota,
        "buttons": _as_text(row.buttons),
        "properties": _as_text(row.properties),
        "type": row.mode,
        "username": "",
        "store_url": "",
    }


def _picture_address(row: Row, state: RelayState) -> str:
    # A relay whose ServerAddress is local shows what the upstream gave.
    if "localhost" in state.address:
        return row.image_url
    return f"{state.address}/mj/image/{row.task_id}"


def _as_text(value: object) -> str:
    return "" if value is None else go_json.dumps(value).decode()
