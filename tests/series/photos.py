"""Distinct photos by number, and what the result of each must be."""

from __future__ import annotations

import functools
import hashlib

from tests.support.pictures import JPEG, jpeg

_HEAD, _TAIL = JPEG[:-9], JPEG[-2:]

SOURCE = jpeg(9_000)


@functools.cache
def _filler(length: int) -> bytes:
    return jpeg(length + len(JPEG))[len(_HEAD) :][:length]


def photo(number: int, length: int) -> bytes:
    """
    Return a photo unlike all others, of a little more than *length* bytes.

    No two have the same length, so the head of a request tells them apart.
    """
    filler, more = _filler(length - len(JPEG) - 8), b"abc" * number
    return b"".join((_HEAD, b"%08d" % number, filler, more, _TAIL))


def length_for(body: int) -> int:
    """Return the length of a photo that makes a body of about *body* bytes."""
    return (body - len(SOURCE) * 4 // 3) * 3 // 4


def digest_of(picture: bytes) -> str:
    """Return the digest by which a photo is known."""
    return hashlib.sha256(picture).hexdigest()


def result_of(digest: str) -> bytes:
    """Return the picture that is made of a photo."""
    return _HEAD + digest.encode() + _TAIL
