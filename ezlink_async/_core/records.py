"""
One task object of the server into a :class:`TaskRecord`.

Lenient on purpose: a task is paid for, so an odd value in a field nobody
decides by must not keep its result out of reach. Only the id and the status
are demanded. Source of the fields: ``ye4293/one-api``
``relay/channel/midjourney/model.go`` and ``coverMidjourneyTaskDto``.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Mapping

import cattrs
from cattrs.gen import make_dict_structure_fn, override

from ezlink_async.models import Button, TaskProperties, TaskRecord, TaskStatus

_ADVANCE = (
    TaskStatus.EMPTY,
    TaskStatus.UNKNOWN,
    TaskStatus.NOT_START,
    TaskStatus.SUBMITTED,
    TaskStatus.IN_PROGRESS,
    TaskStatus.MODAL,
    TaskStatus.CANCEL,
    TaskStatus.FAILURE,
    TaskStatus.SUCCESS,
)


_NO_PROMPTS = {"finalPrompt": "", "finalZhPrompt": ""}
_NO_PROPERTIES = TaskProperties()


def identifier(value: object) -> str:
    """Return an id as text; ids come as strings, elsewhere as numbers."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if type(value) is int else ""


def _text(value: object, _: object = None) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) in {int, float} else ""


def _or_none(value: object, _: object = None) -> str | None:
    return _text(value) or None


def _number_or_none(value: object, _: object = None) -> int | None:
    return value if type(value) is int else None


def _status(value: object, _: object = None) -> TaskStatus:
    if value is None:
        return TaskStatus.EMPTY
    return TaskStatus(value)  # ValueError on anything but a word


def _progress(value: object, _: object = None) -> float | None:
    return _per_cent(value if isinstance(value, str) else _text(value))


@functools.lru_cache(512)
def _per_cent(text: str) -> float | None:
    try:
        number = float(text.strip().removesuffix("%"))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(value: object, _: object = None) -> dt.datetime | None:
    return _moment(value if isinstance(value, str) else _text(value))


@functools.lru_cache(4096)  # each look at a task brings the same times again
def _moment(text: str) -> dt.datetime | None:
    try:
        seconds = float(text) / 1000
        return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _buttons(value: object, _: object = None) -> tuple[Button, ...]:
    if not value:
        return ()
    rows = value if isinstance(value, list) else []
    return tuple(_converter.structure(row, Button) for row in rows if _is_map(row))


def _properties(value: object, _: object = None) -> TaskProperties | None:
    if value == _NO_PROMPTS:  # that of every swap
        return _NO_PROPERTIES
    return _converter.structure(value, TaskProperties) if _is_map(value) else None


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _hooks(
    kind: type, **fields: tuple[str, Callable[[object, object], object]]
) -> None:
    renames = {
        name: override(rename=wire, struct_hook=hook)
        for name, (wire, hook) in fields.items()
    }
    structure: Callable[[Mapping[str, object], object], object]
    structure = make_dict_structure_fn(kind, _converter, **renames)  # type: ignore[arg-type]  # its own keywords have other types
    _converter.register_structure_hook(kind, structure)


_converter = cattrs.Converter(detailed_validation=False)
_hooks(
    Button,
    custom_id=("customId", _or_none),
    emoji=("emoji", _or_none),
    label=("label", _or_none),
    type=("type", _number_or_none),
    style=("style", _number_or_none),
)
_hooks(
    TaskProperties,
    final_prompt=("finalPrompt", _text),
    final_zh_prompt=("finalZhPrompt", _text),
)
_hooks(
    TaskRecord,
    task_id=("id", lambda value, _: identifier(value)),
    action=("action", _text),
    status=("status", _status),
    progress=("progress", _progress),
    image_url=("imageUrl", _or_none),
    fail_reason=("failReason", _text),
    state=("state", _text),
    description=("description", _text),
    submit_time=("submitTime", _time),
    start_time=("startTime", _time),
    finish_time=("finishTime", _time),
    prompt=("prompt", _text),
    buttons=("buttons", _buttons),
    properties=("properties", _properties),
)
_structure = _converter.get_structure_hook(TaskRecord)


def read_record(row: object, task_id: str = "") -> TaskRecord:
    """
    Return the record of *row*; *task_id* stands in when the row has no id.

    :exc:`ValueError` when it is no task: not an object, no id and no status,
    or a status that is no word.
    """
    if not isinstance(row, Mapping):
        raise ValueError("not an object")  # noqa: TRY004 - one error for callers
    known = identifier(row.get("id")) or task_id
    if not known or "status" not in row:
        raise ValueError("neither id nor status")
    same = row.get("id") == known
    record: TaskRecord = _structure(row if same else {**row, "id": known}, TaskRecord)
    return record


def progress_order(record: TaskRecord) -> tuple[bool, int, bool, float, str]:
    """
    Order the rows of one id: the server refreshes only one of them.

    What has ended comes last, then what ended well, with a picture above
    without, then what is nearer its end.
    """
    progress = -1.0 if record.progress is None else record.progress
    # The text settles what is left, so that the order of rows never matters.
    return (
        record.is_terminal,
        _ADVANCE.index(record.status),
        record.image_url is not None,
        progress,
        repr(record),
    )
