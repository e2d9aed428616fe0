"""
One task object of the server into a :class:`TaskRecord`.

A field of a record is read by its type, under its name in camel case. Only the
id and the status are required: the task is paid for, so an odd value in any
other field must not make its result unreachable. Long texts are cut off: records
are kept in journals and reports. Source of the fields:
``ye4293/one-api`` ``relay/channel/midjourney/model.go`` and
``coverMidjourneyTaskDto``.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from ezlink_async._core.messages import TEXT_LIMIT, clip, identifier, redact
from ezlink_async.buttons import Button
from ezlink_async.models import TaskProperties, TaskRecord, TaskStatus

_R = TypeVar("_R")

_PROGRESS = tuple(TaskStatus)

_ADDRESS_LIMIT = 8_000

_NO_PROMPTS = {"finalPrompt": "", "finalZhPrompt": ""}
_NO_PROPERTIES = TaskProperties()


def utc_time(seconds: float) -> dt.datetime | None:
    """Return seconds since 1970 as a time; ``None`` for 0, less, or too many."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds > 0 else None
    except (OverflowError, ValueError, OSError):
        return None  # beyond the calendar


def _text(value: object, _: object = None) -> str:
    if isinstance(value, str):
        return clip(value)
    return str(value) if type(value) in {int, float} else ""


def _text_or_none(value: object, _: object = None) -> str | None:
    return _text(value) or None


def _address(value: object, _: object = None) -> str | None:
    # A signed address is longer than words are, and of no use when it is cut off.
    return (clip(value, _ADDRESS_LIMIT) or None) if isinstance(value, str) else None


def _custom_id(value: object, _: object = None) -> str | None:
    # A part of one would press another button, or none, and may be charged.
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_LIMIT else None


def _integer(value: object, _: object = None) -> int | None:
    return value if type(value) is int else None


def _status(value: object, _: object = None) -> TaskStatus:
    if value is None:
        return TaskStatus.EMPTY
    # ValueError on anything but a word.
    return TaskStatus(clip(value) if isinstance(value, str) else value)


# The same few texts come again with each poll of a task, so both are cached.


@functools.lru_cache(512)
def _per_cent(text: str) -> float | None:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@functools.lru_cache(4096)
def _time(text: str) -> dt.datetime | None:
    try:
        return utc_time(float(text) / 1000)
    except ValueError:
        return None


def _buttons(value: object, _: object = None) -> tuple[Button, ...]:
    rows = value if isinstance(value, list) else []
    return tuple(
        _converter.structure(row, Button) for row in rows if isinstance(row, Mapping)
    )


def _properties(value: object, _: object = None) -> TaskProperties | None:
    if value == _NO_PROMPTS:  # those of every swap
        return _NO_PROPERTIES
    is_object = isinstance(value, Mapping)
    return _converter.structure(value, TaskProperties) if is_object else None


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


_READERS: Mapping[object, Callable[[object, object], object]] = {
    str: _text,
    str | None: _text_or_none,
    int | None: _integer,
    float | None: lambda value, _: _per_cent(_text(value)),
    dt.datetime | None: lambda value, _: _time(_text(value)),
    TaskStatus: _status,
    tuple[Button, ...]: _buttons,
    TaskProperties | None: _properties,
}

_BY_NAME: Mapping[str, Callable[[object, object], object]] = {
    "task_id": lambda value, _: value,  # read already, and never cut off
    "image_url": _address,
    "custom_id": _custom_id,
    "fail_reason": lambda value, _: redact(_text(value)),
    "description": lambda value, _: redact(_text(value)),
}


def _register(kind: type[attrs.AttrsInstance]) -> None:
    wire = {
        field.name: override(
            rename="id" if field.name == "task_id" else _camel_case(field.name),
            struct_hook=_BY_NAME.get(field.name) or _READERS[field.type],
        )
        for field in attrs.fields(attrs.resolve_types(kind))
    }
    structure: Callable[[Mapping[str, object], object], object]
    structure = make_dict_structure_fn(kind, _converter, **wire)  # type: ignore[arg-type]  # its own keywords have other types
    _converter.register_structure_hook(kind, structure)


_converter = cattrs.Converter(detailed_validation=False)
_register(Button)
_register(TaskProperties)
_register(TaskRecord)


def read_record(row: object, task_id: str = "") -> TaskRecord:
    """
    Return the record of *row*; *task_id* is used if the row has no id.

    :exc:`ValueError` if the row is not a task: not an object, without an id or
    a status, or with a status that is not text.
    """
    if not isinstance(row, Mapping):
        raise ValueError("not an object")  # noqa: TRY004 - one error for callers
    known = identifier(row.get("id")) or identifier(task_id)
    if not known or "status" not in row:
        raise ValueError("neither id nor status")
    return _with_own_buttons(_converter.structure({**row, "id": known}, TaskRecord))


def _with_own_buttons(record: TaskRecord) -> TaskRecord:
    """Return *record* with buttons that know the task they belong to."""
    if not record.buttons:
        return record
    own = (attrs.evolve(each, task_id=record.task_id) for each in record.buttons)
    return attrs.evolve(record, buttons=tuple(own))


def progress_order(record: TaskRecord) -> tuple[bool, int, bool, float, str]:
    """
    Return a sort key for the rows of one id: the server refreshes only one of them.

    Ended tasks come last, successful ones after the others; a row with a
    picture comes after one without, then the one that is nearer its end.
    """
    progress = -1.0 if record.progress is None else record.progress
    # The text settles what is left, so that the order of rows never matters.
    return (
        record.is_terminal,
        _PROGRESS.index(record.status),
        record.image_url is not None,
        progress,
        repr(record),
    )


def _strict_text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _finite(value: object, _: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # TypeError is as good an answer
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _iso_time(text: object, _: object) -> dt.datetime:
    time = dt.datetime.fromisoformat(_strict_text(text, _))
    if time.utcoffset() is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return time


SAVED: cattrs.Converter = cattrs.Converter(detailed_validation=False)
"""Turns records into values that JSON can hold, and back."""

SAVED.register_structure_hook(str, _strict_text)
SAVED.register_structure_hook(float, _finite)
SAVED.register_structure_hook(dt.datetime, _iso_time)
SAVED.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
SAVED.register_structure_hook(TaskStatus, lambda word, _: TaskStatus(word))
SAVED.register_unstructure_hook(dt.datetime, dt.datetime.isoformat)
# A saved button has no id of its own: it is that of the record.
SAVED.register_unstructure_hook(
    make_dict_unstructure_fn(Button, SAVED, task_id=override(omit=True)),
)
_saved_record = make_dict_structure_fn(TaskRecord, SAVED)
SAVED.register_structure_hook(
    TaskRecord, lambda saved, kind: _with_own_buttons(_saved_record(saved, kind))
)
# Inline contents are as large as files are: they are not saved.
SAVED.register_unstructure_hook(bytes, lambda _: None)


def dump_record(record: object) -> dict[str, object]:
    """Return *record* as values that JSON can hold, without inline contents."""
    return dict(SAVED.unstructure(record))


def load_record(kind: type[_R], saved: Mapping[str, object]) -> _R:
    """Read what :func:`dump_record` made of a record of this *kind*."""
    return SAVED.structure(saved, kind)


_UPSTREAM_GONE = "渠道"  # "channel"


def is_refunded(record: TaskRecord | None) -> bool:
    """
    Return whether the server gives back what the task of *record* cost.

    It does so for a FAILURE with a reason, but not when the reason is that its
    upstream is gone, and not for a success that came after its hour
    (``ye4293/one-api``: ``controller/midjourney.go``).
    """
    if record is None or record.status is not TaskStatus.FAILURE:
        return False
    reason = record.fail_reason or ""
    return bool(reason) and _UPSTREAM_GONE not in reason and not record.image_url
