"""Distinct photos by number, and what the result of each must be."""

from __future__ import annotations

import functools
import hashlib

from tests.support.pictures import JPEG, jpeg

_HEAD, _TAIL = JPEG[:-9], JPEG[-2:]
_DIGITS = 8

SOURCE = jpeg(9_000)


@functools.cache
def _stuffing(length: int) -> bytes:
    return jpeg(length + len(JPEG))[len(_HEAD) :][:length]


def photo(number: int, length: int) -> bytes:
    """
    Return a photo nobody else has, of some more than *length* bytes.

    No two have one length, so that the head of a request tells them apart.
    """
    stuffing = _stuffing(length)[: length - len(JPEG) - _DIGITS]
    more = b"abc" * number
    return b"".join((_HEAD, b"%0*d" % (_DIGITS, number), stuffing, more, _TAIL))


def length_for(body: int) -> int:
    """Return the length of a photo that makes a body of about *body* bytes."""
    return (body - len(SOURCE) * 4 // 3) * 3 // 4


def number_of(picture: bytes) -> int:
    """Return the number of a photo."""
    return int(picture[len(_HEAD) :][:_DIGITS])


def digest_of(picture: bytes) -> str:
    """Name a photo by its content."""
    return hashlib.sha256(picture).hexdigest()


def result_of(digest: str) -> bytes:
    """Return the picture that is made of a photo."""
    return _HEAD + digest.encode() + _TAIL
