"""
Whether a picture is whole, told by its content alone.

Servers end a broken stream cleanly, so nothing else can tell. Pure.
"""

from __future__ import annotations

import mmap
import re

from ezlink_async.errors import ImageError
from ezlink_async.images import HEAD_BYTES, foreign_format, sniff

_LEAD, _END, _SCAN, _APP1 = 0xFF, 0xD9, 0xDA, 0xE1  # JPEG markers
_WEBP_HEAD = 12

# A marker inside entropy-coded JPEG bytes: FF that is neither stuffed (00),
# nor a restart (D0 to D7), nor a fill byte (another FF).
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_NO_FILL = re.compile(rb"[^\xff]")
_LONGEST_SEGMENT = 0xFFFF + 2

_PIECE = 256 * 1024  # is searched in about a millisecond, whatever is in it
MOST_PARTS = 300_000  # more than any picture has; ever smaller ones would last

Buffer = bytes | mmap.mmap


def verify(picture: Buffer) -> str | None:
    """
    Return the media type of a picture that is whole, else raise.

    ``None`` means a format that cannot be verified. :exc:`ImageError` means
    not a picture, or one that is cut off: servers end a broken stream
    cleanly, so only the content can tell. Bytes behind the end are allowed.
    """
    if not len(picture):
        raise ImageError("the answer is empty")
    media_type = sniff(picture[:HEAD_BYTES])
    if media_type is None:
        if foreign_format(picture[:HEAD_BYTES]):
            return None
        raise ImageError("the bytes are no picture")
    if not _WHOLE[media_type](picture):
        raise ImageError(f"the {media_type[6:].upper()} is cut off")
    return media_type


def find(pattern: re.Pattern[bytes], picture: Buffer, position: int) -> int:
    """Return where up to two bytes of *pattern* are from *position* on, or -1."""
    # In pieces: a search holds the interpreter's lock from its start to its end.
    for start in range(position, len(picture), _PIECE):
        if found := pattern.search(picture, start, start + _PIECE + 1):
            return found.start()
    return -1


def _whole_jpeg(picture: Buffer) -> bool:
    # A thumbnail inside an early segment has an end marker of its own, so
    # segments are stepped over by their length, never searched.
    position = 2
    for _ in range(MOST_PARTS):
        lead, position = position, find(_NO_FILL, picture, position)
        if position <= lead or position + 3 > len(picture):
            return False  # no marker, or nothing behind it
        marker = picture[position]
        if marker in {0x00, _END}:
            return False  # no marker, or an end before any scan
        step = picture[position + 1 : position + 3]
        position += 1 + int.from_bytes(step, "big")
        if marker == _SCAN:
            return _ends_in_scan(picture, position) or _whole_scans(picture, position)
    return False


def _whole_scans(picture: Buffer, position: int) -> bool:
    for _ in range(MOST_PARTS):
        position = find(MARKER, picture, position)
        if position < 0:
            return False
        if picture[position + 1] == _END:
            return True
        step = picture[position + 2 : position + 4]
        position += 2 + max(2, int.from_bytes(step, "big"))
    return False


def _ends_in_scan(picture: Buffer, position: int) -> bool:
    """
    Tell from the last bytes alone whether a picture ends with its end marker.

    Inside a scan these two bytes cannot come, but inside a segment between two
    scans they may: one that reaches so far begins in the last 64 KiB.
    """
    end = len(picture) - 2
    if end < position or picture[end:] != bytes((_LEAD, _END)):
        return False
    tail = picture[max(position, end - _LONGEST_SEGMENT) : end]
    for match in MARKER.finditer(tail):
        step = int.from_bytes(tail[match.end() : match.end() + 2], "big")
        if match.end() + max(step, 2) > len(tail):
            return False
    return True


def _whole_png(picture: Buffer) -> bool:
    position = 8
    for _ in range(MOST_PARTS):
        if position + 12 > len(picture):
            return False
        length = int.from_bytes(picture[position : position + 4], "big")
        if picture[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False


def _whole_webp(picture: Buffer) -> bool:
    return len(picture) >= 8 + int.from_bytes(picture[4:8], "little") > _WEBP_HEAD


_WHOLE = {
    "image/jpeg": _whole_jpeg,
    "image/png": _whole_png,
    "image/webp": _whole_webp,
}
