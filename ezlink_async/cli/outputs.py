"""
Where each result goes: names, and whole pictures that are there already.

Two outputs are the same when their paths without suffix agree after NFC and
case folding, since some file systems fold both. The suffix is that of the
picture that comes back, so it is not known before.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from ezlink_async import whole
from ezlink_async.cli.targets import Target
from ezlink_async.errors import ImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
"""What a picture that can be sent, or comes back, may end in."""

_FOREIGN = frozenset({".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"})

# What Windows forbids is escaped everywhere: results travel.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(?=\.|$)", re.IGNORECASE)

# Room for a number and a suffix below the 255 bytes most file systems allow.
_NAME_BYTES = 240


@attrs.frozen(eq=False)
class Job:
    """One target and the place of its result, still without a suffix."""

    target: Path
    place: Path

    def __fspath__(self) -> str:
        return str(self.target)


def escape(name: str) -> str:
    """Return *name* as every system allows it."""
    name = _FORBIDDEN.sub("_", name)
    name = _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name
    return name[:-1] + "_" if name.endswith((".", " ")) else name


def _short(stem: str) -> str:
    coded = stem.encode("utf-8", "surrogatepass")
    if len(coded) <= _NAME_BYTES:
        return stem
    return coded[:_NAME_BYTES].decode("utf-8", "ignore")


def stem_of(path: Path) -> str:
    """Return the name without the suffix of a picture; others are no suffix."""
    if path.suffix.lower() in SUFFIXES | _FOREIGN:
        return path.stem
    return path.name


def same(place: Path) -> str:
    """Return what is equal for two places that would become one file."""
    return unicodedata.normalize("NFC", str(place)).casefold()


def plan(targets: Iterable[Target], folder: Path) -> list[Job]:
    """
    Give each target its place below *folder*.

    Where several would become one file, the later ones get ``-2``, ``-3``, in
    the order of the targets, so that a second run names them alike.
    """
    jobs: list[Job] = []
    taken: set[str] = set()
    for target in targets:
        above = folder.joinpath(*map(escape, target.below.parent.parts))
        first = place = above / _short(escape(stem_of(target.below)))
        number = 1
        while same(place) in taken:
            number += 1
            place = first.with_name(f"{first.name}-{number}")
        taken.add(same(place))
        jobs.append(Job(target.path, place))
    return jobs


class Existing:
    """What is there already; each folder is listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def at(self, place: Path) -> Sequence[Path]:
        """Return the files at *place*, under any suffix of a picture."""
        if place.parent not in self._folders:
            self._folders[place.parent] = _listing(place.parent)
        return self._folders[place.parent].get(same(place), ())


def _listing(folder: Path) -> dict[str, list[Path]]:
    listing: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):  # not there yet, or it fails when it is used
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                listing.setdefault(same(path.with_suffix("")), []).append(path)
    return listing


def is_whole(path: Path) -> bool:
    """Return whether *path* is a picture that is there to its end."""
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as picture,
        ):
            return whole.verify(picture) is not None
    except (OSError, ValueError, ImageError):  # ValueError: an empty file
        return False


def obstacle(folder: Path) -> str | None:
    """Return why nothing can be written to *folder*, which need not exist yet."""
    try:
        above = next(filter(_is_there, (folder, *folder.parents)), folder)
    except OSError as fault:
        return f"{fault.filename}: {fault.strerror}"
    if not above.is_dir():
        return f"{above} is no folder"
    return None if os.access(above, os.W_OK) else f"{above} is read-only"


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False  # what is above it decides
    return True
