"""
Balances below which the server refuses a job, even one that costs less.

Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``,
``controller/flux.go``), the code of the server.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

UNITS_PER_DOLLAR = 500_000
"""The units of prices."""


@attrs.frozen(order=True)
class BalanceBar:
    """
    The balance of the account, in *units*, below which the server refuses a job.

    *job* names which jobs, in the singular. A balance that equals the bar is enough.
    """

    units: int
    job: str

    @property
    def dollars(self) -> float:
        """The bar in US dollars."""
        return self.units / UNITS_PER_DOLLAR

    def __str__(self) -> str:
        return f"below {self.dollars:.2f} USD the server refuses every {self.job}"


def refused_jobs(bars: Iterable[BalanceBar], dollars: float) -> str:
    """Return which jobs a balance of so many *dollars* is too small for, in words."""
    return ", ".join(str(bar) for bar in sorted(set(bars)) if dollars < bar.dollars)
