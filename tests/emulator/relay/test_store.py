"""Accounts, keys, money and rows."""

import pytest

from ezlink_async.emulator.relay.store import Charge, Key, Row, Store


def _store_and_key(quota: int | None) -> tuple[Store, Key]:
    store = Store()
    return store, store.add_key(store.add_account(100), quota)


def _key(quota: int | None = 10, **more: object) -> Key:
    _, key = _store_and_key(quota)
    for name, value in more.items():
        setattr(key, name, value)
    return key


def _row(store: Store, number: int, task_id: str, owner: int = 0) -> Row:
    row = Row(
        number=number,
        account=store.accounts[owner],
        task_id=task_id,
        code=1,
        description="",
        quota=9,
        submit_time=1,
        start_time=1,
        request_id="r",
    )
    store.add_row(row)
    return row


def _charge(units: int) -> Charge:
    return Charge(
        request_id="r", task_id="t", units=units, account=1, key="k", seconds=0
    )


def test_new_key_has_the_form_of_the_dashboards_keys() -> None:
    """A new key is ``sk-`` and 48 letters and digits; the store keys omit ``sk-``."""
    store, key = _store_and_key(None)

    assert key.text.startswith("sk-")
    assert key.text[3:].isalnum()
    assert len(key.text) == 51
    assert store.keys[key.text[3:]] is key


@pytest.mark.parametrize(("quota", "left"), [(10, -20), (None, None)])
def test_charge_lowers_quota_and_balance(quota: int | None, left: int | None) -> None:
    """Both fall by the price, if need be below zero; a key without limit stays so."""
    store, key = _store_and_key(quota)

    store.charge(key, _charge(30))

    assert (key.quota, key.used) == (left, 30)
    assert (key.account.balance, key.account.used, key.account.requests) == (70, 30, 1)


def test_refund_raises_the_balance_only() -> None:
    """The account's balance rises by the row's price; the key's quota does not."""
    store, key = _store_and_key(50)
    row = _row(store, 1, "t")

    store.refund(row, 7)

    assert (key.account.balance, key.quota, key.used) == (109, 50, 0)
    assert [(one.units, one.seconds) for one in store.refunds] == [(9, 7)]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (_key(), None),
        (_key(None), None),
        (_key(0), "The token quota has been exhausted"),
        (_key(-1), "The token quota has been exhausted"),
        (_key(expires=5), "The token has expired"),
        (_key(expires=50), None),
        (_key(status="expired"), "The token has expired"),
        (_key(status="exhausted"), "The token quota has been exhausted"),
        (_key(status="disabled"), "The token status is not available"),
    ],
)
def test_key_is_refused_for_status_then_expiry_then_quota(
    key: Key, reason: str | None
) -> None:
    assert key.why_refused(10) == reason


def test_fetch_finds_the_oldest_row_of_an_id_and_list_finds_all() -> None:
    """Both find rows of the caller only, and a list has them oldest first."""
    store = Store()
    mine, other = store.add_account(1), store.add_account(1)
    rows = [_row(store, 1, "a"), _row(store, 2, "b"), _row(store, 3, "a")]
    foreign = _row(store, 4, "a", owner=1)

    assert store.row_for(mine, "a") is rows[0]
    assert store.row_for(other, "a") is foreign
    assert store.row_for(other, "b") is None
    assert store.rows_for(mine, ["b", "a", "a", "x"]) == rows


def test_row_at_100_percent_is_finished() -> None:
    store = Store()
    store.add_account(1)
    first, second = _row(store, 1, "a"), _row(store, 2, "b")
    first.progress = "100%"

    assert store.unfinished() == [second]


@pytest.mark.parametrize(
    ("status", "shown"),
    [("SUCCESS", "https://x/mj/image/a"), ("FAILURE", "https://x/mj/image/a?rand=5")],
)
def test_row_shows_the_relays_picture_address(status: str, shown: str) -> None:
    """The upstream's own address is not shown; a number follows until SUCCESS."""
    store = Store()
    store.add_account(1)
    row = _row(store, 1, "a")
    assert row.shown("https://x", 5)["imageUrl"] == ""

    row.image_url, row.status = "https://cdn.example/x.jpg", status

    assert row.shown("https://x", 5)["imageUrl"] == shown
