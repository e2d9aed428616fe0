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


def test_content_length_is_known_before_a_picture_is_read() -> None:
    """Bytes count as they are, a picture as its base64 text."""
    assert part_length(b"abc") == 3
    assert part_length(PICTURE) == 4 * -(-len(png()) // 3)
    assert part_length(KEPT) == 4
    request = HttpRequest("POST", "/x", (b"abc", PICTURE, KEPT))
    assert request.content_length == 3 + PICTURE.text_length + 4


def test_request_is_by_default_sent_once_and_with_the_key() -> None:
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
def test_request_id_is_the_servers_else_the_one_sent(
    headers: dict[str, str], sent: str | None, known: str | None
) -> None:
    assert HttpResponse(200, headers, sent_id=sent).request_id == known


@pytest.mark.parametrize("status", [199, 200, 204, 299, 300])
def test_ok_is_2xx(status: int) -> None:
    assert HttpResponse(status).ok is (status in {200, 204, 299})
