"""
Forms with files (RFC 7578), read as they come, as Go's ``mime/multipart`` reads them.

A file is hashed, and kept only on demand, so that an upload of any size takes little
memory.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import AsyncIterable

from attrs import Factory, define, frozen

_MOST_HEAD = 64 * 1024  # bytes of the headers of one part

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
# mime.ParseMediaType: a backslash counts only before one of these.
_ESCAPE = re.compile(r'\\([()<>@,;:\\"/\[\]?=])')


@frozen(kw_only=True)
class FormFile:
    """
    A file of a form: its field, its name without folders, and what came of it.

    The *content* is empty unless the reader keeps it.
    """

    field: str
    name: str
    content_type: str
    size: int
    sha256: str
    content: bytes = b""


@define
class Form:
    """The fields of a form, of several with one name the first; and its files."""

    fields: dict[str, str] = Factory(dict)
    files: list[FormFile] = Factory(list)

    def file(self, field: str) -> FormFile | None:
        """Return the first file in *field*."""
        return next((file for file in self.files if file.field == field), None)


def boundary_of(content_type: str) -> str:
    """Return the boundary that a *content_type* names, or an empty text."""
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]) if found else ""


async def read_form(
    blocks: AsyncIterable[bytes], boundary: str, *, keeps_files: bool = False
) -> Form:
    """
    Return the form that *blocks* hold; ValueError when it is cut or malformed.

    Where it *keeps_files*, their contents are in it.
    """
    reader = _FormReader(boundary, keeps_files=keeps_files)
    async for block in blocks:
        reader.feed(block)
    return reader.close()


class _Part:
    """One part as it comes: its headers, and its text or the hash of its file."""

    def __init__(self, head: bytes, *, is_kept: bool) -> None:
        lines = head.decode("utf-8", "replace").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
        found = _PARAMETER.finditer(headers.get("content-disposition", ""))
        names = {each[1].lower(): each[2] or each[3] or "" for each in found}
        self.field = _ESCAPE.sub(r"\1", names.get("name", ""))
        self.file_name = _ESCAPE.sub(r"\1", names.get("filename", ""))
        self.content_type = headers.get("content-type", "")
        self._is_kept = is_kept or not self.file_name
        self._text = bytearray()
        self._size = 0
        self._hash = hashlib.sha256()

    def take(self, content: bytes | bytearray) -> None:
        """Add *content* to the part."""
        if self.file_name:
            self._size += len(content)
            self._hash.update(content)
        if self._is_kept:
            self._text += content

    def end(self, form: Form) -> None:
        """Add the part, which is complete, to *form*."""
        if not self.file_name:
            text = self._text.decode("utf-8", "replace")
            form.fields.setdefault(self.field, text)
            return
        form.files.append(
            FormFile(
                field=self.field,
                name=posixpath.basename(self.file_name.rstrip("/")) or "/",
                content_type=self.content_type,
                size=self._size,
                sha256=self._hash.hexdigest(),
                content=bytes(self._text),
            )
        )


class _FormReader:
    """Takes a form apart, block by block; keeps no more than the head of a part."""

    def __init__(self, boundary: str, *, keeps_files: bool) -> None:
        self._keeps_files = keeps_files
        self._mark = b"\r\n--" + boundary.encode()
        # The first boundary is at the beginning, behind no line.
        self._buffer = bytearray(b"\r\n")
        self._part: _Part | None = None
        self._form = Form()
        self._ended = False

    def feed(self, block: bytes) -> None:
        """Read *block*, the next of the body."""
        self._buffer += block
        while self._next_part():
            pass

    def close(self) -> Form:
        """Return the form; ValueError when its end is missing."""
        if not self._ended:
            raise ValueError("the form broke off")
        return self._form

    def _next_part(self) -> bool:
        """Read up to the next part; false when more bytes are needed for that."""
        if self._ended:
            self._buffer.clear()  # what is behind the end is nothing
            return False
        at = self._buffer.find(self._mark)
        if at < 0:  # a part of the mark may have come
            self._take(max(0, len(self._buffer) - len(self._mark) + 1))
            return False
        self._take(at)
        behind = len(self._mark)
        if self._buffer[behind : behind + 2] == b"--":
            self._end_part(None)
            self._ended = True
            return True
        end = self._buffer.find(b"\r\n\r\n", behind)
        if end < 0:
            if len(self._buffer) > _MOST_HEAD:
                raise ValueError("the head of a part is too long")
            return False
        head = bytes(self._buffer[behind:end])
        self._end_part(_Part(head, is_kept=self._keeps_files))
        del self._buffer[: end + 4]
        return True

    def _take(self, count: int) -> None:
        if self._part is not None:
            self._part.take(self._buffer[:count])
        del self._buffer[:count]

    def _end_part(self, following: _Part | None) -> None:
        if self._part is not None:
            self._part.end(self._form)
        self._part = following
