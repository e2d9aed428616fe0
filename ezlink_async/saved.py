"""
A handle as it is kept between two processes: plain JSON values.

It names the server it belongs to, since an id means nothing elsewhere.
"""

from __future__ import annotations

import datetime as dt
import math

import attrs
import cattrs

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import TaskRecord, TaskStatus

FORMAT = 1

_NOT_SAVED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


@attrs.frozen(kw_only=True)
class SavedHandle:
    """Server, kind and id of a task, with its latest record if there was one."""

    origin: str
    family: str
    task_id: str
    record: TaskRecord | None = None
    format: int = FORMAT

    def to_dict(self) -> dict[str, object]:
        """Return it as values that JSON can hold."""
        return dict(_converter.unstructure(self))

    @classmethod
    def from_dict(cls, saved: object) -> SavedHandle:
        """Read it back; :exc:`ConfigurationError` when it is no such thing."""
        try:
            found: SavedHandle = _converter.structure(saved, cls)
        except _NOT_SAVED as fault:
            raise ConfigurationError(f"this is no saved handle: {fault!r}") from None
        if found.format != FORMAT:
            raise ConfigurationError(
                f"this handle was saved in format {found.format}, not {FORMAT}"
            )
        return found


def _word(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def _number(value: object, _: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # TypeError is as good an answer
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number


def _time(text: object, _: object) -> dt.datetime:
    time = dt.datetime.fromisoformat(_word(text, _))
    if time.utcoffset() is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return time


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(str, _word)
_converter.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(dt.datetime, _time)
_converter.register_structure_hook(TaskStatus, lambda word, _: TaskStatus(word))
