"""Results on their way to the disk, alone and together."""

from __future__ import annotations

import asyncio
import errno
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

from ezlink_async._io.files import AtomicFile, GroupCommitter, sync_folder
from ezlink_async.errors import ImageError
from tests.support.pictures import GIF, JPEG, jpeg

LARGE = jpeg(300_000)

P = ParamSpec("P")
T = TypeVar("T")


def leftovers(folder: Path) -> list[str]:
    """Return every name in *folder*."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    """Until it is committed a result is not under its name, then nothing else is."""
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
    assert leftovers(path.parent) == ["a.jpg"]


def test_a_file_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Without a commit what was there stays, and the part goes."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    with AtomicFile(path) as part:
        part.write([JPEG])
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["a.jpg"]
    with AtomicFile(path):
        pass
    assert leftovers(tmp_path) == ["a.jpg"]


def test_a_committed_file_replaces_what_was_there(tmp_path: Path) -> None:
    """An old file is replaced in one step; a link is replaced, not followed."""
    path, other = tmp_path / "a.jpg", tmp_path / "other.jpg"
    other.write_bytes(b"other")
    path.symlink_to(other)
    with AtomicFile(path) as part:
        part.write([JPEG])
        part.commit(path)
    assert path.read_bytes() == JPEG
    assert other.read_bytes() == b"other"
    assert not path.is_symlink()


def test_a_file_has_the_rights_any_new_file_has(tmp_path: Path) -> None:
    """Results are not for their owner alone unless the user's mask says so."""
    path = tmp_path / "a.jpg"
    mask = os.umask(0o022)
    try:
        with AtomicFile(path) as part:
            part.write([JPEG])
            part.commit(path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_only_whole_pictures_are_verified(tmp_path: Path) -> None:
    """A part is a picture, one of another kind, or an ImageError."""
    with AtomicFile(tmp_path / "a") as part:
        with pytest.raises(ImageError, match="empty"):
            part.verify()
        part.write([GIF])
        assert part.verify() is None
        part.restart()
        part.write([JPEG[:-2]])
        with pytest.raises(ImageError, match="cut off"):
            part.verify()


def test_the_longest_name_has_a_part_too(tmp_path: Path) -> None:
    """A name as long as a file system takes is no reason to fail."""
    path = tmp_path / ("x" * 251 + ".jpg")
    with AtomicFile(path) as part:
        part.write([JPEG])
        part.commit(path)
    assert path.read_bytes() == JPEG


def test_a_path_no_system_takes_is_an_error_of_the_system(tmp_path: Path) -> None:
    """A null byte in a path is an OSError like every other bad path."""
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
def test_a_full_disk_keeps_no_part(tmp_path: Path) -> None:
    """Where closing fails like writing, the part goes, and the first error stays."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.jpg")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == ([str(errno.EFBIG)] * 3, "")
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path) -> None:
    """Once the picture is in its place nothing about its folder is an error."""
    sync_folder(tmp_path / "gone")


def test_a_second_try_that_brings_nothing_is_no_picture(tmp_path: Path) -> None:
    """After a long first try the file is there, and empty: that is told as such."""
    with AtomicFile(tmp_path / "a.jpg") as part:
        part.write([jpeg(400_000)])
        part.restart()
        with pytest.raises(ImageError, match="empty"):
            part.verify()


@pytest.mark.parametrize("blocks", [1, 3, 600])
@pytest.mark.parametrize("little", [False, True])
def test_every_block_is_written_whole(
    tmp_path: Path, blocks: int, monkeypatch: pytest.MonkeyPatch, *, little: bool
) -> None:
    """However many blocks there are, and however little the system takes at a time."""
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
        part.commit(path)
    assert path.read_bytes() == content


# Many at once


class Counted(ThreadPoolExecutor):
    """Counts the visits to its one thread."""

    def __init__(self) -> None:
        super().__init__(1)
        self.visits = 0

    def submit(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Count one more."""
        self.visits += 1
        return super().submit(fn, *args, **kwargs)


class Busy:
    """Results that meet a thread which is busy until it is let go."""

    def __init__(self) -> None:
        self.pool = Counted()
        self.landing = GroupCommitter(self.pool, delay=0.0)
        self._go_on = threading.Event()
        self.pool.submit(self._go_on.wait, 20)
        self.pool.visits = 0

    def let_go(self) -> None:
        """Let the thread do its work."""
        self._go_on.set()

    async def commit(self, path: Path, content: bytes = JPEG) -> None:
        """Put a result in its place."""
        with AtomicFile(path) as part:
            part.write([content])
            await self.landing.commit(part, path)


@asynccontextmanager
async def busy() -> AsyncIterator[Busy]:
    """Keep a pool busy, and shut it down."""
    here = Busy()
    try:
        yield here
    finally:
        here.let_go()
        here.pool.shutdown()


async def _under_way() -> None:
    """Let everything that was started come to where it waits."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("count", "visits"), [(1, 1), (16, 1), (17, 2), (40, 3)])
async def test_those_that_wait_for_a_folder_go_together(
    tmp_path: Path, count: int, visits: int
) -> None:
    """Those that come at about the same time go together, 16 at most."""
    async with busy() as here:
        tasks = [
            asyncio.create_task(here.commit(tmp_path / f"{number}.jpg"))
            for number in range(count)
        ]
        await _under_way()
        assert leftovers(tmp_path) == []
        here.let_go()
        await asyncio.gather(*tasks)
    assert here.pool.visits == visits
    assert leftovers(tmp_path) == sorted(f"{number}.jpg" for number in range(count))
    assert (tmp_path / f"{count - 1}.jpg").read_bytes() == JPEG


async def test_who_comes_later_goes_with_the_next(tmp_path: Path) -> None:
    """What comes while others are under way waits for them, and goes together."""
    async with busy() as here:
        tasks = [asyncio.create_task(here.commit(tmp_path / "first.jpg"))]
        await _under_way()
        tasks += [
            asyncio.create_task(here.commit(tmp_path / name))
            for name in ("a.jpg", "b.jpg")
        ]
        await _under_way()
        assert here.pool.visits == 1
        here.let_go()
        await asyncio.gather(*tasks)
    assert here.pool.visits == 1 + 1
    assert leftovers(tmp_path) == ["a.jpg", "b.jpg", "first.jpg"]


async def test_folders_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """Each folder has a visit of its own."""
    async with busy() as here:
        tasks = [
            asyncio.create_task(here.commit(tmp_path / name / "a.jpg"))
            for name in ("one", "two", "three")
        ]
        await _under_way()
        assert here.pool.visits == len(tasks)
        here.let_go()
        await asyncio.gather(*tasks)
    assert leftovers(tmp_path) == ["one", "three", "two"]


async def test_a_large_one_goes_by_itself(tmp_path: Path) -> None:
    """What is on the disk already waits for nobody, and nobody for it."""
    path = tmp_path / "large.jpg"
    with ThreadPoolExecutor(1) as pool, AtomicFile(path) as part:
        part.write([LARGE])
        await GroupCommitter(pool).commit(part, path)
    assert path.read_bytes() == LARGE


async def test_what_fails_harms_no_other(tmp_path: Path) -> None:
    """Of several that go together only the one that failed is told so."""
    (tmp_path / "b.jpg").mkdir()
    async with busy() as here:
        tasks = [
            asyncio.create_task(here.commit(tmp_path / name))
            for name in ("first.jpg", "a.jpg", "b.jpg", "c.jpg")
        ]
        await _under_way()
        here.let_go()
        told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in told] == [
        type(None),
        type(None),
        IsADirectoryError,
        type(None),
    ]
    assert leftovers(tmp_path) == ["a.jpg", "b.jpg", "c.jpg", "first.jpg"]


async def test_who_leaves_waits_until_the_disk_is_left_alone(tmp_path: Path) -> None:
    """A cancelled save holds until its result is in its place."""
    async with busy() as here:
        tasks = [
            asyncio.create_task(here.commit(tmp_path / name))
            for name in ("a.jpg", "b.jpg")
        ]
        await _under_way()
        for task in tasks:
            task.cancel()
        await _under_way()
        assert not any(task.done() for task in tasks)
        here.let_go()
        told = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in told] == [asyncio.CancelledError] * 2
    assert leftovers(tmp_path) == ["a.jpg", "b.jpg"]


async def test_without_threads_everybody_is_told(tmp_path: Path) -> None:
    """When the pool is shut down nobody waits for ever, and nothing is left."""
    async with busy() as here:
        first = asyncio.create_task(here.commit(tmp_path / "a.jpg"))
        await _under_way()
        second = asyncio.create_task(here.commit(tmp_path / "b.jpg"))
        await _under_way()
        here.pool.shutdown(wait=False)
        here.let_go()
        await first
        with pytest.raises(RuntimeError, match="shutdown"):
            await second
        with pytest.raises(RuntimeError, match="shutdown"):
            await here.commit(tmp_path / "c.jpg")
    assert leftovers(tmp_path) == ["a.jpg"]
