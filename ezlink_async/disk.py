"""
Pictures from the disk, and results to it, whole or not at all.

What takes longer than a hop to a thread (256 KiB and more) happens in one.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import mmap
import operator
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, Self

from ezlink_async.errors import ConfigurationError, ImageError
from ezlink_async.images import (
    HEAD_BYTES,
    EncodedImage,
    Image,
    PreparedImage,
    accept,
)
from ezlink_async.threads import INLINE_BYTES, off_loop
from ezlink_async.whole import verify

# What is read in one go: 1 MiB of base64. A multiple of three needs no padding
# inside.
_BLOCK = 768 * 1024

# 256 KiB of base64: for longer nobody else would get the interpreter's lock.
_PIECE = 192 * 1024


def slow_base64(block: bytes) -> bytes:
    """Encode with the standard library, which holds the lock while it does."""
    pieces = range(0, len(block), _PIECE)
    view = memoryview(block)
    return b"".join(
        binascii.b2a_base64(view[start : start + _PIECE], newline=False)
        for start in pieces
    )


_b64: Callable[[bytes], bytes] = slow_base64
with contextlib.suppress(ImportError):  # it is in the `speed` extra
    from pybase64 import b64encode

    _b64 = b64encode


def prepare(image: Image) -> PreparedImage:
    """
    Look at a picture: its type by content and its length.

    Raises :exc:`ImageError` when it is missing, no file, or not acceptable.
    """
    if image.content is not None:
        media_type = accept(image.content[:HEAD_BYTES], len(image.content))
        return PreparedImage(image, media_type, len(image.content))
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        media_type = accept(stream.read(HEAD_BYTES), length, path=image.path)
    return PreparedImage(image, media_type, length)


@contextlib.contextmanager
def reading(image: Image) -> Iterator[None]:
    """Turn whatever the system says into an :exc:`ImageError` that names the file."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("there is no such file", path=image.path) from None
    except (OSError, ValueError) as fault:
        says = getattr(fault, "strerror", None) or fault
        raise ImageError(f"cannot be read: {says}", path=image.path) from fault


def open_picture(image: Image) -> BinaryIO:
    """Open the file of a picture; one that is no plain file is refused."""
    path = image.path or Path()
    # A pipe or a device would block, or never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("this is not a file", path=path)
    return path.open("rb")


def _changed(prepared: PreparedImage) -> ImageError:
    return ImageError(
        "the file changed its length while it was read", path=prepared.image.path
    )


def _read(prepared: PreparedImage, stream: BinaryIO, position: int) -> bytes:
    """Read the next block; the last one also sees that nothing follows."""
    want = min(_BLOCK, prepared.length - position)
    with reading(prepared.image):
        block = stream.read(want)
        more = stream.read(1) if position + want == prepared.length else b""
    if len(block) != want or more:
        raise _changed(prepared)
    return block


def _raw_blocks(prepared: PreparedImage) -> Iterator[bytes]:
    if prepared.image.content is not None:
        for start in range(0, prepared.length, _BLOCK):
            yield prepared.image.content[start : start + _BLOCK]
        return
    with reading(prepared.image):
        stream = open_picture(prepared.image)
    with stream:
        for start in range(0, prepared.length, _BLOCK):
            yield _read(prepared, stream, start)


class TextBlocks:
    """
    The base64 text of a picture, in blocks of up to 1 MiB.

    Reads the file anew. :exc:`ImageError` as soon as it is seen to have
    another length than before; a whole text has the length that was promised.
    """

    def __init__(self, prepared: PreparedImage, pool: Executor | None = None) -> None:
        self._length = prepared.length
        self._pool = pool
        self._raw: Iterator[bytes] = _raw_blocks(prepared)

    async def next(self) -> bytes:
        """Return the next block, empty at the end."""
        raw = self._raw
        return await off_loop(self._length, lambda: _b64(next(raw, b"")), self._pool)

    def close(self) -> None:
        """Let go of the file, as soon as no thread is reading it any more."""
        self._raw = iter(())


async def encode(prepared: PreparedImage, pool: Executor | None = None) -> EncodedImage:
    """Encode a picture once, to be shared by a batch."""

    def work() -> EncodedImage:
        return EncodedImage(prepared, b"".join(map(_b64, _raw_blocks(prepared))))

    return await off_loop(prepared.length, work, pool)


async def same_content(
    source: PreparedImage | EncodedImage,
    target: PreparedImage,
    pool: Executor | None = None,
) -> bool:
    """Tell whether two pictures are the same bytes; the server refuses such."""
    stamp = source.prepared if isinstance(source, EncodedImage) else source
    if (stamp.length, stamp.media_type) != (target.length, target.media_type):
        return False

    def work() -> bool:
        # Two pictures differ early, so little is read of them.
        known = _kept_blocks(source) if isinstance(source, EncodedImage) else None
        if known is None:
            return all(map(operator.eq, _raw_blocks(stamp), _raw_blocks(target)))
        return all(map(operator.eq, known, map(_b64, _raw_blocks(target))))

    return await off_loop(target.length, work, pool)


def _kept_blocks(source: EncodedImage) -> Iterator[memoryview]:
    text, size = memoryview(source.text), _BLOCK // 3 * 4
    return (text[start : start + size] for start in range(0, len(text), size))


async def prepare_other(
    target: Image,
    than: PreparedImage | EncodedImage,
    pool: Executor | None = None,
) -> PreparedImage:
    """Prepare a picture that must be another one; :exc:`ImageError` if not."""
    prepared = prepare(target)
    if await same_content(than, prepared, pool):
        raise ImageError("source and target are the same picture", path=target.path)
    return prepared


class PartFile:
    """
    A result on its way: beside its place, and not there before it is whole.

    A small one stays in memory until it is committed: one visit to the disk,
    instead of four. What takes longer blocks; call it in a thread. After a
    crash a hidden ``.ezlink-*.part`` may be left, never half a picture under
    the final name.
    """

    def __init__(self, path: Path) -> None:
        # Short, since `path` may already be as long as a name can be.
        self._part = path.parent / f".ezlink-{secrets.token_hex(8)}.part"
        self._small = bytearray()
        self._stream: BinaryIO | None = None

    def is_quick(self, length: int) -> bool:
        """Whether writing *length* bytes more does not touch the disk."""
        return self._stream is None and len(self._small) + length <= INLINE_BYTES

    def _open(self) -> BinaryIO:
        if self._stream is not None:
            return self._stream
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            # Not tempfile: its files are for their owner alone, for good.
            descriptor = os.open(self._part, flags, 0o666)
        except ValueError as fault:  # a path no system takes
            raise OSError(errno.EINVAL, str(fault)) from None
        self._stream = os.fdopen(descriptor, "w+b")
        self._stream.write(self._small)
        self._small.clear()
        return self._stream

    def restart(self) -> None:
        """Forget what came so far."""
        self._small.clear()
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.truncate()

    def write(self, blocks: list[bytes]) -> None:
        """Append *blocks*."""
        if self.is_quick(sum(map(len, blocks))):
            self._small += b"".join(blocks)
        else:
            self._open().writelines(blocks)

    def verify(self) -> str | None:
        """Return the media type when it is whole; see :func:`whole.verify`."""
        if self._stream is None:
            return verify(bytes(self._small))
        self._stream.flush()
        if not os.fstat(self._stream.fileno()).st_size:
            raise ImageError("the answer is empty")  # nothing cannot be mapped
        with mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ) as picture:
            return verify(picture)

    def commit(self, path: Path) -> None:
        """Put it in its place in one step, replacing what is there."""
        stream = self._open()
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()
        self._part.replace(path)
        _sync_folder(path.parent)

    def discard(self) -> None:
        """Take it away; harmless after :meth:`commit`."""
        if self._stream is not None:
            # On a full disk closing fails too: what it still held is not wanted.
            with contextlib.suppress(OSError):
                self._stream.close()
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def check_place(path: Path) -> None:
    """Refuse what no system takes as a path: :exc:`ConfigurationError`."""
    try:
        if b"\0" not in os.fsencode(path):
            return
        says = "it holds a null character"
    except UnicodeEncodeError:
        says = "it holds a character that no name may have"
    raise ConfigurationError(f"nothing can be saved as {str(path)!r}: {says}")


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
