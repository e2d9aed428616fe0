"""
Which pictures are meant: the files named, and those below the folders named.

Judges by content. What is left out is counted, so that nobody wonders.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from ezlink_async import images
from ezlink_async.errors import ConfigurationError

HIDDEN = "hidden"
NO_PICTURE = "no JPEG, PNG or WebP"
OUTPUT = "the output folder"
SOURCE = "the source itself"
FOLDER_LINK = "links to folders"
UNREADABLE = "not readable"
TWICE = "named twice"

Mark = tuple[int, int]


@attrs.frozen
class Target:
    """A picture to swap, and its path below the folder it was found from."""

    path: Path
    below: Path


@attrs.define
class Found:
    """The targets in their order, and how many were left out, by reason."""

    targets: list[Target] = attrs.field(factory=list)
    left_out: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def __str__(self) -> str:
        reasons = ", ".join(f"{many} ({why})" for why, many in self.left_out.items())
        return f"left out: {reasons}"


def find(named: Iterable[Path], *, source: Path, output: Path) -> Found:
    """
    Return the pictures that *named* means, folders walked in sorted order.

    A file that is named is taken as it is: when it is no picture, that is an
    error of its own later. In folders, what cannot be a target is left out:
    hidden files, the *output* folder, the *source*, whatever is no picture,
    and links to folders, which may lead in circles.
    """
    found = Found()
    walk = _Walk(found.left_out, marks_of([source]), marks_of([output]))
    seen: set[tuple[str, str]] = set()
    real = functools.cache(os.path.realpath)
    for path in named:
        # `Path.is_dir` raises where a name is too long or a folder is locked.
        folder = os.path.isdir(path)  # noqa: PTH112
        if folder and marks_of([path]) & walk.outputs:
            raise ConfigurationError(
                f"{path} is a target and the output folder: choose another --output"
            )
        each = walk.below(path) if folder else [Target(path, Path(path.name))]
        for target in each:
            # One folder has many names, but a link to a picture is one of its own.
            name = real(target.path.parent), target.path.name
            if name in seen:
                found.left_out[TWICE] += 1
                continue
            seen.add(name)
            found.targets.append(target)
    return found


def marks_of(paths: Iterable[Path]) -> set[Mark]:
    """Return what tells these files from all others, whatever they are called."""
    marks: set[Mark] = set()
    for path in paths:
        with contextlib.suppress(OSError):  # what cannot be looked at is no file
            marks.add(_mark(path.stat()))
    return marks


def _mark(found: os.stat_result) -> Mark:
    return found.st_dev, found.st_ino


@attrs.frozen
class _Walk:
    """One way of looking through folders; *left_out* is counted up."""

    left_out: collections.Counter[str]
    sources: set[Mark]
    outputs: set[Mark]

    def below(self, top: Path) -> Iterator[Target]:
        """Yield the pictures below *top*, sorted by their path."""
        files = sorted(self._files(top), key=lambda path: path.relative_to(top).parts)
        for path in files:
            if reason := self._reason(path):
                self.left_out[reason] += 1
            else:
                yield Target(path, path.relative_to(top))

    def _files(self, top: Path) -> Iterator[Path]:
        for folder, below, files in os.walk(top, onerror=self._unreadable):
            below[:] = [name for name in below if self._enters(Path(folder, name))]
            yield from (Path(folder, name) for name in files)

    def _unreadable(self, _: OSError) -> None:
        self.left_out[UNREADABLE] += 1

    def _enters(self, folder: Path) -> bool:
        reason = None
        if folder.name.startswith("."):
            reason = HIDDEN
        elif os.path.islink(folder):  # noqa: PTH114 - never raises
            reason = FOLDER_LINK
        elif marks_of([folder]) & self.outputs:
            reason = OUTPUT
        if reason is not None:
            self.left_out[reason] += 1
        return reason is None

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
        if images.sniff(head) is not None:
            return None
        name = images.foreign_format(head)
        return f"{name} (not taken)" if name else NO_PICTURE
