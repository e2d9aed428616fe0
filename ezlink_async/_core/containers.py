"""
Whether a picture is whole, told by its content alone.

Servers end a broken stream cleanly, so nothing else can tell. Pure.
"""

from __future__ import annotations

import binascii
import mmap
import re
from collections.abc import Callable, Iterator

from ezlink_async._core.images import HEAD_BYTES, foreign_format, sniff
from ezlink_async.errors import ImageError

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


def verify_complete(picture: Buffer) -> str | None:
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


def find_marker(pattern: re.Pattern[bytes], picture: Buffer, position: int) -> int:
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
        lead, position = position, find_marker(_NO_FILL, picture, position)
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
        position = find_marker(MARKER, picture, position)
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

_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables among the markers of frames

_EXIF = b"Exif\0\0"

_ORIENTATION = 0x0112

_LONG = 4  # the type of a number of four bytes

# Segments without which a JPEG shows other colours: how one begins, how much of
# it is kept, and what is put behind. JFIF gets a thumbnail of no pixels.
_JPEG_KEPT = {
    0xE0: (b"JFIF\0", 12, b"\0\0"),
    0xE2: (b"ICC_PROFILE\0", None, b""),
    0xEE: (b"Adobe", 12, b""),
}

# What shows a PNG, beside the critical chunks, whose names begin with a capital.
_PNG_KEPT = frozenset(
    b"tRNS gAMA cHRM iCCP sRGB sBIT cICP mDCV cLLI bKGD pHYs acTL fcTL fdAT".split()
)

_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))

_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04  # flags of VP8X


def strip_metadata(picture: bytes) -> bytes:
    """
    Return a JPEG, PNG or WebP without all that does not show it.

    Gone are position, serial numbers, thumbnails, maker notes, XMP, comments
    and whatever stands behind the end. The colour profile stays, and the
    orientation as the only entry of a new Exif. :exc:`ImageError` when the
    picture is another format or is not whole.
    """
    return _of_its_format(picture)[0](picture)


def dimensions(picture: bytes) -> tuple[int, int]:
    """Return width and height in pixels, as the head of the picture says."""
    return _of_its_format(picture)[1](picture)


def orientation(exif: bytes) -> int:
    """Return the camera's orientation, 1 to 8; 1 also when Exif is broken."""
    exif = exif.removeprefix(_EXIF)
    big = exif.startswith(b"MM")
    if not big and not exif.startswith(b"II"):
        return 1

    def number(start: int, length: int) -> int:
        piece = exif[start : start + length]
        return int.from_bytes(piece, "big" if big else "little")

    start = number(4, 4)
    most = max(0, len(exif) - start) // 12
    for entry in range(start + 2, start + 2 + 12 * min(number(start, 2), most), 12):
        if number(entry, 2) == _ORIENTATION:
            length = 4 if number(entry + 2, 2) == _LONG else 2
            value = number(entry + 8, length)
            return value if value in range(1, 9) else 1
    return 1


def _only_orientation(value: int) -> bytes:
    """Return an Exif with one entry."""
    head = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01"
    return head + value.to_bytes(2, "big") + bytes(6)


def _of_its_format(picture: bytes) -> _Format:
    media_type = sniff(picture[:HEAD_BYTES])
    if media_type is None:
        raise ImageError("this is not a picture; give a JPEG, PNG or WebP")
    return _FORMATS[media_type]


def _cut_off(name: str) -> ImageError:
    return ImageError(f"the {name} is cut off or broken; copy it again, or export it")


def _jpeg_parts(picture: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each segment with its marker; a scan together with its coded pixels."""
    position, scanned = 2, False
    for _ in range(MOST_PARTS):
        start = find_marker(MARKER, picture, position)
        if start < 0 or (picture[start + 1] == _END and not scanned):
            break
        marker = picture[start + 1]
        if marker == _END:
            yield marker, picture[start : start + 2]
            return
        position = start + 2 + int.from_bytes(picture[start + 2 : start + 4], "big")
        if marker == _SCAN:
            scanned, position = True, find_marker(MARKER, picture, position)
        if not start + 4 <= position <= len(picture):
            break
        yield marker, picture[start:position]
    raise _cut_off("JPEG")


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _needed_of_jpeg(marker: int, part: bytes) -> bytes:
    """Return what is kept of a segment: all, some or nothing."""
    if marker in range(0xC0, 0xE0):  # frames, tables, scans, the end
        return part
    begin, length, end = _JPEG_KEPT.get(marker, (b"", 0, b""))
    content = part[4:]
    if not begin or not content.startswith(begin):
        return b""
    return _segment(marker, content[:length] + end)


def _strip_jpeg(picture: bytes) -> bytes:
    kept, turn = [picture[:2]], 0
    for marker, part in _jpeg_parts(picture):
        kept.append(_needed_of_jpeg(marker, part))
        if marker == _APP1 and part.startswith(_EXIF, 4) and not turn:
            turn = orientation(part[4:])
            if turn != 1:
                kept.append(_segment(marker, _EXIF + _only_orientation(turn)))
    return b"".join(kept)


def _jpeg_dimensions(picture: bytes) -> tuple[int, int]:
    for marker, part in _jpeg_parts(picture):
        if marker in range(0xC0, 0xD0) and marker not in _NO_FRAME:
            height, width = part[5:7], part[7:9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
    raise _cut_off("JPEG")


def _png_parts(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give each chunk with its name."""
    position = 8
    for _ in range(MOST_PARTS):
        end = position + 12 + int.from_bytes(picture[position : position + 4], "big")
        name = picture[position + 4 : position + 8]
        if end > len(picture):
            raise _cut_off("PNG")
        yield name, picture[position:end]
        if name == b"IEND":
            return
        position = end
    raise _cut_off("PNG")


def _needed_of_png(name: bytes, part: bytes) -> bytes:
    if name in _PNG_KEPT or name[:1].isupper():
        return part
    turn = orientation(part[8:-4]) if name == b"eXIf" else 1
    if turn == 1:
        return b""
    content = name + _only_orientation(turn)
    length, check = len(content) - 4, binascii.crc32(content)
    return length.to_bytes(4, "big") + content + check.to_bytes(4, "big")


def _strip_png(picture: bytes) -> bytes:
    needed = (_needed_of_png(name, part) for name, part in _png_parts(picture))
    return picture[:8] + b"".join(needed)


def _png_dimensions(picture: bytes) -> tuple[int, int]:
    name, part = next(_png_parts(picture))
    if name != b"IHDR":
        raise _cut_off("PNG")
    return int.from_bytes(part[8:12], "big"), int.from_bytes(part[12:16], "big")


def _webp_parts(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give each chunk with its name, and with its padding."""
    last = 8 + int.from_bytes(picture[4:8], "little")
    position = 12
    for _ in range(MOST_PARTS):
        length = int.from_bytes(picture[position + 4 : position + 8], "little")
        end = position + 8 + length
        if end > min(last, len(picture)):
            raise _cut_off("WebP")
        part = picture[position:end] + bytes(length % 2)
        yield part[:4], part
        position += len(part)
        if position >= last:
            return
    raise _cut_off("WebP")


def _strip_webp(picture: bytes) -> bytes:
    kept, turn = [], 1
    for name, part in _webp_parts(picture):
        if name == b"EXIF":
            turn = orientation(part[8:])
        elif name in _WEBP_KEPT:
            kept.append(part)
    if kept and kept[0].startswith(b"VP8X"):  # the head of all but the simplest
        kept[0] = _webp_head(kept[0], turned=turn != 1)
        if turn != 1:
            exif = _only_orientation(turn)
            kept.append(b"EXIF" + len(exif).to_bytes(4, "little") + exif)
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def _webp_head(part: bytes, *, turned: bool) -> bytes:
    """Say in the head that no metadata follows, or only an Exif."""
    flags = part[8:9] or b"\0"
    kept = flags[0] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if turned else 0)
    return part[:8] + bytes((kept,)) + part[9:]


def _webp_dimensions(picture: bytes) -> tuple[int, int]:
    name, part = next(_webp_parts(picture))
    if name == b"VP8X":
        width, height = part[12:15], part[15:18]
        return (
            int.from_bytes(width, "little") + 1,
            int.from_bytes(height, "little") + 1,
        )
    if name == b"VP8L":
        bits = int.from_bytes(part[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = part[14:16], part[16:18]
    mask = 0x3FFF  # the two bits above scale it for show
    return (
        int.from_bytes(width, "little") & mask,
        int.from_bytes(height, "little") & mask,
    )


_Format = tuple[Callable[[bytes], bytes], Callable[[bytes], tuple[int, int]]]

_FORMATS: dict[str, _Format] = {
    "image/jpeg": (_strip_jpeg, _jpeg_dimensions),
    "image/png": (_strip_png, _png_dimensions),
    "image/webp": (_strip_webp, _webp_dimensions),
}
