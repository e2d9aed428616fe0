"""
A call of the OpenAI-compatible paths, as the relay reads it.

After ye4293/one-api ``middleware/distributor.go``, which finds the model of a call
before any handler looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import Factory, frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.forms import FormFile, boundary_of, read_form

_DIGITS = re.compile("[0-9]{1,18}")
_LARGEST = 2**63 - 1  # that Go's int can hold

#: Models of calls that name none.
_DEFAULTS = {
    "moderations": "text-moderation-stable",
    "images/generations": "dall-e-2",
    "audio/transcriptions": "whisper-1",
    "audio/translations": "whisper-1",
}


@frozen
class Call:
    """
    One call: its path behind ``/v1/``, its model, its fields and files.

    Fields of a form are texts. *model* is empty where the call needs one and has
    none.
    """

    path: str
    model: str
    fields: Mapping[str, object]
    files: tuple[FormFile, ...] = Factory(tuple)

    def text(self, name: str) -> str:
        """Return a field that is text, or an empty one."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """Return a field that is a whole number, also written as text, or 0."""
        value = self.fields.get(name)
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            return int(value)
        return value if type(value) is int and abs(value) <= _LARGEST else 0

    def is_set(self, name: str) -> bool:
        """Return whether a switch is on."""
        value = self.fields.get(name)
        return value is True or value == "true"

    def texts(self, name: str) -> list[str]:
        """Return a field as a list of texts: one text is a list of one."""
        value = self.fields.get(name, "")
        values = value if isinstance(value, list) else [value]
        if values and all(type(each) is int for each in values):
            values = [values]  # the tokens of one text
        return [each if isinstance(each, str) else repr(each) for each in values]


async def read_call(exchange: Exchange, path: str) -> Call | None:
    """Return the call, or None for a body that cannot be read."""
    content_type = exchange.header("Content-Type")
    if content_type.startswith("multipart/form-data"):
        try:
            boundary = boundary_of(content_type)
            form = await read_form(exchange.blocks(), boundary, keeps_files=True)
        except ValueError:
            return None
        return _call(path, dict(form.fields), tuple(form.files))
    try:
        value = go_json.loads(await exchange.read())
    except ValueError:
        return None
    return _call(path, value) if isinstance(value, dict) else None


def _call(
    path: str, fields: Mapping[str, object], files: tuple[FormFile, ...] = ()
) -> Call:
    model = fields.get("model")
    named = model if isinstance(model, str) else ""
    return Call(path, named or _DEFAULTS.get(path, ""), fields, files)
