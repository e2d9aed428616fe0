"""A request and a response, as values."""

from __future__ import annotations

import pytest

from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    part_length,
    redact,
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


def test_json_of_a_response_is_parsed_once() -> None:
    response = HttpResponse(200, body=b'{"a":[1]}')
    assert response.document == {"a": [1]}
    assert response.document is response.document
    assert (response.obstacle, response.is_light) == ("", True)
    assert response.excerpt == "b'{\"a\":[1]}'"


def test_response_of_too_much_has_no_json_and_says_why() -> None:
    """Its first bytes would show nothing of that."""
    cut = HttpResponse(200, body=b"[1]", oversized=3)
    assert (cut.document, cut.excerpt) == (None, "it has more than 3 bytes")
    many = HttpResponse(200, body=b"[" + b"[]," * 6000 + b"1]")
    assert (many.document, many.excerpt) == (None, "it has more than 5,000 brackets")
    assert HttpResponse(200, body=many.body, tasks=2).document is not None


@pytest.mark.parametrize(
    ("tasks", "most"), [(1, 1 << 20), (32, 1 << 20), (100, 100 << 15)]
)
def test_answer_has_room_for_each_task_that_it_is_about(tasks: int, most: int) -> None:
    assert HttpRequest("GET", "/x", tasks=tasks).answer_limit == most


def test_words_of_the_server_are_kept_up_to_a_limit() -> None:
    """Records, journals and reports all get the short text."""
    assert collapse_blanks(" a \n b ") == "a b"
    assert collapse_blanks("x" * 2_000) == "x" * 2_000
    assert collapse_blanks("x" * 5_000_000) == "x" * 1_999 + "…"
    assert collapse_blanks(7) == ""


@pytest.mark.parametrize("status", [199, 200, 204, 299, 300])
def test_ok_is_2xx(status: int) -> None:
    assert HttpResponse(status).ok is (status in {200, 204, 299})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v1/x?key=abc&alt=1", "/v1/x?key=...&alt=1"),
        ('Post "/p?token=UPSTREAM-KEY/v1": dial', 'Post "/p?token=...": dial'),
        ("?se=1&sig=a%2Bb", "?se=1&sig=..."),
        ("?api_key%3Dabc", "?api_key%3D..."),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ..."),
        ("wrong key sk-abc_D-1", "wrong key sk-..."),
        ("a risk-averse monkey", "a risk-averse monkey"),
        ("Invalid token", "Invalid token"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert redact(text) == collapse_blanks(text) == shown


def test_secret_in_a_body_that_cannot_be_read_is_not_shown() -> None:
    response = HttpResponse(200, body=b"Bearer UPSTREAM-KEY " + b"\xff" * 300)
    assert "UPSTREAM" not in response.excerpt
    assert response.head.startswith(b"Bearer ... \xff\xff")
    assert len(response.head) < 200


def test_head_has_the_first_bytes_as_they_came() -> None:
    body = bytes(range(256))
    assert HttpResponse(200, body=body).head == body[:200]
