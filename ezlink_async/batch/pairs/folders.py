"""
Finds targets: the files that are named, and the pictures below the named folders.

A picture is recognized by its content, and files that are left out are counted. A
file with the suffix of a picture is never left out for its content: one that is no
picture is a target with a problem. Lazy: one folder is listed at a time.
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
from ezlink_async.batch.pairs.output_paths import CONVERTED_SUFFIXES, SUFFIXES
from ezlink_async.errors import ConfigurationError

HIDDEN = "hidden"
NO_PICTURE = "no JPEG, PNG or WebP"
OUTPUT = "the output folder"
SOURCE = "the source itself"
FOLDER_LINK = "links to folders"
UNREADABLE = "not readable"
TWICE = "named twice"

_PHOTOS = {"HEIC", "AVIF", "TIFF"}  # cameras make them; they are converted

_NAMED_AS_PICTURES = SUFFIXES | CONVERTED_SUFFIXES
_EMPTY = "the file is empty; copy it again"
_FAKE = "this is no picture, though its name says so; copy it again"

FileId = tuple[int, int]
LeftOut = collections.Counter[str]
"""The number of files that were left out, by reason."""


@attrs.frozen
class Target:
    """
    A picture to swap, and its path below the folder it was found from.

    A *problem* says why it is no picture, though its suffix is that of one.
    """

    path: Path
    below: Path
    problem: str | None = None


@attrs.frozen(kw_only=True)
class Search:
    """
    A search for targets in folders.

    Files and folders that cannot be targets are left out, and counted in
    *left_out*: hidden ones, the *output* folder, the *sources*, files that neither
    are pictures nor have the suffix of one, and links to folders, which may lead in
    circles.
    """

    left_out: LeftOut = attrs.field(factory=LeftOut)
    sources: Iterable[Path] = ()
    output: Path | None = None

    def targets(self, named: Iterable[Path]) -> Iterator[Target]:
        """
        Yield the *named* files, and the pictures below *named* folders, sorted.

        A named file is not checked here: if it is no picture, its swap fails.
        """
        sources = file_ids(self.sources)
        for path in named:
            # `Path.is_dir` raises where a name is too long or a folder is locked.
            if not os.path.isdir(path):  # noqa: PTH112
                yield Target(path, Path(path.name))
            elif self.is_output(path):
                raise ConfigurationError(
                    f"{path} is a target and the output folder: choose another --output"
                )
            else:
                yield from self._below(path, Path(), sources)

    def is_output(self, folder: Path) -> bool:
        """Return whether *folder* is the output folder, which may be made late."""
        return bool(self.output and file_ids([folder]) & file_ids([self.output]))

    def _below(self, folder: Path, way: Path, sources: set[FileId]) -> Iterator[Target]:
        """Yield the pictures below *folder*, which is at *way* below a named one."""
        try:
            names, folders = _listing(folder)
        except OSError:
            self.left_out[UNREADABLE] += 1
            return
        for name in names:
            path = folder / name
            if name in folders:
                reason = self._why_not_entered(path, sources)
            else:
                reason = _why_no_target(path, sources)
            if reason in {_EMPTY, _FAKE}:
                yield Target(path, way / name, reason)
            elif reason is not None:
                self.left_out[reason] += 1
            elif name in folders:
                yield from self._below(path, way / name, sources)
            else:
                yield Target(path, way / name)

    def _why_not_entered(self, folder: Path, sources: set[FileId]) -> str | None:
        if folder.name.startswith("."):
            return HIDDEN
        if os.path.islink(folder):  # noqa: PTH114 - never raises
            return FOLDER_LINK
        if file_ids([folder]) & sources:
            return SOURCE
        return OUTPUT if self.is_output(folder) else None


def _why_no_target(path: Path, sources: set[FileId]) -> str | None:
    if path.name.startswith("."):
        return HIDDEN
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return NO_PICTURE  # a pipe would block, a device never end
        if _file_id(about) in sources:
            return SOURCE
        with path.open("rb") as stream:
            head = stream.read(images.HEAD_BYTES)
    except OSError:
        return UNREADABLE
    return _why_no_picture(path, head)


def _why_no_picture(path: Path, head: bytes) -> str | None:
    name = images.foreign_format(head)
    if images.sniff(head) is not None or name in _PHOTOS:
        return None
    if name:
        return f"{name} (not taken)"
    if path.suffix.lower() not in _NAMED_AS_PICTURES:
        return NO_PICTURE
    return _FAKE if head else _EMPTY


def file_ids(paths: Iterable[Path]) -> set[FileId]:
    """Return the identities of files, which do not depend on their names."""
    ids: set[FileId] = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # there is no such file
            ids.add(_file_id(path.stat()))
    return ids


def _file_id(about: os.stat_result) -> FileId:
    return about.st_dev, about.st_ino


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
