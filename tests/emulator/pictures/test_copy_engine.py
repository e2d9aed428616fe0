"""The copy engine, and the mark in its results."""

import hashlib
import struct
import zlib

import pytest

from ezlink_async.emulator import read_hashes
from ezlink_async.emulator.pictures.containers import png_chunk
from ezlink_async.emulator.pictures.copy_engine import CopyEngine

_IHDR = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)


_JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9"
_PNG = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", _IHDR)
    + png_chunk(b"IDAT", zlib.compress(b"\0\0"))
    + png_chunk(b"IEND", b"")
)
_WEBP = b"RIFF" + struct.pack("<I", 15) + b"WEBPVP8 " + struct.pack("<I", 3) + b"abc"


@pytest.mark.parametrize("target", [_JPEG, _PNG, _WEBP])
def test_mark_names_source_and_target(target: bytes) -> None:
    """The result holds the SHA-256 of both pictures, in every format."""
    result = CopyEngine().swap(_PNG, target)

    digests = tuple(hashlib.sha256(one).hexdigest() for one in (_PNG, target))
    assert read_hashes(result) == digests


def test_marked_jpeg_has_one_more_comment_segment() -> None:
    """The segment stands behind the first marker and has the length it claims."""
    result = CopyEngine().swap(_PNG, _JPEG)

    assert result[:4] == b"\xff\xd8\xff\xfe"
    end = 4 + int.from_bytes(result[4:6], "big")
    assert result[:2] + result[end:] == _JPEG


def test_marked_png_has_one_more_text_chunk() -> None:
    """Every chunk has the checksum it claims, and all old chunks are there."""
    result = CopyEngine().swap(_JPEG, _PNG)

    names, position = [], 8
    while position < len(result):
        size = int.from_bytes(result[position : position + 4], "big")
        content = result[position + 4 : position + 8 + size]
        check = int.from_bytes(
            result[position + 8 + size : position + 12 + size], "big"
        )
        assert zlib.crc32(content) == check
        names.append(content[:4])
        position += 12 + size
    assert names == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]


def test_marked_webp_has_the_right_even_length() -> None:
    """The old chunk stands first in the container."""
    result = CopyEngine().swap(_JPEG, _WEBP)

    assert int.from_bytes(result[4:8], "little") == len(result) - 8
    assert len(result) % 2 == 0
    assert result[8 : len(_WEBP)] == _WEBP[8:]


@pytest.mark.parametrize(
    "broken", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFFxxxxWAVE"]
)
def test_unknown_or_cut_picture_is_refused(broken: bytes) -> None:
    """Source and target must both be pictures, or the engine raises ValueError."""
    for pair in ((broken, _JPEG), (_JPEG, broken)):
        with pytest.raises(ValueError, match="PNG"):
            CopyEngine().swap(*pair)


def test_reading_hashes_of_an_unmarked_picture_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not made by"):
        read_hashes(_JPEG)
