"""
Images and other files from disk, and the base64 text of images.

Work on more than 256 KiB runs in a thread.
"""

from __future__ import annotations

import binascii
import contextlib
import io
import itertools
import operator
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from ezlink_async._core.images import (
    HEAD_BYTES,
    EncodedImage,
    Image,
    InspectedImage,
    check_acceptable,
)
from ezlink_async._core.messages import FileContent
from ezlink_async._io.concurrency import run_in_thread_if_large
from ezlink_async.errors import ImageError

# Bytes that are read in one thread hop: 2 MiB of base64, sent in pieces. Fewer hops
# pass the interpreter's lock less often. A multiple of three needs no padding inside.
_BLOCK = 1536 * 1024

# 256 KiB of base64: encoding more would hold the interpreter's lock for too long.
_PIECE = 192 * 1024

_SMALL_FILE = 64 * 1024  # is kept in memory by each job that waits to be sent

_NOTHING = memoryview(b"")


def raise_allocator_threshold() -> None:
    """
    Let the C library keep freed blocks of the size of an image's text.

    The C library of Linux returns freed memory to the system once twice the
    largest block it ever mapped is unused. By default that is so little that the
    text of every photo would get fresh pages: up to an eighth of all CPU time of
    an upload. This block is mapped, never touched, and freed at once.
    """
    bytes(8 * 1024 * 1024)


class _Buffer(threading.local):
    """A read buffer for each thread, of which there are fewer than photos."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_BLOCK + 1))


_BUFFER, _OTHER_BUFFER = _Buffer(), _Buffer()


def slow_base64(piece: bytes | memoryview) -> bytes:
    """Encode with the standard library, which holds the interpreter's lock."""
    return binascii.b2a_base64(piece, newline=False)


_b64: Callable[[bytes | memoryview], bytes] = slow_base64
with contextlib.suppress(ImportError):  # it is in the `speed` extra
    from pybase64 import b64encode

    _b64 = b64encode


def inspect(image: Image) -> InspectedImage:
    """
    Return *image* with its media type, by content, and its length.

    Raises :exc:`ImageError` if it is missing, no file, or not acceptable.
    """
    if (held := image.held) is not None:
        media_type = check_acceptable(held[:HEAD_BYTES], len(held))
        return InspectedImage(image, media_type, len(held))
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        is_small = length <= _SMALL_FILE
        head = stream.read(length + 1 if is_small else HEAD_BYTES)
        media_type = check_acceptable(head[:HEAD_BYTES], length, path=image.path)
    kept = head if is_small and len(head) == length else None
    return InspectedImage(image, media_type, length, kept)


def measure_file(path: Path) -> FileContent:
    """
    Return the file at *path* as a part of a body, with its length.

    Raises :exc:`ImageError` if it is missing, no file, or cannot be read.
    """
    image = Image(path=path)
    with reading(image), open_picture(image) as stream:
        return FileContent(path, os.fstat(stream.fileno()).st_size)


@contextlib.contextmanager
def reading(image: Image) -> Iterator[None]:
    """Turn an error of the system into an :exc:`ImageError` that names the file."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("there is no such file", path=image.path) from None
    except (OSError, ValueError) as fault:
        says = getattr(fault, "strerror", None) or fault
        raise ImageError(f"cannot be read: {says}", path=image.path) from fault


def open_picture(image: Image) -> io.FileIO:
    """Open the file of *image* unbuffered; :exc:`ImageError` unless it is a file."""
    path = image.path or Path()
    # A pipe or a device would block, or never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("this is not a file", path=path)
    return path.open("rb", buffering=0)


def read_block(
    inspected: InspectedImage, stream: io.FileIO, position: int, view: memoryview
) -> memoryview:
    """
    Read the block at *position* into *view*, and return the part that it fills.

    :exc:`ImageError` if the file is shorter than inspected, or, after its last
    block, longer.
    """
    want = min(_BLOCK, inspected.length - position)
    ask = want + (position + want == inspected.length)
    got = 0
    with reading(inspected.image):
        # A system may return fewer bytes than there are.
        while got < want and (more := stream.readinto(view[got:ask])):
            got += more
    if got != want:
        says = "the file changed its length while it was read"
        raise ImageError(says, path=inspected.image.path)
    return view[:want]


def _raw_blocks(
    inspected: InspectedImage, buffer: _Buffer = _BUFFER
) -> Iterator[memoryview]:
    """Yield blocks, each valid until its thread reads into *buffer* again."""
    content = inspected.image.held or inspected.kept
    if content is not None:
        whole = memoryview(content)
        for start in range(0, inspected.length, _BLOCK):
            yield whole[start : start + _BLOCK]
        return
    with reading(inspected.image):
        stream = open_picture(inspected.image)
    with stream:
        for start in range(0, inspected.length, _BLOCK):
            yield read_block(inspected, stream, start, buffer.view)


def _encoded_pieces(block: memoryview) -> Iterator[bytes]:
    """Yield the base64 of *block*, in pieces of up to 256 KiB."""
    for start in range(0, len(block), _PIECE):
        yield _b64(block[start : start + _PIECE])


def _copied_pieces(block: memoryview) -> Iterator[bytes]:
    """Yield the bytes of *block*, whose memory is used again, in such pieces."""
    for start in range(0, len(block), _PIECE):
        yield bytes(block[start : start + _PIECE])


def _all_pieces(inspected: InspectedImage) -> Iterator[bytes]:
    return itertools.chain.from_iterable(map(_encoded_pieces, _raw_blocks(inspected)))


class PartStream:
    """
    The base64 text of an image, or a file as it is, read anew in blocks of 2 MiB.

    A complete one has the length that :func:`inspect` or :func:`measure_file` promised;
    if the file has another length by now, :exc:`ImageError` is raised as soon as that
    shows.
    """

    def __init__(
        self, part: InspectedImage | FileContent, pool: Executor | None = None
    ) -> None:
        self._length = part.length
        self._pool = pool
        self._pieces = _encoded_pieces
        if isinstance(part, FileContent):
            part = InspectedImage(Image(path=part.path), "", part.length)
            self._pieces = _copied_pieces
        self._raw: Iterator[memoryview] = _raw_blocks(part)

    async def next(self) -> list[bytes]:
        """Return the next block in pieces of up to 256 KiB, or none at the end."""
        raw, cut = self._raw, self._pieces
        return await run_in_thread_if_large(
            self._length, lambda: list(cut(next(raw, _NOTHING))), self._pool
        )

    def close(self) -> None:
        """Release the file, as soon as no thread reads it any more."""
        self._raw = iter(())


async def encode(
    inspected: InspectedImage, pool: Executor | None = None
) -> EncodedImage:
    """Encode an image once, to be shared by many submits."""

    def work() -> EncodedImage:
        return EncodedImage(inspected, b"".join(_all_pieces(inspected)))

    return await run_in_thread_if_large(inspected.length, work, pool)


async def same_content(
    source: InspectedImage | EncodedImage,
    target: InspectedImage,
    pool: Executor | None = None,
) -> bool:
    """Return whether two images are the same bytes; the server refuses such a pair."""
    inspected = source.inspected if isinstance(source, EncodedImage) else source
    if (inspected.length, inspected.media_type) != (target.length, target.media_type):
        return False

    def work() -> bool:
        # Different images differ early, so that few of their bytes are read.
        if isinstance(source, EncodedImage):
            text, size = memoryview(source.text), _PIECE // 3 * 4
            pieces = (text[at : at + size] for at in range(0, len(text), size))
            return all(map(operator.eq, pieces, _all_pieces(target)))
        other = _raw_blocks(target, _OTHER_BUFFER)
        return all(map(operator.eq, _raw_blocks(source), other))

    return await run_in_thread_if_large(target.length, work, pool)


async def inspect_other(
    target: Image,
    than: InspectedImage | EncodedImage,
    pool: Executor | None = None,
) -> InspectedImage:
    """Inspect *target*; :exc:`ImageError` if it has the same bytes as *than*."""
    inspected = inspect(target)
    if await same_content(than, inspected, pool):
        raise ImageError("source and target are the same picture", path=target.path)
    return inspected
