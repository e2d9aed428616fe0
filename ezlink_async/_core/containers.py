"""
JPEG, PNG and WebP taken apart: is it complete, how large, without metadata.

Everything is decided by content, without decoding a pixel. Servers end a broken
stream cleanly, so only the content shows that a picture was cut off. A picture
may be a mapped file: its parts are walked by their offsets, never copied. What moves
is taken apart in :mod:`~ezlink_async._core.moving_pictures`.
"""

from __future__ import annotations

import binascii
import mmap
import re
from collections.abc import Callable, Iterator

import attrs

from ezlink_async._core import moving_pictures
from ezlink_async._core.images import HEAD_BYTES, foreign_format, sniff
from ezlink_async.errors import ImageError

Buffer = bytes | mmap.mmap

MOST_PARTS = 300_000
"""More parts than any picture has; a file of more would keep the reader busy."""

_PIECE = 256 * 1024  # searched in about a millisecond, whatever its content

# Markers of JPEG.
_APP1, _SCAN, _END = 0xE1, 0xDA, 0xD9
_CODED_PIXELS = -1  # no marker: the part that follows the header of a scan
_TABLES = {0xC4, 0xC8, 0xCC}  # not frames, but among their markers

# A marker inside coded pixels: FF that is neither stuffed (00), nor a restart
# (D0 to D7), nor a fill byte (another FF).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_NO_FILL = re.compile(rb"[^\xff]")

_LONGEST_SEGMENT = 0xFFFF + 2

_EXIF = b"Exif\0\0"

_ORIENTATION = 0x0112

_LONG = 4  # the type of a number of four bytes

# Segments of a fixed length, with marker and length: the number of lines, and
# the interval of restarts.
_FIXED = {0xDC: 6, 0xDD: 6}

# Frames, tables and scans, without the markers that have no meaning here.
_PIXELS = {*range(0xC0, 0xD0), _END, _SCAN, 0xDB, *_FIXED} - {0xC8}

# Segments without which a JPEG shows other colours: how one begins, how much of
# it is kept, and what is put behind. JFIF gets a thumbnail of no pixels.
_JPEG_KEPT = {
    0xE0: (b"JFIF\0", 12, b"\0\0"),
    0xE2: (b"ICC_PROFILE\0", None, b""),
    0xEE: (b"Adobe", 12, b""),
}

# The chunks that every reader must know. Any other with a capital letter in front
# is one that a reader may not skip.
_PNG_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT"))

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

# Chunks that change how a PNG looks, beside the critical ones.
_PNG_KEPT = frozenset(
    b"tRNS gAMA cHRM iCCP sRGB sBIT cICP mDCV cLLI bKGD pHYs acTL fcTL fdAT".split()
)

_WEBP_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))

_WEBP_FRAME = 24  # bytes of ANMF before its chunks

_FRAME_KEPT = frozenset((b"VP8 ", b"VP8L", b"ALPH"))

_WEBP_HEAD = 12

# Most bytes of zeros at the end of coded pixels, for each pixel. Photos have far
# fewer; a flat picture has some, because its pixels cost next to nothing.
_ZEROS_A_PIXEL = {b"VP8 ": 1 / 64, b"VP8L": 1 / 2}

_FEW_ZEROS = 64

_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04  # flags of VP8X

_WEBP_SIDE = 0x3FFF  # of the 16 bits of a side; the others scale it for display


def verify_complete(picture: Buffer) -> str | None:
    """
    Return the media type of a complete picture or video, ``None`` for another format.

    ``None`` means that it cannot be verified: a known format other than JPEG, PNG,
    WebP, GIF, MP4 and MOV, or a video in fragments that does not tell how many.
    :exc:`ImageError` if *picture* is of no known format or is cut off. Bytes behind
    the end are allowed, but for a video.
    """
    if not len(picture):
        raise ImageError("the answer is empty")
    head = picture[:HEAD_BYTES]
    media_type = sniff(head) or moving_pictures.sniff(head)
    if media_type is None:
        if foreign_format(head) or moving_pictures.is_webm(head):
            return None
        raise ImageError("the bytes are no picture and no video")
    try:
        return media_type if _is_complete(picture, media_type) else None
    except ImageError:
        name = media_type.partition("/")[2].upper()
        raise ImageError(f"the {name} is cut off") from None


def _is_complete(picture: Buffer, media_type: str) -> bool:
    if media_type in _FORMATS:
        _FORMATS[media_type].check(picture)
    elif media_type == "image/gif":
        moving_pictures.check_gif(picture)
    else:
        return moving_pictures.is_complete_movie(picture)
    return True


def strip_metadata(picture: bytes) -> bytes:
    """
    Return a JPEG, PNG or WebP with the same pixels and without metadata.

    Position, serial numbers, thumbnails, maker notes, XMP, comments and all
    bytes behind the end are removed. The colour profile stays, and the
    orientation as the only entry of a new Exif. Bytes inside the coded pixels
    stay, also those that a program has hidden behind the last pixel. :exc:`ImageError`
    when the picture has another format, is cut off, or has a part of an unknown
    kind that readers may not skip.
    """
    return _format_of(picture).strip(picture)


def dimensions(picture: bytes) -> tuple[int, int]:
    """Return width and height in pixels, as the head of the picture says."""
    return _format_of(picture).dimensions(picture)


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


def _format_of(picture: bytes) -> _Format:
    media_type = sniff(picture[:HEAD_BYTES])
    if media_type is None:
        raise ImageError("this is not a picture; give a JPEG, PNG or WebP")
    return _FORMATS[media_type]


def _cut_off(name: str) -> ImageError:
    return ImageError(f"the {name} is cut off or broken; copy it again, or export it")


def _unknown(name: str, part: str) -> ImageError:
    return ImageError(
        f"the {name} has a part ({part}) that may hold metadata and cannot be "
        "removed; export the picture again"
    )


def _big(content: bytes) -> int:
    return int.from_bytes(content, "big")


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")


# JPEG


def _find(pattern: re.Pattern[bytes], picture: Buffer, position: int) -> int:
    """Return where up to two bytes of *pattern* are from *position* on, or -1."""
    # In pieces: a search holds the interpreter's lock from its start to its end.
    for start in range(position, len(picture), _PIECE):
        if found := pattern.search(picture, start, start + _PIECE + 1):
            return found.start()
    return -1


def _jpeg_parts(picture: Buffer) -> Iterator[tuple[int, int, int]]:
    """
    Yield marker, start and end of each part; :exc:`ImageError` if it is cut off.

    The coded pixels of a scan are a part of their own. A thumbnail inside an
    early segment has an end marker of its own, so segments are stepped over by
    their length, never searched.
    """
    position, scanned = 2, False
    for _ in range(MOST_PARTS):
        marker, start, end = _jpeg_part(picture, position)
        if end > len(picture) or (marker == _END and not scanned):
            break
        yield marker, start, end
        if marker == _END:
            return
        position, scanned = end, scanned or marker == _SCAN
        if scanned:
            position = _find(_MARKER, picture, end)
        if position < 0:
            break
        if marker == _SCAN:
            yield _CODED_PIXELS, end, position
    raise _cut_off("JPEG")


def _jpeg_part(picture: Buffer, position: int) -> tuple[int, int, int]:
    """Return marker, start and end of the part at *position*."""
    code = _find(_NO_FILL, picture, position)
    if code <= position or not picture[code]:
        raise _cut_off("JPEG")  # there is no marker
    end = code + 1
    if picture[code] != _END:
        end += max(2, _big(picture[end : end + 2]))
    return picture[code], code - 1, end


def _check_jpeg(picture: Buffer) -> None:
    scans = 0
    for marker, _, end in _jpeg_parts(picture):
        scans += marker == _SCAN
        # Once: an answer for each of many scans would take minutes.
        if marker == _SCAN and scans == 1 and _ends_in_scan(picture, end):
            return  # without a search through all coded pixels


def _ends_in_scan(picture: Buffer, position: int) -> bool:
    """
    Return whether the last bytes alone prove that the picture is complete.

    An end marker cannot be among coded pixels, but inside a segment between
    two scans it can: one that reaches the end begins in the last 64 KiB.
    """
    end = len(picture) - 2
    if end < position or picture[end:] != bytes((0xFF, _END)):
        return False
    tail = picture[max(position, end - _LONGEST_SEGMENT) : end]
    for match in _MARKER.finditer(tail):
        length = _big(tail[match.end() : match.end() + 2])
        if match.end() + max(length, 2) > len(tail):
            return False
    return True


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _kept_of_jpeg(marker: int, part: bytes) -> bytes:
    """Return what is kept of a part: all, some or nothing."""
    if marker in range(0xC0, 0xE0):
        if marker not in _PIXELS or len(part) != _FIXED.get(marker, len(part)):
            raise _unknown("JPEG", f"FF {marker:02X}")
        return part
    if marker == _CODED_PIXELS:
        return part
    begin, length, end = _JPEG_KEPT.get(marker, (b"", 0, b""))
    content = part[4:]
    if not begin or not content.startswith(begin):
        return b""
    return _segment(marker, content[:length] + end)


def _strip_jpeg(picture: bytes) -> bytes:
    kept, turn = [picture[:2]], 0
    for marker, start, end in _jpeg_parts(picture):
        part = picture[start:end]
        kept.append(_kept_of_jpeg(marker, part))
        if marker == _APP1 and part.startswith(_EXIF, 4) and not turn:
            turn = orientation(part[4:])
            if turn != 1:
                kept.append(_segment(marker, _EXIF + _only_orientation(turn)))
    return b"".join(kept)


def _jpeg_dimensions(picture: bytes) -> tuple[int, int]:
    for marker, start, end in _jpeg_parts(picture):
        if marker in range(0xC0, 0xD0) and marker not in _TABLES:
            frame = picture[start:end]
            return _big(frame[7:9]), _big(frame[5:7])
    raise _cut_off("JPEG")


# PNG


def _png_chunks(picture: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk; :exc:`ImageError` if it is cut off."""
    start = 8
    for _ in range(MOST_PARTS):
        end = start + 12 + _big(picture[start : start + 4])
        name = picture[start + 4 : start + 8]
        if end > len(picture):
            break
        yield name, start, end
        if name == b"IEND":
            return
        start = end
    raise _cut_off("PNG")


def _check_png(picture: Buffer) -> None:
    for _ in _png_chunks(picture):
        pass


def _kept_of_png(name: bytes, part: bytes) -> bytes:
    if name == b"IEND":
        return _PNG_END  # it may hold bytes of its own
    if name in _PNG_KEPT or name in _PNG_CRITICAL:
        return part
    if name[:1].isupper():
        raise _unknown("PNG", name.decode("latin-1"))
    turn = orientation(part[8:-4]) if name == b"eXIf" else 1
    if turn == 1:
        return b""
    content = name + _only_orientation(turn)
    length, check = len(content) - 4, binascii.crc32(content)
    return length.to_bytes(4, "big") + content + check.to_bytes(4, "big")


def _strip_png(picture: bytes) -> bytes:
    kept = (
        _kept_of_png(name, picture[start:end])
        for name, start, end in _png_chunks(picture)
    )
    return picture[:8] + b"".join(kept)


def _png_dimensions(picture: bytes) -> tuple[int, int]:
    name, start, _ = next(_png_chunks(picture))
    if name != b"IHDR":
        raise _cut_off("PNG")
    return _big(picture[start + 8 : start + 12]), _big(picture[start + 12 : start + 16])


# WebP


def _check_webp(picture: Buffer) -> None:
    end = 8 + _little(picture[4:8])
    if not len(picture) >= end > _WEBP_HEAD or _is_zero_filled(picture, end):
        raise _cut_off("WebP")


def _is_zero_filled(picture: Buffer, end: int) -> bool:
    """
    Return whether the bytes before *end* were reserved and never written.

    That is certain where a chunk begins with zeros, and where more zeros end the
    coded pixels than so many pixels can take. Fewer cannot be told from pixels.
    """
    zeros = _first_zero(picture, end)
    start = _WEBP_HEAD
    for _ in range(MOST_PARTS):
        if start >= zeros or start >= end - 8:
            return start < end - 8
        name = picture[start : start + 4]
        last = start + 8 + _little(picture[start + 4 : start + 8])
        if name in _ZEROS_A_PIXEL:  # what follows it is not needed
            width, height = _webp_size(name, picture[start : start + 18])
            most = width * height * _ZEROS_A_PIXEL[name] + _FEW_ZEROS
            return min(last, end) - zeros > most
        start = last + last % 2
    return False


def _first_zero(picture: Buffer, end: int) -> int:
    """Return where the zeros begin that reach to *end*."""
    kept = b""
    while end > 0 and not kept:
        start = max(0, end - _PIECE)
        kept = picture[start:end].rstrip(b"\0")
        end = start + len(kept)
    return end


def _webp_chunks(
    picture: bytes, start: int = _WEBP_HEAD, end: int | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk with its name and its padding; some writers omit the last."""
    last = 8 + _little(picture[4:8]) if end is None else end
    for _ in range(MOST_PARTS):
        length = _little(picture[start + 4 : start + 8])
        end = start + 8 + length
        if end > min(last, len(picture)):
            break
        chunk = picture[start:end] + bytes(length % 2)
        yield chunk[:4], chunk
        start += len(chunk)
        if start >= last:
            return
    raise _cut_off("WebP")


def _strip_webp(picture: bytes) -> bytes:
    kept, turn = [], 1
    for name, chunk in _webp_chunks(picture):
        if name == b"EXIF":
            turn = orientation(chunk[8:])
        elif name in _WEBP_KEPT:
            kept.append(_frame(chunk) if name == b"ANMF" else chunk)
    if kept and kept[0].startswith(b"VP8X"):  # the head of all but the simplest
        kept[0] = _webp_head(kept[0], turned=turn != 1)
        if turn != 1:
            exif = _only_orientation(turn)
            kept.append(b"EXIF" + len(exif).to_bytes(4, "little") + exif)
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def _frame(chunk: bytes) -> bytes:
    """Return a frame of an animation with its pixels alone."""
    end = 8 + _little(chunk[4:8])
    parts = [
        part
        for name, part in _webp_chunks(chunk, _WEBP_FRAME, end)
        if name in _FRAME_KEPT
    ]
    content = chunk[8:_WEBP_FRAME] + b"".join(parts)
    return chunk[:4] + len(content).to_bytes(4, "little") + content


def _webp_head(chunk: bytes, *, turned: bool) -> bytes:
    """Return the head with flags for no metadata, or for an Exif alone."""
    flags = chunk[8:9] or b"\0"
    kept = flags[0] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if turned else 0)
    return chunk[:8] + bytes((kept,)) + chunk[9:]


def _webp_dimensions(picture: bytes) -> tuple[int, int]:
    return _webp_size(*next(_webp_chunks(picture)))


def _webp_size(name: bytes, chunk: bytes) -> tuple[int, int]:
    """Return the size that the begin of a first chunk says."""
    if name == b"VP8X":
        return _little(chunk[12:15]) + 1, _little(chunk[15:18]) + 1
    if name == b"VP8L":
        bits = _little(chunk[9:13])
        return (bits & _WEBP_SIDE) + 1, (bits >> 14 & _WEBP_SIDE) + 1
    return _little(chunk[14:16]) & _WEBP_SIDE, _little(chunk[16:18]) & _WEBP_SIDE


@attrs.frozen
class _Format:
    check: Callable[[Buffer], None]
    strip: Callable[[bytes], bytes]
    dimensions: Callable[[bytes], tuple[int, int]]


_FORMATS = {
    "image/jpeg": _Format(_check_jpeg, _strip_jpeg, _jpeg_dimensions),
    "image/png": _Format(_check_png, _strip_png, _png_dimensions),
    "image/webp": _Format(_check_webp, _strip_webp, _webp_dimensions),
}
