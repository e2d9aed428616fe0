"""
The wire of swaps and tasks: values to requests, responses to values.

The server's spelling lives here. Sources: the public page ``api-205930916``
(swap) and ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code behind it. No address, no key, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from ezlink_async._core.messages import HttpRequest, HttpResponse
from ezlink_async.models import TaskRecord


@attrs.frozen
class Accepted:
    """An acceptance: the server has the job and will not ask for it again."""

    task_id: str
    code: int
    description: str


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
