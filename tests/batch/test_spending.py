"""What a run was charged, and how many swaps it may pay for."""

from __future__ import annotations

import asyncio

import pytest

from ezlink_async.batch.spending import Budget, Charges, UsageAudit
from ezlink_async.emulator import faults
from ezlink_async.errors import ServerError
from tests.support.batch_harness import BatchHarness


class UsagePage:
    """The key's usage: *answers* one after the other, the last one again and again."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.requests = 0

    async def __call__(self) -> int:
        """Return the next answer, or raise it."""
        self.requests += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize(
    ("before", "after", "accepted", "sentence"),
    [
        (100, 27_100, 3, "charged to the key meanwhile: 0.054 USD; 3 jobs accepted"),
        (0, 9_000, 1, "charged to the key meanwhile: 0.018 USD; 1 job accepted"),
        (100, 100, 2, "charged to the key meanwhile: 0 USD; 2 jobs accepted"),
        (100, 90, 1, "charged to the key meanwhile: 0 USD; 1 job accepted"),  # a refund
    ],
)
async def test_charges_are_the_difference_of_two_readings(
    before: int, after: int, accepted: int, sentence: str
) -> None:
    audit = UsageAudit(UsagePage(before, after))
    await audit.begin()
    charges = await audit.end(accepted)
    assert charges == Charges(
        dollars=max(0, after - before) / 500_000, accepted=accepted
    )
    assert str(charges) == sentence


@pytest.mark.parametrize(
    "answers",
    [(ServerError("down"), 10), (0, ServerError("down")), (0, TimeoutError())],
)
async def test_a_page_that_cannot_be_read_gives_no_charges(
    answers: tuple[int | Exception, ...],
) -> None:
    audit = UsageAudit(UsagePage(*answers))
    await audit.begin()
    assert await audit.end(2) is None


async def test_without_a_first_reading_the_page_is_not_asked() -> None:
    page = UsagePage(0)
    assert await UsageAudit(page).end(1) is None
    assert page.requests == 0


async def test_a_lost_payment_is_in_the_charges_of_the_summary(
    batch: BatchHarness,
) -> None:
    """The dollars include the unknown submit, the number accepted does not."""
    batch.control.script("submit", faults.Delay(0), faults.Drop(job=True))
    ended = await batch.done(batch.photos(5))
    assert ended.counts == {"succeeded": 4, "unknown": 1}
    assert ended.summary.charges == Charges(dollars=5 * 9_000 / 500_000, accepted=4)


async def test_with_a_failing_page_there_are_no_charges(batch: BatchHarness) -> None:
    batch.control.standing("usage", faults.Answer(503, "down"))
    ended = await batch.done(batch.photos(3))
    assert ended.counts == {"succeeded": 3}
    assert ended.summary.charges is None


async def test_with_an_account_token_the_charges_are_known_too(
    batch: BatchHarness,
) -> None:
    batch.account = True
    ended = await batch.done(batch.photos(4))
    assert ended.summary.charges == Charges(dollars=4 * 9_000 / 500_000, accepted=4)


async def test_the_last_swap_of_a_budget_waits_until_it_is_paid_or_not() -> None:
    budget = Budget(1)
    assert await budget.reserve()
    second = asyncio.create_task(budget.reserve())
    await asyncio.sleep(0)
    assert not second.done()
    budget.give_back()
    assert await second
    third = asyncio.create_task(budget.reserve())
    budget.spend()
    assert not await third
