"""
Pictures from the disk, and their base64.

What takes longer than a hop to a thread (256 KiB and more) happens in one.
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
from ezlink_async._io.concurrency import run_in_thread_if_large
from ezlink_async.errors import ImageError

# What is read in one visit to a thread: 2 MiB of base64, sent in pieces. Fewer
# visits hand the interpreter's lock over less often. A multiple of three needs no
# padding inside.
_BLOCK = 1536 * 1024

# 256 KiB of base64: for longer nobody else would get the interpreter's lock.
_PIECE = 192 * 1024

_LITTLE = 64 * 1024  # may be kept by each job that waits to be sent

_NOTHING = memoryview(b"")

# The C library of Linux returns what is freed to the system once twice the largest
# block it ever mapped lies unused. By default that is so little that the text of
# every photo would get fresh pages: up to an eighth of all CPU time of an upload.
# This one is mapped, never touched, and freed at once.
bytes(8 * 1024 * 1024)


class _Buffer(threading.local):
    """What is read into: one for each thread, of which there are fewer than photos."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_BLOCK + 1))


_BUFFER, _OTHER_BUFFER = _Buffer(), _Buffer()


def slow_base64(piece: bytes | memoryview) -> bytes:
    """Encode with the standard library, which holds the lock while it does."""
    return binascii.b2a_base64(piece, newline=False)


_b64: Callable[[bytes | memoryview], bytes] = slow_base64
with contextlib.suppress(ImportError):  # it is in the `speed` extra
    from pybase64 import b64encode

    _b64 = b64encode


def inspect(image: Image) -> InspectedImage:
    """
    Look at a picture: its type by content and its length.

    Raises :exc:`ImageError` when it is missing, no file, or not acceptable.
    """
    if image.content is not None:
        media_type = check_acceptable(image.content[:HEAD_BYTES], len(image.content))
        return InspectedImage(image, media_type, len(image.content))
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        is_little = length <= _LITTLE
        head = stream.read(length + 1 if is_little else HEAD_BYTES)
        media_type = check_acceptable(head[:HEAD_BYTES], length, path=image.path)
    kept = head if is_little and len(head) == length else None
    return InspectedImage(image, media_type, length, kept)


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


def open_picture(image: Image) -> io.FileIO:
    """Open the file of a picture, unbuffered; one that is no plain file is refused."""
    path = image.path or Path()
    # A pipe or a device would block, or never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("this is not a file", path=path)
    return path.open("rb", buffering=0)


def _changed(prepared: InspectedImage) -> ImageError:
    return ImageError(
        "the file changed its length while it was read", path=prepared.image.path
    )


def _read(
    prepared: InspectedImage, stream: io.FileIO, position: int, view: memoryview
) -> memoryview:
    """Read the next block into *view*; the last one also sees that nothing follows."""
    want = min(_BLOCK, prepared.length - position)
    ask = want + (position + want == prepared.length)
    got = 0
    with reading(prepared.image):
        # A system may give less than there is.
        while got < want and (more := stream.readinto(view[got:ask])):
            got += more
    if got != want:
        raise _changed(prepared)
    return view[:want]


def _raw_blocks(
    prepared: InspectedImage, buffer: _Buffer = _BUFFER
) -> Iterator[memoryview]:
    """Yield a picture in blocks, each good until its thread reads into *buffer*."""
    content = prepared.image.content or prepared.kept
    if content is not None:
        whole = memoryview(content)
        for start in range(0, prepared.length, _BLOCK):
            yield whole[start : start + _BLOCK]
        return
    with reading(prepared.image):
        stream = open_picture(prepared.image)
    with stream:
        for start in range(0, prepared.length, _BLOCK):
            yield _read(prepared, stream, start, buffer.view)


def _texts(block: memoryview) -> Iterator[bytes]:
    """Yield the base64 of *block*, in pieces of up to 256 KiB."""
    for start in range(0, len(block), _PIECE):
        yield _b64(block[start : start + _PIECE])


def _pieces(prepared: InspectedImage) -> Iterator[bytes]:
    return itertools.chain.from_iterable(map(_texts, _raw_blocks(prepared)))


class Base64Stream:
    """
    The base64 text of a picture, by visits to the disk of up to 2 MiB each.

    Reads the file anew. :exc:`ImageError` as soon as it is seen to have
    another length than before; a whole text has the length that was promised.
    """

    def __init__(self, prepared: InspectedImage, pool: Executor | None = None) -> None:
        self._length = prepared.length
        self._pool = pool
        self._raw: Iterator[memoryview] = _raw_blocks(prepared)

    async def next(self) -> list[bytes]:
        """Return the next block, in pieces of up to 256 KiB; none at the end."""
        raw = self._raw
        return await run_in_thread_if_large(
            self._length, lambda: list(_texts(next(raw, _NOTHING))), self._pool
        )

    def close(self) -> None:
        """Let go of the file, as soon as no thread is reading it any more."""
        self._raw = iter(())


async def encode(
    prepared: InspectedImage, pool: Executor | None = None
) -> EncodedImage:
    """Encode a picture once, to be shared by a batch."""

    def work() -> EncodedImage:
        return EncodedImage(prepared, b"".join(_pieces(prepared)))

    return await run_in_thread_if_large(prepared.length, work, pool)


async def same_content(
    source: InspectedImage | EncodedImage,
    target: InspectedImage,
    pool: Executor | None = None,
) -> bool:
    """Tell whether two pictures are the same bytes; the server refuses such."""
    stamp = source.inspected if isinstance(source, EncodedImage) else source
    if (stamp.length, stamp.media_type) != (target.length, target.media_type):
        return False

    def work() -> bool:
        # Two pictures differ early, so little is read of them.
        known = _kept_pieces(source) if isinstance(source, EncodedImage) else None
        if known is None:
            other = _raw_blocks(target, _OTHER_BUFFER)
            return all(map(operator.eq, _raw_blocks(stamp), other))
        return all(map(operator.eq, known, _pieces(target)))

    return await run_in_thread_if_large(target.length, work, pool)


def _kept_pieces(source: EncodedImage) -> Iterator[memoryview]:
    text, size = memoryview(source.text), _PIECE // 3 * 4
    return (text[start : start + size] for start in range(0, len(text), size))


async def inspect_other(
    target: Image,
    than: InspectedImage | EncodedImage,
    pool: Executor | None = None,
) -> InspectedImage:
    """Prepare a picture that must be another one; :exc:`ImageError` if not."""
    prepared = inspect(target)
    if await same_content(than, prepared, pool):
        raise ImageError("source and target are the same picture", path=target.path)
    return prepared
