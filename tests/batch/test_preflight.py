"""What the preflight finds out about a pair before anything is sent."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ezlink_async import Image
from ezlink_async.batch.options import BatchOptions
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.preflight import Preflight
from ezlink_async.errors import ConfigurationError, ImageError
from tests.support.pictures import JPEG, jpeg


@pytest.fixture
def preflight(tmp_path: Path) -> Preflight:
    """Return the preflight for an output folder that does not exist yet."""
    return Preflight(BatchOptions(output=tmp_path / "out"), "server", 1)


def _pair(folder: Path, target: bytes) -> Pair:
    (folder / "me.jpg").write_bytes(jpeg(2_000))
    (folder / "a.jpg").write_bytes(target)
    return Pair(folder / "me.jpg", folder / "a.jpg", "a")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (b"", "empty"),
        (jpeg(3_000)[:-2], "cut off"),
        (b"words", ""),
        (jpeg(2_000), "the same picture"),
    ],
)
def test_a_picture_that_cannot_be_used_is_a_fault_with_its_name(
    preflight: Preflight, tmp_path: Path, target: bytes, says: str
) -> None:
    (found,) = preflight.inspect([_pair(tmp_path, target).order()])
    assert says in str(found.fault)
    assert "a.jpg" in str(found.fault)
    assert found.digests == ()


@pytest.mark.parametrize("wanted", ["../a", "/a", "b/../../a", ""])
def test_an_output_path_that_leads_out_of_the_folder_is_a_fault(
    preflight: Preflight, tmp_path: Path, wanted: str
) -> None:
    pair = attrs.evolve(_pair(tmp_path, jpeg(3_000)), wanted_path=wanted)
    (found,) = preflight.inspect([pair.order()])
    assert "a path below the output folder" in str(found.fault)


@pytest.mark.parametrize("character", ["\ud800", "\0"])
def test_a_name_that_no_system_takes_is_a_fault_of_its_pair(
    preflight: Preflight, tmp_path: Path, character: str
) -> None:
    good = _pair(tmp_path, jpeg(3_000))
    named = Image(path=Path(f"x{character}.jpg"), content=jpeg(3_001))
    pairs = [
        Pair(good.source, tmp_path / f"x{character}.jpg", "x"),
        Pair(good.source, named, "x"),
        Pair(tmp_path / f"x{character}.jpg", good.target, "x"),
        attrs.evolve(good, wanted_path=f"x{character}"),
        good,
    ]
    *faults, nothing = (
        each.fault for each in preflight.inspect([pair.order() for pair in pairs])
    )
    for fault, kind, says in zip(
        faults,
        [*[ImageError] * 3, ConfigurationError],
        [*["no picture can have this name"] * 3, "saved as"],
        strict=True,
    ):
        assert isinstance(fault, kind)
        assert says in str(fault)
        str(fault).encode()
    assert nothing is None


def test_a_folder_in_place_of_a_picture_is_a_fault(
    preflight: Preflight, tmp_path: Path
) -> None:
    pair = _pair(tmp_path, jpeg(3_000))
    pair.target.unlink()
    pair.target.mkdir()
    (found,) = preflight.inspect([pair.order()])
    assert found.fault is not None


def test_broken_source_is_read_once_for_all_its_targets(
    preflight: Preflight, tmp_path: Path
) -> None:
    """Each pair has a fault of its own, which says that others have it, too."""
    pair = _pair(tmp_path, jpeg(3_000))
    pair.source.write_bytes(jpeg(2_000)[:-2])
    (first,) = preflight.inspect([pair.order()])
    pair.source.write_bytes(jpeg(2_000))
    (second,) = preflight.inspect([pair.order()])
    assert str(first.fault) == str(second.fault)
    assert first.fault is not second.fault
    assert "me.jpg: it is cut off" in str(second.fault)
    assert first.common
    assert second.common
    pair.target.write_bytes(b"")
    other = tmp_path / "you.jpg"
    other.write_bytes(jpeg(2_001))
    (own,) = preflight.inspect([Pair(other, pair.target, "a").order()])
    assert own.fault is not None
    assert not own.common


def test_hashes_of_the_latest_sources_only_are_kept(
    preflight: Preflight, tmp_path: Path
) -> None:
    """A source that was used 70 sources ago is read again, the last one is not."""
    target = tmp_path / "a.jpg"
    target.write_bytes(JPEG)
    pairs = []
    for number in range(70):
        source = tmp_path / f"{number}.jpg"
        source.write_bytes(jpeg(1_000 + number))
        pairs.append(Pair(source, target, "a"))
    orders = [pair.order() for pair in pairs]
    found = preflight.inspect([*orders, *orders[:3]])
    assert len({each.digests[0] for each in found}) == 70
    assert found[70].digests == found[0].digests
    for pair in (pairs[-1], pairs[5]):
        pair.source.unlink()
    kept, forgotten = preflight.inspect([orders[-1], orders[5]])
    assert kept.digests == found[69].digests
    assert forgotten.fault is not None
