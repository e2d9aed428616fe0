"""An upload on its way to the disk, and the results of an album on theirs to a ZIP."""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import zipfile
from collections.abc import AsyncIterable, Iterator
from pathlib import Path, PurePosixPath

from ezlink_async import Image
from ezlink_async.errors import ImageError
from refusals import RefusedError, refusal_of

MOST_BYTES = 10 * 1024 * 1024
"""The bytes of a picture that the swap server takes."""

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
"""The media types of the pictures that are served, by the suffix of the file."""

_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp"}

_HEAD = 32  # bytes, by which the format is known

_BLOCK = 256 * 1024


async def receive(content: AsyncIterable[bytes], folder: Path) -> str:
    """
    Write an upload into *folder*, block by block; return the name of its file.

    Raises :exc:`RefusedError` at the first block that shows that it is no picture, or
    too large: nothing is kept, and the rest is not read.
    """
    path = folder / f"{secrets.token_hex(8)}.part"
    file = await asyncio.to_thread(path.open, "wb")
    try:
        with file:
            head = await _copy(content, file)
        picture = path.with_suffix(_SUFFIXES[head[:2]])
        await asyncio.to_thread(path.rename, picture)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return picture.name


async def _copy(content: AsyncIterable[bytes], file: io.BufferedWriter) -> bytes:
    """Copy a picture and return its first bytes."""
    head, length = b"", 0
    async for block in content:
        if len(head) < _HEAD:
            head += block[:_HEAD]
            if len(head) >= _HEAD:
                check_picture(head)
        length += len(block)
        if length > MOST_BYTES:
            raise RefusedError(413, f"A picture has at most {MOST_BYTES >> 20} MB.")
        await asyncio.to_thread(file.write, block)
    check_picture(head)
    return head


def check_picture(head: bytes) -> None:
    """Raise :exc:`RefusedError` unless a picture begins so."""
    try:
        Image.from_bytes(head)
    except ImageError as error:
        raise refusal_of(error) from error


class _Unseekable(io.RawIOBase):
    """Keeps what is written until it is taken, as a socket would."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]  # bytes only
        self._blocks.append(bytes(block))
        return len(block)

    def take(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


def zipped(pictures: list[tuple[str, Path]]) -> Iterator[bytes]:
    """
    Yield a ZIP of *pictures*, each with the name of its photo, block by block.

    It blocks, so iterate over it in a thread. Pictures do not shrink, so they are
    stored as they are. One that was deleted meanwhile is left out.
    """
    stream = _Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, path) in enumerate(pictures, 1):
            if not path.exists():
                continue
            stem = re.sub(r"[^\w .()-]", "_", PurePosixPath(name).stem)
            entry = zipfile.ZipInfo.from_file(path, f"{number:03} {stem}{path.suffix}")
            with path.open("rb") as picture, archive.open(entry, "w") as target:
                while block := picture.read(_BLOCK):
                    target.write(block)
                    yield stream.take()
    yield stream.take()
