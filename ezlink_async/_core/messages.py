"""
One request and one response, as values.

A request has a path but no address and no key; its body is a row of parts
whose length is known before a byte of a picture is read.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from ezlink_async._core.images import EncodedImage, InspectedImage

Part = bytes | InspectedImage | EncodedImage
"""A piece of a body: bytes as they are, or "the base64 text of this picture"."""


def part_length(part: Part) -> int:
    """Return how many bytes *part* is on the wire."""
    if isinstance(part, InspectedImage):
        return part.text_length
    return len(part if isinstance(part, bytes) else part.text)


class Credential(enum.Enum):
    """What a request is sent with: who may do this."""

    KEY = "key"
    ACCOUNT = "account"
    NONE = "none"


@attrs.frozen
class HttpRequest:
    """
    What to send, without where.

    *repeatable* requests change nothing on the server and may be sent again
    whatever became of them. The last part of the body is never empty: without
    it the server has no whole body, so it is what makes a submit count. The
    account's own *credential* opens the account's pages, and goes nowhere else.
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
        """The exact number of bytes of the body."""
        return sum(map(part_length, self.body))


@attrs.frozen
class HttpResponse:
    """
    What came back.

    *early* means that the answer came before the body had left whole, so the
    server cannot have acted on it. Of one that is not *whole* the rest was
    lost on the way. *url* is where it came from; header names are in lower
    case.
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
        """The id the server gave the request, else the one that was sent."""
        return self.headers.get("x-request-id") or self.sent_id

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004 - what 2xx means
