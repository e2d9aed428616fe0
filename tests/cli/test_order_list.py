"""All orders of a run, kept out of memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from ezlink_async.batch.outcomes import BatchOutcome
from ezlink_async.batch.pairs.folders import LeftOut, file_ids
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.cli.order_list import OrderList
from ezlink_async.services.midjourney.creations import Imagine, Shorten

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")

PATHS = "*pathlib*"


def _pair(target: str, source: str = "me.jpg") -> Order:
    return Pair(Path(source), Path(target), Path(target).stem).order()


def test_pairs_are_iterated_in_order_any_number_of_times() -> None:
    """Two iterations may run at the same time."""
    pairs = [
        _pair("z.jpg"),
        Pair(Path("me.jpg"), Path("a.jpg"), "trip/a", "there is no source").order(),
        _pair("m\udcfc.jpg") if os.name != "nt" else _pair("m.jpg"),
        _pair("z.jpg", "you.jpg"),
    ]
    left_out = LeftOut()
    with contextlib.closing(OrderList(iter(pairs), left_out)) as order_list:
        assert order_list.total == 4
        assert list(order_list) == list(order_list) == pairs
        assert list(zip(order_list, order_list, strict=True)) == list(
            zip(pairs, pairs, strict=True)
        )
    assert not left_out


@posix
def test_pair_named_twice_is_listed_once(tmp_path: Path) -> None:
    """Names of the same folder are one; a link to a picture is a picture of its own."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "album").symlink_to("photos")
    (tmp_path / "photos" / "link.jpg").symlink_to("a.jpg")
    targets = [
        "photos/a.jpg",
        "album/a.jpg",
        "photos/link.jpg",
        "photos/../album/a.jpg",
    ]
    sources = ["photos/me.jpg", "album/me.jpg"]
    pairs = [
        _pair(str(tmp_path / target), str(tmp_path / source))
        for target, source in itertools.product(targets, sources)
    ]
    left_out = LeftOut()
    with contextlib.closing(OrderList(pairs, left_out)) as order_list:
        assert list(order_list) == [pairs[0], pairs[4]]
        assert order_list.total == 2
    assert left_out == {"named twice": 6}


def test_pictures_of_pairs_are_recognised_by_their_file_id(tmp_path: Path) -> None:
    for name in ("me.jpg", "a.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(b"x")
    pairs = [
        _pair(str(tmp_path / name), str(tmp_path / "me.jpg")) for name in ("a.jpg",)
    ]
    pairs.append(_pair(str(tmp_path / "nothing.jpg"), str(tmp_path / "me.jpg")))
    with contextlib.closing(OrderList(pairs, LeftOut())) as order_list:
        found = {
            name: [order_list.is_given(found) for found in file_ids([tmp_path / name])]
            for name in ("me.jpg", "a.jpg", "other.jpg", "nothing.jpg")
        }
        assert found == {
            "me.jpg": [True],
            "a.jpg": [True],
            "other.jpg": [False],
            "nothing.jpg": [],
        }
        assert not order_list.is_given((2**64 - 1, 2**64 - 1))


def test_outcome_gets_the_names_its_pair_was_given_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(
        OrderList([_pair("photos/a.jpg")], LeftOut())
    ) as order_list:
        target, source = Path("photos/a.jpg"), Path("me.jpg")

        def renamed(source: Path, target: Path) -> BatchOutcome | None:
            outcome = BatchOutcome(source=source, target=target, status="succeeded")
            return order_list.as_given(outcome)

        typed = renamed(source, target)
        assert renamed(source.absolute(), target.absolute()) == typed
        assert typed is not None
        assert (typed.source, typed.target) == (source, target)
        assert renamed(source.absolute(), Path("b.jpg").absolute()) is None


def test_error_of_the_pairs_is_raised() -> None:

    def broken() -> Iterator[Order]:
        yield _pair("a.jpg")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        OrderList(broken(), LeftOut())


def test_pairs_take_less_than_50_bytes_of_memory_each() -> None:
    many = 5_000
    pairs = (_pair(f"photos/{number:06}.jpg") for number in range(many))
    tracemalloc.start()
    try:
        with contextlib.closing(OrderList(pairs, LeftOut())) as order_list:
            assert order_list.total == many
            last = None
            for pair in order_list:
                last = pair
            assert last == _pair(f"photos/{many - 1:06}.jpg")
            # The parts of paths are interned: the table of those grows in leaps.
            others = tracemalloc.Filter(inclusive=False, filename_pattern=PATHS)
            kept = tracemalloc.take_snapshot().filter_traces([others])
        assert sum(each.size for each in kept.statistics("filename")) < 50 * many
    finally:
        tracemalloc.stop()


def test_orders_without_pictures_are_told_apart_by_request_and_path() -> None:
    fox, cat = Imagine("a fox"), Imagine("a cat")
    orders = [
        Order.of(fox, then=["U1"]),
        Order.of(cat),
        Order.of(fox),
        Order.of(fox, output="another"),
        Order.of(Shorten("a fox")),
    ]
    left_out = LeftOut()
    with contextlib.closing(OrderList(orders, left_out)) as order_list:
        assert list(order_list) == [orders[0], orders[1], *orders[3:]]
        assert left_out == {"named twice": 1}


def test_expectations_are_noted_for_the_path_that_is_meant() -> None:
    """Else for another order of the same request, each once."""
    orders = [Order.of(Imagine("a fox"), output=name) for name in ("a", "b", "c")]
    key = orders[0].request_key
    with contextlib.closing(OrderList(orders, LeftOut())) as order_list:
        assert order_list.expect(key, (), "b", "done")
        assert [each.wanted_path for each in order_list.unexpected()] == ["a", "c"]
        assert order_list.expect(key, (), "b-2", "done")
        assert [each.wanted_path for each in order_list.unexpected()] == ["c"]
        assert order_list.expected("done") == 2
        assert not order_list.expect("another", (), "a", "done")
