"""JSON that a stranger wrote, read as far as it can be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezlink_async._core.json_reader import (
    is_light,
    obstacle,
    parse_json,
    storable,
)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b'{"result":"7","x":"\xff"}', "\ufffd", id="not UTF-8"),
        pytest.param(b'{"result":"7","x":"a\x00\x1fb"}', "a\x00\x1fb", id="control"),
        pytest.param(b'{"result":"7","x":"a\nb"}', "a\nb", id="a raw line break"),
        pytest.param(b'\xef\xbb\xbf{"result":"7","x":1}', 1, id="a byte order mark"),
        pytest.param(b'\0 {"result":"7","x":1}\r\n\0', 1, id="NUL around it"),
        pytest.param('{"result":"7","x":"运"}'.encode("gbk"), "\ufffd\ufffd", id="GBK"),
        pytest.param('{"result":"7","x":"砛"}'.encode("gbk"), "砛", id="half a slash"),
        pytest.param(b'{"result":"7","x":1}\n<!-- proxy -->', 1, id="bytes behind it"),
        pytest.param(b'{"result":"7","x":1}{}', 1, id="two objects"),
        pytest.param(
            rb'{"result":"7","x":"C:\path \n"}', "C:\\path \n", id="no escape"
        ),
        pytest.param(rb'{"result":"7","x":"\u12"}', r"\u12", id="half an escape"),
        pytest.param(b'\xc2\xa0{"result":"7","x":1}', 1, id="a hard blank"),
        pytest.param(b"\xef\xbb\xbf" * 2 + b'{"result":"7","x":1}', 1, id="two marks"),
        pytest.param(
            b'{"result":"7","x":%s}' % (b"9" * 4_301), math.inf, id="a long number"
        ),
    ],
)
def test_what_is_wrong_in_one_place_hides_nothing_else(
    body: bytes, value: object
) -> None:
    """The id counts, with any bytes beside it."""
    assert parse_json(body) == {"result": "7", "x": value}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b'{"a":', b"404 not found", b"\xff\xfe", b'"\xff'),
        *(b"[" * 100_000, rb'["\x"' + b"\\x" * 10_000),
    ],
)
def test_what_is_no_json_is_none(body: bytes) -> None:
    assert parse_json(body) is None


def test_halves_of_characters_are_escaped() -> None:
    """A text with one could be written to no file; whole pairs stay characters."""
    body = rb'[{"a\udfff":"\ud800 b","c":"\uD83D\ude0e"},"\\ud800",7,"\uDc00\ud800"]'
    found = parse_json(body)
    assert found == [
        {r"a\udfff": r"\ud800 b", "c": "\U0001f60e"},
        r"\ud800",
        7,
        r"\udc00\ud800",
    ]


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_every_storable_text_can_be_encoded(text: str) -> None:
    stored = storable(text)
    stored.encode()
    assert storable(stored) == stored
    assert (stored == text) is not any("\ud800" <= each <= "\udfff" for each in text)


DEEP = b"[" * 101 + b"]" * 101


@pytest.mark.parametrize(
    ("body", "tasks", "says"),
    [
        (b"[]," * 5_000, 1, ""),
        (b"[]," * 5_001, 1, "it has more than 5,000 brackets"),
        (b"{}," * 5_001, 2, ""),
        (b"{}," * 10_001, 2, "it has more than 10,000 brackets"),
        (b"[]," * 100_001, 100, "it has more than 100,000 brackets"),
        (b"1," * 60_000, 1, ""),
        (b"1," * 60_001, 100, "it has more than 60,000 values"),
        (b"[" * 100 + b"]" * 100, 1, ""),
        (DEEP, 1, "it is nested deeper than 100 levels"),
        (b'{"a":' * 5_000, 1, "it is nested deeper than 100 levels"),
        (b'{"a\\\\":"' + DEEP + b'\\"' + DEEP + b'"}', 1, ""),
        (b'"' + DEEP, 1, ""),
        (b"[}" * 100, 1, ""),
    ],
)
def test_what_would_hold_the_interpreter_for_long_is_not_parsed(
    body: bytes, tasks: int, says: str
) -> None:
    """Brackets inside texts are no nesting."""
    assert obstacle(body, tasks) == says


def _depth(body: bytes) -> int:
    """Return the deepest nesting outside of texts, byte by byte."""
    depth = deepest = 0
    in_text = is_escaped = False
    for byte in body:
        if is_escaped:
            is_escaped = False
        elif in_text and byte in b'"\\':
            in_text, is_escaped = byte != ord('"'), byte == ord("\\")
        elif not in_text:
            in_text = byte == ord('"')
            depth += (byte in b"[{") - (byte in b"]}")
            deepest = max(deepest, depth)
    return deepest


@given(st.lists(st.sampled_from([b"[" * 30, b"]" * 29, b"{}", b'"', b'\\"', b"a"])))
def test_nesting_is_that_outside_of_texts(parts: list[bytes]) -> None:
    body = b"[" * 60 + b"".join(parts)
    too_deep = _depth(body) > 100
    assert obstacle(body) == ("it is nested deeper than 100 levels" if too_deep else "")


def test_brackets_before_a_long_tail_are_counted_once() -> None:
    """A search that began anew at each byte of the tail would take hours."""
    body = b'{"code":1,"result":"7","x":[' + b",".join([b"[]"] * 101) + b"]}"
    assert obstacle(body + b" " * 1024 * 1024) == ""


def test_small_answers_are_light() -> None:
    """More bytes, brackets, values or texts are parsed in a thread."""
    assert is_light(b'{"code":1,"result":"7"}')
    assert is_light(b"x" * 256 * 1024)
    heavy = b"x" * (256 * 1024 + 1), b"[]," * 501, b"1," * 5_001, b'""' * 10_001
    assert not any(map(is_light, heavy))


@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    """Any value or none comes of any bytes."""
    assert parse_json(b'["' + body.hex().encode() + b'"]') == [body.hex()]
    parse_json(body)
