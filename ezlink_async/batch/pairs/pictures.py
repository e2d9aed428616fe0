"""
The pictures of a pair: files, and pictures that a program holds in memory.

A picture in memory has a name, which stands for it wherever a path is shown, and is
otherwise known by its content. Functions here block: they read files.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import attrs

from ezlink_async._core import containers
from ezlink_async._core.images import HEAD_BYTES, MAX_BYTES, Image, check_acceptable
from ezlink_async._core.json_reader import storable
from ezlink_async._io.files import check_path
from ezlink_async.batch.pairs.output_paths import digest_of, is_whole
from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.prepare import Prepared, needs_preparing, prepare_picture

IN_MEMORY = Path("picture in memory")
"""The name of a source in memory."""

_AT_END = (
    "the file object has nothing to read: it is empty, or it was read already, "
    "perhaps for another pair; give the bytes, which many pairs can share"
)
_CUT_OFF = "it is cut off, or broken: copy it again"


@attrs.frozen
class Input:
    """A picture of a job: its *role* in the request, and its path or name."""

    role: str
    path: Path


def path_of(inputs: Iterable[Input], role: str) -> Path:
    """Return the path of the picture with this *role*; empty without one."""
    return next((each.path for each in inputs if each.role == role), Path())


class BinaryReader(Protocol):
    """A file object that is open for reading bytes."""

    def read(self, size: int, /) -> object:
        """Return at most *size* bytes, as ``open(path, "rb")`` does."""
        ...


class InMemory:
    """
    A picture that is given as bytes, an :class:`Image` or a file object.

    It is read once, in the thread that first asks for it. Thread-safe.
    """

    def __init__(self, given: bytes | BinaryReader, name: Path) -> None:
        self.name = name
        self._given: bytes | BinaryReader | None = given
        self._lock = threading.Lock()
        self._found: tuple[Image, bytes] | ImageError | None = None

    @property
    def image(self) -> Image:
        """The picture; :exc:`ImageError` if it cannot be sent."""
        return self._load()[0]

    @property
    def digest(self) -> bytes:
        """The SHA-256 of its content; :exc:`ImageError` if it cannot be sent."""
        return self._load()[1]

    def _load(self) -> tuple[Image, bytes]:
        with self._lock:
            if self._found is None:
                self._found = self._read()
                self._given = None
        if isinstance(self._found, ImageError):
            raise self._found.for_awaiter()
        return self._found

    def _read(self) -> tuple[Image, bytes] | ImageError:
        try:
            content = self._content()
            check_acceptable(content[:HEAD_BYTES], len(content))
            containers.verify_complete(content)
        except ImageError as error:
            named = ImageError(error.reason, path=self.name, limit=error.limit)
            named.__cause__ = error.__cause__
            return named
        return Image(content=content), hashlib.sha256(content).digest()

    def _content(self) -> bytes:
        given = self._given
        if given is None or isinstance(given, bytes):
            return given or b""
        pieces, length = [], 0
        # A raw file may return fewer bytes than it was asked for.
        while length <= MAX_BYTES and (piece := _piece(given, MAX_BYTES + 1 - length)):
            pieces.append(piece)
            length += len(piece)
        if not pieces:
            raise ImageError(_AT_END)
        return b"".join(pieces)


def _piece(given: BinaryReader, most: int) -> bytes:
    """Return at most *most* bytes; :exc:`ImageError` for any error of a read."""
    try:
        piece = given.read(most)
    # A file object is any program's: one in a torn archive raises what it likes.
    except Exception as fault:
        says = f"cannot be read: {type(fault).__name__}: {fault}"
        raise ImageError(says) from fault
    if not piece:
        return b""
    if not isinstance(piece, bytes):
        raise ImageError("the file object has to be open in binary mode")
    return piece


Picture = Path | InMemory
"""A picture of a pair, as this room holds it."""

PictureLike = str | os.PathLike[str] | bytes | Image | BinaryReader | InMemory
"""The forms in which a program gives a picture of a pair."""


def picture_of(given: object, name: Path) -> Picture:
    """
    Return a picture in any form of :data:`PictureLike`; one in memory gets *name*.

    :exc:`ConfigurationError` for any other value, :exc:`ImageError` for text that is
    no path.
    """
    if isinstance(given, InMemory):
        return given
    if isinstance(given, Image):
        if (held := given.held) is not None:
            return InMemory(bytes(held), name)
        given = given.path
    if isinstance(given, str | os.PathLike):
        return Image.from_path(given).path or Path()
    if isinstance(given, bytes | bytearray | memoryview):
        return InMemory(bytes(given), name)
    if callable(getattr(given, "read", None)):
        return InMemory(given, name)  # type: ignore[arg-type] # it was looked at
    raise ConfigurationError(
        "a picture is a path, bytes, an Image or a binary file object, not "
        f"{type(given).__name__}"
    )


def check_name(path: Path) -> None:
    """Raise :exc:`ImageError`, which can be printed, for a name no system takes."""
    try:
        check_path(path)
    except ConfigurationError:
        raise ImageError(
            "no picture can have this name: it holds a character that no name may have",
            path=storable(str(path)),
        ) from None


def digest_of_picture(picture: Picture) -> bytes:
    """Return the SHA-256 of a picture that can be sent, or prepared."""
    if isinstance(picture, InMemory):
        return picture.digest
    check_name(picture)
    needs_change = needs_preparing(picture)
    try:
        if not needs_change and not is_whole(picture):
            raise ImageError(_CUT_OFF, path=picture)
        return digest_of(picture)[0]
    except OSError as fault:  # pragma: no cover - it could be read just now
        says = f"cannot be read: {fault.strerror or fault}"
        raise ImageError(says, path=picture) from fault


def is_ready(picture: Picture, *, strip_metadata: bool) -> bool:
    """Return whether a picture is sent byte for byte."""
    if strip_metadata:
        return False
    return isinstance(picture, InMemory) or not needs_preparing(picture)


def as_given(picture: Picture) -> Image:
    """Return a picture as it was given."""
    if isinstance(picture, InMemory):
        return picture.image
    return Image.from_path(picture)


def prepared(picture: Picture, *, strip_metadata: bool) -> Prepared:
    """Return a picture as it is sent, converted where that is needed."""
    image = as_given(picture)
    if is_ready(picture, strip_metadata=strip_metadata):
        return Prepared(image)
    return prepare_picture(image, strip_metadata=strip_metadata)


def absolute(path: Path) -> Path:
    """Return *path* as :meth:`Path.absolute` does, in less time."""
    return path if path.is_absolute() else _joined(os.getcwd(), path)  # noqa: PTH109 - a key


@functools.lru_cache(256)  # each picture is asked for several times, a source each time
def _joined(folder: str, path: Path) -> Path:
    return Path(folder, path)
