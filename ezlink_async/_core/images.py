"""
Which pictures may be sent, and how long each is on the wire.

A picture is judged by its content, never by a file's suffix. No function here
opens a file: the caller reads the bytes.
"""

from __future__ import annotations

import base64
import binascii
import io
import mmap
import os
import re
from collections.abc import AsyncIterable, Awaitable
from pathlib import Path
from typing import Protocol, Self, TypeGuard, runtime_checkable

import attrs

from ezlink_async.errors import ImageError

MAX_BYTES = 10 * 1024 * 1024
"""The most bytes of one picture; the public server's own default limit."""

HEAD_BYTES = 32
"""How many bytes of a picture :func:`sniff` needs."""

SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
"""The suffix of a file for each media type that can be sent and verified."""

RESULT_SUFFIXES = {
    **SUFFIXES,
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "text/plain": ".txt",
}
"""The suffix of a file for each media type of a result that can be verified."""


def suffixes_of(kind: str) -> frozenset[str]:
    """Return the suffixes of the results of one kind: image, video or text."""
    return frozenset(
        suffix
        for name, suffix in RESULT_SUFFIXES.items()
        if name.startswith(f"{kind}/")
    )


_LONGEST_PATH = 8192  # characters; no system takes a longer one

_FOREIGN = {
    "GIF": re.compile(rb"GIF8"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "HEIC": re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
}

_DATA_URI = re.compile(
    r"data:(?P<type>[^;,]*)(?:;[^;,]*)*?;base64,(?P<text>.*)",
    re.DOTALL | re.IGNORECASE,
)


def sniff(head: bytes) -> str | None:
    """Return the media type of a picture by its first bytes, or ``None``."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def foreign_format(head: bytes) -> str | None:
    """Return the name of a format that cannot be sent, such as GIF or HEIC."""
    return next((name for name, magic in _FOREIGN.items() if magic.match(head)), None)


def check_acceptable(
    head: bytes, length: int, *, path: str | os.PathLike[str] | None = None
) -> str:
    """
    Return the media type of a picture that may be sent.

    :exc:`ImageError` when the picture is empty, larger than :data:`MAX_BYTES`
    (before base64, as the server counts), or neither JPEG, PNG nor WebP.
    """
    if not length:
        raise ImageError("the picture is empty", path=path)
    if length > MAX_BYTES:
        raise ImageError(
            f"{length} bytes are more than the {MAX_BYTES} the server takes; "
            "make the picture smaller",
            path=path,
            limit=MAX_BYTES,
        )
    media_type = sniff(head)
    if media_type is None:
        name = foreign_format(head)
        what = f"{name} pictures are not taken" if name else "this is not a picture"
        raise ImageError(f"{what}; give a JPEG, PNG or WebP", path=path)
    return media_type


@runtime_checkable
class AsyncReader(Protocol):
    """An upload that is read by ``await read(size)``, as Starlette's ``UploadFile``."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return the next bytes, none at the end."""
        ...


@runtime_checkable
class ChunkReader(Protocol):
    """An upload that is read by ``await read_chunk(size)``, as a part in aiohttp."""

    def read_chunk(self, size: int, /) -> Awaitable[bytes]:
        """Return the next bytes, none at the end."""
        ...


Upload = AsyncReader | ChunkReader | AsyncIterable[bytes]
"""A picture that an application is being sent; it can be read once."""


def is_upload(given: object) -> TypeGuard[Upload]:
    """Return whether *given* can be read as an upload; an open file cannot."""
    is_read = isinstance(given, AsyncReader | ChunkReader | AsyncIterable)
    return is_read and not isinstance(given, io.IOBase)


@attrs.frozen(repr=False)
class Image:
    """
    A picture to send: a file, bytes, or an upload.

    Make one with :meth:`from_path`, :meth:`from_bytes`, :meth:`from_data_uri` or
    :meth:`AsyncEzlink.receive_image`. A file is read when it is sent, so that a
    folder of thousands stays on disk. An *upload* is read once, by the submit of its
    job. One that was received is *spooled* in a temporary file, if it is large; the
    file has gone with the last reference to it.
    """

    path: Path | None = None
    content: bytes | None = None
    upload: Upload | None = None
    spooled: mmap.mmap | None = None

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> Self:
        """Name a file. A missing or unusable file is an error when it is sent."""
        text = path.lower() if isinstance(path, str) else ""
        if text.startswith(("http:", "https:")):
            raise ImageError("this is an address; use `await client.fetch_image(url)`")
        if text.startswith("data:"):
            raise ImageError("this is a data URI; use `Image.from_data_uri(uri)`")
        if len(text) > _LONGEST_PATH:
            raise ImageError(
                f"this text of {len(text)} characters is no path; give a picture's "
                "bytes, or base64 text as `Image.from_data_uri('data:;base64,...')`"
            )
        try:
            return cls(path=path if isinstance(path, Path) else Path(path))
        except TypeError:  # the entries of a folder that was given as bytes
            raise ImageError(
                f"{path!r:.200} is a path in bytes, not a string"
            ) from None

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Take the bytes of a file; :exc:`ImageError` when they cannot be sent."""
        given: object = content
        if not isinstance(given, bytes | bytearray | memoryview):
            raise ImageError(
                f"give the bytes of a picture, not {type(given).__name__}; a file is "
                "`Image.from_path(path)`"
            )
        content = bytes(content)
        check_acceptable(content[:HEAD_BYTES], len(content))
        return cls(content=content)

    @classmethod
    def from_data_uri(cls, uri: str) -> Self:
        """Decode ``data:...;base64,...``; the media type it names is ignored."""
        given: object = uri
        if not isinstance(given, str):
            raise ImageError(f"a data URI is a str, not {type(given).__name__}")
        match = _DATA_URI.fullmatch(uri.strip())
        if not match:
            raise ImageError("this is not a base64 data URI")
        try:
            content = base64.b64decode("".join(match["text"].split()), validate=True)
        except (binascii.Error, ValueError):
            raise ImageError("the base64 of the data URI is broken") from None
        return cls.from_bytes(content)

    @classmethod
    def of(cls, picture: ImageLike) -> Image:
        """Return a picture that was given in any form the public functions accept."""
        if isinstance(picture, Image):
            return picture
        if isinstance(picture, Path):
            return cls(path=picture)
        if isinstance(picture, bytes | bytearray | memoryview):
            return cls.from_bytes(bytes(picture))
        if isinstance(picture, str | os.PathLike):
            return cls.from_path(picture)
        if is_upload(picture):
            return cls(upload=picture)
        raise ImageError(
            f"give a path, bytes, an upload or an Image, not {type(picture).__name__}"
        )

    @property
    def held(self) -> bytes | mmap.mmap | None:
        """The bytes; ``None`` for a file, :exc:`ImageError` for an unread upload."""
        if self.upload is not None:
            raise ImageError(
                "an upload is read by the submit of its job, or by "
                "`await client.receive_image(upload)`"
            )
        return self.content if self.spooled is None else self.spooled

    def __repr__(self) -> str:
        if self.path is not None:
            return f"Image({str(self.path)!r})"
        if self.upload is not None or self.spooled is not None:
            return "Image(<upload>)"  # its file may be gone by now
        return f"Image(<{len(self.content or b'')} bytes>)"


ImageLike = str | os.PathLike[str] | bytes | Image | Upload
"""The forms in which the public functions accept a picture."""


@attrs.frozen
class InspectedImage:
    """
    A picture with its media type and its length in bytes.

    The bytes of a small file are *kept*, so that it is read only once.
    """

    image: Image
    media_type: str
    length: int
    kept: bytes | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def prefix(self) -> bytes:
        """The data URI up to its base64 text."""
        return f"data:{self.media_type};base64,".encode()

    @property
    def text_length(self) -> int:
        """The length of the base64 text."""
        return 4 * ((self.length + 2) // 3)


@attrs.frozen(repr=False)
class EncodedImage:
    """A picture with its base64 text, shared by the swaps of a batch."""

    inspected: InspectedImage
    text: bytes
