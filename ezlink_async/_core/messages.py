"""
One request and one response, as values, and how the values in them are read.

A request has a path but no address and no key. Its body is a row of parts, made by
:func:`json_body` or :func:`multipart_body` where pictures or files are in it: its
length is known before a byte of them is read. The last part is always some bytes.
"""

from __future__ import annotations

import enum
import json
import re
import secrets
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from pathlib import Path

import attrs

from ezlink_async._core import json_reader, long_texts
from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async.errors import ConfigurationError

JSON = "application/json"
"""The content type of JSON."""

TEXT_LIMIT = 2_000
"""The most characters of a text of the server that are kept."""

_HEAD = 200

_ANSWER_BYTES = 1024 * 1024
_TASK_BYTES = 32 * 1024

_TOKEN_BYTES = 16  # of chance: no text of a user's holds the same

# What a form's names may not hold, as browsers write it.
_ESCAPES = {'"': "%22", "\r": "%0D", "\n": "%0A"}

_BLANKS = re.compile(r"\s+")

# What an upstream's address or header may show: a provider's key, a signature.
_SECRETS = re.compile(
    r"""((?:key|token|sig)(?:=|%3D)|\bBearer\s+|(?<![a-z0-9])sk-)[^\s&"'<>\\]+""",
    re.IGNORECASE,
)


@attrs.frozen
class FileContent:
    """
    The bytes of a file as they are; *length* is how many it had when it was looked at.

    It is read when it is sent. A file of another length by then ends the upload with
    :exc:`ImageError`, before the end of the body has left.
    """

    path: Path
    length: int


@attrs.frozen(eq=False)
class StreamContent:
    """
    Bytes from an iterator, *length* of them; a request with them is sent once.

    Where the iterator ends earlier or later, or raises, the upload ends before the end
    of the body has left. Waiting for it counts as an upload that stalls.
    """

    blocks: AsyncIterable[bytes]
    length: int


Part = bytes | InspectedImage | EncodedImage | FileContent | StreamContent
"""
A part of a body: bytes, a file or an iterator as they are, or a picture, which is sent
as its base64 text.
"""


def part_length(part: Part) -> int:
    """Return how many bytes *part* has on the wire."""
    if isinstance(part, InspectedImage):
        return part.text_length
    if isinstance(part, FileContent | StreamContent):
        return part.length
    return len(part if isinstance(part, bytes) else part.text)


@attrs.frozen
class Base64Text:
    """A leaf of a JSON body: the bare base64 of *picture*, without a data URI."""

    picture: InspectedImage | EncodedImage


def json_body(value: object) -> tuple[Part, ...]:
    """
    Return the JSON of *value* as parts; pictures may be among its leaves.

    An :class:`InspectedImage` or :class:`EncodedImage` becomes a data URI, a
    :class:`Base64Text` its base64 alone. All else is written as :func:`json.dumps`
    writes it, mappings of any class included. :exc:`ConfigurationError` for a value
    that JSON does not have.
    """
    leaves: list[Base64Text | InspectedImage | EncodedImage] = []
    mark = secrets.token_hex(_TOKEN_BYTES)

    def stand_in(leaf: object) -> object:
        if isinstance(leaf, Mapping):
            return dict(leaf)
        if not isinstance(leaf, Base64Text | InspectedImage | EncodedImage):
            raise TypeError(f"a {type(leaf).__name__} is no value of JSON")
        leaves.append(leaf)
        return mark

    before, *others = _json_text(value, stand_in).split(mark.encode())
    parts: list[Part] = []
    for leaf, behind in zip(leaves, others, strict=True):
        if isinstance(leaf, Base64Text):
            parts += [before, leaf.picture]
        else:
            parts += [before + _prefix(leaf), leaf]
        before = behind
    return (*parts, before)


def _json_text(value: object, stand_in: Callable[[object], object]) -> bytes:
    try:
        return json.dumps(value, default=stand_in, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as fault:
        raise ConfigurationError(f"this cannot be sent as JSON: {fault}") from None


def _prefix(picture: InspectedImage | EncodedImage) -> bytes:
    inspected = picture.inspected if isinstance(picture, EncodedImage) else picture
    return inspected.prefix


@attrs.frozen(kw_only=True)
class FormFile:
    """One file of a form: the *name* of its field, its file name and its content."""

    name: str
    file_name: str
    content: bytes | FileContent | StreamContent
    content_type: str = "application/octet-stream"


def raw_picture(inspected: InspectedImage) -> bytes | FileContent:
    """Return the bytes of a picture as they are, as forms send them."""
    content = inspected.image.held or inspected.kept
    if content is not None:
        return bytes(content)
    return FileContent(inspected.image.path or Path(), inspected.length)


def multipart_body(
    fields: Mapping[str, str] | Sequence[tuple[str, str]],
    files: Sequence[FormFile] = (),
    *,
    boundary: str | None = None,
) -> tuple[str, tuple[Part, ...]]:
    """
    Return the content type and the parts of a form (RFC 7578), *fields* first.

    *boundary* stands in no content; by default it is 128 bits of chance. A name may
    hold any character: quotes and line breaks are escaped as browsers do it.
    """
    boundary = boundary or secrets.token_hex(_TOKEN_BYTES)
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    begin = f"--{boundary}\r\nContent-Disposition: form-data; name="
    body, text = list[Part](), ""
    for name, value in pairs:
        text += f"{begin}{_quoted(name)}\r\n\r\n{value}\r\n"
    for file in files:
        text += f"{begin}{_quoted(file.name)}; filename={_quoted(file.file_name)}\r\n"
        text += f"Content-Type: {file.content_type}\r\n\r\n"
        # Half a character, which no server takes, becomes a question mark.
        body += [text.encode(errors="replace"), file.content]
        text = "\r\n"
    body.append(f"{text}--{boundary}--\r\n".encode(errors="replace"))
    return f"multipart/form-data; boundary={boundary}", tuple(body)


def _quoted(name: str) -> str:
    return f'"{"".join(_ESCAPES.get(each, each) for each in name)}"'


class Credential(enum.Enum):
    """The secret that a request is sent with."""

    KEY = "key"
    ACCOUNT = "account"
    NONE = "none"


@attrs.frozen
class HttpRequest:
    """
    A request without the server's address.

    A *repeatable* request changes nothing on the server and may be sent again
    after any outcome. The last part of a body is never empty: a server without
    it has no whole body and cannot act on a submit. The *credential*
    ``ACCOUNT`` opens the account's pages, and is sent to no other path.

    The answer is about at most so many *tasks*, which bounds it unless
    *answer_bytes* says how many bytes it may have. It is waited for *wait* seconds:
    after the last byte of a submit, from the start of any other request; ``None`` is
    what :class:`Timeouts` says. With *new_connection* the request goes out on a
    connection of its own and is never sent twice, also where aiohttp would repeat
    it; a session of the caller decides itself which connection that is. A body has
    the *content_type*; *accept* is the type that the answer should have.
    """

    method: str
    path: str
    body: tuple[Part, ...] = ()
    repeatable: bool = False
    credential: Credential = Credential.KEY
    tasks: int = 1
    content_type: str = JSON
    accept: str | None = None
    wait: float | None = None
    new_connection: bool = False
    answer_bytes: int | None = None

    def __attrs_post_init__(self) -> None:
        of_account = self.path.startswith("/api/")
        if (self.credential is Credential.ACCOUNT) is not of_account:
            raise ValueError(f"{self.path} is not asked with the {self.credential}")

    @property
    def content_length(self) -> int:
        """The number of bytes of the body."""
        return sum(map(part_length, self.body))

    @property
    def small_body(self) -> bytes:
        """The body as bytes; :exc:`TypeError` if a picture or a file is in it."""
        parts = [part for part in self.body if isinstance(part, bytes)]
        if len(parts) < len(self.body):
            raise TypeError(f"the body of {self.path} has to be streamed")
        return b"".join(parts)

    @property
    def answer_limit(self) -> int:
        """The most bytes of an answer that are read."""
        if self.answer_bytes is not None:
            return self.answer_bytes
        return max(_ANSWER_BYTES, _TASK_BYTES * self.tasks)


@attrs.frozen
class HttpResponse:
    """
    A response, as far as it arrived.

    *early* means that the response came before the whole body was sent, so the
    server cannot have acted on the request. If a response is not *whole*, its
    rest was lost on the way. *oversized* is the limit of one that has more bytes:
    then only its start is kept. It is about at most so many *tasks*. *url* is the
    address that answered, *sent_id* the ``X-Request-ID`` of the request. Header
    names are in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    url: str = ""
    early: bool = False
    whole: bool = True
    sent_id: str | None = None
    oversized: int = 0
    tasks: int = 1
    _parsed: list[tuple[str, object]] = attrs.field(
        factory=list, init=False, eq=False, repr=False
    )

    @property
    def document(self) -> object:
        """
        The JSON of the body, parsed once; ``None`` if there is none, or too much.

        A text of more than 1 MiB is a :class:`~.long_texts.LongText`.
        """
        return self._read_once()[1]

    @property
    def obstacle(self) -> str:
        """Why the body is not parsed; empty if it is."""
        return self._read_once()[0]

    def _read_once(self) -> tuple[str, object]:
        if not self._parsed:
            why = f"it has more than {self.oversized:,} bytes" if self.oversized else ""
            found = (why, None) if why else long_texts.parse(self.body, self.tasks)
            self._parsed.append(found)
        return self._parsed[0]

    @property
    def is_light(self) -> bool:
        """Whether the body is parsed and read in about a millisecond."""
        return json_reader.is_light(self.body)

    @property
    def excerpt(self) -> str:
        """What an error shows of a body that cannot be read."""
        return self.obstacle or redact(repr(self.body[:60]))

    @property
    def head(self) -> bytes:
        """The first bytes of the body, without secrets, for an error to keep."""
        return redact(self.body[:_HEAD].decode("latin-1")).encode("latin-1")

    @property
    def request_id(self) -> str | None:
        """The id the server gave the request, else the one the client sent."""
        return (
            json_reader.storable(self.headers.get("x-request-id", "")) or self.sent_id
        )

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what 2xx means


def clip(text: str, most: int = TEXT_LIMIT) -> str:
    """Return the server's *text*, cut off with an ellipsis behind *most* characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def redact(text: str) -> str:
    """Return the server's *text* with ``...`` in place of what may be a secret."""
    return _SECRETS.sub(r"\1...", text) if text else text


def collapse_blanks(text: object) -> str:
    """Return the server's text with single blanks; empty for any other value."""
    if not isinstance(text, str) or not text:  # most texts of a task are empty
        return ""
    return redact(_BLANKS.sub(" ", clip(text)).strip())


def identifier(value: object) -> str:
    """
    Return an id as text; the server writes strings, other builds numbers.

    A text that is too long to be kept is none: a part of it is another id.
    """
    if isinstance(value, str):
        return value.strip() if len(value) <= TEXT_LIMIT else ""
    return str(value) if type(value) is int else ""
