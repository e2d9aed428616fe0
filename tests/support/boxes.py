"""Videos taken apart, box by box, by rules of the tests' own (ISO/IEC 14496-12)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

#: The boxes that hold others.
_HOLDERS = {"moov", "trak", "mdia", "minf", "stbl"}


def boxes(content: bytes, base: int = 0) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, place and content of each box; every byte belongs to one."""
    at = 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        assert 8 <= size <= len(content) - at, (name, size)
        inner = content[at + 8 : at + size]
        yield name.decode("ascii"), base + at, inner
        if name.decode("ascii") in _HOLDERS:
            yield from boxes(inner, base + at + 8)
        at += size
    assert at == len(content)


def only(content: bytes, name: str) -> tuple[int, bytes]:
    """Return place and content of the one box of this name."""
    ((place, inner),) = ((p, inner) for n, p, inner in boxes(content) if n == name)
    return place, inner


def assert_whole_video(content: bytes, seconds: float) -> None:
    """Check that *content* is an MP4 with H.264 whose frames all lie in its media."""
    assert next(iter(boxes(content)))[0] == "ftyp"
    assert only(content, "stsd")[1][12:16] == b"avc1"
    scale, length = struct.unpack_from(">II", only(content, "mvhd")[1], 12)
    assert length / scale == seconds
    (count,) = struct.unpack_from(">I", only(content, "stsz")[1], 8)
    frames = struct.unpack_from(f">{count}I", only(content, "stsz")[1], 12)
    place, media = only(content, "mdat")
    chunks, first = struct.unpack_from(">II", only(content, "stco")[1], 4)
    assert (chunks, first) == (1, place + 8)
    assert sum(frames) == len(media)


def request_in(content: bytes) -> dict[str, object]:
    """Return the request that a video of the emulator carries in its last box."""
    *_, (name, _, inner) = boxes(content)
    assert name == "uuid"
    value: object = json.loads(inner[16:])
    assert isinstance(value, dict)
    return value
