"""Folders: on small disks, in memory, read-only, and what is in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def names_in(folder: Path) -> list[str]:
    """Return the names of everything in *folder*, sorted."""
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make *folder* read-only, for root too."""
    if os.geteuid():
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    with _mounted(folder, "--bind", str(folder)):
        _do("mount", "-o", "remount,bind,ro", str(folder))
        yield


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Let *folder* be a disk of *size* bytes."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield


def quick_folder() -> Path:
    """
    Return a new folder for many small files, in memory where the system has that.

    For tests in which no machine dies: there a wait for the disk shows nothing.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    return Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))


@contextlib.contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[None]:
    if os.geteuid() or not _do("mount", *how, str(folder)):
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        _do("umount", str(folder))


def _do(program: str, *arguments: str) -> bool:
    found = shutil.which(program)
    command = [found or program, *arguments]
    return not subprocess.run(command, check=False, capture_output=True).returncode
