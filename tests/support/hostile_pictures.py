"""
Small files that hold very many pixels, as a hostile server would send them.

Each is complete by its structure. What a decoder makes of the pixels does not
matter: it takes the memory for all of them first.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from tests.support.pictures import chunk

_PNG_CHANNELS = {"grey": (0, 1), "rgb": (2, 3), "rgba": (6, 4)}
_BLOCK = 1024 * 1024
_ADLER = 65_521


def _zeros(length: int) -> bytes:
    """Return what zlib would make of so many zeros, without compressing them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks, rest = divmod(length, _BLOCK)
    end = packer.compress(bytes(rest)) + packer.flush()
    body = block + again * (blocks - 1) if blocks else b""
    return b"\x78\xda" + body + end + struct.pack(">HH", length % _ADLER, 1)


def png(width: int, height: int, colours: str = "rgba") -> bytes:
    """Return a black or transparent PNG, a thousandth as long as its pixels."""
    kind, channels = _PNG_CHANNELS[colours]
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    pixels = _zeros(height * (1 + width * channels))
    parts = (b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def webp(width: int, height: int) -> bytes:
    """Return a lossless WebP whose pixels all have one colour, and so take no bits."""
    # No transform, no cache, no groups; five codes with one symbol of one bit each.
    codes = 0
    for number in range(5):
        codes |= 0b0001 << (3 + 4 * number)
    bits = (width - 1) | (height - 1) << 14 | codes << 32
    stream = b"\x2f" + bits.to_bytes(8, "little")
    padded = stream + bytes(len(stream) % 2)
    body = b"WEBP" + b"VP8L" + struct.pack("<I", len(stream)) + padded
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    """Return the JPEG of a small picture with the head of a large one."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(
        stream, "JPEG", progressive=progressive, subsampling=0
    )
    whole = stream.getvalue()
    frame = whole.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return whole[:frame] + struct.pack(">HH", height, width) + whole[frame + 4 :]


def jpeg_in_scans(width: int, height: int) -> bytes:
    """Return a sequential JPEG that has one colour only in its first scan."""
    whole = jpeg(width, height)
    scan = whole.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(whole[scan + 2 : scan + 4], "big")
    colour = whole[scan + 5 : scan + 7]
    head = b"\xff\xda\0\x08\x01" + colour + bytes((0, 63, 0))
    return whole[:scan] + head + whole[end:]


def hostile_results() -> dict[str, bytes]:
    """Return pictures by name: each just below a limit, or far above it."""
    return {
        "wide.png": png(13_000, 13_000),
        "large.png": png(10_900, 10_900),
        "shown.png": png(6_300, 6_300),
        "grey.png": png(10_900, 10_900, "grey"),
        "large.webp": webp(16_383, 7_300),
        "shown.webp": webp(4_000, 2_480),
        "progressive.jpg": jpeg(10_900, 10_900, progressive=True),
        "scans.jpg": jpeg_in_scans(10_900, 10_900),
        "long.jpg": jpeg(65_000, 1_800),
        "sequential.jpg": jpeg(10_900, 10_900),
    }
