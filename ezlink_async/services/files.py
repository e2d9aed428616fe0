"""
Files that the server stores: the upload, its form and its answer.

Source: ``ye4293/one-api`` (``controller/fileGo.go`` UploadFile). An upload is free and
asks no upstream. Its answers are ``{"message": ..., "success": ...}``, and an empty 200
where the account has no file yet.
"""

from __future__ import annotations

import contextlib
import mimetypes
import re
import secrets
from collections.abc import AsyncIterable, Mapping, Sized
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from ezlink_async._core.error_mapping import Refusal, Rule, error_from
from ezlink_async._core.json_reader import storable
from ezlink_async._core.messages import (
    FileContent,
    FormFile,
    HttpRequest,
    HttpResponse,
    StreamContent,
    collapse_blanks,
    identifier,
    multipart_body,
)
from ezlink_async._core.records import utc_time
from ezlink_async.errors import (
    ConfigurationError,
    EzlinkError,
    ProtocolError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.models import UploadedFile

if TYPE_CHECKING:
    from ezlink_async.services.account import Asking

FileLike = str | PathLike[str] | bytes | bytearray | memoryview | AsyncIterable[bytes]
"""A file as users give it: a path, its bytes, or an async iterable of them."""

Content = bytes | FileContent | StreamContent
"""The content of an upload, with its length."""

Unloaded = Path | bytearray | memoryview
"""A file that is still to be measured, or bytes that are to be copied."""

_WAIT = 330.0  # seconds after the last byte: the server gives its storage 300

_LONGEST_NAME = 255  # bytes: a name in the storage of the server's user id and this
_KEPT_NAME = 60  # characters of the file's own name in a unique one
_UNIQUE_BYTES = 6

_DEFAULT_TYPE = "application/octet-stream"

# What no name may hold: directories, which the server cuts off, control characters,
# and quotes, which forms escape and the server does not read back.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\"]')

_ADDRESS = re.compile(r"(https?://[^/\s?#]+/)(.+)", re.DOTALL)

_FULL = "exceeds your level limit"
_NO_STORAGE = "Failed to upload file"
_NO_FILE = "Error retrieving the file"


def file_name(name: object, file: FileLike) -> str:
    """
    Return the name to store under: *name*, or for ``None`` one that no other has.

    Raises :exc:`ConfigurationError` for a name that the server would change.
    """
    if name is None:
        own = Path(fspath(file)).name if isinstance(file, str | PathLike) else ""
        plain = _FORBIDDEN.sub("_", storable(own))[-_KEPT_NAME:] or "file"
        return f"{secrets.token_hex(_UNIQUE_BYTES)}-{plain}"
    if not isinstance(name, str) or not name.strip() or set(name) == {"."}:
        raise ConfigurationError(f"this is no name of a file: {name!r:.200}")
    if found := _FORBIDDEN.search(name):
        raise ConfigurationError(
            f"the name of a file may not hold {found[0]!r}: {name!r:.200}"
        )
    if len(name.encode(errors="replace")) > _LONGEST_NAME or storable(name) != name:
        raise ConfigurationError(
            f"the name of a file is text of up to {_LONGEST_NAME} bytes: {name!r:.200}"
        )
    return name


def check_purpose(purpose: object) -> str:
    """Return *purpose*, empty for none; :exc:`ConfigurationError` unless it is text."""
    if purpose is None:
        return ""
    if not isinstance(purpose, str) or storable(purpose) != purpose:
        raise ConfigurationError(f"a purpose is text, not {purpose!r:.200}")
    return purpose


class Loading(Protocol):
    """How :class:`Files` measures a file, and copies bytes that may change."""

    async def __call__(self, file: Unloaded, /) -> FileContent | bytes:
        """Return the content of *file*; :exc:`ImageError` if it cannot be read."""
        ...


def content_of(file: FileLike, length: int | None = None) -> Unloaded | Content:
    """
    Return what *file* is: a content, or what is still to be loaded.

    Raises :exc:`ConfigurationError` for any other value, for an iterable without a
    *length*, and for a length of what has its own.
    """
    if isinstance(file, AsyncIterable):
        return _stream_of(file, length)
    if length is not None:
        raise ConfigurationError("length is that of an async iterable: leave it out")
    if isinstance(file, bytes | bytearray | memoryview):
        return file
    if isinstance(file, str | PathLike):
        with contextlib.suppress(TypeError):  # a path of bytes
            return Path(file)
    raise ConfigurationError(
        "a file is a path (a str or a Path), bytes or an async iterable of bytes, "
        f"not {type(file).__name__}"
    )


def _stream_of(file: AsyncIterable[bytes], length: int | None) -> StreamContent:
    if length is None and isinstance(file, Sized):
        length = len(file)
    if type(length) is not int or length < 0:
        raise ConfigurationError(
            "an async iterable is uploaded with its length: pass length=, in bytes"
        )
    return StreamContent(file, length)


def upload_request(content: Content, name: str, purpose: str) -> HttpRequest:
    """
    Return the upload of *content* under this *name*.

    The server reads the purpose from ``Purpose`` alone; ``purpose`` is what the
    documentation names, and what a later server may read.
    """
    fields = {"Purpose": purpose, "purpose": purpose} if purpose else {}
    media_type = mimetypes.guess_type(name)[0] or _DEFAULT_TYPE
    form, body = multipart_body(
        fields,
        [
            FormFile(
                name="file", file_name=name, content=content, content_type=media_type
            )
        ],
    )
    return HttpRequest("POST", "/v1/files", body, content_type=form, wait=_WAIT)


def read_upload(response: HttpResponse) -> UploadedFile:
    """Read the file that was stored, or raise the error that the answer means."""
    if not response.ok:
        raise _refused(response)
    if response.whole and not response.body.strip():
        raise RejectedError(
            "nothing is stored: the server refuses the first upload of each account, "
            "and so every upload of an account without files; ask its operator",
            status=response.status,
            request_id=response.request_id,
            retry_safe=True,
        )
    document = response.document
    answer = document if isinstance(document, Mapping) else {}
    if answer.get("success") is False:
        words = collapse_blanks(answer.get("message"))
        raise ServerError(
            f"the file is stored, but the server has lost its record: {words}",
            status=response.status,
            description=words,
            request_id=response.request_id,
        )
    return _stored(response, answer.get("file"))


def _stored(response: HttpResponse, file: object) -> UploadedFile:
    row = file if isinstance(file, Mapping) else {}
    file_id, size = identifier(row.get("id")), row.get("bytes")
    name, url = row.get("file_name"), _encoded(row.get("store_url"))
    seconds = row.get("creat_time")
    if file_id and url and isinstance(name, str) and type(size) is int:
        return UploadedFile(
            id=file_id,
            name=name,
            url=url,
            size=size,
            purpose=collapse_blanks(row.get("purpose")),
            created=utc_time(seconds) if isinstance(seconds, int | float) else None,
        )
    raise ProtocolError(
        f"the file may be stored, but the answer cannot be read: {response.excerpt}",
        head=response.head,
        status=response.status,
        request_id=response.request_id,
    )


def _encoded(url: object) -> str:
    """Return the server's *url*, in which the name stands as it is, as an address."""
    found = _ADDRESS.fullmatch(url) if isinstance(url, str) else None
    return found[1] + quote(found[2]) if found else ""


def _rules(refusal: Refusal) -> Rule | None:
    if refusal.is_front:
        return None
    if _FULL in refusal.text:
        return Rule(
            RejectedError,
            says="the account's files would be larger than its level allows",
        )
    if _NO_STORAGE in refusal.text:
        return Rule(ServerError, says="the server's storage has not taken the file")
    if _NO_FILE in refusal.text:
        return Rule(ServerError, says="the server found no file in the form")
    return None


def _refused(response: HttpResponse) -> EzlinkError:
    error = error_from(response, submit=True, rules=_rules)
    if isinstance(error, SubmitUnknownError):
        return error_from(response, rules=_rules)  # an upload is never paid
    return error


def _without_answer(error: TransportError) -> TransportError:
    """Return *error* as one of an upload, which is never paid."""
    if not error.maybe_charged:
        return error
    return TransportError(
        f"the file may be stored, at an address that is not known; it is not paid: "
        f"{error}",
        stage=error.stage,
        request_id=error.request_id,
    )


class Files:
    """Files that the server stores; get it as ``client.files``."""

    def __init__(self, send: Asking, load: Loading) -> None:
        self._send = send
        self._load = load

    async def upload(
        self,
        file: FileLike,
        *,
        name: str | None = None,
        purpose: str | None = None,
        length: int | None = None,
    ) -> UploadedFile:
        """
        Store *file* on the server; free, and streamed.

        *file* is a path, bytes, or an async iterable of bytes, which has a ``len()``
        or is given with its *length*. A bytearray and a memoryview are copied first;
        leave them unchanged until the upload has ended. The server keeps the file as
        its user's number and *name*, and **overwrites** a file of the same name;
        without *name* it is 12 hexadecimal digits and the end of the file's own, which
        no other has. *purpose* is any text. An upload takes no slot of
        ``max_concurrency``.

        **The server refuses the first upload of each account**, and so every upload
        of an account without files: :exc:`RejectedError`. So is a file that makes the
        account's files larger than its level allows: 100 MiB in all (Lv1), 300 MiB,
        500 MiB, 1 GiB, 2 GiB (Lv5). Storage that fails is a :exc:`ServerError`.

        A path and bytes are sent again, as ``retry`` says, where surely nothing was
        stored: the connection broke in the upload, or the server is busy. An iterable
        is sent once. ``error.retry_safe`` says that surely nothing was stored; after
        another :exc:`TransportError` the file may be, at an address that is not known,
        and counts in the account's files. It is never paid. A cancellation before the
        last byte stores nothing. A missing file is an
        :exc:`ImageError`, another wrong argument a :exc:`ConfigurationError`, and
        nothing is sent. An iterable that is waited for longer than
        ``timeouts.upload`` ends its upload. The answer is waited for 330 s, of which
        the server gives its storage 300. Source: ``ye4293/one-api``
        (``controller/fileGo.go`` UploadFile, CheckUserUsage).
        """
        given = content_of(file, length)
        stored_as, words = file_name(name, file), check_purpose(purpose)
        content = await self._load(given) if isinstance(given, Unloaded) else given
        request = upload_request(content, stored_as, words)
        try:
            return await self._send(request, read_upload)
        except TransportError as error:
            fault = _without_answer(error)
        raise fault
