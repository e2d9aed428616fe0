"""Pictures that lie where a result comes to: never silently lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ezlink_async.batch.job_runner import Keepsakes
from tests.fakes import PNG, jpeg

MINE, RESULT = jpeg(5_000), jpeg(6_000)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_replaced_keeps_another_name(tmp_path: Path) -> None:
    """Under any suffix a result may have; what is not replaced keeps its own."""
    (tmp_path / "a.b.jpg").write_bytes(MINE)
    (tmp_path / "a.b.png").write_bytes(PNG)
    kept = Keepsakes(tmp_path / "a.b")
    kept.take()
    new = tmp_path / "new"
    new.write_bytes(RESULT)
    new.replace(tmp_path / "a.b.jpg")
    kept.let_go()
    assert _names(tmp_path) == ["a.b-kept.jpg", "a.b.jpg", "a.b.png"]
    assert (tmp_path / "a.b-kept.jpg").read_bytes() == MINE
    assert (tmp_path / "a.b.jpg").read_bytes() == RESULT


@pytest.mark.parametrize("content", [MINE, b"", MINE[:-2]])
def test_nothing_is_left_where_nothing_was_lost(tmp_path: Path, content: bytes) -> None:
    """The same picture again, or none that is whole, needs no second name."""
    (tmp_path / "a.jpg").write_bytes(content)
    kept = Keepsakes(tmp_path / "a")
    kept.take()
    (tmp_path / "new").write_bytes(MINE)
    (tmp_path / "new").replace(tmp_path / "a.jpg")
    kept.let_go()
    kept.let_go()
    assert _names(tmp_path) == ["a.jpg"]


def test_what_has_vanished_keeps_its_second_name(tmp_path: Path) -> None:
    """It is all there is of it."""
    (tmp_path / "a.jpg").write_bytes(MINE)
    kept = Keepsakes(tmp_path / "a")
    kept.take()
    (tmp_path / "a.jpg").unlink()
    kept.let_go()
    assert _names(tmp_path) == ["a-kept.jpg"]


def test_no_second_name_takes_one_that_is_there(tmp_path: Path) -> None:
    """It is counted up instead; so it is where the file system has no links."""

    def no_links(_: Path, name: Path) -> None:
        if name.exists():
            raise FileExistsError
        raise OSError(errno.EPERM, "no links here")

    (tmp_path / "a.jpg").write_bytes(MINE)
    (tmp_path / "a-kept.jpg").write_bytes(b"mine")
    (tmp_path / "a-kept-2.jpg").write_bytes(b"mine too")
    for link in (None, no_links):
        kept = (
            Keepsakes(tmp_path / "a")
            if link is None
            else Keepsakes(tmp_path / "a", link)
        )
        kept.take()
        assert (tmp_path / "a-kept-3.jpg").read_bytes() == MINE
        kept.let_go()
        assert not (tmp_path / "a-kept-3.jpg").exists()
