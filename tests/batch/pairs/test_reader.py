"""Pairs from any iterable, a few at a time."""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from ezlink_async import Image
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.pairs.orders import Order
from ezlink_async.batch.pairs.reader import OrderReader, Pairs, pairs_of
from ezlink_async.errors import ConfigurationError
from tests.support.pictures import jpeg

ME, OUT = Path("me.jpg"), Path("out")


def _pair(name: str) -> Pair:
    return Pair(ME, Path(f"{name}.jpg"), name)


def _order(name: str) -> Order:
    return _pair(name).order()


async def _all(reader: OrderReader) -> list[Order]:
    found: list[Order] = []
    while few := await reader.next():
        found += few
    return found


def _targets(orders: list[Order]) -> list[str]:
    return [str(order.inputs[1].path) for order in orders]


def _sources(orders: list[Order]) -> set[Path]:
    return {order.inputs[0].path for order in orders}


async def _async(*given: object) -> AsyncIterator[object]:
    for each in given:
        yield each


GIVEN = (_pair("a"), ("me.jpg", "b.jpg"), (ME, Path("trip", "c.jpg")))
MEANT = [_order("a"), _order("b"), Pair(ME, Path("trip", "c.jpg"), "c").order()]


async def test_pairs_come_from_plain_and_async_iterables() -> None:
    """At the end there are none, however often they are asked for."""
    many: list[Pairs] = [list(GIVEN), iter(GIVEN), _async(*GIVEN)]  # type: ignore[list-item] # what programs give
    for pairs in many:
        reader = OrderReader.of_pairs(pairs)
        assert await _all(reader) == MEANT
        assert await reader.next() == []
        assert reader.rest() == []


async def test_an_async_iterable_is_read_one_at_a_time() -> None:
    reader = OrderReader.of_pairs(_async(*GIVEN))  # type: ignore[arg-type] # what programs give
    assert await reader.next() == MEANT[:1]
    assert reader.rest() == []
    assert await reader.next() == MEANT[1:2]


async def test_a_plain_iterable_is_read_in_a_thread() -> None:
    threads: list[threading.Thread] = []

    def pairs() -> Iterator[Pair]:
        threads.append(threading.current_thread())
        yield _pair("a")

    assert await _all(OrderReader.of_pairs(pairs())) == [_order("a")]
    assert threads != [threading.current_thread()]


async def test_a_step_adapts_its_size_to_its_time() -> None:
    """Quick steps double it up to a limit, slow ones halve it down to one."""
    reader = OrderReader.of_pairs(iter([_pair(str(number)) for number in range(2000)]))
    sizes: list[int] = []
    for seconds in (0.01,) * 8 + (0.05,) + (1.0,) * 10:
        sizes.append(len(await reader.next()))
        reader.took(seconds)
    up, down = [4, 8, 16, 32, 64, 128], [128, 64, 32, 16, 8, 4, 2, 1, 1]
    assert sizes == [*up, 256, 256, 256, 256, *down]


def test_the_rest_is_read_at_once_or_in_pages() -> None:
    reader = OrderReader.of_pairs([_pair(name) for name in "abcde"])
    assert len(reader.rest(2)) == 2
    assert len(reader.rest()) == 3
    assert reader.rest() == []


@pytest.mark.parametrize(
    "wrong",
    [None, 3, "ab", ("a",), ("a", "b", "c"), ["a", "b"], (None, "b")],
    ids=repr,
)
async def test_a_wrong_value_is_an_error_after_the_pairs_before_it(
    wrong: object,
) -> None:
    reader = OrderReader.of_pairs([_pair("a"), wrong, _pair("b")])  # type: ignore[list-item]
    assert await reader.next() == [_order("a")]
    with pytest.raises(ConfigurationError, match="a pair is"):
        await reader.next()
    assert await reader.next() == []
    assert reader.rest() == []
    with pytest.raises(ConfigurationError, match="a pair is"):
        await OrderReader.of_pairs(_async(wrong)).next()  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a pair is"):
        await OrderReader.of_pairs([wrong]).next()  # type: ignore[list-item]


@pytest.mark.parametrize("wrong", [None, 3, Path("a.jpg")])
def test_a_value_that_is_no_iterable_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="pairs are an iterable"):
        OrderReader.of_pairs(wrong)  # type: ignore[arg-type]


# The arguments of run_batch


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Make a folder of two pictures, the source, and the output folder."""
    for name in ("a.jpg", "b.jpg", "me.jpg", "out/x.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(20_000))
    return tmp_path / "photos"


async def test_targets_are_one_path_or_many(photos: Path) -> None:
    """Folders are searched, except for the output folder."""
    me, out = photos / "me.jpg", photos / "out"
    wanted = [str(photos / "a.jpg"), str(photos / "b.jpg")]
    for targets in (
        photos,
        str(photos),
        [photos],
        iter(wanted),
        _async(photos),
        _async(*wanted),
    ):
        pairs = await _all(OrderReader.of_pairs(pairs_of(str(me), targets, out)))
        assert _targets(pairs) == wanted
        assert _sources(pairs) == {me}


async def test_folders_of_an_async_iterable_are_searched(photos: Path) -> None:
    for number in range(20):
        (photos / f"n{number}.jpg").write_bytes(jpeg(20_000))
    reader = OrderReader.of_pairs(
        pairs_of(photos / "me.jpg", _async(photos), photos / "out")
    )
    assert len(await _all(reader)) == 22


async def test_without_a_source_targets_are_pairs() -> None:
    assert await _all(OrderReader.of_pairs(pairs_of(None, list(GIVEN), OUT))) == MEANT


async def test_values_that_are_no_paths_are_refused() -> None:
    for source in (3, ["me.jpg"]):
        with pytest.raises(ConfigurationError, match="a picture is a path, bytes, an"):
            pairs_of(source, ["a.jpg"], OUT)
    for number in (3, b"a.jpg"):
        with pytest.raises(ConfigurationError, match="targets are paths, or pairs"):
            pairs_of(ME, number, OUT)
    for targets in ([b"a.jpg"], _async(3)):
        with pytest.raises(ConfigurationError, match="that is no path needs a name"):
            await _all(OrderReader.of_pairs(pairs_of(ME, targets, OUT)))


@pytest.mark.parametrize("pair", [(1, "b"), ("a", b"b"), ("a", 1)])
async def test_wrong_pictures_of_a_pair_are_an_error(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        await OrderReader.of_pairs([pair]).next()


NO_PATHS = ["https://a.b/c.jpg", "data:;base64,AA==", "A" * 130_000]


@pytest.mark.parametrize("text", NO_PATHS, ids=lambda text: text[:9])
async def test_text_that_is_no_path_is_a_problem_of_one_pair(text: str) -> None:
    """The pairs before and after it are read; its name is short."""
    many: list[tuple[object, object]] = [
        (ME, ["a.jpg", text, "b.jpg"]),
        (ME, _async("a.jpg", text, "b.jpg")),
        (None, [(ME, "a.jpg"), (ME, text), (ME, "b.jpg")]),
        (None, [(ME, "a.jpg"), (text, "x.jpg"), (ME, "b.jpg")]),
        (None, [(ME, "a.jpg"), (text, text), (ME, "b.jpg")]),
    ]
    for source, targets in many:
        first, wrong, last = await _all(
            OrderReader.of_pairs(pairs_of(source, targets, OUT))
        )
        assert _targets([first, last]) == ["a.jpg", "b.jpg"]
        assert (first.problem, last.problem) == (None, None)
        assert "this " in str(wrong.problem)
        assert len(f"{wrong!r}") < 1_500


async def test_problem_of_a_source_names_the_source() -> None:
    (pair,) = await _all(OrderReader.of_pairs([("https://a.b/c.jpg", "x.jpg")]))
    assert _targets([pair]) == ["x.jpg"]
    assert "its source https://a.b/c.jpg cannot be used" in str(pair.problem)


# Pictures in memory


PHOTO = jpeg(9_000)


async def test_sources_in_memory_have_one_picture_for_all_targets(photos: Path) -> None:
    """Such as bytes, an image or a file object; folders are searched as ever."""
    sources = (PHOTO, Image.from_bytes(PHOTO), io.BytesIO(PHOTO))
    for source in sources:
        for targets in (photos, _async(photos)):
            found = await _all(
                OrderReader.of_pairs(pairs_of(source, targets, photos / "out"))
            )
            assert _sources(found) == {Path("picture in memory")}
            assert len({id(order.pictures[0]) for order in found}) == 1
            assert len(found) == 3


async def test_targets_in_memory_are_pairs_without_a_source(photos: Path) -> None:
    named = attrs.evolve(Image.from_bytes(PHOTO), path=photos / "x.heic")
    targets = [Pair(target=PHOTO, name="order 17/a"), photos / "a.jpg", named]
    wanted = ["order 17/a", "a", "x"]
    for given in (targets, iter(targets), _async(*targets)):
        found = await _all(OrderReader.of_pairs(pairs_of(ME, given, OUT)))
        assert [pair.wanted_path for pair in found] == wanted
        assert _sources(found) == {ME}
    (only,) = await _all(OrderReader.of_pairs(pairs_of(ME, targets[0], OUT)))
    assert _targets([only]) == ["order 17/a"]


async def test_sources_of_pairs_are_named_in_one_place(photos: Path) -> None:
    with pytest.raises(ConfigurationError, match="has a source of its own"):
        await _all(OrderReader.of_pairs(pairs_of(ME, [_pair("a")], OUT)))
    with pytest.raises(ConfigurationError, match="has no source"):
        await _all(OrderReader.of_pairs([Pair(target=photos / "a.jpg")]))


async def test_few_targets_in_memory_are_taken_at_a_time() -> None:
    """Files are taken by the hundred, since only their names are held."""
    many = [Pair(ME, PHOTO, name=f"{number}") for number in range(20)]
    reader = OrderReader.of_pairs(many)
    for _ in range(10):
        reader.took(0.0)
    sizes = [len(await reader.next()) for _ in range(5)]
    assert sizes == [4, 4, 4, 4, 4]
