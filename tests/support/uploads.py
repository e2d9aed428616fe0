"""Uploads of web frameworks, by their shape, which count what was read of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path


class ReadUpload:
    """An upload with the ``read`` of Starlette's ``UploadFile``."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.given = 0

    async def read(self, size: int = -1) -> bytes:
        """Return the next *size* bytes, all that are left without one."""
        await asyncio.sleep(0)
        end = len(self.content) if size < 0 else self.given + size
        block = self.content[self.given : end]
        self.given += len(block)
        return block


class ChunkUpload(ReadUpload):
    """
    An upload with the methods of aiohttp's ``BodyPartReader``.

    There only ``read_chunk`` takes a size; the others bring all at once.
    """

    async def read(self, size: int = -1) -> bytes:
        """Fail: it has no bound."""
        raise AssertionError(f"all was read at once, not {size} bytes")

    async def read_chunk(self, size: int = 8192) -> bytes:
        """Return the next *size* bytes."""
        return await super().read(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("all was read at once")


async def iterated(content: bytes, block: int = 100_000) -> AsyncIterator[bytes]:
    """Yield *content* as ASGI brings a body, with an empty block in between."""
    for start in range(0, len(content), block):
        await asyncio.sleep(0)
        yield b""
        yield content[start : start + block]


FORMS = (ReadUpload, ChunkUpload, iterated)
"""Each makes an upload of some bytes."""


async def unreadable() -> AsyncIterator[bytes]:
    """Break off after the first bytes."""
    yield b"\xff\xd8\xff"
    raise ConnectionResetError("the browser has gone")


async def endless() -> AsyncIterator[bytes]:
    """Bring one block, and never another one."""
    yield b"\xff\xd8\xff"
    await asyncio.Event().wait()


def temporary_files(folder: Path) -> list[str]:
    """
    Return what this process holds in *folder*, files without a name included.

    Only Linux tells; elsewhere the files that have names are all.
    """
    return sorted({*map(str, folder.iterdir()), *_open_in(folder)})


def _open_in(folder: Path) -> Iterator[str]:
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        if str(folder) in line:
            yield line.split(maxsplit=5)[-1]
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the folder itself was open while it was listed
        if target.startswith(f"{folder}/"):
            yield target
