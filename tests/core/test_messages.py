"""A request and a response, as values."""

from __future__ import annotations

import pytest

from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    part_length,
)
from tests.support.pictures import png

PICTURE = InspectedImage(Image.from_bytes(png()), "image/png", len(png()))
KEPT = EncodedImage(PICTURE, b"abcd")


def test_the_length_of_a_body_is_known_before_a_picture_is_read() -> None:
    """Bytes count as they are, a picture as its base64 text."""
    assert part_length(b"abc") == 3
    assert part_length(PICTURE) == 4 * -(-len(png()) // 3)
    assert part_length(KEPT) == 4
    request = HttpRequest("POST", "/x", (b"abc", PICTURE, KEPT))
    assert request.content_length == 3 + PICTURE.text_length + 4


def test_a_request_is_careful_unless_told() -> None:
    """By default it is not repeated, carries the key, and has no body."""
    request = HttpRequest("GET", "/x")
    assert (request.repeatable, request.credential) == (False, Credential.KEY)
    assert request.content_length == 0


@pytest.mark.parametrize(
    ("headers", "sent", "known"),
    [
        ({"x-request-id": "theirs"}, "ours", "theirs"),
        ({}, "ours", "ours"),
        ({"x-request-id": ""}, "ours", "ours"),
        ({}, None, None),
    ],
)
def test_the_id_of_a_request_is_the_servers_or_ours(
    headers: dict[str, str], sent: str | None, known: str | None
) -> None:
    """A proxy may replace the id; without an echo the one sent still helps."""
    assert HttpResponse(200, headers, sent_id=sent).request_id == known


@pytest.mark.parametrize(
    ("status", "ok"),
    [(199, False), (200, True), (204, True), (299, True), (300, False)],
)
def test_success_is_2xx(status: int, *, ok: bool) -> None:
    """A redirect is no success, and neither is a provisional answer."""
    assert HttpResponse(status).ok is ok
