"""
Which pictures are meant: the files named, and those below the folders named.

Judges by content. What is left out is counted, so that nobody wonders. Lazy:
one folder is listed at a time.
"""

from __future__ import annotations

import collections
import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ezlink_async._core import images
from ezlink_async.errors import ConfigurationError

HIDDEN = "hidden"
NO_PICTURE = "no JPEG, PNG or WebP"
OUTPUT = "the output folder"
SOURCE = "the source itself"
FOLDER_LINK = "links to folders"
UNREADABLE = "not readable"
TWICE = "named twice"

_PHOTOS = {"HEIC", "AVIF", "TIFF"}  # cameras make them; they are converted

FileId = tuple[int, int]
LeftOut = collections.Counter[str]
"""How many files were left out, by reason."""


@attrs.frozen
class Target:
    """A picture to swap, and its path below the folder it was found from."""

    path: Path
    below: Path


@attrs.frozen(kw_only=True)
class Search:
    """
    How folders are looked through.

    In folders, what cannot be a target is left out and counted in *left_out*:
    hidden files, the *output* folder, the *sources*, whatever is no picture,
    and links to folders, which may lead in circles.
    """

    left_out: LeftOut = attrs.field(factory=LeftOut)
    sources: Iterable[Path] = ()
    output: Path | None = None

    def targets(self, named: Iterable[Path]) -> Iterator[Target]:
        """
        Yield the pictures that *named* means, folders in sorted order.

        A file that is named is taken as it is: when it is no picture, that is
        an error of its own later.
        """
        walk = _Walk(self, file_ids(self.sources))
        for path in named:
            # `Path.is_dir` raises where a name is too long or a folder is locked.
            if not os.path.isdir(path):  # noqa: PTH112
                yield Target(path, Path(path.name))
            elif self.is_output(path):
                raise ConfigurationError(
                    f"{path} is a target and the output folder: choose another --output"
                )
            else:
                yield from walk.below(path, Path())

    def is_output(self, folder: Path) -> bool:
        """Return whether *folder* is where the results go, which may come late."""
        return bool(self.output and file_ids([folder]) & file_ids([self.output]))


def file_ids(paths: Iterable[Path]) -> set[FileId]:
    """Return what tells these files from all others, whatever they are called."""
    marks: set[FileId] = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # what cannot be is no file
            marks.add(_mark(path.stat()))
    return marks


def _mark(found: os.stat_result) -> FileId:
    return found.st_dev, found.st_ino


def _listing(folder: Path) -> tuple[list[str], set[str]]:
    """Return the names in *folder*, sorted, and which of them are folders."""
    names, folders = [], set()
    with os.scandir(folder) as found:
        for entry in found:
            names.append(entry.name)
            if _is_folder(entry):
                folders.add(entry.name)
    return sorted(names), folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):  # a link that leads in circles
        return entry.is_dir()
    return False


@attrs.frozen
class _Walk:
    """One way of looking through folders."""

    search: Search
    sources: set[FileId]

    def below(self, folder: Path, way: Path) -> Iterator[Target]:
        """Yield the pictures below *folder* by path; *way* is what leads there."""
        try:
            names, folders = _listing(folder)
        except OSError:
            self.search.left_out[UNREADABLE] += 1
            return
        for name in names:
            path, is_folder = folder / name, name in folders
            reason = self._closed(path) if is_folder else self._reason(path)
            if reason is not None:
                self.search.left_out[reason] += 1
            elif is_folder:
                yield from self.below(path, way / name)
            else:
                yield Target(path, way / name)

    def _closed(self, folder: Path) -> str | None:
        """Return why *folder* is not entered."""
        if folder.name.startswith("."):
            return HIDDEN
        if os.path.islink(folder):  # noqa: PTH114 - never raises
            return FOLDER_LINK
        if file_ids([folder]) & self.sources:
            return SOURCE
        return OUTPUT if self.search.is_output(folder) else None

    def _reason(self, path: Path) -> str | None:
        """Return why *path* is no target, ``None`` when it is one."""
        if path.name.startswith("."):
            return HIDDEN
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                return NO_PICTURE  # a pipe would block, a device never end
            if _mark(about) in self.sources:
                return SOURCE
            with path.open("rb") as stream:
                head = stream.read(images.HEAD_BYTES)
        except OSError:
            return UNREADABLE
        name = images.foreign_format(head)
        if images.sniff(head) is not None or name in _PHOTOS:
            return None
        return f"{name} (not taken)" if name else NO_PICTURE
