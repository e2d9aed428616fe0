"""
Bodies of the Midjourney family as the relay reads them.

As Go's ``encoding/json`` reads them into typed structs: keys in any case, a null or a
value of a wrong type leaves what was read before.
"""

from __future__ import annotations

import asyncio

from ezlink_async.emulator.http import go_json, paths
from ezlink_async.emulator.http.exchange import Exchange

# Reading less than this takes less time than handing it to a thread.
_INLINE = 256 * 1024


class BadBodyError(ValueError):
    """The relay cannot read a body."""


_TEXTS = (
    "prompt",
    "customId",
    "botType",
    "notifyHook",
    "action",
    "state",
    "taskId",
    "content",
    "maskBase64",
)
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


async def fields_of(exchange: Exchange) -> dict[str, object]:
    """
    Return the fields of a submit, or raise :class:`BadBodyError`.

    Without a JSON content type the relay reads an unusable body as an empty one.
    """
    body, content_type = await exchange.read(), exchange.header("Content-Type")
    if len(body) <= _INLINE:
        return read_fields(body, content_type)
    return await asyncio.to_thread(read_fields, body, content_type)


def read_fields(body: bytes, content_type: str) -> dict[str, object]:
    """Do the same with the bytes of a body."""
    kind = content_type.partition(";")[0].strip()
    if kind == "application/x-www-form-urlencoded" and _is_form(body):
        return {}  # whose fields are none of the relay's
    if kind in _FORMS:
        raise BadBodyError
    if is_json(content_type):
        return _bind(body)
    try:
        value = go_json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def is_json(content_type: str) -> bool:
    """Tell whether the relay takes a body of this type for JSON."""
    return content_type.startswith("application/json")


def _is_form(body: bytes) -> bool:
    # net/url ParseQuery refuses both, and every data URI has a semicolon.
    return b";" not in body and paths.is_well_escaped(body.decode("latin-1"))


def _bind(body: bytes) -> dict[str, object]:
    try:
        value = go_json.loads(body)
    except ValueError:
        raise BadBodyError from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not _is_general(value):
        raise BadBodyError
    return value


def _is_general(value: dict[str, object]) -> bool:
    """Tell whether the distributor can read the fields that all submits share."""
    texts = [item for name in _TEXTS for item in go_json.folded(value, name)]
    numbers = go_json.folded(value, "index")
    return (
        is_list_of_texts(texts)
        and all(item is None or type(item) is int for item in numbers)
        and all(map(is_list_of_texts, go_json.folded(value, "base64Array")))
    )


def is_list_of_texts(value: object) -> bool:
    """Tell whether *value* fits a list of strings, in which Go accepts nulls."""
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(i, str | None) for i in value)


def text_of(fields: dict[str, object], name: str) -> str:
    """Return a field that is a text, or an empty one."""
    found = [item for item in go_json.folded(fields, name) if isinstance(item, str)]
    return found[-1] if found else ""


def number_of(fields: dict[str, object], name: str) -> int:
    """Return a field that is a whole number, or 0."""
    found = [item for item in go_json.folded(fields, name) if type(item) is int]
    return found[-1] if found else 0


def texts_of(fields: dict[str, object], name: str) -> tuple[str, ...]:
    """Return the texts in a field that is a list; others, and empty ones, are left."""
    found = [item for item in go_json.folded(fields, name) if isinstance(item, list)]
    return tuple(one for one in (found or [[]])[-1] if one and isinstance(one, str))


def read_ids(body: bytes) -> list[str]:
    """Return the ids of a list-by-condition, or raise :class:`BadBodyError`."""
    try:
        value = go_json.loads_first(body)
    except ValueError:
        raise BadBodyError from None
    if value is None:
        return []
    if not isinstance(value, dict):
        raise BadBodyError
    ids: list[str] = []
    for item in go_json.folded(value, "ids"):
        if not is_list_of_texts(item):
            raise BadBodyError
        ids = [one or "" for one in item] if isinstance(item, list) else []
    return ids
