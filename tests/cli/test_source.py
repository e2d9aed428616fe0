"""``ezlink swap``: its source is checked once, before anything is sent."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ezlink_async.cli import source_face
from ezlink_async.emulator import Emulator
from tests.support.command_line import FACES, Ezlink, sums
from tests.support.pictures import jpeg

Command = tuple[object, ...]

CAT = Path(__file__).parents[1] / "samples" / "cat.jpg"
"""A whole picture without a face."""

needs_engine = pytest.mark.skipif(
    None in map(importlib.util.find_spec, ("numpy", "cv2")),
    reason="needs the local extra",
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the picture is empty"),
        (b"<html>", "this is not a picture"),
        (jpeg(20_000)[:-2], "it is cut off, or broken"),
    ],
)
def test_broken_source_is_one_sentence_and_nothing_is_sent(
    ezlink: Ezlink, three: Command, user: Emulator, content: bytes, says: str
) -> None:
    Path("photos/me.jpg").write_bytes(content)
    for more in ((), ("--dry-run",), ("--strip-metadata",)):
        said = ezlink(*three, *more)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert said.err.startswith(f"ezlink: {three[1]}: {says}")
    assert not Path("out").exists()
    assert user.control.requests == []


@pytest.mark.parametrize("content", [b"", jpeg(9_000)[:-2]])
def test_broken_source_among_others_is_one_line_and_the_others_are_swapped(
    ezlink: Ezlink, user: Emulator, photos: Path, content: bytes
) -> None:
    faces = Path("faces")
    faces.mkdir()
    (faces / "bob.jpg").write_bytes(content)
    (faces / "eve.jpg").write_bytes(jpeg(9_001))
    command = ("swap", faces, photos / "trip", photos / "a.jpg", "--pairs", "product")
    said = ezlink(*command, "-o", "out")
    assert (said.code, said.out.count("\n")) == (1, 2)
    lines = [line for line in said.err.splitlines() if "faces/bob.jpg" in line]
    assert len(lines) == 1
    assert lines[0].startswith("2 not done: ImageError: faces/bob.jpg: ")
    assert "cannot be used" not in said.err
    assert ezlink(*command, "-o", "out", "--json").summary == sums(failed=2, skipped=2)
    assert len(user.control.charges) == 2


@needs_engine
@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_local_source_without_a_face_is_one_sentence(
    ezlink: Ezlink, more: tuple[str, ...]
) -> None:
    said = ezlink("swap", CAT, *FACES, "--local", "-o", "out", *more)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"ezlink: {CAT}: no face was found in the source")
    assert said.err.count("\n") == 1
    assert not Path("out").exists()


@needs_engine
@pytest.mark.usefixtures("stranger")
def test_local_source_that_the_engine_cannot_decode_is_one_sentence(
    ezlink: Ezlink, photos: Path
) -> None:
    said = ezlink("swap", photos / "me.jpg", *FACES, "--local", "-o", "out")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith(f"ezlink: {photos / 'me.jpg'}: ")


@needs_engine
def test_doubt_about_the_face_is_a_warning_where_the_server_decides(
    ezlink: Ezlink, user: Emulator, photos: Path
) -> None:
    """In a run and a dry run; not of a good face, nor once all is done."""
    command = ("swap", CAT, photos / "a.jpg", "-o", "out")
    warning = f"{CAT}: no face was found in the source picture"
    for more, code in ((("--dry-run",), 0), ((), 0)):
        said = ezlink(*command, *more)
        assert said.code == code
        assert said.err.count(warning) == 1
        assert "the server decides by itself" in said.err
    assert warning not in ezlink(*command).err
    assert warning not in ezlink(*command, "--dry-run").err
    good = ezlink("swap", FACES[0], photos / "a.jpg", "-o", "other")
    assert (good.code, "built-in engine" in good.err) == (0, False)
    assert len(user.control.charges) == 2


def test_face_is_in_no_doubt_without_the_engine(
    ezlink: Ezlink, user: Emulator, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_face, "has_engine", lambda: False)
    said = ezlink("swap", CAT, photos / "a.jpg", "-o", "out")
    assert (said.code, "no face" in said.err) == (0, False)
    assert len(user.control.charges) == 1
