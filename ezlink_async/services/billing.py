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

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async._core.records import utc_time
from ezlink_async.errors import ProtocolError
from ezlink_async.models import KeyQuota

_UNLIMITED = 100_000_000
_CENTS = 100
_UNITS_PER_CENT = 5_000
_MOST = 2**63 / _UNITS_PER_CENT  # cents: the server counts units in int64


def subscription_request() -> HttpRequest:
    """Ask for the limit and the expiry of the key."""
    return HttpRequest("GET", "/v1/dashboard/billing/subscription", repeatable=True)


def usage_request() -> HttpRequest:
    """Ask what the key has spent."""
    return HttpRequest("GET", "/v1/dashboard/billing/usage", repeatable=True)


def read_limit(subscription: HttpResponse) -> tuple[float | None, dt.datetime | None]:
    """Read the limit in US dollars and the expiry, or raise the error of the page."""
    limit = _number(subscription, "hard_limit_usd")
    expires = utc_time(_number(subscription, "access_until"))
    return (limit if limit < _UNLIMITED else None), expires


def read_used(usage: HttpResponse) -> float:
    """Read what was used in US dollars, or raise the error of the page."""
    return _cents(usage) / _CENTS


def read_quota(subscription: HttpResponse, usage: HttpResponse) -> KeyQuota:
    """Read both pages, or raise the error that one of them means."""
    limit, expires = read_limit(subscription)
    return KeyQuota(limit=limit, used=read_used(usage), expires=expires)


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
