"""
Many jobs with a journal: the same call goes on where one has ended.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async.batch.outcomes import BatchOutcome, BatchStatus, BatchSummary
    from ezlink_async.batch.pairs.matching import Pair
    from ezlink_async.batch.pairs.order_manifest import read_manifest
    from ezlink_async.batch.pairs.orders import Order
    from ezlink_async.batch.run import BatchKeywords, BatchRun, run_batch, run_jobs
    from ezlink_async.batch.spending import Charges

__all__ = [
    "BatchKeywords",
    "BatchOutcome",
    "BatchRun",
    "BatchStatus",
    "BatchSummary",
    "Charges",
    "Order",
    "Pair",
    "read_manifest",
    "run_batch",
    "run_jobs",
]

_HOMES = {
    "BatchKeywords": "run",
    "BatchOutcome": "outcomes",
    "BatchRun": "run",
    "BatchStatus": "outcomes",
    "BatchSummary": "outcomes",
    "Charges": "spending",
    "Order": "pairs.orders",
    "Pair": "pairs.matching",
    "read_manifest": "pairs.order_manifest",
    "run_batch": "run",
    "run_jobs": "run",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
