"""Pairs of sources and targets, and the paths of their results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ezlink_async.batch.pairs.folders import LeftOut, Search
from ezlink_async.batch.pairs.matching import (
    Pair,
    by_name,
    manifest,
    one_to_many,
    product,
)
from ezlink_async.errors import ConfigurationError
from tests.support.pictures import jpeg


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(20_000))
    return folder


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Make a folder of sources."""
    return _fill(tmp_path / "faces", "ann.jpg", "trip/Bob.png", "zoe.webp")


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    """Make a folder of targets."""
    return _fill(tmp_path / "targets", "ann.png", "bob.jpg", "trip/bob.jpeg")


def _search(*sources: Path) -> Search:
    return Search(left_out=LeftOut(), sources=sources)


def test_one_source_is_paired_with_many_targets(targets: Path) -> None:
    """Results keep the folders of the targets; a named file has none."""
    me, bob = Path("me.jpg"), targets / "bob.jpg"
    assert list(one_to_many(me, [targets, bob], _search())) == [
        Pair(me, targets / "ann.png", "ann"),
        Pair(me, targets / "bob.jpg", "bob"),
        Pair(me, targets / "trip" / "bob.jpeg", "trip/bob"),
        Pair(me, bob, "bob"),
    ]


def test_sources_and_targets_are_paired_by_name(faces: Path, targets: Path) -> None:
    """With their folders, in any case and under any suffix."""
    assert list(by_name(faces, [targets], _search())) == [
        Pair(faces / "ann.jpg", targets / "ann.png", "ann"),
        Pair(
            faces,
            targets / "bob.jpg",
            "bob",
            f"there is no source of that name in {faces}",
        ),
        Pair(faces / "trip" / "Bob.png", targets / "trip" / "bob.jpeg", "trip/bob"),
    ]


def test_two_sources_of_one_name_are_a_problem(faces: Path, targets: Path) -> None:
    _fill(faces, "ANN.png")
    first, *_ = by_name(faces, [targets], _search())
    assert first.problem == f"there is more than one source of that name in {faces}"


def test_every_source_is_paired_with_every_target(faces: Path, targets: Path) -> None:
    """The results of each source are in a folder of its own."""
    (targets / "notes.txt").write_text("no picture")
    search = _search(faces)
    pairs = list(product(faces, iter([targets]), search))
    assert [pair.wanted_path for pair in pairs] == [
        f"{face}/{target}"
        for face in ("ann", "trip/Bob", "zoe")
        for target in ("ann", "bob", "trip/bob")
    ]
    assert pairs[3] == Pair(
        faces / "trip" / "Bob.png", targets / "ann.png", "trip/Bob/ann"
    )
    assert search.left_out == {"no JPEG, PNG or WebP": 1}


def test_a_single_file_is_a_folder_of_one_source(faces: Path, targets: Path) -> None:
    face = faces / "ann.jpg"
    assert len(list(product(face, [targets], _search()))) == 3
    found = [pair.problem for pair in by_name(face, [targets], _search())]
    assert [problem is None for problem in found] == [True, False, False]


@pytest.mark.parametrize("mode", [by_name, product])
def test_a_folder_without_sources_is_an_error(
    tmp_path: Path, targets: Path, mode: type[object]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="empty holds no picture"):
        list(mode(tmp_path / "empty", [targets], _search()))  # type: ignore[call-arg, call-overload]


# Manifests


def _manifest(folder: Path, name: str, text: str | bytes) -> list[Pair]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(manifest(path))


_CSV = "source,target,output\nme.jpg,trip/a.jpg,\nme.jpg,trip/b.jpg,best/b.png\n"
_LINES = (
    '{"source": "me.jpg", "target": "trip/a.jpg"}\n\n'
    '{"source": "me.jpg", "target": "trip/b.jpg", "output": "best/b.png", "x": 1}\n'
)
_COLUMNS = (
    'target,note,source,output\ntrip/a.jpg,"a\nb",me.jpg\n'
    "trip/b.jpg,,me.jpg,best/b.png,more\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pairs.csv", _CSV),
        ("PAIRS.CSV", "\ufeff" + _CSV.replace("\n", "\r\n")),
        ("pairs.csv", _COLUMNS),
        ("pairs.csv", "\ufeff" + _CSV.replace(",", ";")),
        ("pairs.tsv", _COLUMNS.replace(",", "\t")),
        ("pairs.jsonl", _LINES),
        ("pairs", "\ufeff" + _LINES.replace("\n", "\r\n")),
    ],
    ids=[
        "csv",
        "with a BOM",
        "other columns",
        "semicolons",
        "tabs",
        "lines",
        "lines with a BOM",
    ],
)
def test_a_manifest_lists_pairs_and_outputs(
    tmp_path: Path, name: str, text: str
) -> None:
    """Relative paths begin at its folder; other columns are ignored."""
    assert _manifest(tmp_path, name, text) == [
        Pair(tmp_path / "me.jpg", tmp_path / "trip" / "a.jpg", "trip/a"),
        Pair(tmp_path / "me.jpg", tmp_path / "trip" / "b.jpg", "best/b"),
    ]


def test_repeated_rows_are_repeated_pairs(tmp_path: Path) -> None:
    first, second = _manifest(tmp_path, "a.csv", "source,target\na,b\na,b\n")
    assert first == second


@pytest.mark.parametrize(
    ("target", "wanted"),
    [("/photos/trip/a.jpg", "a"), ("../trip/a.jpg", "a"), ("./trip/a.jpg", "trip/a")],
)
def test_a_target_outside_the_folder_has_its_result_at_the_top(
    tmp_path: Path, target: str, wanted: str
) -> None:
    (pair,) = _manifest(tmp_path, "a.csv", f"source,target\n/me.jpg,{target}\n")
    assert (pair.source, pair.wanted_path) == (Path("/me.jpg"), wanted)
    assert pair.target == tmp_path / target


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "source,target\na,b\nc\n", "line 3: it needs a source and a"),
        ("a.csv", "source,target\n\n\na,\n", "line 4: it needs a source and a"),
        ("a.csv", 'source,target,note\na,b,"x\ny"\n,b,\n', "line 4: it needs a sou"),
        ("a.csv", "a.jpg,b.jpg\nc.jpg,d.jpg\n", "line 1: the heading has to name"),
        ("a.jsonl", '{"source": "a", "target": "b"}\n{"sou', "line 2: this is no JSON"),
        pytest.param("a.jsonl", "[" * 200_000, "line 1: this is no JSON", id="deep"),
        ("a.jsonl", '\n["a", "b"]', "line 2: this is no object with source"),
        ("a.jsonl", '{"source": "a", "target": 3}', "line 1: it needs a source"),
        ("a.jsonl", '{"source": "a\\u0000", "target": "b"}', "line 1: it needs a s"),
        ("a.jsonl", '{"source": "a", "target": "\\ud83d"}', "line 1: it needs a s"),
        ("a.csv", b"source,target\na,\xff\n", "cannot be read: 'utf-8' codec"),
        ("a.csv", "source,target\na," + "b" * 200_000, "cannot be read: field "),
    ],
)
def test_errors_in_a_manifest_name_the_line(
    tmp_path: Path, name: str, text: str | bytes, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _manifest(tmp_path, name, text)
    assert says in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("output", ["/etc/x", "../x", "a/../../x", ".", "\0", 3, ["x"]])
def test_an_output_outside_the_folder_is_refused(
    tmp_path: Path, output: object
) -> None:
    row = {"source": "a", "target": "b", "output": output}
    with pytest.raises(ConfigurationError, match=r"line 1: the output .* is no path"):
        _manifest(tmp_path, "a.jsonl", json.dumps(row))


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path):
        with pytest.raises(ConfigurationError, match=r"the manifest .* cannot be "):
            list(manifest(path))


def test_a_manifest_is_read_lazily(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "a", "target": "b"}\nno\n')
    pairs = manifest(path)
    assert next(pairs).target == tmp_path / "b"
    with pytest.raises(ConfigurationError, match="line 2"):
        next(pairs)
