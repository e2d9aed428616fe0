"""Pairs of a source and a target: from folders, by name, from a manifest."""

from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import (
    Pair,
    by_name,
    manifest,
    one_to_many,
    product,
)

__all__ = ["LeftOut", "Pair", "Search", "by_name", "manifest", "one_to_many", "product"]
