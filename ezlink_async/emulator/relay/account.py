"""
The account's side, opened by its access token instead of a key.

After ye4293/one-api ``controller/log.go``, ``controller/midjourney.go``
GetUserMidjourney and ``controller/user.go`` GetSelf. Faults come as 200 there;
only a bad token is a 401.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import evolve

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import JSON_UTF8, Reply, as_json
from ezlink_async.emulator.relay.auth import account_by_token
from ezlink_async.emulator.relay.state import Desk
from ezlink_async.emulator.relay.store import Account, Charge, Key, Row


async def account(desk: Desk, exchange: Exchange, _task_id: str) -> Reply:
    """Show the account, its token included."""
    found = account_by_token(exchange, desk.store)
    if isinstance(found, str):
        return _refused(found)
    return _success(_shown_account(found))


async def log(desk: Desk, exchange: Exchange, _task_id: str) -> Reply:
    """Show the charges of the account that the filters let through, newest first."""
    found = account_by_token(exchange, desk.store)
    if isinstance(found, str):
        return _refused(found)
    since, until = _between(exchange)
    entries = [
        _shown_charge(number, charge)
        for number, charge in enumerate(desk.store.charges, 1)
        if charge.account == found.number and since <= charge.seconds <= until
        if _is_logged(charge, desk)
    ]
    kept = _same(entries, exchange, "x_request_id", "type", "model_name", "token_name")
    page, size = _page(exchange, default=(1, 10))
    return _paged(kept[::-1], page, size)


async def tasks(desk: Desk, exchange: Exchange, _task_id: str) -> Reply:
    """
    Show the tasks of the account that the filters let through, newest first.

    Without a page there are none. The end is held against the finish: what has
    not finished yet is before any end.
    """
    found = account_by_token(exchange, desk.store)
    if isinstance(found, str):
        return _refused(found)
    desk.look()
    since, until = _between(exchange)
    rows = [
        _shown_row(row, desk)
        for row in desk.store.rows
        if row.account is found
        and since <= row.submit_time
        and row.finish_time <= until
    ]
    kept = _same(rows, exchange, "mj_id", "status", "type")
    page, size = _page(exchange, default=(0, 0))
    return _paged(kept[::-1], page, size)


def _is_logged(charge: Charge, desk: Desk) -> bool:
    return desk.side.log and charge.seconds + desk.side.log_delay <= desk.seconds


def _between(exchange: Exchange) -> tuple[int, float]:
    query = exchange.request.query
    until = _number(query, "end_timestamp", 0)
    return _number(query, "start_timestamp", 0), until or math.inf


def _same(
    entries: list[dict[str, object]], exchange: Exchange, *names: str
) -> list[dict[str, object]]:
    for name in names:
        wanted = exchange.request.query.get(name, "")
        if wanted not in {"", "0"}:  # type 0 is every type
            entries = [each for each in entries if str(each[name]) == wanted]
    return entries


def _refused(text: str) -> Reply:
    value = {"message": text, "success": False}
    return Reply(401, go_json.dumps(value), JSON_UTF8, vary=1)


def _success(value: object) -> Reply:
    body = {"data": value, "message": "", "success": True}
    reply = as_json(body, content_type=JSON_UTF8)
    return Reply(200, reply.body, JSON_UTF8, vary=1)


def _paged(entries: list[dict[str, object]], page: int, size: int) -> Reply:
    start = (page - 1) * size
    shown = entries[start : start + size] if page > 0 else []
    return _success(
        {
            "currentPage": page,
            "list": shown,
            "pageSize": size,
            "total": len(entries),
        }
    )


def _page(exchange: Exchange, default: tuple[int, int]) -> tuple[int, int]:
    query = exchange.request.query
    return _number(query, "page", default[0]), _number(query, "pagesize", default[1])


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdigit() else default


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


def _shown_charge(number: int, charge: Charge) -> dict[str, object]:
    price = f"{charge.units / 500_000:.2f}"
    return {
        "id": number,
        "request_id": "",
        "user_id": charge.account,
        "created_at": charge.seconds,
        "type": 2,
        "content": f"模型固定价格 {price}，分组倍率 1.00，操作 SWAP_FACE",
        "username": f"user{charge.account}",
        "token_name": "n",
        "model_name": "swap_face",
        "quota": charge.units,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cached_tokens": 0,
        "channel": 1,
        "duration": 0,
        "speed": 0,
        "title": "",
        "http_referer": "",
        "provider": "",
        "x_request_id": charge.request_id,
        "x_response_id": "",
        "first_word_latency": 0,
        "video_task_id": "",
        "is_stream": False,
        "other": "ip:127.0.0.1",
    }


def _shown_row(row: Row, desk: Desk) -> dict[str, object]:
    age = desk.settings.clock.milliseconds() / 1000 - row.submit_time / 1000
    if desk.side.state_delay > age:  # as before its first refresh
        row = evolve(row, state="", status="", progress="0%")
    return {
        "id": row.number,
        "code": row.code,
        "user_id": row.account.number,
        "action": "SWAP_FACE",
        "mj_id": row.task_id,
        "prompt": "InsightFace",
        "prompt_en": row.prompt_en,
        "description": row.description,
        "state": row.state,
        "submit_time": row.submit_time,
        "start_time": row.start_time,
        "finish_time": row.finish_time,
        "image_url": f"{desk.address}/mj/image/{row.task_id}",
        "status": row.status,
        "progress": row.progress,
        "fail_reason": row.fail_reason,
        "channel_id": 1,
        "quota": row.quota,
        "buttons": _as_text(row.buttons),
        "properties": _as_text(row.properties),
        "type": "fast",
        "username": "",
        "store_url": "",
    }


def _as_text(value: object) -> str:
    return "" if value is None else go_json.dumps(value).decode()


_UNITS_PER_DOLLAR = 500_000

_NO_LIMIT = 100_000_000


async def subscription(
    desk: Desk, exchange: Exchange, key: Key, _task_id: str
) -> Reply:
    """Show a limit in dollars: what is left and what was used of the key."""
    limit: float = _NO_LIMIT
    expires = key.expires
    if desk.settings.shows_account:
        # What was used is not added here: a slip in GetSubscription.
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
    return _packed(exchange, as_json(value, content_type=JSON_UTF8))


async def usage(desk: Desk, exchange: Exchange, key: Key, _task_id: str) -> Reply:
    """Show what the key, or its account, has used, in cents."""
    used = key.account.used if desk.settings.shows_account else key.used
    value = {"object": "list", "total_usage": used / _UNITS_PER_DOLLAR * 100}
    return _packed(exchange, as_json(value, content_type=JSON_UTF8))


def _packed(exchange: Exchange, reply: Reply) -> Reply:
    return reply.packed() if "gzip" in exchange.header("Accept-Encoding") else reply
