"""
GIF, MP4 and MOV taken apart: is one complete.

As in :mod:`~ezlink_async._core.containers`, only the content decides, and nothing is
decoded. A video may be a mapped file of gigabytes: its boxes are walked by their
offsets, without recursion, and of its tables few entries are read. Sources: GIF89a;
ISO/IEC 14496-12, and Apple's QuickTime File Format for a MOV.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

import attrs

from ezlink_async._core.images import foreign_format
from ezlink_async.errors import ImageError

Buffer = bytes | mmap.mmap

_MOST_BOXES = 300_000

_MOST_BLOCKS = 2_000_000  # of a GIF; one of 100 MiB has a fifth of that

_MOST_INDEX = 64 * 1024 * 1024  # bytes of the tables of a video; hours of it have 20

_ENTRIES = 8192  # of a table that are read at once, in about a millisecond

_TRAILER, _IMAGE, _EXTENSION = 0x3B, 0x2C, 0x21  # of a GIF

# How a MOV begins that is older than the box with the name of its format.
_OLD_MOV = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))

_LARGE = 1  # a size that says: the size follows, with 64 bits

# The way from a track to its tables.
_PATH = (b"trak", b"mdia", b"minf", b"stbl")


def sniff(head: bytes) -> str | None:
    """Return the media type of a GIF, MP4 or MOV by its first bytes, or ``None``."""
    if head.startswith(b"GIF8"):
        return "image/gif"
    if head[4:8] in _OLD_MOV or head[4:12] == b"ftypqt  ":
        return "video/quicktime"
    # HEIC and AVIF begin in the same way.
    is_movie = head[4:8] == b"ftyp" and foreign_format(head) is None
    return "video/mp4" if is_movie else None


def is_webm(head: bytes) -> bool:
    """Return whether the first bytes are those of a WebM, or another Matroska file."""
    return head.startswith(b"\x1a\x45\xdf\xa3")


def check_gif(picture: Buffer) -> None:
    """Raise :exc:`ImageError` unless *picture* has an image and goes to its trailer."""
    try:
        _walk_gif(picture)
    except IndexError:
        raise _cut_off() from None


def _walk_gif(picture: Buffer) -> None:
    position = 13 + _colours(picture[10])
    has_image = inside = False
    for _ in range(_MOST_BLOCKS):
        code = picture[position]
        if inside:  # an image or an extension: blocks up to an empty one
            position, inside = position + code + 1, code > 0
        elif code == _TRAILER and has_image:
            return
        elif code == _IMAGE:
            position += 11 + _colours(picture[position + 9])
            has_image = inside = True
        elif code == _EXTENSION:
            position, inside = position + 2, True
        else:
            break
    raise _cut_off()


def _colours(flags: int) -> int:
    """Return the bytes of the table of colours that *flags* announce."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def is_complete_movie(movie: Buffer) -> bool:
    """
    Return whether an MP4 or MOV is proven to be complete.

    Its boxes end where the file ends, and what its tables point to lies in it.
    :exc:`ImageError` if it is cut off. False for one in fragments without an index
    at its end: nothing in it tells how many there are. A box behind the media, which
    no track needs, may be missing.
    """
    walk, index, has_media, names = _Walk(movie), _NOWHERE, False, set[bytes]()
    name = b""
    for name, start, end in walk.boxes(0, len(movie)):
        if name == b"moov":
            index = start, end
        has_media |= name == b"mdat" and end > start
        names.add(name)
    if not has_media or index[1] - index[0] > _MOST_INDEX:
        raise _cut_off()
    if b"moof" in names:
        return name == b"mfra"
    ends = [_media_end(movie, tables) for tables in walk.tables(*index)]
    if not 0 < max(ends, default=0) <= len(movie):
        raise _cut_off()
    return True


_Span = tuple[int, int]

_NOWHERE = (0, 0)


@attrs.define
class _Walk:
    """The boxes of one file, of which so many are *left* to be looked at."""

    _movie: Buffer
    _left: int = _MOST_BOXES

    def boxes(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield each box between *start* and *end*: name, begin and end of content."""
        while start < end:
            size, name = struct.unpack(">I4s", self._exactly(start, 8))
            content = start + 8
            if size == _LARGE:
                (size,) = struct.unpack(">Q", self._exactly(content, 8))
                content += 8
            elif not size and name == b"mdat":
                size = end - start  # the last box of a file may say so
            start += size
            self._left -= 1
            if content > start or start > end or not self._left:
                raise _cut_off()
            yield name, content, start

    def _exactly(self, start: int, length: int) -> bytes:
        piece = self._movie[start : start + length]
        if len(piece) < length:
            raise _cut_off()
        return piece

    def tables(self, start: int, end: int) -> Iterator[dict[bytes, _Span]]:
        """Yield where the tables of each track are, by their names."""
        places = [(start, end)]
        for wanted in _PATH:
            places = [
                (begin, close)
                for place in places
                for name, begin, close in self.boxes(*place)
                if name == wanted
            ]
        for place in places:
            yield {name: (begin, close) for name, begin, close in self.boxes(*place)}


def _media_end(movie: Buffer, tables: dict[bytes, _Span]) -> int:
    """Return where the last chunk of a track ends; 0 for a track without any."""
    width = "Q" if b"co64" in tables else "I"
    chunks = tables.get(b"co64") or tables.get(b"stco")
    if chunks is None:
        return 0
    last, begin = 0, 0
    for first, offsets in _entries(movie, chunks, width):
        if (most := max(offsets)) >= begin:
            last, begin = first + offsets.index(most), most
    return begin + _chunk_length(movie, tables, last) if begin else 0


def _chunk_length(movie: Buffer, tables: dict[bytes, _Span], chunk: int) -> int:
    """Return the bytes of the chunk with this number, from 0."""
    before, since, each = 0, 0, 0  # samples, and of how many chunks are so many each
    for _, numbers in _entries(movie, tables.get(b"stsc", _NOWHERE), "III"):
        for first, many in zip(numbers[::3], numbers[1::3], strict=True):
            if first - 1 <= chunk:
                before += max(0, first - 1 - since) * each
                since, each = first - 1, many
    before += (chunk - since) * each
    return _sample_bytes(movie, tables.get(b"stsz"), before, each)


def _sample_bytes(movie: Buffer, place: _Span | None, first: int, count: int) -> int:
    """Return the sum of the sizes of *count* samples from the *first* on."""
    if place is None:
        return 0  # they are in a form that is hardly used
    (size,) = struct.unpack(">I", movie[place[0] + 4 : place[0] + 8])
    if size:
        # A size of 1 stands in old tables of sound for any size, also a smaller one.
        return count * int(size) if size > 1 else 0
    total = 0
    for at, sizes in _entries(movie, (place[0] + 4, place[1]), "I"):
        total += sum(sizes[max(0, first - at) : max(0, first + count - at)])
    return total


def _entries(
    movie: Buffer, place: _Span, kind: str
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield the numbers of a table, some at once, with the number of the first."""
    start, end = place[0] + 8, place[1]
    width = struct.calcsize(f">{kind}")
    if start > end:
        raise _cut_off()
    (count,) = struct.unpack(">I", movie[start - 4 : start])
    if start + count * width > end:
        raise _cut_off()
    for at in range(0, count, _ENTRIES):
        many = min(_ENTRIES, count - at)
        piece = movie[start + at * width : start + (at + many) * width]
        yield at, struct.unpack(f">{many * len(kind)}{kind[0]}", piece)


def _cut_off() -> ImageError:
    return ImageError("it is cut off")
