"""
JSON as Go's ``encoding/json`` writes and reads it.

Clients compare bodies byte for byte, so spelling matters: ``<``, ``>``, ``&`` and
the two line separators are escaped, everything else beyond ASCII is not, and a
whole number that is a float has no point.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import NoReturn

_ESCAPES = str.maketrans(
    {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
)


def dumps(value: object) -> bytes:
    """Return *value* as compact JSON, keys in the order given."""
    return _text(value).encode("utf-8", "replace")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        members = (f"{_string(str(key))}:{_text(item)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return _string(value)
    return json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def _number(value: float) -> str:
    # encoding/json floatEncoder: exponents only below 1e-6 and from 1e21 on.
    size = abs(value)
    if size and not 1e-6 <= size < 1e21:  # noqa: PLR2004 - Go's own bounds
        mantissa, _, exponent = repr(value).partition("e")
        sign = exponent[0]
        return f"{mantissa.removesuffix('.0')}e{sign}{exponent[1:].zfill(2)}"
    plain = format(Decimal(repr(value)), "f")
    return plain.removesuffix(".0")


def ordered(value: object) -> object:
    """Return *value* with the keys of every object sorted, as Go writes a map."""
    if isinstance(value, Mapping):
        return {key: ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [ordered(item) for item in value]
    return value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _double(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"no double holds {text}")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_double)


def loads(body: bytes) -> object:
    """Return the one JSON value that *body* is; ValueError for anything else."""
    try:
        value: object = _DECODER.decode(body.decode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def loads_first(body: bytes) -> object:
    """Return the first JSON value of *body*, as Go's ``json.Decoder`` does."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value: object
        value, _ = _DECODER.raw_decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def folded(value: Mapping[str, object], name: str) -> list[object]:
    """Return the values of all keys that are *name* in any case, as Go matches them."""
    low = name.lower()
    return [item for key, item in value.items() if key.lower() == low]
