"""``ezlink balance``: what the key may spend, and what the account has left."""

from __future__ import annotations

import asyncio
import json as json_text
from collections.abc import Awaitable
from typing import Annotated, TypeVar

from ezlink_async import AsyncEzlink
from ezlink_async._client.client import session_of
from ezlink_async.cli.connect import Connection, check_connection, connect
from ezlink_async.cli.display import Display, logs_shown_on
from ezlink_async.cli.job_options import SWITCH
from ezlink_async.errors import EzlinkError
from ezlink_async.models import KeyQuota
from ezlink_async.report.escaping import shown
from ezlink_async.services.account import AccountBalance
from ezlink_async.services.balance_bars import UNITS_PER_DOLLAR

_T = TypeVar("_T")

_ADVICE = (
    "what the account has left is not known: set EZLINK_ACCOUNT_TOKEN to its access "
    "token, which the dashboard makes"
)


def balance(
    *,
    local: Annotated[bool, SWITCH] = False,
    base_url: str | None = None,
    json: Annotated[bool, SWITCH] = False,
) -> int:
    """
    Print what the key may spend, and what the account has left, in US dollars; free.

    The account is shown with its access token alone, and is what pays: a key may show
    more than its account has. Exit code 0: all that was asked for is there; 1: it is
    not.

    Parameters
    ----------
    local
        Use the built-in server: no key, no network.
    base_url
        Address of the API. [env: EZLINK_BASE_URL]
    json
        Print one JSON object: key (limit, used, rest, unlimited, expires), account
        (left, used, requests, group), error. Both are null where they are not known.

    """
    connection = Connection(base_url=base_url, local=local)
    check_connection(connection)
    return asyncio.run(_print(connection, as_json=json))


async def _print(connection: Connection, *, as_json: bool) -> int:
    faults: list[str] = []
    with Display() as display, logs_shown_on(display):
        async with connect(connection) as ez:
            key = await _or_none(ez.account.key(), "key", faults)
            account = await _account(ez, faults)
            has_token = _has_token(ez)
        if as_json:
            display.result(_json(key, account, faults))
            return int(bool(faults))
        for line in filter(None, (_key_line(key), _account_line(account))):
            display.result(shown(line))
        for fault in faults:
            display.note(shown(fault), "red")
        if not has_token:
            display.note(_ADVICE)
    return int(bool(faults))


def _has_token(ez: AsyncEzlink) -> bool:
    return session_of(ez).transport.settings.account_token is not None


async def _account(ez: AsyncEzlink, faults: list[str]) -> AccountBalance | None:
    if not _has_token(ez):
        return None
    return await _or_none(ez.account.balance(), "account", faults)


async def _or_none(asked: Awaitable[_T], what: str, faults: list[str]) -> _T | None:
    try:
        return await asked
    except EzlinkError as error:
        faults.append(f"{what}: {type(error).__name__}: {error}")
        return None


def _key_line(key: KeyQuota | None) -> str:
    if key is None:
        return ""
    left = "" if key.rest is None else f", {key.rest:,.2f} USD left"
    return f"key: {key}{left}"


def _account_line(account: AccountBalance | None) -> str:
    if account is None:
        return ""
    used = account.used / UNITS_PER_DOLLAR
    return (
        f"account: {account.dollars:,.2f} USD left, {used:,.2f} USD used, "
        f"{account.requests:,} requests charged"
    )


def _json(
    key: KeyQuota | None, account: AccountBalance | None, faults: list[str]
) -> str:
    of_key = key and {
        "limit": key.limit,
        "used": key.used,
        "rest": key.rest,
        "unlimited": key.unlimited,
        "expires": key.expires and key.expires.isoformat(),
    }
    of_account = account and {
        "left": account.dollars,
        "used": account.used / UNITS_PER_DOLLAR,
        "requests": account.requests,
        "group": account.group,
    }
    error = "; ".join(faults) or None
    return json_text.dumps({"key": of_key, "account": of_account, "error": error})
