"""
Results on disk: under its final path a file is complete, or not there.

Work that takes longer than a thread hop runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import io
import mmap
import os
import sys
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Self

import attrs

from ezlink_async._core.containers import verify_complete
from ezlink_async._io.concurrency import (
    INLINE_BYTES,
    OutOfThreadsError,
    run_in_any_thread,
    run_in_thread,
    start_in_thread,
    wait_uninterrupted,
)
from ezlink_async._io.part_files import create_part
from ezlink_async.errors import ConfigurationError, ImageError

_GROUP = 16  # files that are committed together at most
_GROUP_DELAY = 0.002  # seconds: results that end together arrive in several turns

OWN_FOLDER = ".ezlink"
"""The folder of our own files, in the folder of the results."""

_PRIVATE = 0o600  # the rights of files with ids in them, which open pictures

_PRIVATE_FOLDER = 0o700

_MOST_KNOWN = 500  # files; a quarter of a megabyte

_VECTOR = 256  # blocks in one system call; systems take 1024


@attrs.frozen
class SavedFile:
    """
    A complete file at its final *path*; *digest* is the SHA-256 of its bytes.

    *changed* is the time of its last change, in the system's nanoseconds.
    """

    path: Path
    digest: bytes
    size: int
    changed: int = attrs.field(default=0, eq=False)

    def is_unchanged(self) -> bool:
        """Return whether the file is there as it was saved; blocks for a moment."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed)


class KnownFiles:
    """The files that one client has saved as results of tasks; the latest so many."""

    def __init__(self, most: int = _MOST_KNOWN) -> None:
        self._most = most
        self._files: dict[tuple[str, Path], SavedFile] = {}

    def note(self, task_id: str, place: Path, saved: SavedFile) -> None:
        """Keep in mind that the result of *place*, a path without suffix, is there."""
        self._files.pop((task_id, place), None)
        self._files[task_id, place] = saved
        if len(self._files) > self._most:
            del self._files[next(iter(self._files))]

    async def unchanged(
        self, task_id: str, places: Iterable[Path]
    ) -> dict[Path, SavedFile]:
        """Return what is still there of *places*, by place."""
        known = {
            place: self._files[task_id, place]
            for place in places
            if (task_id, place) in self._files
        }
        if not known:
            return {}

        def unchanged() -> dict[Path, SavedFile]:
            return {at: saved for at, saved in known.items() if saved.is_unchanged()}

        return await run_in_any_thread(unchanged)


class AtomicFile:
    """
    A file that appears under its final path in one step, complete.

    Up to 256 KiB stay in memory until the commit, so that a small file costs one
    thread hop instead of four. Anything that :meth:`is_quick` denies blocks and
    belongs in a thread. A crash may leave a hidden ``.ezlink-*.part`` in the
    folder, which the next run of a batch there removes, and never part of a picture
    under the final path. A *private* file may be read by its owner only.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self._folder = path.parent
        self._private = private
        self._small = bytearray()
        self._stream: io.FileIO | None = None
        self._digest = hashlib.sha256()

    def is_quick(self, length: int) -> bool:
        """Return whether *length* more bytes can be written without the disk."""
        return self._stream is None and len(self._small) + length <= INLINE_BYTES

    def restart(self) -> None:
        """Drop everything written so far."""
        self._small.clear()
        self._digest = hashlib.sha256()
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.truncate()

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks*."""
        if self.is_quick(sum(map(len, blocks))):
            self._small += b"".join(blocks)
        else:
            self._append(self._opened(), blocks)

    def verify(self) -> str | None:
        """Return the media type; see :func:`~.containers.verify_complete`."""
        if self._stream is None:
            return verify_complete(bytes(self._small))
        if not os.fstat(self._stream.fileno()).st_size:
            raise ImageError("the answer is empty")  # an empty file cannot be mapped
        with mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ) as picture:
            return verify_complete(picture)

    def commit(self, path: Path) -> SavedFile:
        """Replace *path* in one step, and have its name outlive a power cut."""
        saved = self.replace(path)
        sync_folder(path.parent)
        return saved

    def replace(self, path: Path) -> SavedFile:
        """Replace *path*; its name outlives a power cut after :func:`sync_folder`."""
        stream = self._opened()
        os.fsync(stream.fileno())
        changed = os.fstat(stream.fileno()).st_mtime_ns
        saved = SavedFile(path, self._digest.digest(), stream.tell(), changed)
        if sys.platform == "win32":  # pragma: no cover - no open file is renamed there
            stream.close()
        # Closed later: a file without its lock would be taken for one a kill has left.
        self._part.replace(path)
        stream.close()
        self._stream = None
        return saved

    def _opened(self) -> io.FileIO:
        """Return the part file, with all bytes that were kept in memory."""
        if self._stream is None:
            self._part, self._stream = self._create()
            if self._private:
                make_private(self._part)
            self._append(self._stream, [bytes(self._small)])
            self._small.clear()
        return self._stream

    def _create(self) -> tuple[Path, io.FileIO]:
        try:
            with contextlib.suppress(FileNotFoundError):
                return create_part(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            return create_part(self._folder)
        except ValueError as fault:  # a path that no system takes
            raise OSError(errno.EINVAL, str(fault)) from None

    def _append(self, stream: io.FileIO, blocks: list[bytes]) -> None:
        """Write all of *blocks*, in as few system calls as possible."""
        # Not by the stream: it makes more calls, and after each one it wants the
        # interpreter's lock back, for which the event loop then has to wait.
        for block in blocks:
            self._digest.update(block)
        left = [memoryview(block) for block in blocks]
        while left:
            if sys.platform == "win32":  # pragma: no cover - there is no writev()
                count = os.write(stream.fileno(), left[0])
            else:
                count = os.writev(stream.fileno(), left[:_VECTOR])
            while left and count >= len(left[0]):
                count -= len(left.pop(0))
            if count:
                left[0] = left[0][count:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:  # it was not committed
            # On a full disk closing fails too; the unwritten bytes are not wanted.
            with contextlib.suppress(OSError):
                self._stream.close()
            self._part.unlink(missing_ok=True)


@attrs.frozen
class _Commit:
    """One small file that waits to be committed."""

    part: AtomicFile
    path: Path
    done: asyncio.Future[SavedFile]


class GroupCommitter:
    """
    Commits the files of one client, in threads of *pool*.

    Small files for the same folder are committed together when they arrive within
    *delay* seconds of the first, or while others are being committed: syncing the
    folder costs as much as syncing a file, and once is enough for all of them.
    """

    def __init__(self, pool: Executor, delay: float = _GROUP_DELAY) -> None:
        self._pool = pool
        self._delay = delay
        self._waiting: dict[Path, list[_Commit]] = {}  # by folder

    async def commit(self, part: AtomicFile, path: Path) -> SavedFile:
        """Commit *part* as *path*; a cancellation is raised after the commit."""
        if not part.is_quick(0):
            return await run_in_thread(lambda: part.commit(path), self._pool)
        folder, loop = path.parent, asyncio.get_running_loop()
        commit = _Commit(part, path, loop.create_future())
        if folder in self._waiting:
            self._waiting[folder].append(commit)
        else:
            self._waiting[folder] = [commit]
            loop.call_later(self._delay, self._commit_next, folder)
        return await wait_uninterrupted(commit.done)

    def _commit_next(self, folder: Path) -> None:
        """Start the next group of *folder*, or drop the folder if none waits."""
        waiting = self._waiting[folder]
        if not waiting:
            del self._waiting[folder]
            return
        group, self._waiting[folder] = waiting[:_GROUP], waiting[_GROUP:]

        def finish(results: list[SavedFile | Exception]) -> None:
            for commit, result in zip(group, results, strict=True):
                if isinstance(result, SavedFile):
                    commit.done.set_result(result)
                else:
                    commit.done.set_exception(result)
            self._commit_next(folder)

        try:
            work = start_in_thread(lambda: _commit_group(folder, group), self._pool)
        except (RuntimeError, OutOfThreadsError) as fault:  # the pool was shut down
            finish([fault] * len(group))
        else:
            work.add_done_callback(lambda work: finish(work.result()))


def _commit_group(folder: Path, group: list[_Commit]) -> list[SavedFile | Exception]:
    """Commit *group*, and return the outcome of each."""
    results: list[SavedFile | Exception] = []
    for commit in group:
        try:
            results.append(commit.part.replace(commit.path))
        except Exception as fault:  # noqa: BLE001 - raised in the waiting caller
            results.append(fault)
    sync_folder(folder)
    return results


def as_path(
    given: str | os.PathLike[str], says: str = "a result is saved at a path"
) -> Path:
    """Return the path, or raise :exc:`ConfigurationError` if it is none."""
    if isinstance(given, Path):
        return given
    if isinstance(given, str | os.PathLike):
        with contextlib.suppress(TypeError):  # a path of bytes
            return Path(given)
    raise ConfigurationError(f"{says} (a str or a Path), not {type(given).__name__}")


def check_path(path: Path) -> None:
    """Raise :exc:`ConfigurationError` for a path that no system takes."""
    try:
        if b"\0" not in os.fsencode(path):
            return
        says = "it holds a null character"
    except UnicodeEncodeError:
        says = "it holds a character that no name may have"
    raise ConfigurationError(f"nothing can be saved as {str(path)!r}: {says}")


def check_own(path: Path) -> None:
    """
    Raise :exc:`ConfigurationError` if a file or folder of ours is a link.

    That is *path*, and what is above it up to :data:`OWN_FOLDER`; a path outside of
    such a folder is not checked. A folder of results may come from somebody else, and
    through a link in it files of the user's would be changed or deleted.
    """
    own = [path]
    for above in path.parents:
        own.append(above)
        if above.name == OWN_FOLDER:
            break
    else:
        return
    for each in own:
        if each.is_symlink():
            raise ConfigurationError(
                f"{each} is a link, and may lead to other files of yours: remove it"
            )


def make_private(path: Path) -> None:
    """Let the owner only read the file at *path*, which is made if missing."""
    # Never opened if it is there: closing it again would end the locks that this
    # process has on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE))
        return
    with contextlib.suppress(OSError):  # another user's, or a system without rights
        path.chmod(path.stat().st_mode & _PRIVATE)


def make_private_folder(path: Path) -> None:
    """Let the owner only enter the folder at *path*, which is made if missing."""
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):  # another user's, or a system without rights
        path.chmod(path.stat().st_mode & _PRIVATE_FOLDER)


def sync_folder(folder: Path) -> None:
    """Have the names in *folder* outlive a power cut, as far as the system can."""
    # Not every system and file system lets a folder be synced, nor every folder
    # be read; the file is complete by now, so that is no failure.
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
