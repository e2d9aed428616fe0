"""
Files that are still being written, and those that a kill has left.

A part file is locked while it is open, and the lock ends with its process. So one
whose lock can be taken was left, and is removed. Without locks, as on Windows and
some network folders, none is.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

if sys.platform == "win32":  # pragma: no cover - not run there

    def _system_lock(_: int) -> None:
        raise OSError(errno.ENOLCK, "no file can be removed while it is open")
else:
    import fcntl

    def _system_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_Lock = Callable[[int], None]

# On network folders a process may get a lock that it has already.
_OWN = secrets.token_hex(4)

_NAME = re.compile(r"\.ezlink-[0-9a-f]{16}\.part")


def create_part(folder: Path, lock: _Lock = _system_lock) -> tuple[Path, io.FileIO]:
    """Create a part file in *folder*; it is locked until it is closed."""
    while True:
        # Short, since the name of the result may already be as long as one can be.
        path = folder / f".ezlink-{_OWN}{secrets.token_hex(4)}.part"
        # Not tempfile: only the owner may read its files, even after a rename.
        stream = io.FileIO(path, "x+")
        try:
            lock(stream.fileno())
            is_ours = path.exists()
        except OSError as fault:
            is_ours = fault.errno not in {errno.EAGAIN, errno.EWOULDBLOCK}
        if is_ours:
            return path, stream
        stream.close()  # another process took it for one that was left


def remove_abandoned_parts(folder: Path, lock: _Lock = _system_lock) -> int:
    """
    Remove the part files in *folder* that no process has open, and return how many.

    Blocks, but waits for no lock. What cannot be removed stays.
    """
    removed = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and not entry.name[8:].startswith(_OWN):
                with contextlib.suppress(OSError):
                    _remove(Path(entry.path), lock)
                    removed += 1
    return removed


def _remove(path: Path, lock: _Lock) -> None:
    # For writing: on network folders nothing else can be locked. Never through a
    # link, which may lead to a file of somebody else.
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        lock(descriptor)
        path.unlink()
    finally:
        os.close(descriptor)
