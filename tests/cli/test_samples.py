"""``ezlink samples``: pictures for people who have installed the wheel."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ezlink_async.cli.commands import samples
from tests.support.command_line import SAMPLES, Ezlink

pytestmark = pytest.mark.usefixtures("stranger")

NAMES = sorted(path.name for path in SAMPLES.iterdir())


def test_samples_are_written_with_their_licences(ezlink: Ezlink) -> None:
    assert ezlink("samples", "new/photos").code == 0
    assert sorted(path.name for path in Path("new/photos").iterdir()) == NAMES
    for name in NAMES:
        assert Path("new/photos", name).read_bytes() == (SAMPLES / name).read_bytes()
    assert "licence" in Path("new/photos/README.md").read_text()


def test_only_the_command_that_swaps_the_samples_is_on_stdout(ezlink: Ezlink) -> None:
    said = ezlink("samples", "my photos")
    program, *arguments = shlex.split(said.out)
    assert (program, said.out.count("\n")) == ("ezlink", 1)
    dry = ezlink(*arguments, "--dry-run")
    assert (dry.code, dry.out.count("send ")) == (0, len(NAMES) - 2)
    assert "README.md" in said.err


def test_samples_that_are_there_are_written_again(ezlink: Ezlink) -> None:
    first = ezlink("samples", "photos")
    assert ezlink("samples", "photos") == first


def test_another_file_of_that_name_is_kept_and_nothing_written(ezlink: Ezlink) -> None:
    Path("photos").mkdir()
    Path("photos/synthetic_1.jpg").write_bytes(b"mine")
    said = ezlink("samples", "photos")
    assert (said.code, said.out) == (2, "")
    assert "with other content: give another folder" in said.err
    assert [path.name for path in Path("photos").iterdir()] == ["synthetic_1.jpg"]
    assert Path("photos/synthetic_1.jpg").read_bytes() == b"mine"


def test_folder_that_cannot_be_made_is_named(ezlink: Ezlink) -> None:
    Path("photos").write_bytes(b"")
    said = ezlink("samples", "photos")
    assert said.code == 2
    assert "the samples cannot be written to photos: " in said.err


def test_user_without_the_engine_reads_how_to_install_it(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "has_engine", lambda: False)
    assert "pip install 'ezlink-async[local]'" in ezlink("samples", "photos").err


def test_installation_without_samples_says_so(
    ezlink: Ezlink, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(samples, "_PACKAGE", tmp_path / "ezlink_async")
    said = ezlink("samples", "photos")
    assert (said.code, Path("photos").exists()) == (2, False)
    assert "no sample pictures" in said.err
