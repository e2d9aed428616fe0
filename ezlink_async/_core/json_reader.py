"""
JSON that a stranger wrote, read as far as it can be, within limits.

An answer may hold the id of a paid task, so one byte that is wrong must not hide
the others. Parsing holds the interpreter's lock from its start to its end, in a
thread too: so what would take long is refused before it is parsed.
"""

from __future__ import annotations

import json
import re

BRACKETS_A_TASK = 5_000
"""The most ``[`` and ``{`` for each task that an answer is about; a task has 30."""

MOST_BRACKETS = 100_000
"""The most ``[`` and ``{``: parsed in 50 ms."""

MOST_COMMAS = 60_000
"""The most commas, which count the values: parsed in 40 ms."""

DEEPEST = 100
"""The deepest nesting; a task has 4."""

_LIGHT_BYTES = 256 * 1024
_LIGHT_BRACKETS = 500  # a list of 100 swaps has 300
_LIGHT_COMMAS = 5_000
_LIGHT_QUOTES = 20_000  # a list of 100 swaps has 12,000

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")

# Control characters, a byte order mark that is not the first, a hard blank.
_AROUND = "".join(map(chr, range(0x20))) + " \ufeff\xa0"

_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})?')
_MOST_ESCAPES = 10_000  # of a text with wrong ones: mended in 10 ms

_MOST_DIGITS = 4_300  # of an integer: Python reads no longer one

_USUAL_DEPTH = 5

# A text that does not end goes on to the end, as in _TOKEN: each byte is read once.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}"\\'))

# A text as a whole, one bracket, or the end; possessive, so that no text takes long,
# and with the end, so that no search begins twice at the same bytes.
_TOKEN = re.compile(
    rb"""[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?|([\[{])|([\]}])|\Z)""", re.DOTALL
)


def obstacle(body: bytes, tasks: int = 1) -> str:
    """
    Return why *body*, an answer about so many *tasks*, is not parsed.

    Empty if it is. The limits are many times what a server of tasks sends.
    """
    brackets = _brackets(body)
    most = min(BRACKETS_A_TASK * tasks, MOST_BRACKETS)
    if brackets > most:
        return f"it has more than {most:,} brackets"
    if body.count(b",") > MOST_COMMAS:
        return f"it has more than {MOST_COMMAS:,} values"
    if brackets > DEEPEST and _is_too_deep(body):
        return f"it is nested deeper than {DEEPEST} levels"
    return ""


def is_light(body: bytes) -> bool:
    """Return whether *body* is parsed and read in about a millisecond."""
    return (
        len(body) <= _LIGHT_BYTES
        and _brackets(body) <= _LIGHT_BRACKETS
        and body.count(b",") <= _LIGHT_COMMAS
        and body.count(b'"') <= _LIGHT_QUOTES
    )


def parse_json(body: bytes) -> object:
    """
    Return the JSON of *body* by its content alone; ``None`` if it holds none.

    Bytes that are not UTF-8 become U+FFFD, control characters in texts stay, and
    those around the value are dropped, as are bytes behind an object or a list.
    Halves of characters stay escapes, as :func:`storable` writes them, and so do
    escapes that JSON does not have. GB 18030, the other encoding of Chinese
    servers, is tried when that fails: half of one of its characters may be a
    backslash, which hides the end of a text.
    """
    texts = [body.decode("utf-8-sig", "replace").strip(_AROUND)]
    if "\ufffd" in texts[0]:  # else the bytes were read as they were meant
        texts.append(body.decode("gb18030", "replace").strip(_AROUND))
    for text in (*texts, *filter(None, map(_with_mended_escapes, texts))):
        found = _first_value(text)
        if found is not None:
            return _storable_value(found) if _ESCAPED_HALF.search(text) else found
    return None


def _first_value(text: str) -> object:
    """Return the value that *text* begins with; a number or text only if alone."""
    try:
        found, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if end == len(text) or isinstance(found, dict | list) else None


def _with_mended_escapes(text: str) -> str:
    """Return *text* with each backslash doubled that begins no escape of JSON."""
    if not 0 < text.count("\\") <= _MOST_ESCAPES:
        return ""
    return _ESCAPE.sub(lambda match: match[0] if match[1] else r"\\", text)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer)


def storable(text: str) -> str:
    """
    Return *text* with halves of surrogate pairs as escapes of six characters.

    JSON may hold them, and so does a name or a header whose bytes are no text. No
    file, database or request takes them.
    """
    return text.encode(errors="backslashreplace").decode()


def _storable_value(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable_value(each) for each in value]
    if isinstance(value, dict):
        return {storable(name): _storable_value(each) for name, each in value.items()}
    return value


def _brackets(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _is_too_deep(body: bytes) -> bool:
    # Nothing is left of an answer about tasks once the pairs of a few levels are gone.
    # A strange one is looked at bracket by bracket.
    rest = _brackets_outside_texts(body)
    for _ in range(_USUAL_DEPTH):
        rest = rest.replace(b"[]", b"").replace(b"{}", b"")
    return bool(rest) and _is_deeper(body)


def _brackets_outside_texts(body: bytes) -> bytes:
    """Return the brackets of *body*, with backslashes that are in no text."""
    marks = body.translate(None, _NO_MARKS)
    if b"\\" in marks:
        return _TEXT.sub(b"", body).translate(None, _NO_MARKS)
    # Without two quotes side by side each bracket is in a text, or not, as before.
    return _TEXT.sub(b"", marks.replace(b'""', b""))


def _is_deeper(body: bytes) -> bool:
    depth = 0
    for token in _TOKEN.finditer(body):
        depth += bool(token[1]) - bool(token[2])
        if depth > DEEPEST:
            return True
    return False
