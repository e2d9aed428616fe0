"""JSON with texts of megabytes: taken out, and unpacked piece by piece."""

from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ezlink_async._core.long_texts import (
    LONG,
    LongText,
    copy,
    decode_base64,
    decode_data_uri,
    parse,
    parse_inner,
    write,
)
from ezlink_async._core.messages import HttpResponse, collapse_blanks, identifier

VIDEO = os.urandom(2 * LONG + 7)

URI = f"data:video/mp4;base64,{base64.b64encode(VIDEO).decode()}"


def long_of(body: bytes) -> LongText:
    """Return the long text under ``x`` of the JSON *body*."""
    why, found = parse(body)
    assert not why
    assert isinstance(found, dict)
    text = found["x"]
    assert isinstance(text, LongText)
    return text


@pytest.mark.parametrize("escaped", [False, True])
def test_video_in_an_answer_is_decoded(*, escaped: bool) -> None:
    """PHP escapes each slash, and Go does not."""
    body = json.dumps({"id": "7", "x": URI, "y": [1, {"z": "a"}]}).encode()
    if escaped:
        body = body.replace(b"/", b"\\/")
    response = HttpResponse(200, body=body)
    document = response.document
    assert isinstance(document, dict)
    assert (document["id"], document["y"]) == ("7", [1, {"z": "a"}])
    assert decode_data_uri(document["x"]) == ("video/mp4", VIDEO)
    assert response.obstacle == ""


def test_answer_with_a_text_of_less_than_a_mebibyte_is_parsed_as_any_other() -> None:
    found = parse(json.dumps({"x": "a" * LONG}).encode())
    assert found == ("", {"x": "a" * LONG})
    _, document = found
    assert type(document["x"]) is str


def test_several_videos_in_a_list_within_a_text_are_decoded() -> None:
    text = long_of(json.dumps({"x": json.dumps([URI, "https://a.b/c", URI])}).encode())
    inner = parse_inner(text)
    assert isinstance(inner, list)
    assert inner[1] == "https://a.b/c"
    for uri in (inner[0], inner[2]):
        assert decode_data_uri(uri) == ("video/mp4", VIDEO)


@pytest.mark.parametrize(
    ("text", "inner"),
    [('["a"]', ["a"]), ("https://a.b/c", None), ("", None), ('["\ud800"]', ["?"])],
)
def test_short_text_may_hold_json(text: str, inner: object) -> None:
    assert parse_inner(text) == inner


@pytest.mark.parametrize("border", range(14))
@pytest.mark.parametrize("escape", [r"\"", r"\\", r"\u0041", r"\n", r"\/", "é"])
def test_no_escape_is_cut_in_two(border: int, escape: str) -> None:
    """A piece ends there, too, and the begin that is shown has 4 KiB."""
    before = "a" * (4096 - border)
    filling = "b" * (LONG - 4096)
    text = before + escape + filling + escape * 3 + "c" * LONG
    whole = json.loads(f'"{text}"')
    found = long_of(f'{{"x":"{text}"}}'.encode())
    assert b"".join(found.pieces()) == whole.encode()
    assert whole.startswith(found.rstrip("\ufffd"))
    assert 4096 - 14 < len(found) < 4097


@settings(max_examples=25)
@given(st.text(st.characters(max_codepoint=127)))
def test_any_text_is_unpacked_as_json_reads_it(text: str) -> None:
    whole = text + "\\" * LONG + text
    found = long_of(json.dumps({"x": whole}).encode())
    assert b"".join(found.pieces()) == whole.encode()


def test_piece_of_backslashes_is_cut_between_two() -> None:
    for odd in ("", "a", "aa"):
        whole = odd + "\\" * (2 * LONG)
        found = long_of(json.dumps({"x": whole}).encode())
        assert b"".join(found.pieces()) == whole.encode()


def test_escape_that_json_does_not_have_stays() -> None:
    found = long_of(b'{"x":"' + b"a" * LONG + rb'\q"}')
    assert b"".join(found.pieces()) == b"a" * LONG + rb"\q"


@pytest.mark.parametrize(
    "text", ["", "https://a.b/c", "data:video/mp4,abc", "DATA", "data:;base64"]
)
def test_other_text_is_no_data_uri(text: str) -> None:
    assert decode_data_uri(text) is None


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("data:;base64,", ("", b"")),
        ("DATA:image/png;charset=x;BASE64,YWJj", ("image/png", b"abc")),
        ("data:image/png;base64,YW\r\n Jj", ("image/png", b"abc")),
    ],
)
def test_short_data_uri_is_decoded(uri: str, found: tuple[str, bytes]) -> None:
    assert decode_data_uri(uri) == found


@pytest.mark.parametrize("end", ["A", "é", "$$$$", "=AAA", "\ud800"])
@pytest.mark.parametrize("length", [4, LONG])
def test_broken_base64_is_a_value_error(end: str, length: int) -> None:
    uri = "data:image/png;base64," + "A" * length + end
    _, text = parse(
        json.dumps([uri], ensure_ascii=end.isascii()).encode("utf-8", "replace")
    )
    assert isinstance(text, list)
    with pytest.raises(ValueError):  # noqa: PT011 - each decoder has words of its own
        decode_data_uri(text[0] if length == LONG else uri)


def test_long_text_is_kept_like_any_other() -> None:
    """Of each only the begin is kept, and a part of an id is none."""
    text = long_of(json.dumps({"x": "a  b" * LONG}).encode())
    assert collapse_blanks(text) == collapse_blanks("a  b" * LONG)
    assert identifier(text) == ""


BEHIND = b'"' + b"a" * LONG + b'"'

TOO_MUCH: dict[str, tuple[bytes, str]] = {
    "blanks": (b"[" + b" " * (9 * LONG) + b"]", "it has more than 8,388,608 bytes"),
    "short texts": (b"[" + b'"",' * (3 * LONG) + BEHIND + b"]", "8,388,608 bytes"),
    "values beside a long text": (
        b"[" + b"1," * 70_000 + BEHIND + b"]",
        "60,000 values",
    ),
    "many texts of a mebibyte": (
        b"[" + b",".join([BEHIND[:-2] + b'"'] * 9) + b"]",
        "bytes",
    ),
}


@pytest.mark.parametrize(("body", "why"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_too_much_beside_long_texts_is_not_parsed(body: bytes, why: str) -> None:
    says, found = parse(body)
    assert why in says
    assert found is None


def test_long_key_hides_nothing_else() -> None:
    why, found = parse(b"{" + BEHIND + b':1,"x":"7"}')
    assert not why
    assert isinstance(found, dict)
    assert found["x"] == "7"


@pytest.mark.parametrize(
    "body", [BEHIND[:-1], b'{"x":' + BEHIND, b"\\" * (2 * LONG), BEHIND + b'"\\"']
)
def test_answer_that_broke_off_within_a_long_text_has_no_json(body: bytes) -> None:
    why, found = parse(body)
    assert not why
    assert found is None or isinstance(found, LongText)


@pytest.mark.parametrize("content", [b"", b"a", b"ab", VIDEO])
def test_bare_base64_of_any_length_is_decoded(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    document = parse(json.dumps({"x": text}).encode())[1]
    assert isinstance(document, dict)
    assert isinstance(document["x"], LongText) is (len(text) > LONG)
    assert decode_base64(document["x"]) == content


@pytest.mark.parametrize("text", ["A", "AA=A", "é", "\udc00", "A" * (2 * LONG + 1)])
def test_broken_bare_base64_is_a_value_error(text: str) -> None:
    document = parse(json.dumps({"x": text}).encode())[1]
    assert isinstance(document, dict)
    with pytest.raises(ValueError):  # noqa: PT011 - each kind of fault
        decode_base64(document["x"])


WRITTEN = {
    "plain": URI,
    "of two bytes each": "é" * (LONG + 1),
    "with escapes": '"\\\n' * LONG,
    "outside Unicode's first plane": "a" + "😀" * LONG,
    "half characters": "\ud83d\ude00" * LONG,
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_long_text_is_written_in_pieces_as_json_writes_it(text: str) -> None:
    """No piece holds the interpreter's lock for as long as the whole would."""
    value = {"b": [1, text, {"c": text, "a": None}], "a": "short"}
    pieces = write(value)
    assert "".join(pieces) == json.dumps(value)
    assert max(map(len, pieces)) <= len(json.dumps(text)) / 4
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "".join(write(value, canonical=True)) == plain


SMALL = st.recursive(
    st.none() | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(), part),
)


@given(SMALL)
def test_value_without_long_texts_is_written_in_one_piece(value: object) -> None:
    assert write(value) == [json.dumps(value)]
    assert copy(value) == value


def test_copy_has_lists_for_tuples_and_the_long_texts_themselves() -> None:
    copied = copy({"x": (1, URI), 2: URI})
    assert copied == {"x": [1, URI], "2": URI}
    assert isinstance(copied, dict)
    assert copied["2"] is URI
    for value, fault in ((float("inf"), ValueError), ({1, 2}, TypeError)):
        with pytest.raises(fault):
            copy([value, URI])
        with pytest.raises(fault):
            write([value, URI])
