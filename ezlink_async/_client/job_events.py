"""
The events of one job, from its submit to its end.

Each function is called where the thing happens, and only where there is a callback.
"""

from __future__ import annotations

from ezlink_async._core.events import Emitter, Subject, Task
from ezlink_async.errors import BusyError, EzlinkError
from ezlink_async.models import (
    Record,
    ServerBusy,
    SubmitFailed,
    SubmitQueued,
    SubmitStarted,
    TaskChanged,
    TaskFinished,
    TaskPolled,
    TaskResumed,
    TaskStatus,
    TaskSubmitted,
)


def queued(events: Emitter, subject: Subject) -> None:
    """Emit that a job waits for a slot."""
    events.emit(SubmitQueued(**events.facts(subject)))


def started(events: Emitter, subject: Subject) -> None:
    """Emit that a job has a slot."""
    seconds = events.seconds(subject)
    events.emit(SubmitStarted(**events.facts(subject), seconds=seconds))


def failed(
    events: Emitter, subject: Subject, fault: Exception, request_id: str | None
) -> None:
    """Emit that a submit has ended with *fault*, its latest attempt *request_id*."""
    known = fault.request_id if isinstance(fault, EzlinkError) else None
    event = SubmitFailed(
        **events.facts(subject),
        request_id=known or request_id,
        error=fault,
        seconds=events.seconds(subject),
    )
    events.emit(event)


def busy(events: Emitter, subject: Subject | None, error: object, pause: float) -> None:
    """Emit that new submits wait for *pause* seconds, since one met *error*."""
    event = ServerBusy(
        **events.facts(subject),
        request_id=error.request_id if isinstance(error, EzlinkError) else None,
        reason="full" if isinstance(error, BusyError) else "offline",
        seconds=pause,
    )
    events.emit(event)


def submitted(
    events: Emitter, task: Task, subject: Subject, request_id: str | None
) -> None:
    """Emit that a job was accepted as *task*, which is followed from now on."""
    seconds = events.seconds(subject)
    facts = events.facts(events.follow(task, subject))
    events.emit(TaskSubmitted(**facts, request_id=request_id, seconds=seconds))


def joined(
    events: Emitter, task: Task, subject: Subject, request_id: str | None
) -> None:
    """Emit that a job was accepted as a *task* that is followed already."""
    subject.family, subject.task_id = task.family, task.task_id
    event = TaskSubmitted(
        **events.facts(subject),
        request_id=request_id,
        seconds=events.seconds(subject),
        existed=True,
    )
    events.emit(event)


def resumed(events: Emitter, task: Task) -> None:
    """Emit that *task* is followed again."""
    events.emit(TaskResumed(**events.facts(events.follow(task))))


def polled(events: Emitter, task: Task, record: Record, request_id: str | None) -> None:
    """Emit that a poll of *task* brought *record*."""
    event = TaskPolled(
        **events.facts(events.of(task)),
        request_id=request_id,
        status=_shown(record),
        progress=record.progress,
    )
    events.emit(event)


def changed(
    events: Emitter,
    task: Task,
    before: Record | None,
    record: Record,
    request_id: str | None,
) -> None:
    """Emit that *record* shows another status or progress than *before*."""
    old, new = _shown(before), _shown(record)
    progress = None if before is None else before.progress
    if (old, progress or 0.0) == (new, record.progress or 0.0):
        return  # another field has changed
    event = TaskChanged(
        **events.facts(events.of(task)),
        request_id=request_id,
        old=old,
        new=new,
        progress=record.progress,
    )
    events.emit(event)


def finished(
    events: Emitter,
    task: Task,
    record: Record | None,
    error: EzlinkError | None,
    request_id: str | None,
) -> None:
    """Emit that *task* has ended, if it was followed."""
    subject = events.of(task)
    if not subject.job:
        return
    event = TaskFinished(
        **events.facts(subject),
        request_id=request_id or (error.request_id if error else None),
        status=_shown(record),
        error=error.for_awaiter() if error else None,
        seconds=events.seconds(subject),
    )
    events.emit(event)


def _shown(record: Record | None) -> TaskStatus:
    """Return the status that a handle with *record* shows."""
    word = TaskStatus.EMPTY if record is None else record.status
    return TaskStatus.SUBMITTED if word is TaskStatus.EMPTY else word
