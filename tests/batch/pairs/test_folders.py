"""Targets: named files, folders that are searched, and files left out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async.batch.pairs.folders import LeftOut, Search, Target, file_ids
from ezlink_async.batch.pairs.matching import by_name, one_to_many, product
from ezlink_async.cli.order_list import OrderList
from ezlink_async.errors import ConfigurationError
from tests.support.pictures import JPEG, jpeg

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


@attrs.frozen
class Found:
    """The targets of a search, and the counts of files left out."""

    targets: list[Target]
    left_out: LeftOut


def _found(*named: Path) -> Found:
    left_out = LeftOut()
    source = Path("photos", "me.jpg")
    search = Search(left_out=left_out, sources=[source], output=Path("out"))
    return Found(list(search.targets(named)), left_out)


def _below(found: Found) -> list[str]:
    return [target.below.as_posix() for target in found.targets]


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_folders_are_walked_in_order_and_files_left_out_counted(photos: Path) -> None:
    found = _found(photos)
    assert _below(found) == ["a.jpg", "b.jpeg", "trip/a.jpg"]
    assert found.left_out == {
        "hidden": 2,
        "links to folders": 1,
        "the source itself": 1,
        "GIF (not taken)": 1,
        "no JPEG, PNG or WebP": 1,
    }


def test_named_files_are_targets_even_if_no_pictures(photos: Path) -> None:
    named = (photos / ".thumb.jpg", photos / "notes.txt", photos / "nothing.jpg")
    found = _found(*named)
    assert [target.path for target in found.targets] == list(named)
    assert not found.left_out


@posix
def test_a_link_to_a_picture_is_a_target(photos: Path, tmp_path: Path) -> None:
    """Links to nowhere and in circles are not readable."""
    (tmp_path / "elsewhere.jpg").write_bytes(jpeg(20_030))
    (photos / "linked.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (photos / "nowhere.jpg").symlink_to("gone.jpg")
    (photos / "circle.jpg").symlink_to("circle.jpg")
    (photos / "me-too.jpg").symlink_to("me.jpg")
    found = _found(photos)
    assert "linked.jpg" in _below(found)
    assert found.left_out["not readable"] == 2
    assert found.left_out["the source itself"] == 2
    assert found.left_out["links to folders"] == 1


@posix
def test_a_named_folder_may_be_a_link(photos: Path, tmp_path: Path) -> None:
    """A picture found under two names is taken once."""
    (tmp_path / "album").symlink_to(photos, target_is_directory=True)
    left_out = LeftOut()
    named = (tmp_path / "album", Path("photos"), photos / "trip" / "a.jpg")
    source = Path("photos", "me.jpg")
    search = Search(left_out=left_out, sources=[source])
    pairs = one_to_many(source, named, search)
    plan = OrderList((pair.order() for pair in pairs), left_out)
    assert [pair.wanted_path for pair in plan] == ["a", "b", "trip/a"]
    assert next(iter(plan)).inputs[1].path == tmp_path / "album" / "a.jpg"
    assert (plan.total, left_out["named twice"]) == (3, 4)
    plan.close()


@posix
def test_a_pipe_is_not_opened(photos: Path) -> None:
    os.mkfifo(photos / "pipe.jpg")
    found = _found(photos)
    assert found.left_out["no JPEG, PNG or WebP"] == 2


@pytest.fixture
def deep(photos: Path) -> Iterator[Path]:
    """Nest folders so deep that the inner ones have no path any more."""
    folder = os.open(photos, os.O_RDONLY)
    for _ in range(20):
        name = "d" * 250
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    yield photos
    os.close(folder)


@posix
def test_a_folder_that_cannot_be_listed_is_counted(deep: Path) -> None:
    found = _found(deep)
    assert _below(found) == ["a.jpg", "b.jpeg", "trip/a.jpg"]
    assert found.left_out["not readable"] == 1


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="Linux has one")
def test_a_file_that_cannot_be_read_is_counted(photos: Path) -> None:
    (photos / "bad-sector.jpg").symlink_to("/proc/self/mem")
    assert _found(photos).left_out["not readable"] == 1


@posix
def test_a_locked_folder_is_counted(photos: Path) -> None:
    (photos / "trip").chmod(0o400)  # names can be read, files cannot
    (photos / "locked").mkdir(0o000)
    if os.access(photos / "locked", os.R_OK):
        pytest.skip("root may read everything")
    found = _found(photos)
    (photos / "trip").chmod(0o700)
    assert _below(found) == ["a.jpg", "b.jpeg"]
    assert found.left_out["not readable"] == 2


@pytest.mark.parametrize("name", ["HEIC", "AVIF", "TIFF"])
def test_formats_of_cameras_are_targets(photos: Path, name: str) -> None:
    heads = {
        "HEIC": b"\0\0\0\x18ftypheic",
        "AVIF": b"\0\0\0\x18ftypavif",
        "TIFF": b"II*\0",
    }
    (photos / "z").write_bytes(heads[name] + bytes(40))
    assert "z" in _below(_found(photos))


@pytest.mark.parametrize("name", ["x.jpg", "X.JPEG", "x.png", "x.webp", "x.heic"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_named_as_a_picture_is_a_target_with_a_problem(
    photos: Path, name: str, content: bytes
) -> None:
    (photos / name).write_bytes(content)
    found = _found(photos)
    (bad,) = [each for each in found.targets if each.problem is not None]
    assert bad.below == Path(name)
    assert ("empty" if not content else "no picture") in str(bad.problem)
    assert found.left_out["no JPEG, PNG or WebP"] == 1  # notes.txt


@pytest.mark.parametrize("name", ["x", "x.txt", "x.mp4", "x.gif"])
def test_an_empty_file_with_another_suffix_is_left_out(photos: Path, name: str) -> None:
    (photos / name).write_bytes(b"")
    found = _found(photos)
    assert not [each for each in found.targets if each.problem is not None]
    assert found.left_out["no JPEG, PNG or WebP"] == 2


def test_pairs_have_the_problems_of_their_targets(photos: Path) -> None:
    (photos / "trip" / "empty.jpg").write_bytes(b"")
    faces = photos.parent / "faces"
    faces.mkdir()
    for number, name in enumerate(("empty.jpg", "a.jpg")):
        (faces / name).write_bytes(jpeg(20_030 + number))
    for pairs in (
        one_to_many(photos / "me.jpg", [photos / "trip"]),
        by_name(faces, [photos / "trip"]),
        product(faces, [photos / "trip"]),
    ):
        problems = {pair.target.name: pair.problem for pair in pairs}
        assert "the file is empty" in str(problems["empty.jpg"])
        assert problems["a.jpg"] is None


def test_the_output_folder_is_no_target(photos: Path) -> None:
    """Named, under another name, and if it is made during the search."""
    out = photos / "out"
    search = Search(left_out=LeftOut(), output=photos / "trip" / ".." / "out")
    targets = search.targets([photos / "trip", photos])
    assert next(targets).below == Path("a.jpg")
    out.mkdir()
    (out / "result.jpg").write_bytes(jpeg(20_000))
    assert "out" not in {target.path.parent.name for target in targets}
    assert search.left_out["the output folder"] == 1
    with pytest.raises(ConfigurationError, match=f"{out} is a target and the output"):
        list(search.targets([out]))


def test_a_folder_of_sources_is_a_target_only_if_named(photos: Path) -> None:
    search = Search(left_out=LeftOut(), sources=[photos / "trip"])
    below = [target.below.as_posix() for target in search.targets([photos])]
    assert below == ["a.jpg", "b.jpeg", "me.jpg"]
    assert search.left_out["the source itself"] == 1
    assert len(list(search.targets([photos / "trip"]))) == 1


def test_file_ids_do_not_depend_on_names(photos: Path) -> None:
    other = photos / "trip" / ".." / "a.jpg"
    assert file_ids([photos / "a.jpg"]) == file_ids([other])
    assert file_ids([photos / "nothing", photos / "a\0b", Path("x" * 5000)]) == set()


_NAMES = st.sampled_from(["a", "a.jpg", "a-b", "B", "b", "b.d", "\u00e9", "z z"])
_TREES = st.recursive(
    st.none(), lambda inner: st.dictionaries(_NAMES, inner, max_size=5), max_leaves=12
).filter(lambda tree: tree is not None)
Tree = dict[str, "Tree | None"]


def _grow(folder: Path, tree: Tree) -> None:
    for name, inner in tree.items():
        if inner is None:
            (folder / name).write_bytes(JPEG)
        else:
            (folder / name).mkdir()
            _grow(folder / name, inner)


@given(_TREES)
def test_targets_are_ordered_by_the_parts_of_their_paths(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _grow(folder, tree)
        search = Search(left_out=LeftOut())
        found = [target.below for target in search.targets([folder])]
        files = [path for path in folder.rglob("*") if path.is_file()]
    assert found == sorted(found, key=lambda path: path.parts)
    assert set(found) == {path.relative_to(folder) for path in files}
    assert len(found) == len(files)


def test_one_folder_is_listed_at_a_time(photos: Path) -> None:
    (photos / "zoo").mkdir()
    targets = Search(left_out=LeftOut()).targets([photos])
    assert next(targets).path == photos / "a.jpg"
    (photos / "trip" / "b.jpg").write_bytes(jpeg(20_000))
    (photos / "zoo" / "c.jpg").write_bytes(jpeg(20_000))
    (photos / "late.jpg").write_bytes(jpeg(20_000))
    rest = [target.below.as_posix() for target in targets]
    assert rest == ["b.jpeg", "me.jpg", "trip/a.jpg", "trip/b.jpg", "zoo/c.jpg"]
    (photos / "a.jpg").unlink()
    gone = Search(left_out=LeftOut())
    targets = gone.targets([photos])
    assert next(targets).path == photos / "b.jpeg"
    (photos / "late.jpg").unlink()
    assert "late.jpg" not in {target.path.name for target in targets}
    assert gone.left_out["not readable"] == 1
