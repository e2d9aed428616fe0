"""
An engine that swaps nothing, and proves which source met which target.

Its result is the target with the SHA-256 of both pictures in a comment. No picture
is decoded.
"""

import hashlib
import re

from ezlink_async.emulator.pictures import containers

_PNG_HEADER = 33  # bytes of signature and IHDR; a text chunk may follow at once
_MARK = re.compile(rb"ezlink-copy source=([0-9a-f]{64}) target=([0-9a-f]{64})")


class CopyEngine:
    """Returns the target, marked; :func:`read_hashes` reads the mark."""

    name = "copy"

    def swap(self, source: bytes, target: bytes) -> bytes:
        """Return *target* with the mark; PictureError unless both are pictures."""
        mark = b"ezlink-copy source=%b target=%b" % (_digest(source), _digest(target))
        _kind_of(source)
        return _MARKERS[_kind_of(target)](target, mark)


def read_hashes(picture: bytes) -> tuple[str, str]:
    """
    Return the SHA-256 of source and target, in hexadecimal.

    ValueError when the copy engine did not make the picture.
    """
    found = _MARK.search(picture)
    if found is None:
        raise ValueError("this picture was not made by the copy engine")
    return found[1].decode(), found[2].decode()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _kind_of(picture: bytes) -> containers.Kind:
    kind = containers.kind_of(picture)
    if kind == "png" and len(picture) <= _PNG_HEADER:
        raise containers.PictureError("the PNG is cut off")
    return kind


def _mark_jpeg(picture: bytes, mark: bytes) -> bytes:
    # Before the first segment: a comment may stand anywhere between segments.
    return picture[:2] + containers.jpeg_segment(0xFE, mark) + picture[2:]


def _mark_png(picture: bytes, mark: bytes) -> bytes:
    chunk = containers.png_chunk(b"tEXt", b"Comment\x00" + mark)
    return picture[:_PNG_HEADER] + chunk + picture[_PNG_HEADER:]


def _mark_webp(picture: bytes, mark: bytes) -> bytes:
    # An unknown chunk behind the picture: readers must skip it.
    end = 8 + int.from_bytes(picture[4:8], "little")
    whole = picture[8:end] + b"\x00" * (end % 2)
    return containers.riff_chunk(b"RIFF", whole + containers.riff_chunk(b"EZLK", mark))


_MARKERS = {"jpeg": _mark_jpeg, "png": _mark_png, "webp": _mark_webp}
