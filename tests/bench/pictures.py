"""
Photos to send and results to be sent back, cheap to make.

A result is a JPEG with both hashes of its job in a comment, and the same filler
for every job behind it: a mix-up shows, and the server makes the filler once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import random
from pathlib import Path

from tests.bench.plans import Album

_CHUNK = 32 * 1024  # what Go's io.Copy passes on at a time
_TABLE = b"\xff\xe0\x00\x04ab"
_SCAN = b"\xff\xda\x00\x04ab"
_END = b"\xff\xd9"


def _filler(length: int, seed: int) -> bytes:
    """Return bytes of a scan that contain no marker."""
    chance = random.Random(seed)  # noqa: S311 - no secrets
    return chance.randbytes(length).replace(b"\xff", b"\x00")


def _photo(length: int, seed: int) -> bytes:
    edges = b"\xff\xd8" + _TABLE + _SCAN
    return edges + _filler(length - len(edges) - len(_END), seed) + _END


def write_album(album: Album, folder: Path) -> dict[str, str]:
    """
    Write the photos, ``0000.jpg`` being the source, and return their hashes.

    They are hashed as the server hashes them: as base64, without decoding.
    """
    chance = random.Random(album.name)  # noqa: S311 - sizes, no secrets
    folder.mkdir()
    hashes: dict[str, str] = {}
    for number in range(album.count + 1):
        length = chance.randint(album.least, album.most) if number else album.source
        content = _photo(length, number)
        name = f"{number:04}.jpg"
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(base64.b64encode(content)).hexdigest()
    return hashes


def _stamped(source: str, target: str) -> bytes:
    mark = f"ezlink-copy source={source} target={target}".encode()
    return b"\xff\xd8\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark


@functools.cache
def _rest(length: int) -> bytes:
    return _TABLE + _SCAN + _filler(length, length) + _END


def result(source: str, target: str, length: int) -> bytes:
    """Return the result of a job by the hashes of its pictures."""
    return _stamped(source, target) + _rest(length)


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@functools.cache
def _rest_in_chunks(length: int) -> bytes:
    whole = _rest(length)
    starts = range(0, len(whole), _CHUNK)
    return b"".join(_chunk(whole[at : at + _CHUNK]) for at in starts) + b"0\r\n\r\n"


def result_in_chunks(source: str, target: str, length: int) -> tuple[bytes, bytes]:
    """Return the result in chunks: its own part, and the part of all results."""
    return _chunk(_stamped(source, target)), _rest_in_chunks(length)
