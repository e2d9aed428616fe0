"""The two balance pages: what is read from them, and what is not believed."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import AuthenticationError, EzlinkError, ProtocolError
from ezlink_async.services import billing
from ezlink_async.services.billing import (
    KeyBalance,
    read_balance,
    subscription_request,
    usage_request,
)
from tests.support.samples import samples

_LIMIT = '{"hard_limit_usd": 5, "access_until": 0}'

_USED = '{"total_usage": 150}'


def _page(text: str, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, text.encode(), url="https://api.example.com/v1")


def _balance(limit: str = _LIMIT, used: str = _USED) -> KeyBalance:
    return read_balance(_page(limit), _page(used))


def test_the_recorded_pages() -> None:
    """Dollars from one page, cents from the other, as the server wrote them."""
    pages = (samples()["v1-subscription"], samples()["v1-usage"])
    assert [page.path for page in pages] == [
        subscription_request().path,
        usage_request().path,
    ]
    found = read_balance(pages[0].response, pages[1].response)
    assert str(found) == "limit 2000.00 USD, 0.16 USD used"


def test_asking_twice_is_harmless() -> None:
    """Both pages may be asked for again when the network fails."""
    assert subscription_request().repeatable
    assert usage_request().repeatable


def test_a_key_without_a_limit() -> None:
    """The service writes a hundred million for no limit; it is told as none."""
    found = _balance('{"hard_limit_usd": 100000000, "access_until": 0}')
    assert found == KeyBalance(limit=None, used=1.5)
    assert str(found) == "no limit, 1.50 USD used"


def test_the_day_a_key_expires() -> None:
    """Seconds since 1970 become a day in UTC."""
    found = _balance('{"hard_limit_usd": 5, "access_until": 1735689600}')
    assert found.expires == dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    assert str(found) == "limit 5.00 USD, 1.50 USD used, expires 2025-01-01"


@pytest.mark.parametrize("until", ["-1", "0", "1e300", "99999999999999"])
def test_what_is_no_day_is_no_expiry(until: str) -> None:
    """Zero, less, and what lies beyond the calendar: the key lasts."""
    page = f'{{"hard_limit_usd": 5, "access_until": {until}}}'
    assert _balance(page).expires is None


def test_a_refused_key_is_said_as_one() -> None:
    """A page that is an error raises what the error means."""
    says = "Token not provided (request id: 1)"
    denied = _page(f'{{"error": {{"message": "{says}", "type": "api_error"}}}}', 401)
    with pytest.raises(AuthenticationError):
        read_balance(denied, _page(_USED))
    with pytest.raises(AuthenticationError):
        read_balance(_page(_LIMIT), denied)


@pytest.mark.parametrize(
    "number", ["null", "true", '"5"', "[]", "NaN", "1" + "0" * 400]
)
def test_what_is_no_number_is_no_money(number: str) -> None:
    """The page is named unreadable, and its words are kept."""
    with pytest.raises(ProtocolError, match="total_usage") as caught:
        _balance(used=f'{{"total_usage": {number}}}')
    assert caught.value.head.startswith(b'{"total_usage": ')


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)

_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "hard_limit_usd": _JSON,
        "access_until": _JSON,
        "total_usage": _JSON,
    },
)


@given(_FIELDS | _JSON, _FIELDS | _JSON)
def test_any_page_is_a_balance_or_an_error_of_ours(limit: object, used: object) -> None:
    """However odd the pages, nothing else comes out."""
    try:
        found = _balance(json.dumps(limit), json.dumps(used))
    except EzlinkError:
        return
    assert str(found).count("USD") >= 1


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
