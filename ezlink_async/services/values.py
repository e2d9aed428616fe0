"""
Checks that the job requests of several families share.

Each refuses with :exc:`ConfigurationError`, before anything is sent.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from ezlink_async._core import long_texts
from ezlink_async.errors import ConfigurationError

_JSON_ALONE = ("{", "[", '"')
"""The begin of a value that is JSON, or wrong."""


def checked_text(value: object, name: str) -> str | None:
    """Refuse a text that is blank, or holds a NUL; ``None`` is an absent one."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigurationError(f"{name} is a text that says something: {value!r:.80}")
    return value


def checked_count(value: object, name: str, least: int = 1) -> None:
    """Refuse a *value* that is neither ``None`` nor a whole number from *least* on."""
    if value is not None and (type(value) is not int or value < least):
        raise ConfigurationError(
            f"{name} is a whole number from {least} on, not {value!r:.80}"
        )


def checked_fields(
    fields: object, name: str, known: Collection[str]
) -> dict[str, object]:
    """
    Return a copy of further *fields* of a body, as JSON has them.

    None of them is in *known*, which the request itself sends.
    """
    if not isinstance(fields, Mapping) or not all(isinstance(f, str) for f in fields):
        raise ConfigurationError(f"{name} is a mapping of fields, not {fields!r:.80}")
    taken = sorted(set(known) & set(fields))
    if taken:
        raise ConfigurationError(
            f"{name} has no field {taken[0]!r}: the request sets it, or the server "
            "drops it"
        )
    try:
        return {str(field): long_texts.copy(each) for field, each in fields.items()}
    except (TypeError, ValueError, RecursionError) as fault:
        raise ConfigurationError(f"{name} cannot be sent as JSON: {fault}") from None


def json_or_text(text: str, name: str) -> object:
    """
    Return the value of JSON that *text* is, or *text* itself where it is none.

    Raises ConfigurationError, with *name* as the subject, for a text that begins like
    an object, a list or a text of JSON, and is none.
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        if text.lstrip().startswith(_JSON_ALONE):
            raise ConfigurationError(f"{name} is no JSON: {text!r:.80}") from None
        return text
    return value
