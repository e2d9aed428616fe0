"""
Pictures made ready for the server, before anything is sent or paid.

Works by content: a suffix that is wrong does not matter. Every picture that
cannot be made ready is one :exc:`ImageError` whose message says what to change.
"""

from __future__ import annotations

import os

import attrs

from ezlink_async._core.containers import dimensions, strip, verify
from ezlink_async._core.images import (
    HEAD_BYTES,
    MAX_BYTES,
    Image,
    accept,
    foreign_format,
    sniff,
)
from ezlink_async._io.image_reader import open_picture, reading
from ezlink_async.convert import check_decoder, check_pixels, to_jpeg
from ezlink_async.errors import ImageError

MOST_READ = 512 * 1024 * 1024
"""The most bytes of a file that is made smaller; it is read into memory."""


@attrs.frozen
class Prepared:
    """
    A picture the server takes, and what was *changed* to make it one.

    *image* is the file itself, or bytes that still carry the file's path as
    their name. *changes* are short plain words for a report, such as
    ``converted from HEIC``; empty means the file is sent byte for byte.
    """

    image: Image
    changes: tuple[str, ...] = ()


def prepare_picture(
    path: str | os.PathLike[str], *, strip_metadata: bool = False
) -> Prepared:
    """
    Make a file acceptable: its format, its length and the way it stands.

    A JPEG, PNG or WebP that is within the limit and whole is left alone;
    *strip_metadata* takes position, serial numbers, thumbnails, comments and
    appended films out of it without touching its pixels. Where that alone
    brings a larger one below the limit it is all that is done. Everything else
    is encoded anew by the extra ``images``, always without metadata.

    Blocks, and may be called from many threads at once. One call takes up to
    30 MB for a picture that need not be decoded. Else it takes the file and up
    to 14 bytes for each pixel: 170 MB for a photo of 12 megapixels, 0.8 GB for
    the largest JPEGs, of which only a part is decoded, and 1.7 GB for the 120
    megapixels any other format may have. So bound how many run at once.
    """
    image = Image.from_path(path)
    try:
        return _prepared(image, _read(image), strip_metadata=strip_metadata)
    except ImageError as fault:
        if fault.path:
            raise
        raise ImageError(
            fault.reason, path=image.path, limit=fault.limit
        ) from fault.__cause__


def needs_preparing(path: str | os.PathLike[str]) -> bool:
    """
    Return whether the server would refuse a file that can be made acceptable.

    Looks at its beginning only. Raises :exc:`ImageError` when the file cannot
    be used at all, or the extra that would help is missing.
    """
    image = Image.from_path(path)
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        head = stream.read(HEAD_BYTES)
    media_type, foreign = sniff(head), foreign_format(head)
    too_large = media_type is not None and length > MAX_BYTES
    if not foreign and not too_large:
        accept(head, length, path=image.path)
        return False
    try:
        name = foreign or (media_type or "")[6:].upper()
        check_decoder(name, large=too_large)
    except ImageError as fault:
        raise ImageError(fault.reason, path=image.path) from fault.__cause__
    return True


def _read(image: Image) -> bytes:
    with reading(image), open_picture(image) as stream:
        length = os.fstat(stream.fileno()).st_size
        if length > MOST_READ:
            raise ImageError(
                f"{length} bytes are too many to be made smaller here; "
                "export the picture as a JPEG",
                limit=MOST_READ,
            )
        return stream.read()


def _prepared(image: Image, content: bytes, *, strip_metadata: bool) -> Prepared:
    media_type = _type_of(content)
    if media_type is None:
        return _anew(image, content, _foreign(content))
    check_pixels(dimensions(content))
    if not strip_metadata and len(content) <= MAX_BYTES:
        return Prepared(image)
    bare = strip(content)
    if bare == content and len(content) <= MAX_BYTES:
        return Prepared(image)
    if len(bare) <= MAX_BYTES:
        return Prepared(attrs.evolve(image, content=bare), ("metadata removed",))
    return _anew(image, bare, media_type[6:].upper())


def _type_of(content: bytes) -> str | None:
    """Return the media type of a picture that may be sent as it is, if whole."""
    if not content:
        raise ImageError("the picture is empty; copy it again")
    if sniff(content[:HEAD_BYTES]) is None:
        return None
    try:
        return verify(content)
    except ImageError as fault:
        raise ImageError(f"{fault.reason}; copy it again from where it is") from None


def _foreign(content: bytes) -> str:
    name = foreign_format(content[:HEAD_BYTES])
    if name is None:
        raise ImageError("this is not a picture; give a JPEG, PNG, WebP or HEIC")
    # A container of either; the brands it lists tell which.
    box = content[: int.from_bytes(content[:4], "big")]
    return "AVIF" if name == "HEIC" and b"avif" in box[8:512] else name


def _anew(image: Image, content: bytes, name: str) -> Prepared:
    made, changes = to_jpeg(content, name)
    return Prepared(attrs.evolve(image, content=made), changes)
