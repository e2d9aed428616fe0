"""A lock that allows one run at a time in a folder, and ends with its process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from ezlink_async._io.files import check_own, make_private
from ezlink_async.errors import ConfigurationError

if sys.platform == "win32":  # pragma: no cover - not run there
    import msvcrt

    def _system_lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _check_alive(_: int) -> None:
        """Assume that every process is alive: asking would send it a Ctrl-C."""
else:
    import fcntl

    def _system_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _check_alive(process: int) -> None:
        os.kill(process, 0)


_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class FolderLock:
    """
    The lock at *path*, held from its creation until :meth:`close`.

    Where the file system knows no locks, the file itself is the lock, with the
    name of the process in it: :attr:`is_real` is false then, and a lock whose
    process has ended on this machine is ignored. Raises
    :exc:`ConfigurationError` if another run holds it, it cannot be made, or it or its
    folder is a link.
    """

    def __init__(self, path: Path, lock: Callable[[int], None] = _system_lock) -> None:
        self._path = path
        self.is_real: bool = True
        check_own(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            make_private(path)
            self._descriptor = os.open(path, os.O_RDWR)
            with contextlib.ExitStack() as failed:
                failed.callback(os.close, self._descriptor)
                self._take(lock)
                failed.pop_all()
        except OSError as fault:
            says = fault.strerror or fault
            raise ConfigurationError(
                f"no run can be kept in {path.parent}: {says}"
            ) from None

    def _take(self, lock: Callable[[int], None]) -> None:
        try:
            lock(self._descriptor)
        except OSError as fault:
            if fault.errno in _TAKEN:
                raise self._in_use() from None
            self.is_real = False
            self._take_by_name()

    def _take_by_name(self) -> None:
        """Write the name of this process into the file."""
        holder = os.read(self._descriptor, 200).decode(errors="replace")
        if holder and not _is_over(holder):
            raise self._in_use(
                f" (process {holder}; if it is over, delete {self._path})"
            )
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())

    def _in_use(self, more: str = "") -> ConfigurationError:
        folder = self._path.parent.parent
        return ConfigurationError(
            f"another run is at work in {folder}: wait for it, or end it{more}"
        )

    def close(self) -> None:
        """Release the lock; twice is harmless."""
        if self._descriptor < 0:
            return
        if not self.is_real:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1


def _is_over(holder: str) -> bool:
    """Return whether *holder* names a process of this machine that has ended."""
    number, _, host = holder.partition(" on ")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        _check_alive(int(number))
    except (OSError, OverflowError) as fault:
        return not isinstance(fault, PermissionError)  # alive, of another user
    return False
