"""
JSON with texts of megabytes in it, such as a video as a data URI.

Parsing and writing hold the interpreter's lock from their start to their end, and a
text of 150 MB would keep it for a quarter of a second, in a thread too. So texts of
more than 1 MiB are taken out first. What is parsed has a :class:`LongText` in place of
each, whose bytes are unpacked piece by piece; what is written is a row of pieces.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from ezlink_async._core import json_reader

LONG = 1024 * 1024
"""A text of more bytes is taken out."""

_MOST_REST = 8 * 1024 * 1024  # bytes beside the long texts; a list of tasks has 3

_MOST_QUOTES = 1_000_000  # that are looked at, which takes half a second

_PIECE = 256 * 1024  # bytes that are unpacked at once, in about a millisecond

_ESCAPE = 6  # bytes of the longest escape

_SHOWN = 4096  # bytes; more than is kept of any text of the server

_MARK = secrets.token_hex(16)  # stands in no JSON, since nothing else knows it

_MARKED = re.compile(f'(?<="){_MARK}([0-9]+)(?=")')

_HALF_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)$")

_DATA_URI = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)


class LongText(str):
    """
    A text of more than 1 MiB: as a string it is its begin, of up to 4,096 bytes.

    What keeps a part of any text reads it like another one. All of it is given by
    :func:`decode_data_uri` and :func:`parse_inner`.
    """

    __slots__ = ("_body", "_end", "_start")

    _body: bytes
    _start: int
    _end: int

    @classmethod
    def of(cls, body: bytes, start: int, end: int) -> Self:
        """Return the text whose JSON stands between two quotes of *body*."""
        head = body[start : start + _SHOWN]
        if half := _HALF_ESCAPE.search(head):
            head = head[: half.start(1)]
        shown = json_reader.parse_json(b'"' + head + b'"')
        text = cls(shown if isinstance(shown, str) else "")
        text._body, text._start, text._end = body, start, end
        return text

    def pieces(self, skipped: int = 0) -> Iterator[bytes]:
        """Yield the bytes of the text behind the first *skipped* of its JSON."""
        start = self._start + skipped
        while start < self._end:
            end = self._safe_cut(start, min(start + _PIECE, self._end))
            piece = self._body[start:end]
            yield _unescaped(piece) if b"\\" in piece else piece
            start = end

    def _safe_cut(self, start: int, end: int) -> int:
        """Return where a piece that would end at *end* ends in no escape."""
        if end == self._end:
            return end
        slash = self._body.find(b"\\", max(start, end - _ESCAPE), end)
        if slash < 0:
            return end
        run = _run_start(self._body, start, slash)
        return run if run > start else slash - (slash - start) % 2


def _unescaped(piece: bytes) -> bytes:
    """Return *piece* of a text of JSON with its escapes replaced."""
    # Bytes pass Latin-1 as they are, and an escape of what it lacks has no place in
    # base64 or in a list of it.
    try:
        text = json.loads(f'"{piece.decode("latin-1")}"', strict=False)
    except ValueError:
        return piece
    return str(text).encode("latin-1", "replace")


def parse(body: bytes, tasks: int = 1) -> tuple[str, object]:
    """
    Return why *body* is not parsed, and its JSON; see :mod:`~.json_reader`.

    The JSON is ``None`` if there is none, or too much for an answer about so many
    *tasks*.
    """
    rest, spans = _without_long_texts(body)
    why = f"it has more than {_MOST_REST:,} bytes" if len(rest) > _MOST_REST else ""
    why = why or json_reader.obstacle(rest, tasks)
    if why:
        return why, None
    found = json_reader.parse_json(rest)
    if not spans:
        return "", found
    return "", _restored(found, [LongText.of(body, *span) for span in spans])


def parse_inner(text: str) -> object:
    """Return the JSON that a *text* of an answer holds, ``None`` if it holds none."""
    if isinstance(text, LongText):
        return parse(b"".join(text.pieces()))[1]
    return parse(text.encode(errors="replace"))[1]


def decode_data_uri(text: str) -> tuple[str, bytes] | None:
    """
    Return media type and content of a data URI in base64, ``None`` for other text.

    :exc:`ValueError` if its base64 is broken.
    """
    match = _DATA_URI.match(text)
    if match is None:
        return None
    if not isinstance(text, LongText):
        return match["type"], _decoded([text[match.end() :].encode()])
    head = text._body.index(b",", text._start) + 1 - text._start  # noqa: SLF001 - of the same idea
    return match["type"], _decoded(text.pieces(head))


def decode_base64(text: str) -> bytes:
    """Return what a *text* in base64 is; :exc:`ValueError` if that is broken."""
    return _decoded(
        text.pieces() if isinstance(text, LongText) else [text.encode("ascii")]
    )


def _decoded(pieces: Iterator[bytes] | list[bytes]) -> bytes:
    """Return what the base64 of *pieces* is; joined, which leaves the lock free."""
    done, held = list[bytes](), b""
    for piece in pieces:
        text = held + piece.translate(None, b" \r\n\t")
        whole = len(text) - len(text) % 4
        done.append(binascii.a2b_base64(text[:whole], strict_mode=True))
        held = text[whole:]
    if held:
        raise binascii.Error("the base64 is cut off")
    return b"".join(done)


def _without_long_texts(body: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """Return *body* with marks in place of its long texts, and where these are."""
    spans = list[tuple[int, int]]()
    if len(body) <= LONG:
        return body, spans
    kept, parts = 0, list[bytes]()
    for start, end in _texts(body):
        if end - start > LONG:
            parts += [body[kept:start], f"{_MARK}{len(spans)}".encode()]
            spans.append((start, end))
            kept = end
    return b"".join([*parts, body[kept:]]), spans


def _texts(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each text of the JSON of *body*."""
    start = -1
    at = 0
    for _ in range(_MOST_QUOTES):
        at = _find_quote(body, at)
        if at < 0:
            return
        if start < 0:
            start = at + 1
        elif not _is_escaped(body, start, at):
            yield start, at
            start = -1
        at += 1


def _find_quote(body: bytes, at: int) -> int:
    # In pieces: a search holds the interpreter's lock from its start to its end.
    for start in range(at, len(body), _PIECE):
        found = body.find(b'"', start, start + _PIECE)
        if found >= 0:
            return found
    return -1


def _is_escaped(body: bytes, start: int, at: int) -> bool:
    """Return whether an odd number of backslashes stands in front of *at*."""
    return (at - _run_start(body, start, at)) % 2 == 1


def _run_start(body: bytes, start: int, at: int) -> int:
    """Return where the backslashes right in front of *at* begin, not before *start*."""
    while at > start:
        piece = body[max(start, at - _SHOWN) : at]
        before = piece.rstrip(b"\\")
        at -= len(piece) - len(before)
        if before:
            break
    return at


def _restored(value: object, texts: Sequence[str]) -> object:
    """Return *value* with the long texts in place of their marks."""
    if isinstance(value, str) and value.startswith(_MARK):
        return texts[int(value.removeprefix(_MARK))]
    if isinstance(value, list):
        return [_restored(each, texts) for each in value]
    if isinstance(value, dict):
        return {name: _restored(each, texts) for name, each in value.items()}
    return value


def _no_json(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} is no value of JSON")


def write(
    value: object,
    stand_in: Callable[[object], object] = _no_json,
    *,
    canonical: bool = False,
) -> list[str]:
    """
    Return the JSON of *value* in pieces, several for each long text.

    ``stand_in(leaf)`` is written in place of a *leaf* that JSON does not have. By
    default the text is ASCII, with :func:`json.dumps`'s blanks; a *canonical* one has
    sorted keys, no blanks, and its characters as they are. What :func:`json.dumps`
    raises, also for a number that is not finite, unless it is *canonical*.
    """
    rest, texts = without_long_texts(value)
    whole = json.dumps(
        rest,
        default=stand_in,
        allow_nan=canonical,
        ensure_ascii=not canonical,
        sort_keys=canonical,
        separators=(",", ":") if canonical else None,
    )
    if not texts:
        return [whole]
    pieces = list[str]()
    for number, piece in enumerate(_MARKED.split(whole)):
        if number % 2:
            pieces += _written_text(texts[int(piece)], plain=canonical)
        else:
            pieces.append(piece)
    return pieces


def _written_text(text: str, *, plain: bool) -> Iterator[str]:
    """Yield the JSON of a long *text*, without its quotes."""
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        yield json.dumps(piece, ensure_ascii=not plain)[1:-1]


def copy(value: object) -> object:
    """
    Return a copy of *value* as JSON has it: lists for tuples, texts for all keys.

    What :func:`json.dumps` raises, also for a number that is not finite.
    """
    rest, texts = without_long_texts(value)
    return _restored(json.loads(json.dumps(rest, allow_nan=False)), texts)


def without_long_texts(value: object) -> tuple[object, list[str]]:
    """Return a copy of *value* with marks in place of its long texts, and these."""
    texts = list[str]()

    def marked(part: object) -> object:
        if isinstance(part, str):
            if len(part) <= LONG:
                return part
            texts.append(part)
            return f"{_MARK}{len(texts) - 1}"
        if isinstance(part, Mapping):
            return {name: marked(each) for name, each in part.items()}
        if isinstance(part, list | tuple):
            return [marked(each) for each in part]
        return part

    return marked(value), texts
