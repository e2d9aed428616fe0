"""The task that a follow-up belongs to: what is known of it, and in which forms."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs

from ezlink_async.errors import ConfigurationError
from ezlink_async.models import Record, TaskRecord, TaskStatus
from ezlink_async.services.midjourney.prompts import mode_of
from ezlink_async.services.midjourney.submits import Mode
from ezlink_async.services.midjourney.tasks import FAMILIES, MIDJOURNEY


@runtime_checkable
class HasRecord(Protocol):
    """A handle, or an error of a task."""

    @property
    def task_id(self) -> str | None:
        """The server's id."""
        ...

    @property
    def record(self) -> Record | None:
        """The latest record."""
        ...


TaskRef = HasRecord | TaskRecord | str
"""How a task is given: its handle, its record, its error, or its id."""


@attrs.frozen
class ParentTask:
    """
    A task whose button is pressed, or that waits for input.

    *prompt* is what it was made with, or the prompt its dialog suggests; *mode* is the
    one that its follow-ups are charged by. Both are unknown for a bare id.
    """

    task_id: str
    prompt: str = ""
    mode: Mode | None = None
    succeeded: bool = False

    @property
    def value(self) -> str:
        """The id: it is all that counts for the identity of a follow-up."""
        return self.task_id

    @classmethod
    def of(cls, task: ParentTask | TaskRef) -> ParentTask:
        """
        Return what is known of *task*.

        :exc:`ConfigurationError` without an id, and for a task of another family: its
        id may be that of some task of Midjourney, too.
        """
        if isinstance(task, ParentTask):
            return task
        if isinstance(task, str):
            return cls(_checked(task))
        if isinstance(task, TaskRecord):
            return cls._of_record(task)
        if isinstance(task, HasRecord):
            return cls._of_reference(task)
        raise ConfigurationError(
            f"give a task's handle, record or id, not {type(task).__name__}"
        )

    @classmethod
    def _of_reference(cls, task: HasRecord) -> ParentTask:
        family, record = getattr(task, "family", MIDJOURNEY.name), task.record
        if family not in FAMILIES:
            raise ConfigurationError(
                f"task {task.task_id} is of the family {family!r}: give one of "
                "Midjourney"
            )
        if isinstance(record, TaskRecord):
            return cls._of_record(record)
        if record is not None:
            raise ConfigurationError(
                f"task {task.task_id} has a {type(record).__name__}: give a task of "
                "Midjourney"
            )
        return cls(_checked(task.task_id))

    @classmethod
    def _of_record(cls, record: TaskRecord) -> ParentTask:
        suggested = record.properties.final_prompt if record.properties else ""
        return cls(
            _checked(record.task_id),
            prompt=suggested or record.prompt,
            mode=mode_of(record.prompt) or (Mode.FAST if record.prompt else None),
            succeeded=record.status is TaskStatus.SUCCESS,
        )


def _checked(task_id: object) -> str:
    """Refuse an empty id, which the server does not check: it would be charged."""
    if not isinstance(task_id, str) or not task_id.strip():
        raise ConfigurationError(f"{task_id!r} is no task id")
    return task_id
