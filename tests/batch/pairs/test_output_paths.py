"""What results are called, and what is there already."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
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
    output_path_for,
    path_key,
    stem_of,
    why_not_writable,
)
from tests.support.pictures import jpeg
from tests.support.processes import as_nobody

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
def test_what_some_system_forbids_is_escaped_everywhere(
    name: str, escaped: str
) -> None:
    """Results travel; what every system allows stays as it is."""
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
def test_only_the_suffix_of_a_picture_is_one(name: str, stem: str) -> None:
    """A name may have dots of its own."""
    assert stem_of(Path("folder", name)) == stem


def test_a_place_keeps_the_folders() -> None:
    """Each part is escaped, however it is called."""
    assert output_path_for(Path("a.jpg")) == "a"
    assert output_path_for(Path("trip/day 1./a?.jpg")) == "trip/day 1_/a_"


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u65c5", "\U0001f60e", "\udcfc"])
def test_long_names_are_cut_to_what_file_systems_take(letter: str) -> None:
    """Never to nothing, never within a letter, and folders too."""
    place = output_path_for(Path(letter * 300, letter * 300 + ".jpg"))
    for part in place.split("/"):
        assert set(part) == {letter}
        assert 230 < len(part.encode("utf-8", "surrogatepass")) <= 240
    assert output_path_for(Path("x" * 239 + ".y")) == "x" * 239 + "_"


@given(st.lists(_NAMES, min_size=1, max_size=3))
def test_any_path_has_a_place_that_every_system_takes(parts: list[str]) -> None:
    """It stays below the folder, and keeps its depth."""
    place = output_path_for(Path(*parts))
    found = place.split("/")
    assert len(found) == len(parts)
    for part in found:
        assert part not in {"", ".", ".."}
        assert not re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]$', part)
        assert len(part.encode()) <= 241
    assert output_path_for(Path(*parts)) == place


@given(_NAMES)
def test_however_a_letter_is_composed_the_place_is_the_same(name: str) -> None:
    """File systems disagree about that."""
    composed, apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert path_key(name) == path_key(composed) == path_key(apart)


def test_what_is_there_is_found_under_any_suffix(tmp_path: Path) -> None:
    """And in any spelling that some file system takes for the same."""
    for name in ("a.jpg", "A.PNG", "a.txt", "a", "ab.jpg", "\u00c9.webp"):
        (tmp_path / name).write_bytes(b"x")
    existing = Existing()
    found = existing.at(tmp_path / "a")
    assert {path.name for path in found} == {"a.jpg", "A.PNG"}
    assert existing.at(tmp_path / "nothing") == []
    assert [path.name for path in existing.at(tmp_path / "e\u0301")] == ["\u00c9.webp"]


def test_a_folder_is_listed_once_in_a_row(tmp_path: Path) -> None:
    """Another one, or one that is not there, in between lets it be listed anew."""
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
def test_whole_is_what_is_there_to_its_end(
    tmp_path: Path, content: bytes, *, whole: bool
) -> None:
    """Whatever cannot be read is not."""
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert is_whole(path) is whole
    assert not is_whole(tmp_path)
    assert not is_whole(tmp_path / "nothing.jpg")


def test_intact_is_what_has_its_bytes(tmp_path: Path) -> None:
    """Neither a file of that length nor a file of that name is enough."""
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
def test_what_stands_in_the_way_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder need not be there yet; what is above it decides."""
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


@posix
def test_what_may_not_be_written_is_told(tmp_path: Path) -> None:
    """A folder for others, one that may not be entered, and a link into one."""
    nobody = as_nobody()
    for above in tmp_path.parents:
        if Path(tempfile.gettempdir()) in above.parents:
            above.chmod(0o755)
    tmp_path.chmod(0o755)
    for name, mode in (("ours", 0o755), ("locked", 0o700), ("half", 0o722)):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "locked" / "in")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ezlink_async.batch.pairs.output_paths import why_not_writable\n"
        "for name in sys.argv[1:]: print(why_not_writable(Path(name)))"
    )
    said = subprocess.run(
        [
            *nobody,
            *(sys.executable, "-c", program, "ours/out", "locked/in", "half", "link"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.splitlines() == [
        "ours is read-only",
        "locked/in: Permission denied",
        "half is read-only",
        "link is no folder",
    ]
