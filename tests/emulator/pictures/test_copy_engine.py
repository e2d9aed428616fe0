"""The engine that copies, and the mark it leaves."""

import hashlib
import struct
import zlib

import pytest

from ezlink_async.emulator import read_hashes
from ezlink_async.emulator.pictures.copy_engine import CopyEngine

_IHDR = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


_JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9"
_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", _IHDR)
    + _chunk(b"IDAT", zlib.compress(b"\0\0"))
    + _chunk(b"IEND", b"")
)
_WEBP = b"RIFF" + struct.pack("<I", 15) + b"WEBPVP8 " + struct.pack("<I", 3) + b"abc"
_PICTURES = pytest.mark.parametrize("target", [_JPEG, _PNG, _WEBP])


@_PICTURES
def test_the_mark_tells_source_and_target(target: bytes) -> None:
    """The result names both pictures by their SHA-256, in every format."""
    result = CopyEngine().swap(_PNG, target)

    digests = tuple(hashlib.sha256(one).hexdigest() for one in (_PNG, target))
    assert read_hashes(result) == digests


def test_a_jpeg_stays_a_jpeg() -> None:
    """The mark is one comment segment of the right length behind the first marker."""
    result = CopyEngine().swap(_PNG, _JPEG)

    assert result[:4] == b"\xff\xd8\xff\xfe"
    end = 4 + int.from_bytes(result[4:6], "big")
    assert result[:2] + result[end:] == _JPEG


def test_a_png_stays_a_png() -> None:
    """Every chunk has the checksum it claims, and all old ones are there."""
    result = CopyEngine().swap(_JPEG, _PNG)

    names, place = [], 8
    while place < len(result):
        size = int.from_bytes(result[place : place + 4], "big")
        content = result[place + 4 : place + 8 + size]
        check = int.from_bytes(result[place + 8 + size : place + 12 + size], "big")
        assert zlib.crc32(content) == check
        names.append(content[:4])
        place += 12 + size
    assert names == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_a_webp_stays_a_webp() -> None:
    """The container's length is right and even, and the old chunk stands first."""
    result = CopyEngine().swap(_JPEG, _WEBP)

    assert int.from_bytes(result[4:8], "little") == len(result) - 8
    assert len(result) % 2 == 0
    assert result[8 : len(_WEBP)] == _WEBP[8:]


@pytest.mark.parametrize(
    "broken", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFFxxxxWAVE"]
)
def test_what_is_no_picture_is_refused(broken: bytes) -> None:
    """An unknown or headless picture is a ValueError, as source and as target."""
    for pair in ((broken, _JPEG), (_JPEG, broken)):
        with pytest.raises(ValueError, match="PNG"):
            CopyEngine().swap(*pair)


def test_a_picture_without_the_mark_is_refused() -> None:
    """Reading the mark of somebody else's picture is a ValueError."""
    with pytest.raises(ValueError, match="not made by"):
        read_hashes(_JPEG)
