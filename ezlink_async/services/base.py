"""
The protocols that each family of the API implements: its tasks and its jobs.

The sender, the poller and the journal are written against them, so only a
family's own module knows its wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord

NO_TASK = "0"
"""
An id that no task has, for :meth:`TaskFamily.fetch_request`.

401 or 403 in the answer proves that the key is refused.
"""


@attrs.frozen
class Accepted:
    """The server's acceptance: it has the job and must not be sent it again."""

    task_id: str
    code: int
    description: str


class TaskFamily(Protocol):
    """
    How tasks of one kind are fetched, singly and many at once, and read.

    The readers raise the error that an answer stands for:
    :exc:`TaskNotFoundError`, an :exc:`ApiError`, :exc:`ProtocolError`.
    """

    @property
    def name(self) -> str:
        """The name of this kind in saved handles."""
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


class Job(Protocol):
    """One paid call, ready to be sent. A job knows its wire, not its sender."""

    @property
    def family(self) -> TaskFamily:
        """The family of the task that the server makes of the job."""
        ...

    @property
    def state(self) -> str | None:
        """The text that comes back in the records; it identifies a lost job."""
        ...

    @property
    def label(self) -> str:
        """The job's name in log lines; never the bytes of a picture."""
        ...

    def request(self) -> HttpRequest:
        """Describe the submit; a new description for each call."""
        ...

    def read(self, response: HttpResponse) -> Accepted:
        """Read the answer to :meth:`request`, or raise the error it stands for."""
        ...
