"""One run at a time in a folder, however the last one has ended."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ezlink_async.batch.journal.lock import FolderLock
from ezlink_async.errors import ConfigurationError
from tests.support.processes import holding, run_without_rights, shared_folder

_HOLD = """
import sys
from pathlib import Path
from ezlink_async.batch.journal.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
"""

_HERE = socket.gethostname()

posix = pytest.mark.skipif(os.name == "nt", reason="another kind of lock")


def _no_locks(_: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the lock of ``out``, which does not exist yet."""
    return tmp_path / "out" / ".ezlink" / "lock"


@pytest.fixture
def ended() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _check_free(path: Path) -> None:
    with contextlib.closing(FolderLock(path)) as lock:
        assert lock.is_real


def test_a_second_lock_in_one_process_is_refused(path: Path) -> None:
    """The error names the output folder; the first lock stays."""
    with contextlib.closing(FolderLock(path)) as first:
        assert first.is_real
        for _ in range(2):
            with pytest.raises(ConfigurationError) as caught:
                FolderLock(path)
            says = f"another run is at work in {path.parent.parent}: wait for it"
            assert str(caught.value).startswith(says)
    _check_free(path)


def test_closing_twice_does_not_release_the_next_lock(path: Path) -> None:
    first = FolderLock(path)
    first.close()
    with contextlib.closing(FolderLock(path)):
        first.close()
        with pytest.raises(ConfigurationError, match="another run"):
            FolderLock(path)


def test_a_lock_ends_with_its_process(path: Path) -> None:
    with holding(_HOLD, path) as other:
        with pytest.raises(ConfigurationError, match="another run"):
            FolderLock(path)
        other.kill()
        other.wait()
        _check_free(path)


def test_without_locks_the_name_in_the_file_is_the_lock(path: Path) -> None:
    """The error names the holder, and the file to delete."""
    lock = FolderLock(path, _no_locks)
    assert not lock.is_real
    assert path.read_text() == f"{os.getpid()} on {_HERE}"
    with pytest.raises(ConfigurationError) as caught:
        FolderLock(path, _no_locks)
    assert f"process {os.getpid()} on {_HERE}; if it is over, delete {path}" in str(
        caught.value
    )
    lock.close()
    assert path.read_text() == ""
    lock.close()
    FolderLock(path, _no_locks).close()


def test_without_locks_an_ended_process_is_ignored(path: Path, ended: int) -> None:
    """So is a number that no process can have."""
    path.parent.mkdir(parents=True)
    for number in (ended, 10**30):
        path.write_text(f"{number} on {_HERE}")
        lock = FolderLock(path, _no_locks)
        assert path.read_text() == f"{os.getpid()} on {_HERE}"
        lock.close()


@posix
@pytest.mark.parametrize(
    "holder",
    [
        f"{os.getpid()} on {_HERE}",
        "4000000 on another-host",
        f"many on {_HERE}",
        "who knows",
        "\ufffd",
    ],
    ids=["alive", "elsewhere", "no-number", "no-host", "no-text"],
)
def test_without_locks_an_unclear_holder_is_respected(path: Path, holder: str) -> None:
    """It is alive, on another machine, or cannot be read."""
    path.parent.mkdir(parents=True)
    path.write_text(holder)
    with pytest.raises(ConfigurationError, match="another run is at work"):
        FolderLock(path, _no_locks)
    assert path.read_text() == holder


_FOREIGN_LOCK = """
import errno, sys
from pathlib import Path
from ezlink_async.batch.journal.lock import FolderLock
def no_locks(_): raise OSError(errno.ENOLCK, 'none')
FolderLock(Path(sys.argv[1]), no_locks)
"""


@posix
def test_without_locks_a_process_of_another_user_is_respected() -> None:
    with shared_folder() as folder:
        path = folder / "lock"
        path.write_text(f"1 on {_HERE}")
        path.chmod(0o666)
        said = run_without_rights(_FOREIGN_LOCK, path, cwd=folder)
    assert "another run is at work" in said


@posix
def test_a_read_only_folder_is_an_error() -> None:
    with shared_folder() as folder:
        said = run_without_rights(_FOREIGN_LOCK, folder / "lock", cwd=folder)
    assert f"no run can be kept in {folder}: Permission denied" in said


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_a_refused_lock_leaves_no_file_open(path: Path) -> None:
    def out_of_order(_: int) -> None:
        raise ValueError

    with contextlib.closing(FolderLock(path)):
        before = _open_files()
        for lock, error in ((None, ConfigurationError), (out_of_order, ValueError)):
            with pytest.raises(error):
                FolderLock(path, lock) if lock else FolderLock(path)
        assert _open_files() == before


def test_a_file_in_place_of_the_folder_is_an_error(path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"no run can be kept in .*: File ex"):
        FolderLock(path)
    path.parent.unlink()
    path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"no run can be kept in .*: Is a dir"):
        FolderLock(path)


@posix
@pytest.mark.parametrize("name", [".ezlink", ".ezlink/lock"])
def test_link_in_place_of_our_own_files_is_refused(path: Path, name: str) -> None:
    """The folder may have come in an archive, with a link to a folder of the user's."""
    out, mine = path.parent.parent, path.parent.parent.with_name("mine")
    mine.mkdir()
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(mine / "new" if name.endswith("lock") else mine)
    with pytest.raises(ConfigurationError, match=r"is a link.*remove it"):
        FolderLock(path)
    assert not list(mine.iterdir())


@posix
def test_lock_may_be_in_a_folder_of_the_users_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    _check_free(tmp_path / "link" / "lock")
