"""
The wire of the two balance pages: what a key may still spend.

Source: the pages of ``ye4293/one-api`` (``controller/billing.go``), made after
OpenAI's dashboard. No address, no key, no I/O.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Mapping

import attrs

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.records import utc_time
from ezlink_async.errors import ProtocolError

_UNLIMITED = 100_000_000
_CENTS = 100
_UNITS_PER_CENT = 5_000
_MOST = 2**63 / _UNITS_PER_CENT  # cents: the server counts units in int64


@attrs.frozen(kw_only=True)
class KeyBalance:
    """
    What the pages say about a key; US dollars.

    *limit* is ``None`` for a key without one. Depending on a switch of the
    operator it is what the key may spend in all, or what the account has left;
    the pages do not say which. *expires* is ``None`` for a key that does not.
    """

    limit: float | None
    used: float
    expires: dt.datetime | None = None

    def __str__(self) -> str:
        limit = "no limit" if self.limit is None else f"limit {self.limit:.2f} USD"
        ends = f", expires {self.expires:%Y-%m-%d}" if self.expires else ""
        return f"{limit}, {self.used:.2f} USD used{ends}"


def subscription_request() -> HttpRequest:
    """Ask for the limit and the expiry of the key."""
    return HttpRequest("GET", "/v1/dashboard/billing/subscription", repeatable=True)


def usage_request() -> HttpRequest:
    """Ask what the key has spent."""
    return HttpRequest("GET", "/v1/dashboard/billing/usage", repeatable=True)


def read_balance(subscription: HttpResponse, usage: HttpResponse) -> KeyBalance:
    """Read both pages, or raise the error that one of them means."""
    limit = _number(subscription, "hard_limit_usd")
    return KeyBalance(
        limit=limit if limit < _UNLIMITED else None,
        used=_cents(usage) / _CENTS,
        expires=utc_time(_number(subscription, "access_until")),
    )


def read_units(usage: HttpResponse) -> int:
    """
    Read what the key has spent, in whole units: 500,000 to the US dollar.

    The result is exact: the page divides units into cents, with a rounding error.
    """
    return round(_cents(usage) * _UNITS_PER_CENT)


def _cents(usage: HttpResponse) -> float:
    return _number(usage, "total_usage", _MOST)


def _number(page: HttpResponse, name: str, most: float = sys.float_info.max) -> float:
    if not page.ok:
        raise error_from(page)
    body = page.document
    found = body.get(name) if isinstance(body, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        found = math.nan
    if abs(found) <= most:  # JSON may say NaN, and any integer
        return float(found)
    raise ProtocolError(
        f"the balance page has no number {name!r}: {page.excerpt}",
        head=page.head,
        status=page.status,
        request_id=page.request_id,
    )
