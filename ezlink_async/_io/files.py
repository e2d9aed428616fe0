"""
Results on their way to the disk: whole under their names, or not there.

What takes longer than a hop to a thread happens in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import mmap
import os
import secrets
import sys
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Self

import attrs

from ezlink_async._core.containers import verify_complete
from ezlink_async._io.concurrency import INLINE_BYTES, run_in_thread, wait_uninterrupted
from ezlink_async.errors import ConfigurationError, ImageError

_ROUND = 16  # results that wait for each other's disk at most
_COMPANY = 0.002  # seconds: those that end together do not arrive in one turn

_VECTOR = 256  # blocks in one call; systems take 1024

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)


class AtomicFile:
    """
    A result on its way: beside its place, and not there before it is whole.

    A small one stays in memory until it is committed: one visit to the disk,
    instead of four. What takes longer blocks; call it in a thread. After a
    crash a hidden ``.ezlink-*.part`` may be left, never half a picture under
    the final name.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        # Short, since `path` may already be as long as a name can be.
        name = f".ezlink-{secrets.token_hex(8)}.part"
        self._part = os.path.join(self._folder, name)  # noqa: PTH118 - cheaper
        self._is_there = False
        self._small = bytearray()
        self._stream: io.FileIO | None = None

    def is_quick(self, length: int) -> bool:
        """Whether writing *length* bytes more does not touch the disk."""
        return self._stream is None and len(self._small) + length <= INLINE_BYTES

    def restart(self) -> None:
        """Forget what came so far."""
        self._small.clear()
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.truncate()

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks*."""
        if self.is_quick(sum(map(len, blocks))):
            self._small += b"".join(blocks)
            return
        if self._stream is None:
            self._stream = os.fdopen(self._create(), "w+b", buffering=0)
            _write(self._stream.fileno(), [bytes(self._small)])
            self._small.clear()
        _write(self._stream.fileno(), blocks)

    def verify(self) -> str | None:
        """Return the media type when it is whole; see :func:`whole.verify`."""
        if self._stream is None:
            return verify_complete(bytes(self._small))
        if not os.fstat(self._stream.fileno()).st_size:
            raise ImageError("the answer is empty")  # nothing cannot be mapped
        with mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ) as picture:
            return verify_complete(picture)

    def commit(self, path: Path) -> None:
        """Put it in its place in one step, replacing what is there."""
        self.settle(path)
        sync_folder(path.parent)

    def settle(self, path: Path) -> None:
        """Do so, but for :func:`sync_folder`: a power cut may forget the name."""
        if self._stream is None:
            self._write_small()
        else:
            os.fsync(self._stream.fileno())
            self._stream.close()
        os.replace(self._part, path)  # noqa: PTH105 - cheaper
        self._is_there = False

    def discard(self) -> None:
        """Take it away; harmless after :meth:`commit`."""
        if self._stream is not None:
            # On a full disk closing fails too: what it still held is not wanted.
            with contextlib.suppress(OSError):
                self._stream.close()
        if self._is_there:
            Path(self._part).unlink(missing_ok=True)

    def _create(self) -> int:
        # Not tempfile: its files are for their owner alone, for good.
        try:
            try:
                descriptor = os.open(self._part, _FLAGS, 0o666)
            except FileNotFoundError:
                self._folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self._part, _FLAGS, 0o666)
        except ValueError as fault:  # a path no system takes
            raise OSError(errno.EINVAL, str(fault)) from None
        self._is_there = True
        return descriptor

    def _write_small(self) -> None:
        descriptor = self._create()
        try:
            _write(descriptor, [bytes(self._small)])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _write(descriptor: int, blocks: list[bytes]) -> None:
    """Write all of *blocks*, in as few calls as the system lets us."""
    # Not by a stream: its calls are more, and each wants the interpreter's lock
    # back, which the event loop then has to wait for.
    left = [memoryview(block) for block in blocks]
    while left:
        if sys.platform == "win32":  # pragma: no cover - it has no call for many
            count = os.write(descriptor, left[0])
        else:
            count = os.writev(descriptor, left[:_VECTOR])
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if count:
            left[0] = left[0][count:]


@attrs.frozen
class _Errand:
    """One small result that is to be put in its place."""

    part: AtomicFile
    path: Path
    done: asyncio.Future[None]


class GroupCommitter:
    """
    Puts the results of one client in their places, in threads.

    Small ones that come for a folder within *company* seconds, or while others
    are being put there, go together. Syncing the folder costs as much as syncing
    a file, and once is enough for all of them.
    """

    def __init__(self, pool: Executor, company: float = _COMPANY) -> None:
        self._pool = pool
        self._company = company
        self._waiting: dict[Path, list[_Errand]] = {}  # where some are

    async def commit(self, part: AtomicFile, path: Path) -> None:
        """Put *part* in its place for good; a cancellation waits until it is."""
        if not part.is_quick(0):
            await run_in_thread(lambda: part.commit(path), self._pool)
            return
        folder, loop = path.parent, asyncio.get_running_loop()
        errand = _Errand(part, path, loop.create_future())
        if folder in self._waiting:
            self._waiting[folder].append(errand)
        else:
            self._waiting[folder] = [errand]
            loop.call_later(self._company, self._go_on, folder)
        await wait_uninterrupted(errand.done)

    def _go_on(self, folder: Path) -> None:
        """Begin with what waits; when nothing does, the folder is at rest."""
        waiting = self._waiting[folder]
        if not waiting:
            del self._waiting[folder]
            return
        errands, self._waiting[folder] = waiting[:_ROUND], waiting[_ROUND:]
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(self._pool, _put_all, folder, errands)
        except RuntimeError as closed:
            _tell(errands, [closed] * len(errands))
            self._go_on(folder)
            return

        def over(work: asyncio.Future[list[Exception | None]]) -> None:
            _tell(errands, work.result())
            self._go_on(folder)

        work.add_done_callback(over)


def _put_all(folder: Path, errands: list[_Errand]) -> list[Exception | None]:
    """Put all in their places, and return what went wrong with each."""
    faults: list[Exception | None] = []
    for errand in errands:
        try:
            errand.part.settle(errand.path)
        except Exception as fault:  # noqa: BLE001 - whoever sent it is told
            faults.append(fault)
        else:
            faults.append(None)
    sync_folder(folder)
    return faults


def _tell(errands: list[_Errand], faults: Iterable[Exception | None]) -> None:
    for errand, fault in zip(errands, faults, strict=True):
        if fault is None:
            errand.done.set_result(None)
        else:
            errand.done.set_exception(fault)


def check_path(path: Path) -> None:
    """Refuse what no system takes as a path: :exc:`ConfigurationError`."""
    try:
        if b"\0" not in os.fsencode(path):
            return
        says = "it holds a null character"
    except UnicodeEncodeError:
        says = "it holds a character that no name may have"
    raise ConfigurationError(f"nothing can be saved as {str(path)!r}: {says}")


def sync_folder(folder: Path) -> None:
    """Have the names in *folder* outlive a power cut, as far as the system can."""
    # Not every system and file system lets a folder be synced, nor every folder
    # be read; the picture is in its place by now, so that is no failure.
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
