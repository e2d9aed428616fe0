"""What a run will cost, and what there is to pay it: asked for free, if it is known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from ezlink_async import AsyncEzlink
from ezlink_async._client.client import session_of
from ezlink_async._io.concurrency import run_in_any_thread
from ezlink_async.batch.journal.store import Journal
from ezlink_async.errors import EzlinkError
from ezlink_async.models import KeyQuota
from ezlink_async.services import account, billing
from ezlink_async.services.balance_bars import (
    UNITS_PER_DOLLAR,
    BalanceBar,
    refused_jobs,
)
from ezlink_async.services.face_swap import FaceSwap

_PATIENCE = 5.0  # seconds; a run does not depend on the answers

_Answer = TypeVar("_Answer")


@attrs.frozen(kw_only=True)
class Quote:
    """
    The price of one swap and the balances, in US dollars; ``None`` is not known.

    *key* is what the pages say about the key, *account* what the account has left.
    """

    price: float | None = None
    key: KeyQuota | None = None
    account: float | None = None

    @property
    def _left(self) -> float | None:
        """What can be spent; the pages of a key may show the account instead."""
        of_key = None if self.key is None else self.key.rest
        known = [each for each in (of_key, self.account) if each is not None]
        return min(known, default=None)

    def describe(self, jobs: int, units: int | None = None) -> str:
        """
        Return what *jobs* will cost, what there is, and what is missing.

        *units* is their price by the server's default prices, for jobs that have not
        one price all; 0 for jobs whose prices only the server knows.
        """
        cost, says = self._cost(jobs, units)
        words = [says]
        if self.account is not None:
            words.append(f"the account has {_usd(self.account)}")
        if self.key is not None:
            words.append(f"the key: {self.key}")
        if cost is not None and self._left is not None:
            missing = cost - self._left
            if missing > 0:
                words.append(f"{_usd(missing)} are missing")
        if self.account is None and self.key is None:
            words.append("the balance is not known")
        return "; ".join(words)

    def doubt(self, bars: Iterable[BalanceBar]) -> str | None:
        """
        Return which of *bars* the account is below, ``None`` if it is not known.

        What a key may spend says nothing about it: the server looks at the account.
        """
        if self.account is None:
            return None
        refused = refused_jobs(bars, self.account)
        has = f"the account has {_usd(self.account)}"
        return f"{has}: {refused}" if refused else None

    def _cost(self, jobs: int, units: int | None) -> tuple[float | None, str]:
        """Return what *jobs* cost in dollars, as far as that is known, and in words."""
        if units:
            cost = units / UNITS_PER_DOLLAR
            return cost, f"about {_usd(cost)} at default prices (operators may differ)"
        if units == 0:
            return None, "only the server knows their price"
        if self.price is None:
            return None, "the price of one is not known yet"
        cost = jobs * self.price
        return cost, f"about {_usd(cost)} at {_usd(self.price)} each"


def _usd(dollars: float) -> str:
    return f"{dollars:,.2f} USD" if dollars >= 1 else f"{dollars:.4g} USD"


async def quote(ez: AsyncEzlink, journal: Path) -> Quote:
    """
    Ask the server for the balances; the price is from the account or *journal*.

    An answer that fails or does not come in 5 s is not known.
    """
    price, witness = await run_in_any_thread(
        partial(_known, journal, session_of(ez).origin)
    )
    key, account, charged = await asyncio.gather(
        _or_none(_key_balance(ez)),
        _or_none(_account_balance(ez)),
        _or_none(_charged(ez, witness)),
    )
    return Quote(price=charged or price, key=key, account=account)


async def _or_none(asked: Awaitable[_Answer | None]) -> _Answer | None:
    with contextlib.suppress(EzlinkError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            return await asked
    return None


async def _key_balance(ez: AsyncEzlink) -> KeyQuota:
    transport = session_of(ez).transport
    return billing.read_quota(
        await transport.send(billing.subscription_request()),
        await transport.send(billing.usage_request()),
    )


async def _account_balance(ez: AsyncEzlink) -> float | None:
    return (await _account(ez).balance()).dollars


def _account(ez: AsyncEzlink) -> account.Account:
    """Return the account, asked again only after short waits."""
    session = session_of(ez)
    return account.Account(partial(session.ask_account, longest=_PATIENCE), session.ask)


async def _charged(ez: AsyncEzlink, request_id: str | None) -> float | None:
    if request_id is None:
        return None
    charge = await _account(ez).charged(request_id)
    return None if charge is None else charge.units / UNITS_PER_DOLLAR


def _known(path: Path, server: str) -> tuple[float | None, str | None]:
    """Return the price in the journal, and the id of a request that was charged."""
    with contextlib.closing(Journal.rehearsal(path)) as journal:
        kind = FaceSwap.kind
        charged = journal.witnesses(server, [kind], 1)
        return journal.price(kind), next(iter(charged), None)
