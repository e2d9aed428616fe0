"""Files that are still being written, and those that a kill has left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ezlink_async._io.files import AtomicFile
from ezlink_async._io.part_files import create_part, remove_abandoned_parts
from tests.support.filesystems import names_in
from tests.support.pictures import jpeg
from tests.support.processes import holding

pytestmark = pytest.mark.skipif(os.name == "nt", reason="files are locked elsewise")

LARGE = jpeg(300_000)
LEFT = ".ezlink-0123456789abcdef.part"

_WRITE = """
import pathlib, sys
from ezlink_async._io.files import AtomicFile
part = AtomicFile(pathlib.Path(sys.argv[1]) / 'a.jpg')
part.write([bytes(300_000)])
"""


def test_part_of_a_living_process_stays_and_of_a_killed_one_is_removed(
    tmp_path: Path,
) -> None:
    with holding(_WRITE, tmp_path) as writer:
        assert remove_abandoned_parts(tmp_path) == 0
        (name,) = names_in(tmp_path)
        assert name.endswith(".part")
        writer.kill()
        writer.wait()
        assert remove_abandoned_parts(tmp_path) == 1
    assert names_in(tmp_path) == []


def test_part_of_this_process_stays(tmp_path: Path) -> None:
    """Also where a process gets a lock that it has already."""
    path = tmp_path / "a.jpg"
    with AtomicFile(path) as part:
        part.write([LARGE])
        assert remove_abandoned_parts(tmp_path, lambda _: None) == 0
        part.commit(path)
    assert path.read_bytes() == LARGE


def test_only_parts_are_removed(tmp_path: Path) -> None:
    """No link, no folder, no other name."""
    other = tmp_path / "other.jpg"
    other.write_bytes(LARGE)
    (tmp_path / LEFT.replace("0", "1")).symlink_to(other)
    (tmp_path / LEFT.replace("0", "2")).mkdir()
    for name in (".ezlink-1.part", "a.part", f"{LEFT}.jpg"):
        (tmp_path / name).write_bytes(b"theirs")
    before = names_in(tmp_path)
    (tmp_path / LEFT).write_bytes(b"left")
    assert remove_abandoned_parts(tmp_path) == 1
    assert names_in(tmp_path) == before
    assert other.read_bytes() == LARGE


def test_folder_that_is_not_there_has_no_parts(tmp_path: Path) -> None:
    assert remove_abandoned_parts(tmp_path / "missing") == 0


def test_without_locks_files_are_written_and_none_is_removed(tmp_path: Path) -> None:
    def lock(_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    path, stream = create_part(tmp_path, lock)
    stream.close()
    (tmp_path / LEFT).write_bytes(b"left")
    assert remove_abandoned_parts(tmp_path, lock) == 0
    assert names_in(tmp_path) == sorted([path.name, LEFT])


def test_part_that_may_not_be_locked_is_made_once(tmp_path: Path) -> None:
    """Some network folders give the right to write, and none to lock."""

    def lock(_: int) -> None:
        raise PermissionError(errno.EACCES, "no right to lock")

    path, stream = create_part(tmp_path, lock)
    stream.close()
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("is_held", [True, False])
def test_part_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, *, is_held: bool
) -> None:
    """Another process may see it in that moment, and take it for abandoned."""
    seen: list[str] = []

    def lock(_: int) -> None:
        seen.append(names_in(tmp_path)[0])
        if len(seen) == 1:
            (tmp_path / seen[0]).unlink()
            if is_held:
                raise OSError(errno.EAGAIN, "the other process holds it")

    path, stream = create_part(tmp_path, lock)
    stream.close()
    assert path.exists()
    assert seen == [seen[0], path.name]
    assert seen[0] != path.name
