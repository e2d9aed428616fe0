"""Output paths, and the files that are there already."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async.batch.pairs.output_paths import (
    Existing,
    Output,
    digest_of,
    escape,
    is_intact,
    is_whole,
    is_whole_result,
    move_to_free_name,
    output_path_for,
    path_key,
    stem_of,
    why_not_writable,
)
from tests.support.filesystems import names_in
from tests.support.pictures import jpeg
from tests.support.processes import run_without_rights, shared_folder

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")

_NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"),
    min_size=1,
    max_size=400,
).filter(lambda name: name not in {".", ".."})


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a b", "a b"),
        ("what?", "what_"),
        ('<a>:"b"/\\|*', "_a___b_____"),
        ("a\nb\x1f", "a_b_"),
        ("CON", "CON_"),
        ("con.2024", "con_.2024"),
        ("Lpt\u00b9", "Lpt\u00b9_"),
        ("console", "console"),
        ("com10", "com10"),
        ("end.", "end_"),
        ("end ", "end_"),
        ("..", "._"),
        ("\u65c5\u884c", "\u65c5\u884c"),
    ],
    ids=ascii,
)
def test_characters_that_some_system_forbids_are_escaped(
    name: str, escaped: str
) -> None:
    assert escape(name) == escaped
    assert escape(escaped) == escaped


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.jpg", "a"),
        ("a.JPEG", "a"),
        ("a.heic", "a"),
        ("a.v1", "a.v1"),
        ("a.b.png", "a.b"),
        (".jpg", ".jpg"),
        ("a", "a"),
    ],
)
def test_only_suffixes_of_pictures_are_cut(name: str, stem: str) -> None:
    assert stem_of(Path("folder", name)) == stem


def test_an_output_path_keeps_the_folders() -> None:
    assert output_path_for(Path("a.jpg")) == "a"
    assert output_path_for(Path("trip/day 1./a?.jpg")) == "trip/day 1_/a_"


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u65c5", "\U0001f60e", "\udcfc"])
def test_long_names_are_cut_between_letters(letter: str) -> None:
    path = output_path_for(Path(letter * 300, letter * 300 + ".jpg"))
    for part in path.split("/"):
        assert set(part) == {letter}
        assert 230 < len(part.encode("utf-8", "surrogatepass")) <= 240
    assert output_path_for(Path("x" * 239 + ".y")) == "x" * 239 + "_"


@given(st.lists(_NAMES, min_size=1, max_size=3))
def test_the_output_path_of_any_target_is_allowed_everywhere(parts: list[str]) -> None:
    path = output_path_for(Path(*parts))
    found = path.split("/")
    assert len(found) == len(parts)
    for part in found:
        assert part not in {"", ".", ".."}
        assert not re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', part)
        assert len(part.encode()) <= 241
    assert output_path_for(Path(*parts)) == path


@given(_NAMES)
def test_path_keys_do_not_depend_on_the_composition_of_letters(name: str) -> None:
    composed, apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert path_key(name) == path_key(composed) == path_key(apart)


def test_existing_pictures_are_found_under_any_suffix(tmp_path: Path) -> None:
    """And in any spelling that some file system takes for the same."""
    for name in ("a.jpg", "A.PNG", "a.txt", "a", "ab.jpg", "\u00c9.webp"):
        (tmp_path / name).write_bytes(b"x")
    existing = Existing()
    found = existing.at(tmp_path / "a")
    assert {path.name for path in found} == {"a.jpg", "A.PNG"}
    assert existing.at(tmp_path / "nothing") == []
    assert [path.name for path in existing.at(tmp_path / "e\u0301")] == ["\u00c9.webp"]


def test_results_of_every_kind_are_found_for_jobs_that_may_make_them(
    tmp_path: Path,
) -> None:
    """A video or a note beside a photo is no result of its swap."""
    names = ["a.jpg", "a.mp4", "a.txt", "a_1.png", "a_2.png", "a.json", "ab.txt"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    existing, path = Existing(), tmp_path / "a"
    assert [found.name for found in existing.at(path)] == ["a.jpg"]
    every = [found.name for found in existing.at(path, pictures_only=False)]
    assert every == ["a.jpg", "a.mp4", "a.txt", "a_1.png"]


@pytest.mark.parametrize(
    ("name", "content", "whole"),
    [
        ("a.txt", b"words", True),
        ("a.txt", b"", False),
        ("a.jpg", jpeg(5000), True),
        ("a.jpg", b"words", False),
        ("a.mp4", b"words", False),
    ],
)
def test_a_result_is_whole_if_it_has_its_end_or_is_a_text(
    tmp_path: Path, name: str, content: bytes, *, whole: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert is_whole_result(path) is whole
    assert not is_whole_result(tmp_path / "nothing.txt")


def _no_links(_: Path, __: Path) -> None:
    raise PermissionError("this file system has no links")


@pytest.mark.parametrize("link", [os.link, _no_links])
def test_result_is_moved_to_the_first_free_name_and_replaces_nothing(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    for name in ("fox.webp", "fox-2_1.png", "draft.png"):
        (tmp_path / name).write_bytes(name.encode())
    moved = move_to_free_name(tmp_path / "draft.png", tmp_path / "fox", link)
    assert moved == tmp_path / "fox-3.png"
    assert moved.read_bytes() == b"draft.png"
    assert names_in(tmp_path) == ["fox-2_1.png", "fox-3.png", "fox.webp"]


def test_name_that_is_taken_at_the_last_moment_is_left_to_the_other(
    tmp_path: Path,
) -> None:
    def late(result: Path, path: Path) -> None:
        if path.stem == "fox":
            path.write_bytes(b"another run's")
        os.link(result, path)

    (tmp_path / "draft.png").write_bytes(b"ours")
    moved = move_to_free_name(tmp_path / "draft.png", tmp_path / "fox", late)
    assert (moved.name, moved.read_bytes()) == ("fox-2.png", b"ours")
    assert (tmp_path / "fox.png").read_bytes() == b"another run's"


def test_result_that_cannot_be_moved_stays_where_it_is(tmp_path: Path) -> None:
    draft = tmp_path / "draft.png"
    draft.write_bytes(b"ours")
    assert move_to_free_name(draft, tmp_path / "none" / "fox", _no_links) == draft
    assert draft.read_bytes() == b"ours"


def test_the_listing_of_the_last_folder_is_cached(tmp_path: Path) -> None:
    existing = Existing()
    assert existing.at(tmp_path / "a") == []
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert existing.at(tmp_path / "a") == []
    assert existing.at(tmp_path / "nowhere" / "a") == []
    assert existing.at(tmp_path / "a") == [tmp_path / "a.jpg"]


@pytest.mark.parametrize(
    ("content", "whole"),
    [(jpeg(5000), True), (jpeg(5000)[:-2], False), (b"", False), (b"text", False)],
)
def test_a_whole_picture_has_its_end(
    tmp_path: Path, content: bytes, *, whole: bool
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert is_whole(path) is whole
    assert not is_whole(tmp_path)
    assert not is_whole(tmp_path / "nothing.jpg")


def test_an_intact_result_has_its_size_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "trip" / "a.jpg"
    path.parent.mkdir()
    content = jpeg(300_000)
    path.write_bytes(content)
    digest = hashlib.sha256(content).digest()
    assert digest_of(path) == (digest, 300_000)
    output = Output(Path("trip/a.jpg"), 300_000, digest)
    assert is_intact(tmp_path, output)
    for damaged in (content[:-1] + b"\0", content + b"\0", b""):
        path.write_bytes(damaged)
        assert not is_intact(tmp_path, output)
    path.unlink()
    assert not is_intact(tmp_path, output)
    path.mkdir()
    of_a_folder = Output(Path("trip/a.jpg"), path.stat().st_size, digest)
    assert not is_intact(tmp_path, of_a_folder)


@posix
def test_the_reason_why_a_folder_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a folder that does not exist yet the one above it decides."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    Path("circle").symlink_to("circle")
    Path("dangling").symlink_to("nowhere")
    assert why_not_writable(Path()) is None
    assert why_not_writable(Path("out/trip/a")) is None
    assert why_not_writable(tmp_path) is None
    for path, says in (
        ("file", "file is no folder"),
        ("file/out/trip", "file is no folder"),
        ("dangling/out", "dangling is no folder"),
        ("circle", "circle is no folder"),
        ("circle/out", "circle/out: Too many levels of symbolic links"),
        ("o" * 300, f"{'o' * 300}: File name too long"),
    ):
        assert why_not_writable(Path(path)) == says


_PROGRAM = """
import sys
from pathlib import Path
from ezlink_async.batch.pairs.output_paths import why_not_writable
for name in sys.argv[1:]: print(why_not_writable(Path(name)))
"""


@posix
def test_a_folder_without_rights_is_reported() -> None:
    """A folder of another user, one that may not be entered, and a link into one."""
    with shared_folder() as folder:
        for name, mode in (("ours", 0o755), ("locked", 0o700), ("half", 0o722)):
            (folder / name / "in").mkdir(parents=True)
            (folder / name).chmod(mode)
        (folder / "link").symlink_to(folder / "locked" / "in")
        names = "ours/out", "locked/in", "half", "link"
        said = run_without_rights(_PROGRAM, *names, cwd=folder)
    assert said.splitlines() == [
        "ours is read-only",
        "locked/in: Permission denied",
        "half is read-only",
        "link is no folder",
    ]
