"""The two balance pages: what is read from them, and what is refused."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async import errors
from ezlink_async._core.messages import HttpResponse
from ezlink_async.models import KeyQuota
from ezlink_async.services.billing import (
    read_limit,
    read_quota,
    read_units,
    read_used,
    subscription_request,
    usage_request,
)
from tests.support.samples import samples

LIMIT: dict[str, object] = {"hard_limit_usd": 5, "access_until": 0}

USED: dict[str, object] = {"total_usage": 150}

ENDS = dt.datetime(2026, 11, 24, 6, 43, 23, tzinfo=dt.UTC)


def _page(body: object, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def _balance(limit: object = LIMIT, used: object = USED) -> KeyQuota:
    return read_quota(_page(limit), _page(used))


@pytest.mark.parametrize(
    ("name", "limit", "used", "expires"),
    [
        ("balance-limited-fresh", 2.0, 0.0, ENDS),
        ("balance-limited-used", 2.0, 0.0065, ENDS),
        ("balance-unlimited-fresh", None, 0.0, None),
        ("balance-unlimited-used", None, 0.0065, None),
        ("balance-account", 1999.8605, 0.1395, None),
        ("v1", 2000.0, 0.162, None),
    ],
)
def test_balance_is_read_from_both_recorded_pages(
    name: str, limit: float | None, used: float, expires: dt.datetime | None
) -> None:
    """Limit and use are dollars; no limit and no expiry are ``None``."""
    pages = [samples()[f"{name}-subscription"], samples()[f"{name}-usage"]]
    found = read_quota(*(page.response for page in pages))
    assert found.expires == expires
    assert found.limit == pytest.approx(limit)
    assert found.used == pytest.approx(used)
    requests = [subscription_request(), usage_request()]
    assert [request.path for request in requests] == [page.path for page in pages]
    assert all(request.repeatable for request in requests)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ({"hard_limit_usd": 100_000_000}, "no limit, 1.50 USD used"),
        ({"hard_limit_usd": 2000}, "limit 2,000.00 USD, 1.50 USD used"),
        (
            {"access_until": 1735689600},
            "limit 5.00 USD, 1.50 USD used, expires 2025-01-01",
        ),
    ],
)
def test_balance_as_text_names_limit_use_and_expiry(
    page: dict[str, object], text: str
) -> None:
    """The service writes a hundred million for no limit, and seconds for a day."""
    assert str(_balance({**LIMIT, **page})) == text


@pytest.mark.parametrize("until", [-1, 0, 1e12, 1e300, 99999999999999])
def test_impossible_expiry_is_none(until: float) -> None:
    """Zero and a date beyond the calendar mean a key that does not expire."""
    assert _balance({**LIMIT, "access_until": until}).expires is None


@given(st.integers(0, 10**12))
def test_units_are_read_without_the_rounding_error_of_the_page(units: int) -> None:
    """The page divides units into cents in floating point."""
    assert read_units(_page({"total_usage": units / 500_000 * 100})) == units


@pytest.mark.parametrize("cents", [1e308, -1e308, 2**63, 1e300])
def test_impossible_sum_is_a_protocol_error(cents: float) -> None:
    """A run asks for what was charged, and goes on without it."""
    page = _page({"total_usage": cents})
    for read in (read_units, lambda usage: read_quota(_page(LIMIT), usage)):
        with pytest.raises(errors.ProtocolError, match="no number 'total_usage'"):
            read(page)


def test_refused_key_is_an_authentication_error() -> None:
    says = {"message": "Token not provided (request id: 1)", "type": "api_error"}
    denied = _page({"error": says}, 401)
    for pages in ((denied, _page(USED)), (_page(LIMIT), denied)):
        with pytest.raises(errors.AuthenticationError):
            read_quota(*pages)


@pytest.mark.parametrize(
    ("limit", "used", "rest"),
    [
        (2.0, 0.5, 1.5),
        (2.0, 2.0, 0.0),
        # Less than was used can only be what the account has left.
        (1.0, 3.0, 1.0),
        (None, 3.0, None),
    ],
)
def test_rest_is_what_the_limit_leaves(
    limit: float | None, used: float, rest: float | None
) -> None:
    quota = KeyQuota(limit=limit, used=used)
    assert quota.rest == rest
    assert quota.unlimited is (limit is None)


_USED = "used 0.0065"

OUTCOMES: dict[str, str | type[errors.EzlinkError]] = {
    "balance-limited-fresh-subscription": "limit 2.0 until 2026-11-24",
    "balance-limited-used-subscription": "limit 2.0 until 2026-11-24",
    "balance-unlimited-fresh-subscription": "limit None until None",
    "balance-unlimited-used-subscription": "limit None until None",
    "balance-account-subscription": "limit 1999.8605 until None",
    "balance-key-richer-than-account": "limit 2.0 until None",
    "balance-limited-fresh-usage": "used 0.0000",
    "balance-unlimited-fresh-usage": "used 0.0000",
    "balance-limited-used-usage": _USED,
    "balance-unlimited-used-usage": _USED,
    "balance-short-path": _USED,
    "balance-dates": _USED,
    "balance-account-usage": "used 0.1395",
    "balance-exhausted": errors.QuotaError,
    "balance-credit-grants": errors.EndpointNotSupportedError,
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_recorded_page_becomes_the_outcome_beside_its_name(name: str) -> None:
    page, outcome = samples()[name], OUTCOMES[name]
    read = _says_used if "usage" in page.path else _says_limit
    if isinstance(outcome, str):
        assert read(page.response) == outcome
        return
    with pytest.raises(outcome):
        read(page.response)


def _says_used(page: HttpResponse) -> str:
    return f"used {read_used(page):.4f}"


def _says_limit(page: HttpResponse) -> str:
    limit, expires = read_limit(page)
    return f"limit {limit} until {expires and expires.date()}"


def test_every_recorded_page_has_an_outcome() -> None:
    recorded = {name for name in samples() if name.startswith("balance-")}
    assert recorded == set(OUTCOMES)


def test_exhausted_key_is_a_quota_error() -> None:
    """The server shows the pages to no key without quota."""
    page = samples()["balance-exhausted"].response
    with pytest.raises(errors.QuotaError):
        read_quota(page, page)


@pytest.mark.parametrize(
    "found", [None, True, "5", [], float("nan"), float("inf"), 10**400]
)
@pytest.mark.parametrize("name", ["hard_limit_usd", "access_until", "total_usage"])
def test_page_without_its_number_is_a_protocol_error(name: str, found: object) -> None:
    """Another server's page is not read as a balance of nothing."""
    with pytest.raises(errors.ProtocolError, match=f"no number '{name}'") as caught:
        _balance({**LIMIT, name: found}, {**USED, name: found})
    assert f'"{name}": '.encode() in caught.value.head


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)

FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys([*LIMIT, *USED], JSON))


@given(FIELDS | JSON, FIELDS | JSON)
def test_any_page_is_a_balance_or_an_error_of_ours(limit: object, used: object) -> None:
    try:
        found = _balance(limit, used)
    except errors.EzlinkError:
        return
    assert str(found).count("USD") >= 1
    assert read_units(_page(used)) == pytest.approx(found.used * 500_000, abs=1)
