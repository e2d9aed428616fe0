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

from ezlink_async._core.images import EncodedImage, InspectedImage

_BLANKS = re.compile(r"\s+")

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
    ``ACCOUNT`` opens the account's pages, and is sent to no other path.
    """

    method: str
    path: str
    body: tuple[Part, ...] = ()
    repeatable: bool = False
    credential: Credential = Credential.KEY

    def __attrs_post_init__(self) -> None:
        of_account = self.path.startswith("/api/")
        if (self.credential is Credential.ACCOUNT) is not of_account:
            raise ValueError(f"{self.path} is not asked with the {self.credential}")

    @property
    def content_length(self) -> int:
        """The number of bytes of the body."""
        return sum(map(part_length, self.body))


@attrs.frozen
class HttpResponse:
    """
    A response, as far as it arrived.

    *early* means that the response came before the whole body was sent, so the
    server cannot have acted on the request. If a response is not *whole*, its
    rest was lost on the way. *url* is the address that answered, *sent_id* the
    ``X-Request-ID`` of the request. Header names are in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    url: str = ""
    early: bool = False
    whole: bool = True
    sent_id: str | None = None

    @property
    def request_id(self) -> str | None:
        """The id the server gave the request, else the one the client sent."""
        return self.headers.get("x-request-id") or self.sent_id

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what 2xx means


def collapse_blanks(text: object) -> str:
    """Return the server's text with single blanks; empty for any other value."""
    return _BLANKS.sub(" ", text).strip() if isinstance(text, str) else ""


def identifier(value: object) -> str:
    """Return an id as text; the server writes strings, other builds numbers."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if type(value) is int else ""
