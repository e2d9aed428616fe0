"""A request and a response, as values."""

from __future__ import annotations

import base64
import email
import json
from email.message import Message
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async._core.long_texts import LONG
from ezlink_async._core.messages import (
    Base64Text,
    Credential,
    FileContent,
    FormFile,
    HttpRequest,
    HttpResponse,
    Part,
    collapse_blanks,
    json_body,
    multipart_body,
    part_length,
    raw_picture,
    redact,
)
from ezlink_async.errors import ConfigurationError
from tests.support.pictures import png

PICTURE = InspectedImage(Image.from_bytes(png()), "image/png", len(png()))
KEPT = EncodedImage(PICTURE, b"abcd")


def test_content_length_is_known_before_a_picture_is_read() -> None:
    """Bytes and files count as they are, a picture as its base64 text."""
    assert part_length(FileContent(Path("missing"), 7)) == 7
    assert part_length(b"abc") == 3
    assert part_length(PICTURE) == 4 * -(-len(png()) // 3)
    assert part_length(KEPT) == 4
    request = HttpRequest("POST", "/x", (b"abc", PICTURE, KEPT))
    assert request.content_length == 3 + PICTURE.text_length + 4


TEXT = base64.b64encode(png())

ENCODED = EncodedImage(PICTURE, TEXT)


def joined(parts: tuple[Part, ...]) -> bytes:
    """Return the bytes that *parts* are on the wire, where no file is among them."""
    return b"".join(part if isinstance(part, bytes) else TEXT for part in parts)


URI = f"data:image/png;base64,{TEXT.decode()}"

LEAVES: list[tuple[object, str]] = [
    (PICTURE, URI),
    (ENCODED, URI),
    (Base64Text(PICTURE), TEXT.decode()),
    (Base64Text(ENCODED), TEXT.decode()),
]


@pytest.mark.parametrize(("leaf", "text"), LEAVES)
@pytest.mark.parametrize("place", ["{0}", '{{"a": [1, {0}, {{"é": {0}}}], "b": null}}'])
def test_picture_in_json_is_sent_as_its_text(
    leaf: object, text: str, place: str
) -> None:
    """The bytes are those that :func:`json.dumps` writes with the text in its place."""
    plain = json.loads(place.format(json.dumps(text)))

    def with_leaf(value: object) -> object:
        if isinstance(value, dict):
            return MappingProxyType({name: with_leaf(v) for name, v in value.items()})
        if isinstance(value, list):
            return tuple(map(with_leaf, value))
        return leaf if value == text else value

    parts = json_body(with_leaf(plain))
    assert joined(parts) == json.dumps(plain).encode()
    assert isinstance(parts[-1], bytes)
    assert parts[-1]
    assert HttpRequest("POST", "/x", parts).content_length == len(joined(parts))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(LEAVES),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def replaced(value: object, number: int) -> object:
    """Return *value* with one side of each pair of a leaf and its text."""
    if isinstance(value, tuple):
        return value[number]
    if isinstance(value, list):
        return [replaced(each, number) for each in value]
    if isinstance(value, dict):
        return {name: replaced(each, number) for name, each in value.items()}
    return value


@given(VALUES)
def test_any_value_is_sent_as_json_writes_it(value: object) -> None:
    parts = json_body(replaced(value, 0))
    assert joined(parts) == json.dumps(replaced(value, 1)).encode()


def test_long_text_is_sent_in_parts_around_the_pictures() -> None:
    """A text of 20 MB is written, and sent, piece by piece."""
    text = "é" * (LONG + 1)
    parts = json_body({"a": text, "b": [PICTURE, text, Base64Text(ENCODED)]})
    plain = {"a": text, "b": [URI, text, TEXT.decode()]}
    assert joined(parts) == json.dumps(plain).encode()
    assert max(map(part_length, parts)) < 2 * LONG
    assert parts[-1]


def endless() -> list[object]:
    """Return a list that holds itself."""
    value: list[object] = []
    value.append(value)
    return value


def deep() -> object:
    """Return a list nested deeper than Python's stack."""
    value: object = 1
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": {1, 2}}, "a set is no value of JSON"),
        ({"a": b"bytes"}, "a bytes is no value"),
        ([float("nan")], "not JSON compliant"),
        ({(1, 2): 3}, "keys must be"),
        (endless(), "recursion"),
        (deep(), "recursion"),
    ],
)
def test_value_that_json_does_not_have_is_refused(value: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        json_body(value)


def form(content_type: str, body: bytes) -> list[Message]:
    """Read a form as another program does."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    read = email.message_from_bytes(head + body)
    parts = read.get_payload()
    assert not read.defects
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, Message)]


def test_form_holds_fields_and_files() -> None:
    files = [
        FormFile(
            name="image", file_name="a.png", content=png(), content_type="image/png"
        ),
        FormFile(name="file", file_name="b", content=b""),
    ]
    kind, parts = multipart_body({"seed": "7", "é": "ü\r\n"}, files)
    seed, named, image, empty = form(kind, joined(parts))
    assert seed.get_param("name", header="content-disposition") == "seed"
    assert seed.get_payload(decode=True) == b"7"
    assert named.get_payload(decode=True) == "ü\r\n".encode()
    assert (image.get_content_type(), image.get_filename()) == ("image/png", "a.png")
    assert image.get_payload(decode=True) == png()
    assert empty.get_content_type() == "application/octet-stream"
    assert empty.get_payload(decode=True) == b""
    assert multipart_body({})[0] != multipart_body({})[0]


def test_form_is_the_same_bytes_with_the_same_boundary() -> None:
    file = FormFile(name="f", file_name="a", content=FileContent(Path("a"), 3))
    kind, parts = multipart_body([("a", "1"), ("a", "2")], [file], boundary="XX")
    assert kind == "multipart/form-data; boundary=XX"
    disposition = b"Content-Disposition: form-data; name="
    assert parts == (
        b"--XX\r\n" + disposition + b'"a"\r\n\r\n1\r\n'
        b"--XX\r\n" + disposition + b'"a"\r\n\r\n2\r\n'
        b"--XX\r\n" + disposition + b'"f"; filename="a"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n",
        FileContent(Path("a"), 3),
        b"\r\n--XX--\r\n",
    )


def test_no_name_breaks_out_of_its_part_of_a_form() -> None:
    hostile = 'a"\r\nX: 1\r\n\r\n\ud800'
    kind, parts = multipart_body(
        {hostile: "1"}, [FormFile(name=hostile, file_name=hostile, content=b"x")]
    )
    assert [len(part.items()) for part in form(kind, joined(parts))] == [1, 2]


def test_picture_is_sent_in_a_form_as_it_is() -> None:
    """One that is not in memory stays a file."""
    assert raw_picture(PICTURE) == png()
    named = Image.from_path("a.png")
    assert raw_picture(InspectedImage(named, "image/png", 3, b"abc")) == b"abc"
    file = raw_picture(InspectedImage(named, "image/png", 3))
    assert file == FileContent(Path("a.png"), 3)


def test_small_body_is_its_parts_together() -> None:
    assert HttpRequest("GET", "/x").small_body == b""
    assert HttpRequest("POST", "/x", (b"a", b"b")).small_body == b"ab"
    with pytest.raises(TypeError, match="streamed"):
        assert HttpRequest("POST", "/x", (b"a", PICTURE, b"b")).small_body


def test_limit_of_an_answer_is_that_of_the_request_if_it_has_one() -> None:
    assert HttpRequest("GET", "/x", tasks=100, answer_bytes=7).answer_limit == 7


def test_request_is_by_default_sent_once_and_with_the_key() -> None:
    request = HttpRequest("GET", "/x")
    assert (request.content_type, request.accept) == ("application/json", None)
    assert (request.wait, request.new_connection) == (None, False)
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
