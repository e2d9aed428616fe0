"""How a record ends a task, and whether it is news. Pure."""

from __future__ import annotations

import attrs

from ezlink_async._core.error_mapping import in_english
from ezlink_async.errors import TaskCancelledError, TaskError, TaskFailedError
from ezlink_async.models import TaskRecord, TaskStatus


def failure(record: TaskRecord) -> TaskError | None:
    """Return the error a terminal *record* is, or ``None`` for a success."""
    told = in_english(record.fail_reason) or "without a reason"
    if record.status is TaskStatus.SUCCESS:
        if record.image_url:
            return None
        says, kind = "ended well, but without a picture", TaskFailedError
    elif record.status is TaskStatus.CANCEL:
        return TaskCancelledError(
            f"task {record.task_id} was cancelled on the server: {told}",
            task_id=record.task_id,
            record=record,
        )
    else:
        says, kind = f"failed: {told}", TaskFailedError
    return kind(f"task {record.task_id} {says}", task_id=record.task_id, record=record)


def unchanged(one: TaskRecord | None, other: TaskRecord) -> bool:
    """Tell whether nothing changed that a reader would call a change."""
    if one is None or str(one.status) != str(other.status):
        return False  # two words nobody knows are equal, but not the same
    if one.progress != other.progress:
        return False
    if one == other:
        return True
    # The server's clocks differ, and the address of a preview is new each time.
    plain = attrs.evolve(other, submit_time=one.submit_time)
    if one.image_url and other.image_url and not other.is_terminal:
        plain = attrs.evolve(plain, image_url=one.image_url)
    return plain == one
