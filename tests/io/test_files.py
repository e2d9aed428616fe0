"""Atomic files, committed alone and in groups."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from ezlink_async._io.files import (
    AtomicFile,
    GroupCommitter,
    KnownFiles,
    SavedFile,
    sync_folder,
)
from ezlink_async.errors import ImageError
from tests.support.filesystems import names_in
from tests.support.loop import turns
from tests.support.pictures import BMP, JPEG, jpeg

LARGE = jpeg(300_000)

P = ParamSpec("P")
T = TypeVar("T")


def save(path: Path, *blocks: bytes) -> SavedFile:
    """Write *blocks* and commit them as *path*."""
    with AtomicFile(path) as part:
        part.write(list(blocks))
        return part.commit(path)


def saved_file(path: Path, content: bytes) -> SavedFile:
    return SavedFile(path, hashlib.sha256(content).digest(), len(content))


def test_file_appears_at_its_commit_and_no_part_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.jpg"
    with AtomicFile(path) as part:
        part.write([JPEG[:10]])
        assert not path.exists()
        part.restart()
        part.write([JPEG])
        assert part.verify() == "image/jpeg"
        assert not path.exists()
        part.commit(path)
    assert path.read_bytes() == JPEG
    assert names_in(path.parent) == ["a.jpg"]


def test_file_without_a_commit_keeps_the_old_file_and_leaves_no_part(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    for content in (b"", JPEG, LARGE):
        with AtomicFile(path) as part:
            part.write([content])
        assert path.read_bytes() == b"old"
        assert names_in(tmp_path) == ["a.jpg"]


def test_commit_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    path, other = tmp_path / "a.jpg", tmp_path / "other.jpg"
    other.write_bytes(b"other")
    path.symlink_to(other)
    save(path, JPEG)
    assert path.read_bytes() == JPEG
    assert other.read_bytes() == b"other"
    assert not path.is_symlink()


def test_committed_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    mask = os.umask(0o022)
    try:
        save(path, JPEG)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("earlier", [b"", JPEG, LARGE])
@pytest.mark.parametrize("content", [b"", JPEG, LARGE])
def test_commit_returns_the_digest_and_the_size_of_the_last_attempt(
    tmp_path: Path, earlier: bytes, content: bytes
) -> None:
    path = tmp_path / "a.jpg"
    with AtomicFile(path) as part:
        part.write([earlier])
        part.restart()
        part.write([content[:1000], content[1000:]])
        assert part.commit(path) == saved_file(path, content)
    assert path.read_bytes() == content


def test_verify_tells_whole_pictures_from_parts_and_unknown_formats(
    tmp_path: Path,
) -> None:
    with AtomicFile(tmp_path / "a") as part:
        with pytest.raises(ImageError, match="empty"):
            part.verify()
        part.write([BMP])
        assert part.verify() is None
        part.restart()
        part.write([JPEG[:-2]])
        with pytest.raises(ImageError, match="cut off"):
            part.verify()


def test_longest_file_name_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".jpg")
    save(path, JPEG)
    assert path.read_bytes() == JPEG


def test_null_byte_in_a_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="null") as caught:
        AtomicFile(tmp_path / "a\0b" / "c").commit(tmp_path / "c")
    assert caught.value.errno == errno.EINVAL


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ezlink_async._io.files import AtomicFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
path = Path(sys.argv[1])
faults = []
for length in (4000, 300_000, 1_200_000):
    try:
        with AtomicFile(path) as part:
            part.write([bytes(length)])
            part.commit(path)
    except OSError as fault:
        faults.append(fault.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, before)
print(*faults)
"""


@pytest.mark.skipif(os.name == "nt", reason="a limit of POSIX systems")
def test_full_disk_leaves_no_part_and_raises_its_first_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.jpg")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == ([str(errno.EFBIG)] * 3, "")
    assert names_in(tmp_path) == []


def test_folder_that_cannot_be_synced_is_no_error(tmp_path: Path) -> None:
    sync_folder(tmp_path / "gone")


def test_restarted_large_file_without_bytes_is_an_empty_answer(tmp_path: Path) -> None:
    """The file is on disk by then, and an empty file cannot be mapped."""
    with AtomicFile(tmp_path / "a.jpg") as part:
        part.write([jpeg(400_000)])
        part.restart()
        with pytest.raises(ImageError, match="empty"):
            part.verify()


@pytest.mark.parametrize("blocks", [1, 3, 600])
@pytest.mark.parametrize("little", [False, True])
def test_blocks_are_written_whole_if_the_system_takes_few_bytes_at_a_time(
    tmp_path: Path, blocks: int, monkeypatch: pytest.MonkeyPatch, *, little: bool
) -> None:
    path, content = tmp_path / "a.jpg", jpeg(600_000)
    size = len(content) // blocks
    pieces = [content[at : at + size] for at in range(0, len(content), size)]

    def takes_little(descriptor: int, views: list[memoryview]) -> int:
        return os.write(descriptor, views[0][:70_000])

    if little:
        monkeypatch.setattr(os, "writev", takes_little)
    with AtomicFile(path) as part:
        part.write(pieces[:1])
        part.write(pieces[1:])
        assert part.verify() == "image/jpeg"
        assert part.commit(path) == saved_file(path, content)
    assert path.read_bytes() == content


# Groups


class CountingPool(ThreadPoolExecutor):
    """Counts the calls in its one thread."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls = 0

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Count one more."""
        self.calls += 1
        return super().submit(fn, *args, **kwargs)


class BusyCommitter:
    """A group committer whose thread is busy until it is freed."""

    def __init__(self) -> None:
        self.pool = CountingPool()
        self._committer = GroupCommitter(self.pool, delay=0.0)
        self._free = threading.Event()
        self.pool.submit(self._free.wait, 300)
        self.pool.calls = 0

    def free(self) -> None:
        self._free.set()

    async def _commit(self, path: Path) -> SavedFile:
        with AtomicFile(path) as part:
            part.write([JPEG])
            return await self._committer.commit(part, path)

    async def commits(self, *paths: Path) -> list[asyncio.Task[SavedFile]]:
        """Start to commit a picture as each of *paths*, and let the loop turn."""
        tasks = [asyncio.create_task(self._commit(path)) for path in paths]
        await turns()
        return tasks


@asynccontextmanager
async def busy_committer() -> AsyncIterator[BusyCommitter]:
    here = BusyCommitter()
    try:
        yield here
    finally:
        here.free()
        here.pool.shutdown()


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (16, 1), (17, 2), (40, 3)])
async def test_files_for_one_folder_are_committed_in_groups_of_sixteen(
    tmp_path: Path, count: int, calls: int
) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(count)]
    async with busy_committer() as here:
        tasks = await here.commits(*paths)
        assert names_in(tmp_path) == []
        here.free()
        saved = await asyncio.gather(*tasks)
    assert here.pool.calls == calls
    assert saved == [saved_file(path, JPEG) for path in paths]
    assert {path.read_bytes() for path in paths} == {JPEG}
    assert len(names_in(tmp_path)) == count


async def test_files_that_arrive_during_a_commit_form_the_next_group(
    tmp_path: Path,
) -> None:
    async with busy_committer() as here:
        tasks = await here.commits(tmp_path / "first.jpg")
        tasks += await here.commits(tmp_path / "a.jpg", tmp_path / "b.jpg")
        assert here.pool.calls == 1
        here.free()
        await asyncio.gather(*tasks)
    assert here.pool.calls == 1 + 1
    assert names_in(tmp_path) == ["a.jpg", "b.jpg", "first.jpg"]


async def test_each_folder_has_groups_of_its_own(tmp_path: Path) -> None:
    folders = ["one", "three", "two"]
    async with busy_committer() as here:
        tasks = await here.commits(*(tmp_path / name / "a.jpg" for name in folders))
        assert here.pool.calls == len(folders)
        here.free()
        await asyncio.gather(*tasks)
    assert names_in(tmp_path) == folders


async def test_large_file_is_committed_without_a_group(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with ThreadPoolExecutor(1) as pool, AtomicFile(path) as part:
        part.write([LARGE])
        saved = await GroupCommitter(pool).commit(part, path)
    assert saved == saved_file(path, LARGE)
    assert path.read_bytes() == LARGE


async def test_error_of_one_file_is_raised_for_that_file_only(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").mkdir()
    names = ["a.jpg", "b.jpg", "c.jpg", "first.jpg"]
    async with busy_committer() as here:
        tasks = await here.commits(*(tmp_path / name for name in names))
        here.free()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [SavedFile, IsADirectoryError, SavedFile, SavedFile]
    assert [type(result) for result in results] == kinds
    assert names_in(tmp_path) == names


async def test_cancelled_commit_waits_until_its_file_is_saved(tmp_path: Path) -> None:
    async with busy_committer() as here:
        tasks = await here.commits(tmp_path / "a.jpg", tmp_path / "b.jpg")
        for task in tasks:
            task.cancel()
        await turns()
        assert not any(task.done() for task in tasks)
        here.free()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert names_in(tmp_path) == ["a.jpg", "b.jpg"]


async def test_commits_after_the_shutdown_of_the_pool_raise(tmp_path: Path) -> None:
    async with busy_committer() as here:
        (first,) = await here.commits(tmp_path / "a.jpg")
        (second,) = await here.commits(tmp_path / "b.jpg")
        here.pool.shutdown(wait=False)
        here.free()
        await first
        (third,) = await here.commits(tmp_path / "c.jpg")
        for task in (second, third):
            with pytest.raises(RuntimeError, match="shutdown"):
                await task
    assert names_in(tmp_path) == ["a.jpg"]


@pytest.mark.parametrize("content", [JPEG, LARGE])
async def test_saved_file_is_known_until_it_is_changed(
    tmp_path: Path, content: bytes
) -> None:
    saved, place = save(tmp_path / "a.jpg", content), tmp_path / "a"
    known = KnownFiles()
    known.note("7", place, saved)
    assert await known.unchanged("7", [place, tmp_path / "b"]) == {place: saved}
    assert await known.unchanged("8", [place]) == {}
    for other in (content + b"x", content[:-1] + b"x"):
        saved.path.write_bytes(other)
        os.utime(saved.path, ns=(1, saved.changed + len(other) - len(content) + 1))
        assert await known.unchanged("7", [place]) == {}
    os.utime(saved.path, ns=(1, saved.changed))
    assert await known.unchanged("7", [place]) == {
        place: saved
    }  # as far as can be seen
    saved.path.unlink()
    assert await known.unchanged("7", [place]) == {}


async def test_only_the_latest_files_are_known(tmp_path: Path) -> None:
    saved, known = save(tmp_path / "a.jpg", JPEG), KnownFiles(2)
    places = [tmp_path / name for name in "abc"]
    for place in (places[0], places[1], places[0], places[2]):
        known.note("7", place, saved)
    assert set(await known.unchanged("7", places)) == {places[0], places[2]}
