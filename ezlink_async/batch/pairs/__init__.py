"""
Which source goes with which target.

Names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ezlink_async.batch.pairs.folders import LeftOut, Search
    from ezlink_async.batch.pairs.matching import (
        Pair,
        by_name,
        manifest,
        one_to_many,
        product,
    )

__all__ = [
    "LeftOut",
    "Pair",
    "Search",
    "by_name",
    "manifest",
    "one_to_many",
    "product",
]

_HOMES = {
    "LeftOut": "folders",
    "Pair": "matching",
    "Search": "folders",
    "by_name": "matching",
    "manifest": "matching",
    "one_to_many": "matching",
    "product": "matching",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
