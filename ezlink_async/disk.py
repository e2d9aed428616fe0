"""
Pictures from the disk, and results to it, whole or not at all.

What takes longer than a hop to a thread (256 KiB and more) happens in one.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import errno
import mmap
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

from ezlink_async.errors import ImageError
from ezlink_async.images import (
    HEAD_BYTES,
    EncodedImage,
    Image,
    PreparedImage,
    accept,
    digest_of,
    verify,
)

INLINE_BYTES = 256 * 1024
"""Up to here work is done on the loop: a thread hop would cost more."""

# 256 KiB of base64. Larger blocks would hold the interpreter's lock too long
# in binascii, and a multiple of three needs no padding inside.
_BLOCK = 192 * 1024

_T = TypeVar("_T")

try:
    import pybase64
except ImportError:  # pragma: no cover - the `speed` extra is there in tests

    def _b64(block: bytes) -> bytes:
        return binascii.b2a_base64(block, newline=False)

else:

    def _b64(block: bytes) -> bytes:
        return pybase64.b64encode(block)


async def off_loop(length: int, call: Callable[[], _T]) -> _T:
    """Run *call* here when *length* bytes are few, else in a thread."""
    if length <= INLINE_BYTES:
        return call()
    return await asyncio.get_running_loop().run_in_executor(None, call)


def prepare(image: Image) -> PreparedImage:
    """
    Look at a picture: its type by content and its length.

    Raises :exc:`ImageError` when it is missing, no file, or not acceptable.
    """
    if image.content is not None:
        media_type = accept(image.content[:HEAD_BYTES], len(image.content))
        return PreparedImage(image, media_type, len(image.content))
    with _open(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        media_type = accept(stream.read(HEAD_BYTES), length, path=image.path)
    return PreparedImage(image, media_type, length)


def _open(image: Image) -> BinaryIO:
    path = image.path or Path()
    try:
        # A pipe or a device would block, or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("this is not a file", path=path)
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("there is no such file", path=path) from None
    except (OSError, ValueError) as fault:
        says = getattr(fault, "strerror", None) or fault
        if isinstance(fault, ImageError):
            raise
        raise ImageError(f"cannot be read: {says}", path=path) from fault


def _changed(prepared: PreparedImage) -> ImageError:
    return ImageError(
        "the file changed its length while it was read", path=prepared.image.path
    )


def _read(prepared: PreparedImage, stream: BinaryIO, position: int) -> bytes:
    """Read the next block; the last one also sees that nothing follows."""
    want = min(_BLOCK, prepared.length - position)
    try:
        block = stream.read(want)
        more = stream.read(1) if position + want == prepared.length else b""
    except OSError as fault:
        says = fault.strerror or fault
        raise ImageError(f"cannot be read: {says}", path=prepared.image.path) from fault
    if len(block) != want or more:
        raise _changed(prepared)
    return block


def _raw_blocks(prepared: PreparedImage) -> Iterator[bytes]:
    if prepared.image.content is not None:
        for start in range(0, prepared.length, _BLOCK):
            yield prepared.image.content[start : start + _BLOCK]
        return
    with _open(prepared.image) as stream:
        for start in range(0, prepared.length, _BLOCK):
            yield _read(prepared, stream, start)


class TextBlocks:
    """
    The base64 text of a picture, in blocks of up to 256 KiB.

    Reads the file anew. :exc:`ImageError` as soon as it is seen to have
    another length than before; a whole text has the length that was promised.
    """

    def __init__(self, prepared: PreparedImage) -> None:
        self._length = prepared.length
        self._raw: Iterator[bytes] = _raw_blocks(prepared)

    async def next(self) -> bytes:
        """Return the next block, empty at the end."""
        raw = self._raw
        return await off_loop(self._length, lambda: _b64(next(raw, b"")))

    def close(self) -> None:
        """Let go of the file, as soon as no thread is reading it any more."""
        self._raw = iter(())


async def encode(prepared: PreparedImage) -> EncodedImage:
    """Encode a picture once, to be shared by a batch."""

    def work() -> EncodedImage:
        text = b"".join(map(_b64, _raw_blocks(prepared)))
        return EncodedImage(prepared, text, _digest(prepared))

    return await off_loop(prepared.length, work)


def _digest(prepared: PreparedImage) -> bytes:
    return digest_of(b"".join(map(digest_of, _raw_blocks(prepared))))


async def same_content(
    source: PreparedImage | EncodedImage, target: PreparedImage
) -> bool:
    """Tell whether two pictures are the same bytes; the server refuses such."""
    stamp = source.prepared if isinstance(source, EncodedImage) else source
    if (stamp.length, stamp.media_type) != (target.length, target.media_type):
        return False

    def work() -> bool:
        known = source.digest if isinstance(source, EncodedImage) else _digest(stamp)
        return known == _digest(target)

    return await off_loop(target.length, work)


async def prepare_other(
    target: Image, than: PreparedImage | EncodedImage
) -> PreparedImage:
    """Prepare a picture that must be another one; :exc:`ImageError` if not."""
    prepared = prepare(target)
    if await same_content(than, prepared):
        raise ImageError("source and target are the same picture", path=target.path)
    return prepared


class PartFile:
    """
    A result on its way: beside its place, and not there before it is whole.

    Writing and committing block; call them in a thread. After a crash a
    hidden ``.ezlink-*.part`` may be left, never half a picture under the
    final name.
    """

    def __init__(self, path: Path) -> None:
        # Short, since `path` may already be as long as a name can be.
        self._part = path.parent / f".ezlink-{secrets.token_hex(8)}.part"
        self._stream: BinaryIO | None = None

    @property
    def stream(self) -> BinaryIO:
        """The open file; made when it is first asked for."""
        if self._stream is None:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
            try:
                self._part.parent.mkdir(parents=True, exist_ok=True)
                # Not tempfile: its files are for their owner alone, for good.
                descriptor = os.open(self._part, flags, 0o666)
            except ValueError as fault:  # a path no system takes
                raise OSError(errno.EINVAL, str(fault)) from None
            self._stream = os.fdopen(descriptor, "w+b")
        return self._stream

    def restart(self) -> None:
        """Forget what came so far."""
        self.stream.seek(0)
        self.stream.truncate()

    def write(self, block: bytes) -> None:
        """Append *block*."""
        self.stream.write(block)

    def verify(self) -> str | None:
        """Return the media type when it is whole; see :func:`images.verify`."""
        self.stream.flush()
        if not self.stream.tell():
            raise ImageError("the answer is empty")
        with mmap.mmap(self.stream.fileno(), 0, access=mmap.ACCESS_READ) as picture:
            return verify(picture)

    def commit(self, path: Path) -> None:
        """Put it in its place in one step, replacing what is there."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self._part.replace(path)
        _sync_folder(path.parent)

    def discard(self) -> None:
        """Take it away; harmless after :meth:`commit`."""
        if self._stream is not None:
            self._stream.close()
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _sync_folder(folder: Path) -> None:
    # Without it a power cut may forget the new name. Not every system and
    # file system lets a folder be synced, nor every folder be read; the
    # picture is in its place by now, so that is no failure.
    if os.name == "nt":  # pragma: no cover - folders cannot be opened there
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
