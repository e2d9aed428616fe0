"""How tasks have ended, and the errors of those that have not ended well."""

from __future__ import annotations

import attrs

from ezlink_async._core.error_mapping import with_translation
from ezlink_async.errors import (
    ModalNeededError,
    TaskCancelledError,
    TaskError,
    TaskFailedError,
)
from ezlink_async.models import Record, TaskStatus


@attrs.frozen
class Ending:
    """How a task has ended: with *error*, or well when that is ``None``."""

    error: TaskError | None = None


def failure(record: Record, says: str, *, refunded: bool | None = None) -> TaskError:
    """Return the error of a task that failed, in the words of *says*."""
    return TaskFailedError(
        f"task {record.task_id} {says}",
        task_id=record.task_id,
        record=record,
        refunded=refunded,
    )


def error_of(record: Record) -> TaskError | None:
    """Return the error of a terminal *record*; ``None`` for a success."""
    if record.status is TaskStatus.SUCCESS:
        return None
    reason = with_translation(record.fail_reason) or "no reason given"
    if record.status is TaskStatus.CANCEL:
        says = f"task {record.task_id} was cancelled on the server: {reason}"
        return TaskCancelledError(says, task_id=record.task_id, record=record)
    return failure(record, f"failed: {reason}")


def modal_needed(record: Record) -> ModalNeededError:
    """Return the error of a task that waits for a person's input."""
    return ModalNeededError(
        f"task {record.task_id} waits for input: send it with "
        f"`client.midjourney.modal({record.task_id!r}, prompt=...)`, which is charged, "
        "also where the action before was",
        task_id=record.task_id,
        record=record,
    )
