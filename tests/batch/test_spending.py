"""What the server charged: the price from the first submit, and what is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ezlink_async.batch.spending import Charges, UsageAudit
from ezlink_async.emulator import faults
from ezlink_async.errors import ServerError
from tests.support.batch_harness import studio
from tests.support.transports import RecordedSleep


class Page:
    """The key's usage, as the server tells it."""

    def __init__(self, *told: int | Exception) -> None:
        self.told = list(told)
        self.asked = 0

    async def __call__(self) -> int:
        """Return the next, or the last again."""
        self.asked += 1
        found = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(found, Exception):
            raise found
        return found


async def test_the_price_is_learned_from_the_first_submit() -> None:
    """Others wait until it is known; then they go out at once."""
    page, sleep = Page(100, 100, 110, 140), RecordedSleep()
    audit = UsageAudit(page, sleep)
    await audit.begin()
    await audit.wait("first")
    others = [asyncio.create_task(audit.wait(name)) for name in "ab"]
    await asyncio.sleep(0)
    assert not any(task.done() for task in others)
    audit.accepted("a stranger")
    audit.accepted("first")
    await asyncio.gather(*others)
    assert sleep.waits == [0.0, 0.1]
    charges = await audit.end(4)
    assert charges == Charges(dollars=40 / 500_000, swaps=4, accepted=4)
    assert str(charges) == (
        "charged by the server: 4 swaps, 8e-05 USD; 4 jobs accounted for"
    )


@pytest.mark.parametrize(
    ("told", "accepted", "swaps", "unaccounted"),
    [
        ((100, 110, 130), 2, 3, 1),  # one more was paid than is known of
        ((100, 110, 135), 3, None, 0),  # somebody else bought something else
        ((100, 100, 100, 100, 100), 2, 0, 0),  # nothing was charged
        ((100, 100, 100, 100, 120), 2, None, 0),  # charged too late for a price
        ((100, 110, 110), 2, 1, 0),  # the second was queued, which is free
        ((100, 110, 90), 1, 0, 0),  # a refund
    ],
)
async def test_what_was_charged_is_held_against_what_is_known(
    told: tuple[int, ...], accepted: int, swaps: int | None, unaccounted: int
) -> None:
    """A count only where the price is known; a lost payment is one too many."""
    audit = UsageAudit(Page(*told), RecordedSleep())
    await audit.begin()
    await audit.wait("first")
    audit.accepted("first")
    charges = await audit.end(accepted)
    assert charges is not None
    assert (charges.swaps, charges.unaccounted) == (swaps, unaccounted)
    assert ("more than jobs are known of" in str(charges)) is bool(unaccounted)


async def test_another_is_the_first_when_the_first_is_refused() -> None:
    """Busy servers refuse many: the first that is accepted tells the price."""
    audit = UsageAudit(Page(0, 10, 30), RecordedSleep())
    await audit.begin()
    await audit.wait("first")
    second = asyncio.create_task(audit.wait("second"))
    await asyncio.sleep(0)
    audit.refused("first")
    await second
    audit.accepted("second")
    charges = await audit.end(3)
    assert charges is not None
    assert charges.swaps == 3


@pytest.mark.parametrize("how", ["unknown", "never"])
async def test_a_first_submit_that_nobody_knows_of_holds_nobody_up(how: str) -> None:
    """Then no price is clean, and the amount is told alone."""
    audit = UsageAudit(Page(0, 30), RecordedSleep(), alone=0.01)
    await audit.begin()
    await audit.wait("first")
    if how == "unknown":
        audit.unknown("first")
    async with asyncio.timeout(5):
        await audit.wait("second")
        await audit.wait("third")
    audit.accepted("first")
    charges = await audit.end(3)
    assert charges is not None
    assert charges.swaps is None
    assert str(charges).startswith("charged by the server: 6e-05 USD; 3 jobs")


@pytest.mark.parametrize(
    "told",
    [
        (ServerError("down"), 10),
        (0, ServerError("down")),
        (0, TimeoutError(), ServerError("down")),
    ],
)
async def test_a_page_that_cannot_be_read_tells_nothing(
    told: tuple[int | Exception, ...],
) -> None:
    """No charges, no waiting."""
    audit = UsageAudit(Page(*told), RecordedSleep())
    await audit.begin()
    for name in ("first", "second"):
        await audit.wait(name)
        audit.accepted(name)
    assert await audit.end(2) is None


async def test_without_a_beginning_nothing_is_asked() -> None:
    """With an account's token there is better evidence."""
    page = Page(0)
    audit = UsageAudit(page, RecordedSleep())
    await audit.wait("first")
    assert await audit.end(1) is None
    assert page.asked == 0


async def test_a_lost_payment_shows_in_the_summary(tmp_path: Path) -> None:
    """Charged once more than jobs are known of: the unknown one was paid."""
    async with studio(tmp_path) as here:
        here.server.control.script("submit", faults.Delay(0), faults.Drop(job=True))
        ended = await here.done(here.photos(5))
        assert ended.counts == {"succeeded": 4, "unknown": 1}
        charges = ended.summary.charges
        assert charges is not None
        assert (charges.swaps, charges.accepted, charges.unaccounted) == (5, 4, 1)


async def test_with_an_account_or_a_page_that_fails_there_are_no_charges(
    tmp_path: Path,
) -> None:
    """And the run does as well without."""
    async with studio(tmp_path) as here:
        here.server.control.standing("usage", faults.Answer(503, "down"))
        ended = await here.done(here.photos(3))
        assert ended.counts == {"succeeded": 3}
        assert ended.summary.charges is None
        here.server.control.standing("usage", None)
        here.account = True
        seen = len(here.server.control.requests)
        ended = await here.done(here.photos(4))
        assert ended.summary.charges is None
        asked = [each.path for each in here.server.control.requests[seen:]]
        assert not [path for path in asked if "usage" in path]
