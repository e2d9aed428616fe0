"""What a run says before it pays: how many swaps, their price, the balance."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.folders import LeftOut
from ezlink_async.batch.pairs.matching import one_to_many
from ezlink_async.cli.estimate import Estimate, Expected, estimate
from ezlink_async.cli.order_list import OrderList
from ezlink_async.cli.quote import Quote
from ezlink_async.emulator import Emulator, faults, scripts
from ezlink_async.models import KeyQuota
from tests.support.command_line import Ezlink, sums
from tests.support.pictures import jpeg

Command = tuple[object, ...]


def _estimate(user: Emulator, photos: Path, **changes: object) -> Estimate:
    options = BatchOptions(output=Path("out"), **changes)  # type: ignore[arg-type]
    pairs = one_to_many(photos / "me.jpg", [photos])
    orders = (pair.order() for pair in pairs)
    with contextlib.closing(OrderList(orders, LeftOut())) as order_list:
        return estimate(
            order_list, options, user.base_url, options.journal_path, "target"
        )


def test_estimate_counts_what_earlier_runs_left(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    """Of four old targets one is done, one failed, one lost, one is new again."""
    assert str(_estimate(user, photos)) == "3 targets: 3 to send"
    user.control.script("submit", faults.Delay(0), faults.Drop(job=True))
    user.control.script_tasks(scripts.fails())
    ezlink(*three, "--concurrency", 1)
    for number in range(4):
        (photos / f"new{number}.jpg").write_bytes(jpeg(22_000 + number))
    Path("out/new3.jpg").write_bytes(jpeg(22_099))
    found = _estimate(user, photos)
    assert str(found) == (
        "7 targets: 3 to send, 1 open from before, 1 done before, 2 not to be sent"
    )
    assert (found.paid, found.idle, found.outside) == (3, 3, 0)
    assert _estimate(user, photos, retry_failed=True).paid == 4
    assert _estimate(user, photos, resubmit_unknown=True).paid == 4
    assert _estimate(user, photos, existing="replace").paid == 4
    assert _estimate(user, photos, budget=2).paid == 2
    assert _estimate(user, photos, strip_metadata=True).paid == 5


def test_changed_picture_is_new_only_where_it_may_replace_the_old_result(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    ezlink(*three)
    later = (photos / "a.jpg").stat().st_mtime + 3_600
    os.utime(photos / "a.jpg", (later, later))
    assert _estimate(user, photos).orders == {Expected.DONE: 2, Expected.OTHER: 1}
    found = _estimate(user, photos, existing="replace")
    assert found.orders == {Expected.NEW: 1, Expected.DONE: 2}


def test_missing_target_counts_for_nothing(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    ezlink(*three)
    (photos / "a.jpg").unlink()
    assert _estimate(user, photos).orders == {Expected.DONE: 2}


def test_open_job_that_no_target_asks_for_is_outside(
    ezlink: Ezlink, user: Emulator, three: Command, photos: Path
) -> None:
    """The total of the next run has it from the beginning."""
    user.control.script_tasks(scripts.slow(600))
    ezlink(*three, "--deadline", 0.2, "--concurrency", 1)
    (photos / "a.jpg").unlink()
    assert _estimate(user, photos).outside == 1
    user.control.advance(600)
    said = ezlink(*three, "--json")
    assert (said.code, said.summary) == (0, sums(succeeded=1, skipped=2))


@pytest.mark.usefixtures("user")
def test_price_is_known_after_the_first_run(
    ezlink: Ezlink, three: Command, photos: Path
) -> None:
    said = ezlink(*three)
    first = "3 targets: 3 to send\nthe price of one is not known yet; the key: "
    assert first in said.err
    (photos / "new.jpg").write_bytes(jpeg(22_000))
    said = ezlink(*three)
    assert (
        "4 targets: 1 to send, 3 done before\n"
        "about 0.018 USD at 0.018 USD each; the key: limit "
    ) in said.err
    again = ezlink(*three)
    assert "4 targets: 4 done before\n" in again.err
    assert "USD each" not in again.err


def test_price_and_balance_are_the_account_s_with_its_token(
    ezlink: Ezlink, user: Emulator, three: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EZLINK_ACCOUNT_TOKEN", user.account_token)
    ezlink(*three)
    said = ezlink(*three, "--dry-run", "--fresh")
    assert "about 0.054 USD at 0.018 USD each; the account has 1,999.95 USD" in said.err


def test_balance_that_cannot_be_asked_for_stops_no_run(
    ezlink: Ezlink, user: Emulator, three: Command
) -> None:
    user.control.standing("usage", faults.Answer(404, "nothing here"))
    said = ezlink(*three)
    assert said.code == 0
    assert "the price of one is not known yet; the balance is not known" in said.err


@pytest.mark.parametrize(
    ("key", "account", "words"),
    [
        (KeyQuota(limit=30.0, used=10.0), None, "; 12.00 USD are missing"),
        (KeyQuota(limit=None, used=10.0), None, "no limit, 10.00 USD used"),
        (KeyQuota(limit=5.0, used=90.0), None, "; 27.00 USD are missing"),
        (KeyQuota(limit=90.0, used=0.0), 132.5, "has 132.50 USD; the key: limit 90"),
        (None, 0.0, "the account has 0 USD; 32.00 USD are missing"),
    ],
)
def test_quote_says_what_is_missing(
    key: KeyQuota | None, account: float | None, words: str
) -> None:
    """Some servers show the account in place of the key: then nothing is used of it."""
    said = Quote(price=0.016, key=key, account=account).describe(2_000)
    assert said.startswith("about 32.00 USD at 0.016 USD each; ")
    assert words in said
    assert ("missing" in said) == ("missing" in words)
