"""The two balance pages, as the server was seen to send them."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.services import billing
from tests.conftest import samples

ENDS = dt.datetime(2026, 11, 24, 6, 43, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "limit", "used", "expires"),
    [
        ("limited-fresh", 2.0, 0.0, ENDS),
        ("limited-used", 2.0, 0.0065, ENDS),
        ("unlimited-fresh", None, 0.0, None),
        ("unlimited-used", None, 0.0065, None),
        ("account", 1999.8605, 0.1395, None),
    ],
)
def test_a_balance_is_read_from_both_pages(
    name: str, limit: float | None, used: float, expires: dt.datetime | None
) -> None:
    """Limit and use in dollars; no limit and no end are ``None``."""
    pages = [samples()[f"balance-{name}-{page}"] for page in ("subscription", "usage")]
    found = billing.read_balance(*(page.response for page in pages))
    assert (found.limit, found.expires) == (limit, expires)
    assert found.used == pytest.approx(used)
    asked = billing.subscription_request(), billing.usage_request()
    assert [request.path for request in asked] == [page.path for page in pages]


def test_an_exhausted_key_is_told_by_its_refusal() -> None:
    """The pages themselves are closed to a key without quota."""
    page = samples()["balance-exhausted"].response
    with pytest.raises(errors.QuotaError):
        billing.read_balance(page, page)


@pytest.mark.parametrize("found", [None, True, "2", float("nan"), float("inf"), []])
def test_a_page_without_its_number_is_a_protocol_error(found: object) -> None:
    """Another server's page is not taken for a balance of nothing."""
    page = samples()["balance-limited-fresh-subscription"].response
    body = json.dumps({"hard_limit_usd": found}).encode()
    odd = HttpResponse(200, {}, body, page.url)
    with pytest.raises(errors.ProtocolError, match="no number 'hard_limit_usd'"):
        billing.read_balance(odd, page)


@pytest.mark.parametrize("until", [1e12, 1e300])
def test_an_end_beyond_the_calendar_is_none(until: float) -> None:
    """A key that lasts for ever may be written with an absurd date."""
    body = {"hard_limit_usd": 2, "access_until": until}
    page = HttpResponse(200, {}, json.dumps(body).encode(), "https://h")
    usage = samples()["balance-limited-fresh-usage"].response
    assert billing.read_balance(page, usage).expires is None
