"""
What a kind of task must tell so that it can be followed.

The poller and the handle know a task only through this: another kind is
another class here or in ``services``, and changes neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from ezlink_async import protocol
from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord


class TaskFamily(Protocol):
    """
    How tasks of one kind are fetched, singly and many at once, and read.

    The readers raise what the answer means: :exc:`TaskNotFoundError`, an
    :exc:`ApiError`, :exc:`ProtocolError`.
    """

    @property
    def name(self) -> str:
        """What saved handles call this kind."""
        ...

    @property
    def list_limit(self) -> int:
        """The most ids of one list request; 0 when there is no such call."""
        ...

    def fetch_request(self, task_id: str) -> HttpRequest:
        """Ask for one task."""
        ...

    def read(self, response: HttpResponse, task_id: str) -> TaskRecord:
        """Read the answer to :meth:`fetch_request`."""
        ...

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Ask for up to *list_limit* tasks."""
        ...

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """Read the answer to :meth:`list_request`; unknown ids are missing."""
        ...

    def result_request(self, task_id: str) -> HttpRequest:
        """Ask for the picture of a finished task, without any key."""
        ...


@attrs.frozen
class MidjourneyFamily:
    """Swaps, and every other task behind ``/mj/task/``."""

    name: str = "midjourney"
    list_limit: int = protocol.LIST_LIMIT

    def fetch_request(self, task_id: str) -> HttpRequest:
        """Ask for one task."""
        return protocol.fetch_request(task_id)

    def read(self, response: HttpResponse, task_id: str) -> TaskRecord:
        """Read one task."""
        return protocol.read_task(response, task_id)

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Ask for many tasks."""
        return protocol.list_request(task_ids)

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """Read many tasks."""
        return protocol.read_tasks(response)

    def result_request(self, task_id: str) -> HttpRequest:
        """Ask for the picture; the id alone opens it."""
        return protocol.image_request(task_id)


MIDJOURNEY = MidjourneyFamily()
FAMILIES: dict[str, TaskFamily] = {MIDJOURNEY.name: MIDJOURNEY}
"""The kinds a saved handle may name."""
