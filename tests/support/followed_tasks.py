"""Followed tasks that belong to no client, for the pure parts of polling."""

from __future__ import annotations

from typing import cast

from ezlink_async._client.handle import FollowedHandle, HandleOwner
from ezlink_async._client.polling.followed_tasks import FollowedTask
from ezlink_async._core.events import Emitter
from ezlink_async._core.policies import TASK_DEADLINE
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.midjourney import MIDJOURNEY


class _NoClient:
    """The owner of a handle that no client follows."""

    events = Emitter()

    def forget(self, handle: FollowedHandle) -> None:
        """Do nothing."""


def followed_task(
    task_id: str, since: float = 0.0, *, own: bool = True
) -> FollowedTask:
    """Return a task that was accepted, or resumed, at *since*."""
    handle = FollowedHandle(task_id, MIDJOURNEY, cast("HandleOwner", _NoClient()))
    return FollowedTask(handle, own, since, TASK_DEADLINE)


def receive(
    task: FollowedTask, status: TaskStatus, progress: float | None = None
) -> TaskRecord:
    """Give *task* a record that shows *status* and *progress*, and return it."""
    url = "http://127.0.0.1:9/7" if status is TaskStatus.SUCCESS else None
    record = TaskRecord(
        task_id=task.task_id, status=status, progress=progress, image_url=url
    )
    task.handle.receive(record)
    return record
