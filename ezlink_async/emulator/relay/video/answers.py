"""
Refusals of the video routes, and JSON of providers as the relay reads it.

Envelopes and texts after ye4293/one-api ``relay/channel/openai/util.go``
ErrorWrapper; Go's own texts about JSON are those of ``encoding/json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ezlink_async.emulator.faults import Upstream
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.replies import (
    JSON_UTF8,
    Reply,
    as_json,
    without_hosts,
)

OK = 200
_SATURATED = "The current group upstream load is saturated, please try again later."
_TOO_MANY = 429
_TOO_LARGE = 2**63
_KINDS = {str: "string", bool: "bool", list: "array", dict: "object"}
_TROUBLE = {
    "refused": "dial tcp {host}: connect: connection refused",
    "reset": "EOF",
    "slow": "context deadline exceeded"
    " (Client.Timeout exceeded while awaiting headers)",
}


class RefusedVideoError(Exception):
    """A submit is refused; the text, as it is logged, may hold hosts and keys."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        shown = _SATURATED if status == _TOO_MANY else without_hosts(text)
        error = {"code": code, "message": shown, "param": "", "type": "api_error"}
        self.reply: Reply = as_json(
            {"error": error}, status=status, content_type=JSON_UTF8
        )


class FailedQueryError(Exception):
    """The relay's question for a video failed: a 500 with the text."""

    @property
    def reply(self) -> Reply:
        """The answer to the caller."""
        body = {"error": without_hosts(str(self))}
        return as_json(body, status=500, content_type=JSON_UTF8)


class BadJsonError(ValueError):
    """Go cannot read some JSON; the text is Go's."""


def go_kind(value: object) -> str:
    """Return Go's word for the kind of a JSON value."""
    return _KINDS.get(type(value), "number")


def wrong_type(value: object, wanted: str) -> str:
    """Return Go's text about a field of another type."""
    # It names struct and field, which the relay takes for a host and removes.
    given = go_kind(value)
    return f"json: cannot unmarshal {given} into Go struct field  of type {wanted}"


def object_of(content: bytes) -> dict[str, object]:
    """Return the JSON object of a provider's answer, or raise BadJsonError."""
    try:
        value = go_json.loads(content)
    except json.JSONDecodeError as exc:
        raise BadJsonError(_syntax_error(content, exc.pos)) from None
    except ValueError:
        raise BadJsonError("exceeded max depth") from None
    if not isinstance(value, dict):
        raise BadJsonError(
            f"json: cannot unmarshal {go_kind(value)} into Go value of type "
        )
    return value


def _syntax_error(content: bytes, position: int) -> str:
    rest = content.decode("utf-8", "replace")[position:]
    if not rest:
        return "unexpected end of JSON input"
    return f"invalid character '{rest[0]}' looking for beginning of value"


def connection_error(answer: Upstream, method: str, address: str) -> str:
    """Return Go's text about a call to *address* that brought no answer."""
    host = address.split("/")[2]
    return f'{method} "{address}": {_TROUBLE[answer.broken].format(host=host)}'


def text_in(value: object, *names: str) -> str:
    """Return the text below these keys, empty when there is none."""
    found = below(value, *names)
    return found if isinstance(found, str) else ""


def number_in(value: object, *names: str) -> float:
    """Return the number below these keys, 0 when there is none that Go can hold."""
    found = below(value, *names)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0.0
    return float(found) if abs(found) < _TOO_LARGE else 0.0


def below(value: object, *names: str) -> object:
    """Return what is below these keys, None when there is nothing."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
