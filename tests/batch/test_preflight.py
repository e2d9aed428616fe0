"""What a look at the pictures tells before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from ezlink_async.batch.options import Rules
from ezlink_async.batch.pairs.matching import Pair
from ezlink_async.batch.preflight import Preflight
from tests.support.pictures import JPEG, jpeg


@pytest.fixture
def screening(tmp_path: Path) -> Preflight:
    """Screen for a folder that does not exist yet."""
    return Preflight(Rules(folder=tmp_path / "out", server="here"), 1)


def _pair(folder: Path, target: bytes, source: bytes = jpeg(2_000)) -> Pair:
    (folder / "me.jpg").write_bytes(source)
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
def test_a_picture_that_cannot_be_used(
    screening: Preflight, tmp_path: Path, target: bytes, says: str
) -> None:
    """It has a problem, which names the file, and no content."""
    (look,) = screening.look([_pair(tmp_path, target)])
    assert look.problem is not None
    assert says in str(look.problem)
    assert "a.jpg" in str(look.problem)
    assert look.target_hash == b""


def test_many_sources_are_forgotten_again(screening: Preflight, tmp_path: Path) -> None:
    """Pairs may have a source each; they are not all kept in mind."""
    target = tmp_path / "a.jpg"
    target.write_bytes(JPEG)
    pairs = []
    for number in range(70):
        source = tmp_path / f"{number}.jpg"
        source.write_bytes(jpeg(1_000 + number))
        pairs.append(Pair(source, target, "a"))
    looks = screening.look([*pairs, *pairs[:3]])
    assert len({look.source_hash for look in looks}) == 70
    assert looks[70].source_hash == looks[0].source_hash
    assert len(screening._sources) <= 64


def test_a_file_that_cannot_be_read_to_its_end(
    screening: Preflight, tmp_path: Path
) -> None:
    """One outcome, which says what the disk said."""
    pair = _pair(tmp_path, jpeg(3_000))
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.jpg").mkdir()
    (look,) = screening.look([pair])
    assert look.problem is not None
