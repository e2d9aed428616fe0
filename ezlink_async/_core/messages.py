"""
One request and one response, as values, and how the values in them are read.

A request has a path but no address and no key. Its body is a sequence of parts
whose length is known before a byte of a picture is read.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

import attrs

from ezlink_async._core import json_reader
from ezlink_async._core.images import EncodedImage, InspectedImage

TEXT_LIMIT = 2_000
"""The most characters of a text of the server that are kept."""

_HEAD = 200

_ANSWER_BYTES = 1024 * 1024
_TASK_BYTES = 32 * 1024

_BLANKS = re.compile(r"\s+")

# What an upstream's address or header may show: a provider's key, a signature.
_SECRETS = re.compile(
    r"""((?:key|token|sig)(?:=|%3D)|\bBearer\s+|(?<![a-z0-9])sk-)[^\s&"'<>\\]+""",
    re.IGNORECASE,
)

Part = bytes | InspectedImage | EncodedImage
"""A part of a body: bytes as they are, or a picture, sent as its base64 text."""


def part_length(part: Part) -> int:
    """Return how many bytes *part* has on the wire."""
    if isinstance(part, InspectedImage):
        return part.text_length
    return len(part if isinstance(part, bytes) else part.text)


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
    ``ACCOUNT`` opens the account's pages, and is sent to no other path. The
    answer is about at most so many *tasks*, which bounds it.
    """

    method: str
    path: str
    body: tuple[Part, ...] = ()
    repeatable: bool = False
    credential: Credential = Credential.KEY
    tasks: int = 1

    def __attrs_post_init__(self) -> None:
        of_account = self.path.startswith("/api/")
        if (self.credential is Credential.ACCOUNT) is not of_account:
            raise ValueError(f"{self.path} is not asked with the {self.credential}")

    @property
    def content_length(self) -> int:
        """The number of bytes of the body."""
        return sum(map(part_length, self.body))

    @property
    def answer_limit(self) -> int:
        """The most bytes of an answer that are read."""
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
        """The JSON of the body, parsed once; ``None`` if there is none, or too much."""
        return self._read_once()[1]

    @property
    def obstacle(self) -> str:
        """Why the body is not parsed; empty if it is."""
        return self._read_once()[0]

    def _read_once(self) -> tuple[str, object]:
        if not self._parsed:
            why = f"it has more than {self.oversized:,} bytes" if self.oversized else ""
            why = why or json_reader.obstacle(self.body, self.tasks)
            self._parsed.append(
                (why, None if why else json_reader.parse_json(self.body))
            )
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
    return _SECRETS.sub(r"\1...", text)


def collapse_blanks(text: object) -> str:
    """Return the server's text with single blanks; empty for any other value."""
    if not isinstance(text, str):
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
