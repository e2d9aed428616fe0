"""Small videos and GIFs, box by box: complete ones of each build."""

from __future__ import annotations

import struct
from collections.abc import Sequence

SAMPLES = [b"a" * 7, b"b" * 40, b"c" * 3, b"d" * 11]
"""The frames of a track; they lie in chunks of one, one and two."""


def box(name: bytes, *content: bytes, large: bool = False) -> bytes:
    """Return a box, with a size of 64 bits if it is *large*."""
    inner = b"".join(content)
    if large:
        return struct.pack(">I4sQ", 1, name, len(inner) + 16) + inner
    return struct.pack(">I4s", len(inner) + 8, name) + inner


def table(name: bytes, form: str, *numbers: int, rows: int | None = None) -> bytes:
    """Return a box with a table of *numbers*, of so many *rows*."""
    rows = len(numbers) if rows is None else rows
    return box(name, struct.pack(f">II{len(numbers)}{form}", 0, rows, *numbers))


def sizes(samples: Sequence[bytes] = SAMPLES) -> bytes:
    """Return the table of the sizes of *samples*."""
    each = [len(sample) for sample in samples]
    return box(b"stsz", struct.pack(f">III{len(each)}I", 0, 0, len(each), *each))


RUNS = table(b"stsc", "I", 1, 1, 1, 3, 2, 1, rows=2)
"""The table that says how many samples each chunk has: one, one, two."""


def track(*tables: bytes) -> bytes:
    """Return a track with these tables."""
    inner = box(b"minf", box(b"vmhd", bytes(12)), box(b"stbl", *tables))
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", inner))


def chunk_offsets(start: int) -> list[int]:
    """Return where the three chunks begin behind *start*."""
    return [start, start + len(SAMPLES[0]), start + len(SAMPLES[0] + SAMPLES[1])]


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")


def mp4(*, first: bool = True, wide: bool = False, head: bytes = FTYP) -> bytes:
    """Return a video with its index *first* or last, and numbers of 64 bits if wide."""

    def index(start: int) -> bytes:
        name, form = (b"co64", "Q") if wide else (b"stco", "I")
        found = table(name, form, *chunk_offsets(start))
        sound = track(table(b"stco", "I"), table(b"stsc", "I", rows=0), sizes([]))
        return box(
            b"moov", box(b"mvhd", bytes(100)), sound, track(found, RUNS, sizes())
        )

    media = box(b"mdat", *SAMPLES, large=wide)
    before = len(head) + (16 if wide else 8)
    if first:
        return head + index(before + len(index(0))) + media
    return head + media + index(before)


def mp4_head(media: int) -> bytes:
    """Return a video up to its media, of which there are so many bytes."""
    size = box(b"stsz", struct.pack(">III", 0, media, 1))

    def index(start: int) -> bytes:
        run = table(b"stsc", "I", 1, 1, 1, rows=1)
        return FTYP + box(b"moov", track(table(b"stco", "I", start), run, size))

    return index(len(index(0)) + 8) + struct.pack(">I4s", media + 8, b"mdat")


def endless_mp4() -> bytes:
    """Return a video whose media say that they go on to the end of the file."""
    whole = mp4()
    return whole.replace(struct.pack(">I4s", 69, b"mdat"), b"\0\0\0\0mdat")


def parted_mp4() -> bytes:
    """Return a video with media in two boxes."""
    whole = mp4()
    at = whole.index(b"mdat") - 4
    start, cut = at + 8, len(SAMPLES[0])
    index = whole[:at].replace(
        struct.pack(">II", *chunk_offsets(start)[1:]),
        struct.pack(">II", *chunk_offsets(start + 8)[1:]),
    )
    return index + box(b"mdat", SAMPLES[0]) + box(b"mdat", whole[start + cut :])


def fragments(*, indexed: bool) -> bytes:
    """Return a video in fragments, with or without an index at its end."""
    empty = track(table(b"stco", "I"))
    parts = [FTYP, box(b"moov", empty, box(b"mvex", bytes(8)))]
    for sample in SAMPLES:
        parts += [box(b"moof", bytes(16)), box(b"mdat", sample)]
    return b"".join([*parts, box(b"mfra", bytes(24)) if indexed else b""])


def gif(frames: int = 2, *, colours: bool = True) -> bytes:
    """Return a GIF of one pixel, with a table of colours for all frames or for each."""
    table_of_two = bytes(6)
    parts = [b"GIF89a\1\0\1\0", b"\x80" if colours else b"\0", b"\0\0"]
    parts.append(table_of_two if colours else b"")
    parts.append(b"\x21\xff\x0bNETSCAPE2.0\x03\1\0\0\0")
    for _ in range(frames):
        parts.append(b"\x21\xf9\4\0\x0a\0\0\0" + b"\x2c" + bytes(4) + b"\1\0\1\0")
        parts.append(b"\0" if colours else b"\x80" + table_of_two)
        parts.append(b"\2" + b"\2\x44\1" + b"\3\x3b\x3b\x3b" + b"\0")
    return b"".join([*parts, b"\x3b"])


MOVING = {
    "MP4": ("video/mp4", mp4()),
    "MP4 with its index last": ("video/mp4", mp4(first=False)),
    "MP4 with 64 bits": ("video/mp4", mp4(wide=True)),
    "MP4 to the end": ("video/mp4", endless_mp4()),
    "MP4 with media in two boxes": ("video/mp4", parted_mp4()),
    "MP4 in fragments": ("video/mp4", fragments(indexed=True)),
    "MOV": ("video/quicktime", mp4(head=box(b"ftyp", b"qt  " + bytes(4)))),
    "old MOV": ("video/quicktime", mp4(head=box(b"wide"))),
    "GIF": ("image/gif", gif()),
    "GIF with colours of its frames": ("image/gif", gif(colours=False)),
}

WEBM = b"\x1a\x45\xdf\xa3" + b"\x9f\x42\x86\x81\x01" + bytes(30)
