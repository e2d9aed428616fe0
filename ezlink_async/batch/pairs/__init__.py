"""
Pairs of a source and a target: from folders, by name, from a manifest.

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

__all__ = ["LeftOut", "Pair", "Search", "by_name", "manifest", "one_to_many", "product"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "folders" if name in {"LeftOut", "Search"} else "matching"
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
