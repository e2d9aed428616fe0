"""Followed tasks of no client, for what is pure."""

from __future__ import annotations

from typing import cast

from ezlink_async._client.handle import HandleOwner, TaskHandle
from ezlink_async._client.polling.schedule import FollowedTask
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.midjourney import MIDJOURNEY


class _Nowhere:
    """A home that nobody comes back to."""

    def ended(self, handle: TaskHandle) -> None:
        """Take no note."""


def entry(task_id: str, since: float = 0.0, *, own: bool = True) -> FollowedTask:
    """Return a task that was accepted, or taken up, at *since*."""
    handle = TaskHandle(task_id, MIDJOURNEY, cast("HandleOwner", _Nowhere()))
    return FollowedTask(handle, own, since, since)


def shows(
    entry: FollowedTask, status: TaskStatus, progress: float | None = None
) -> TaskRecord:
    """Let the server show *entry* like this, and return the record."""
    url = "http://127.0.0.1:9/7" if status is TaskStatus.SUCCESS else None
    record = TaskRecord(
        task_id=entry.handle.task_id, status=status, progress=progress, image_url=url
    )
    entry.handle.receive(record)
    return record
