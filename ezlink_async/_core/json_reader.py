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

_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")

_CONTROL = "".join(map(chr, range(0x20)))

# A text as a whole, or one bracket; possessive, so that no text takes long.
_TOKEN = re.compile(
    rb"""[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"?|([\[{])|([\]}]))""", re.DOTALL
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
    )


def parse_json(body: bytes) -> object:
    """
    Return the JSON of *body* by its content alone; ``None`` if it holds none.

    Bytes that are not UTF-8 become U+FFFD, control characters in texts stay, and
    those around the value are dropped. Halves of characters stay escapes, as
    :func:`storable` writes them. GB 18030, the other encoding of Chinese
    servers, is tried when that fails: half of one of its characters may be a
    backslash, which hides the end of a text.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        text = body.decode(encoding, "replace")
        try:
            found = json.loads(text.strip(_CONTROL), strict=False)
        except (ValueError, RecursionError):
            if "\ufffd" not in text:
                break  # the bytes were read as they were meant
        else:
            return _storable_value(found) if _ESCAPED_HALF.search(text) else found
    return None


def storable(text: str) -> str:
    """
    Return *text* with halves of surrogate pairs as escapes of six characters.

    JSON may hold them, and so does a name or a header whose bytes are no text. No
    file, database or request takes them.
    """
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):x}", text)


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
    depth = 0
    for token in _TOKEN.finditer(body):
        depth += bool(token[1]) - bool(token[2])
        if depth > DEEPEST:
            return True
    return False
