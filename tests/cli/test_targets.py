"""``ezlink swap``: its targets, its output folder, and the names of results."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from pathlib import Path

import pytest

from ezlink_async.emulator import Emulator
from tests.support.command_line import Ezlink
from tests.support.pictures import jpeg

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of file system")


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@posix
def test_too_long_name_fails_alone(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    said = ezlink(
        *("swap", photos / "me.jpg", "x" * 5000, photos / "nothing.jpg"),
        *(photos / "a.jpg", "--output", "out"),
    )
    assert said.code == 1
    assert "File name too long" in said.err
    assert "nothing.jpg: ImageError: there is no such file" in said.err
    assert "1 succeeded, 2 cannot be used in " in said.err
    assert len(user.control.charges) == 1


def test_output_folder_inside_the_targets_is_left_out(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The folder may be spelled in any way."""
    (photos / "out" / "old").mkdir(parents=True)
    (photos / "out" / "old" / "result.jpg").write_bytes(jpeg(20_040))
    command = ("swap", photos / "me.jpg", photos, "--output")
    said = ezlink(*command, "photos/trip/../out")
    assert said.code == 0
    assert "1 (the output folder)" in said.err
    assert len(user.control.charges) == 3
    assert ezlink(*command, photos / "out").code == 0
    assert len(user.control.charges) == 3


def test_result_replaces_no_given_picture(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The pair whose result would do so has failed."""
    a, me = photos / "a.jpg", photos / "me.jpg"
    before = a.read_bytes(), me.read_bytes()
    said = ezlink(
        *("swap", me, a, photos / "trip", "--output", photos),
        *("--existing", "replace", "--json"),
    )
    assert said.code == 1
    errors = [row["error"] for row in said.rows[:-1]]
    # trip/a.jpg would go to photos/a.jpg too, so it is photos/a-2.jpg.
    assert [bool(error) for error in errors] == [True, False]
    assert f"would replace {a}, a picture that was given" in str(errors[0])
    (photos / "trip" / "me.jpg").write_bytes(jpeg(20_041))
    said = ezlink("swap", me, photos / "trip" / "me.jpg", "--output", photos)
    assert f"would replace {me}, a picture that was given" in said.err
    assert (a.read_bytes(), me.read_bytes()) == before
    assert len(user.control.charges) == 1


def test_pair_whose_result_cannot_be_saved_is_not_sent(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """A file stands where a folder must be, or a folder where a file must be."""
    Path("out", "b.jpg").mkdir(parents=True)
    Path("out", "trip").write_text("in the way")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", "out")
    assert said.code == 1
    assert "out/trip is no folder" in said.err
    assert "would replace the folder out/b.jpg" in said.err
    assert said.out == "out/a.jpg\n"
    assert len(user.control.charges) == 1


@posix
@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("o" * 300, "File name too long"),
        ("circle/out", "Too many levels of symbolic links"),
        ("dangling", "dangling is no folder"),
        ("photos/me.jpg/out", "photos/me.jpg is no folder"),
    ],
)
def test_impossible_output_folder_is_one_sentence_and_exits_2(
    ezlink: Ezlink, user: Emulator, photos: Path, output: str, says: str
) -> None:
    Path("circle").symlink_to("circle")
    Path("dangling").symlink_to("nowhere")
    said = ezlink("swap", photos / "me.jpg", photos, "--output", output)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert user.control.requests == []


def _names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).glob("[!.]*.jpg"))


def test_names_that_a_file_system_may_fold_get_results_of_their_own(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The names differ in case or composition only."""
    many = photos / "many"
    many.mkdir()
    composed = unicodedata.normalize("NFC", "Zo\u00eb")
    apart = unicodedata.normalize("NFD", composed)
    stems = [composed, apart, composed.upper(), "stra\u00dfe", "STRASSE"]
    for number, stem in enumerate(stems):
        (many / f"{stem}.jpg").write_bytes(jpeg(20_050 + number))
    there = len(list(many.iterdir()))  # fewer where the file system folds them
    command = ("swap", photos / "me.jpg", many, "--output", "out")
    assert ezlink(*command).code == 0
    results = _names("out")
    folded = {unicodedata.normalize("NFC", name).casefold() for name in results}
    assert len(results) == len(folded) == there
    assert ezlink(*command, "--json").summary["skipped"] == there
    assert len(user.control.charges) == there


@posix
def test_results_keep_names_of_any_script_and_encoding(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    many = photos / "many"
    many.mkdir()
    stems = ["\u65c5\u884c", "\u0639\u0627\u0626\u0644\u0629", "\U0001f60e", "a b"]
    for number, stem in enumerate([*stems, "m\udcfc"]):  # the last is Latin-1
        (many / f"{stem}.jpg").write_bytes(jpeg(20_060 + number))
    said = ezlink("swap", photos / "me.jpg", many, "--output", "out", "--json")
    assert said.code == 0
    assert _names("out") == sorted(f"{stem}.jpg" for stem in [*stems, "m\udcfc"])
    outputs = {row["output"] for row in said.rows[:-1]}
    assert outputs == {f"out/{name}" for name in _names("out")}
    assert len(user.control.charges) == 5


def test_numbered_results_avoid_the_names_of_other_targets(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    many = photos / "many"
    many.mkdir()
    for number, name in enumerate(("a-2.jpg", "a.jpg", "a.png", "a", "a.v1")):
        (many / name).write_bytes(jpeg(20_070 + number))
    command = ("swap", photos / "me.jpg", many, "--output", "out")
    assert ezlink(*command).code == 0
    assert _names("out") == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a.jpg", "a.v1.jpg"]
    assert ezlink(*command, "--json").summary["skipped"] == 5
    assert len(user.control.charges) == 5


def test_targets_of_one_name_are_numbered_in_their_order(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """The next run gives the same numbers."""
    (photos / "a.png").write_bytes(jpeg(20_020))
    (photos / "A.jpg").write_bytes(jpeg(20_021))
    command = ("swap", photos / "me.jpg", photos, photos / "a.jpg", "--output", "out")
    said = ezlink(*command)
    assert said.code == 0
    assert "1 (named twice)" in said.err
    assert _names("out") == ["A.jpg", "a-2.jpg", "a-3.jpg", "b.jpg"]
    assert ezlink(*command).out == ""
    assert len(user.control.charges) == 5


def _piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.mark.parametrize("end", [b"\0", b"\n", b"\r\n"])
def test_dash_reads_targets_from_a_pipe(
    ezlink: Ezlink,
    user: Emulator,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: bytes,
) -> None:
    """They may be named beside others, and are pictures or folders."""
    _piped(monkeypatch, end.join([b"photos/trip", b"photos/b.jpeg", b""]))
    said = ezlink("swap", photos / "me.jpg", "-", photos / "a.jpg", "-o", "out")
    assert said.code == 0
    assert sorted(said.out.splitlines()) == ["out/a-2.jpg", "out/a.jpg", "out/b.jpg"]
    assert len(user.control.charges) == 3


@posix
def test_dash_waits_for_no_typed_targets(
    ezlink: Ezlink, user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        said = ezlink("swap", photos / "me.jpg", "-", "-o", "out")
    os.close(ours)
    assert said.code == 2
    assert "- reads the targets from a pipe, as in: find" in said.err
    assert user.control.requests == []


@pytest.mark.usefixtures("stranger")
def test_nothing_to_swap_is_said_and_exits_2(
    ezlink: Ezlink, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no picture")
    said = ezlink("swap", photos / "me.jpg", "empty", "-o", "out", "--dry-run")
    assert said.code == 2
    assert "left out: 1 (no JPEG, PNG or WebP)\n" in said.err
    assert "there is no picture to swap in empty\n" in said.err
    _piped(monkeypatch, b"")
    said = ezlink("swap", photos / "me.jpg", "-", "-o", "out", "-n")
    assert (said.code, said.err) == (2, "there is no picture to swap in -\n")
    assert not Path("out").exists()


def test_files_that_are_no_pictures_but_named_so_fail_by_name(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """They are named in the output and in the report, and not counted as swaps."""
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "trip" / "page.png").write_bytes(b"<html>not found</html>")
    said = ezlink("swap", photos / "me.jpg", photos, "-o", "out")
    assert (said.code, said.out.count("\n")) == (1, 3)
    assert "left out: 2 (hidden), " in said.err
    assert "5 targets: 3 to send, 2 not to be sent\n" in said.err
    for name, words in (("empty.jpg", "empty"), ("trip/page.png", "no picture")):
        (line,) = [line for line in said.err.splitlines() if f"{name}: " in line]
        assert line.startswith(f"cannot be used: {photos / name}: ImageError: ")
        assert words in line
    assert "2 cannot be used (" in said.err
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "empty.jpg" in page
    assert "page.png" in page
    assert len(user.control.charges) == 3


def test_quiet_run_prints_results_and_problems_alone(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    said = ezlink("swap", photos / "me.jpg", photos, "-o", "out", "-q")
    assert (said.code, said.err, said.out.count("\n")) == (0, "", 3)
    (photos / "cut.jpg").write_bytes(jpeg(20_090)[:-2])
    said = ezlink("swap", photos / "me.jpg", photos, "-o", "out", "-q")
    assert (said.code, said.out) == (1, "")
    lines = said.err.splitlines()
    assert lines[0].startswith(f"cannot be used: {photos}/cut.jpg: ImageError: ")
    (last,) = lines[1:]
    assert last.startswith("1 cannot be used (cut.jpg): ")
    assert len(user.control.charges) == 3
