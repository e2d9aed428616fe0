"""
The paths of results, and the files that are there already.

Output paths have no suffix: it depends on the picture that the server returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

import attrs

from ezlink_async._core import containers
from ezlink_async._core.images import RESULT_SUFFIXES
from ezlink_async.errors import ImageError


def path_key(path: str) -> str:
    """Return a key that is equal for two paths that may become one file."""
    return unicodedata.normalize("NFC", path).casefold()


@attrs.frozen
class Output:
    """A saved result: its path below the output folder, its size, its SHA-256."""

    path: Path
    size: int
    digest: bytes


SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
"""The suffixes of pictures that can be sent, or are returned."""

TEXT_SUFFIX = ".txt"
"""The suffix of a text that is a result."""

_RESULTS = SUFFIXES | set(RESULT_SUFFIXES.values()) | {".m4v", ".webm"}

CONVERTED_SUFFIXES = frozenset({".tif", ".tiff", ".heic", ".heif", ".avif"})
"""The suffixes of pictures that are converted before they are sent."""

_FOREIGN = CONVERTED_SUFFIXES | {".gif", ".bmp"}

RESULT_NUMBER = re.compile(r"_[1-9][0-9]*\Z")
"""What each of several results adds to the output path of its job."""

# Results are copied between systems: what Windows forbids is escaped everywhere.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')

_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(?=\.|$)", re.IGNORECASE)

_PIECE = 65_536  # bytes of a file that are read together

# Room for a number and a suffix below the 255 bytes most file systems allow.
_NAME_BYTES = 240


def escape(name: str) -> str:
    """Return *name* without the characters that some system forbids."""
    name = _FORBIDDEN.sub("_", name)
    name = _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name
    return name[:-1] + "_" if name.endswith((".", " ")) else name


def _short(stem: str) -> str:
    stem = stem[:_NAME_BYTES]
    while len(stem.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
        stem = stem[:-1]
    return stem


def stem_of(path: Path) -> str:
    """Return the name without its suffix, if that is the suffix of a picture."""
    if path.suffix.lower() in SUFFIXES | _FOREIGN:
        return path.stem
    return path.name


def output_path_for(below: Path) -> str:
    """Return the output path for a target at *below*, the path in its folder."""
    above = (escape(_short(part)) for part in below.parent.parts)
    return "/".join((*above, escape(_short(stem_of(below)))))


def is_below(path: PurePath) -> bool:
    """Return whether *path* stays below each folder that it is joined to."""
    parts = path.parts
    return (
        bool(parts) and not path.anchor and ".." not in parts and "\0" not in str(path)
    )


def numbered(name: str) -> Iterator[str]:
    """Yield *name*, then *name* with ``-2``, ``-3`` and so on."""
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


class Existing:
    """The results in output folders; the listing of the last folder is cached."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._files: dict[str, list[str]] = {}

    def at(self, path: Path, *, pictures_only: bool = True) -> Sequence[Path]:
        """
        Return the files at *path*, with any suffix of a picture.

        With *pictures_only* off also texts and videos, and the first of several
        results.
        """
        if path.parent != self._folder:
            self._folder, self._files = path.parent, _listing(path.parent)
        names = [*self._files.get(path_key(path.name), ())]
        if pictures_only:
            names = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        else:
            names += self._files.get(path_key(f"{path.name}_1"), ())
        return [path.parent / name for name in names]


def free_names(place: Path) -> Iterator[str]:
    """Yield the names that no result in the folder of *place* has, its own first."""
    existing, folder = Existing(), place.parent
    return (
        name
        for name in numbered(place.name)
        if not existing.at(folder / name, pictures_only=False)
    )


def move_to_free_name(
    result: Path, place: Path, link: Callable[[Path, Path], None] = os.link
) -> Path:
    """
    Give the file *result* the first free name from *place* on, and return its path.

    The suffix stays. Of two processes that do so at once each gets a name of its own,
    and no file is replaced. *link* gives a file a second name, or raises
    :exc:`OSError` where the file system cannot; then an empty file takes the name
    first. A file that cannot be moved stays where it is. Blocks for a moment.
    """
    with contextlib.suppress(OSError):
        for name in free_names(place):
            path = place.parent / f"{name}{result.suffix}"
            with contextlib.suppress(FileExistsError):
                _move(result, path, link)
                return path
    return result


def _move(result: Path, path: Path, link: Callable[[Path, Path], None]) -> None:
    """Rename *result*; :exc:`FileExistsError` if there is a file at *path*."""
    try:
        link(result, path)
    except FileExistsError:
        raise
    except OSError:
        path.touch(exist_ok=False)
        result.replace(path)
    else:
        result.unlink()


def _listing(folder: Path) -> dict[str, list[str]]:
    listing: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):  # it is not there yet, or saving will fail
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - many may be there
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() in _RESULTS:
                listing.setdefault(path_key(stem), []).append(name)
    return listing


def is_whole(path: Path) -> bool:
    """Return whether *path* is a picture with its end."""
    try:
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as picture,
        ):
            return containers.verify_complete(picture) is not None
    except (OSError, ValueError, ImageError):  # ValueError: an empty file
        return False


def is_whole_result(path: Path) -> bool:
    """Return whether *path* is a picture or video with its end, or holds a text."""
    if path.suffix.lower() == TEXT_SUFFIX:
        return path.is_file() and path.stat().st_size > 0
    return is_whole(path)


def digest_of(path: Path) -> tuple[bytes, int]:
    """Return the SHA-256 of a file, and its size."""
    digest, size = hashlib.sha256(), 0
    # Not `file_digest`, which clears a quarter of a megabyte for each small file.
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return digest.digest(), size


def is_intact(folder: Path, output: Output) -> bool:
    """Return whether a saved result is still there, and unchanged."""
    path = folder / output.path
    try:
        if path.stat().st_size != output.size:
            return False
        return digest_of(path) == (output.digest, output.size)
    except OSError:
        return False


def why_not_writable(folder: Path) -> str | None:
    """Return why nothing can be written to *folder*, which need not exist yet."""
    try:
        above = next(filter(_is_there, (folder, *folder.parents)), folder)
    except OSError as fault:
        return f"{fault.filename}: {fault.strerror}"
    # `Path.is_dir` raises where a link leads into a locked folder.
    if not os.path.isdir(above):  # noqa: PTH112
        return f"{above} is no folder"
    return None if os.access(above, os.W_OK | os.X_OK) else f"{above} is read-only"


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False  # the folder above decides
    return True
