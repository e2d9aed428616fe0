"""
Tasks behind ``/mj``: values to requests, responses to values.

Sources: ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code of the server. No address, no key, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

import attrs

from ezlink_async._core import records
from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    identifier,
)
from ezlink_async._core.records import progress_order, read_record
from ezlink_async.errors import (
    ApiError,
    ConfigurationError,
    TaskFailedError,
    TaskNotFoundError,
)
from ezlink_async.models import TaskRecord, TaskStatus
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.endings import Ending
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.traces import Traces

LIST_LIMIT = 100
"""The most ids of one list request. The server sets no limit, its docs use few."""


_NOT_FOUND = "Get mj id failed"


def path_segment(task_id: str) -> str:
    """Return *task_id* as one segment of a path; ids are opaque, so it is quoted."""
    try:
        segment = quote(task_id, safe="")
    except UnicodeEncodeError:
        segment = ""
    if not segment.strip("."):
        raise ConfigurationError(f"{task_id!r} is no task id")
    return segment


_TEXTS = ("DESCRIBE", "SHORTEN")  # the actions whose result is a text

_SWAP = "SWAP_FACE"  # the only action that shows no preview

_ALMOST = 99.0  # per cent: at 100 a task that goes on would seem to be stuck

_MODAL = "MODAL"  # the action of a modal's own row

_TIMING = PollTiming(shares_queue=True)
_TRACES = Traces(state=True, log=True, proves_absence=True)
# The row of a modal shows its state only until the first beat.
_MODAL_TRACES = Traces(state=True, log=True)


@attrs.frozen
class MidjourneyFamily(TaskFamily[TaskRecord]):
    """Swaps, and every other task behind ``/mj/task/``."""

    name: str = "midjourney"
    record_type: type[TaskRecord] = TaskRecord
    timing: PollTiming = _TIMING
    traces: Traces = _TRACES
    list_limit: int = LIST_LIMIT
    list_from: int = 3

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for one task; the server reads its own row, which costs nothing."""
        path = f"/mj/task/{path_segment(task_id)}/fetch"
        return HttpRequest("GET", path, repeatable=True)

    def read(self, response: HttpResponse, task_id: str) -> TaskRecord:
        """
        Read one task, or raise the error that the answer stands for.

        The server answers an unknown id, another account's id and a fault of its
        database alike, so one :exc:`TaskNotFoundError` proves nothing. The record
        of another task is an answer that cannot be read.
        """
        if response.ok:
            return _read_one(response, task_id)
        error = error_from(response)
        if isinstance(error, ApiError) and _NOT_FOUND in error.description:
            raise TaskNotFoundError(
                f"the server does not know task {task_id}, or cannot look it up now",
                task_id=task_id,
                request_id=response.request_id,
            )
        error.task_id = task_id
        raise error

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Ask for up to :data:`LIST_LIMIT` tasks at once; ids must be strings."""
        body = json.dumps({"ids": list(task_ids)}).encode()
        path = "/mj/task/list-by-condition"
        return HttpRequest("POST", path, (body,), repeatable=True, tasks=len(task_ids))

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """
        Read many tasks by id; ids that the server leaves out are missing.

        Of several rows with one id the most advanced counts: the server refreshes
        only one of them. A row that cannot be read is left out like an unknown id.
        """
        merged: dict[str, TaskRecord] = {}
        for record in _read_rows(response):
            known = merged.get(record.task_id)
            if known is None or progress_order(record) > progress_order(known):
                merged[record.task_id] = record
        return merged

    def judge(self, record: TaskRecord, before: TaskRecord | None) -> Ending | None:
        """
        Return how the task has ended, ``None`` while it goes on.

        A task that makes a text ends well without one, too: the server has lost it.
        """
        if record.status is TaskStatus.SUCCESS and record.action in _TEXTS:
            return Ending()
        ending = super().judge(record, before)
        if ending is not None and isinstance(ending.error, TaskFailedError):
            ending.error.refunded = self.is_refunded(record)
        return ending

    def keyless_request(self, task_id: str) -> HttpRequest:
        """Ask for a task's picture; the id alone opens it, so no key is sent."""
        path = f"/mj/image/{path_segment(task_id)}"
        return HttpRequest("GET", path, repeatable=True, credential=Credential.NONE)

    def has_previews(self, known: TaskRecord | None) -> bool:
        """Return whether the task may be no swap: the others show how far they are."""
        return known is None or known.action != _SWAP

    def found(self, task_id: str, known: TaskRecord | None, url: str) -> TaskRecord:
        """Return the record of a success whose picture is at *url*."""
        return attrs.evolve(
            known or TaskRecord(task_id=task_id),
            status=TaskStatus.SUCCESS,
            progress=100.0,
            image_url=url,
        )

    def is_same(self, one: TaskRecord, other: TaskRecord) -> bool:
        """Return whether *other* is no change from *one* to a reader of updates."""
        if str(one.status) != str(other.status):
            return False  # all unknown words are equal, but they are other states
        if one.progress != other.progress:
            return False
        if one == other:
            return True
        # The server's clocks differ, and the address of a preview is new each time.
        plain = attrs.evolve(other, submit_time=one.submit_time)
        if one.image_url and other.image_url and not other.is_terminal:
            plain = attrs.evolve(plain, image_url=one.image_url)
        return plain == one

    def is_frozen(self, record: TaskRecord) -> bool:
        """Return whether the server has stopped renewing a task without its end."""
        return record.is_frozen

    def is_refunded(self, record: TaskRecord | None) -> bool:
        """Return whether the server gives back what the task cost."""
        return records.is_refunded(record)


@attrs.frozen
class MidjourneyModalFamily(MidjourneyFamily):
    """
    Tasks that a modal has sent on.

    The server adds a row of action ``MODAL`` under the id of the task that waited,
    and goes on showing that task's own row, whose status stays ``MODAL`` for up to
    two of its beats after the modal is done. So a list, which has all rows of an id, is
    ahead of a fetch, and the status ``MODAL`` only means: not renewed yet. The rows
    of an id take the same submit time, so their order decides. The address of the
    picture serves that of the first row, so a success counts once that row shows it.
    """

    name: str = "midjourney-modal"
    traces: Traces = _MODAL_TRACES
    list_from: int = 1

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """Read many tasks by id; of the rows of one the last ``MODAL`` counts."""
        rows = _read_rows(response)
        behind = {each.task_id for each in rows if each.status is TaskStatus.MODAL}
        modals = {
            each.task_id: _running(each) if each.task_id in behind else each
            for each in rows
            if each.action == _MODAL
        }
        return {**super().read_list(response), **modals}

    def judge(self, record: TaskRecord, before: TaskRecord | None) -> Ending | None:
        """Return how the task has ended; the status ``MODAL`` is no end here."""
        waits = record.status is TaskStatus.MODAL
        return None if waits else super().judge(record, before)


def count_modals(response: HttpResponse, task_id: str) -> int:
    """Return how many rows of action ``MODAL`` a list has under *task_id*."""
    rows = _read_rows(response)
    return sum(row.action == _MODAL and row.task_id == task_id for row in rows)


def _running(modal: TaskRecord) -> TaskRecord:
    """Return the row of a *modal* whose picture is not served yet, if it has one."""
    if modal.status is not TaskStatus.SUCCESS:
        return modal
    return attrs.evolve(
        modal, status=TaskStatus.IN_PROGRESS, progress=_ALMOST, image_url=None
    )


def _read_rows(response: HttpResponse) -> list[TaskRecord]:
    """Read the rows of a list, without those that cannot be read."""
    if not response.ok:
        raise error_from(response)
    rows = response.document
    if not isinstance(rows, list):
        raise unreadable(response, "the answer is no list of tasks")
    found = []
    for row in rows:
        try:
            found.append(read_record(row))
        except ValueError:
            continue
    return found


def _read_one(response: HttpResponse, task_id: str) -> TaskRecord:
    try:
        record = read_record(response.document, task_id)
    except ValueError as fault:
        message = f"the answer is no task ({fault})"
        raise unreadable(response, message, task_id=task_id) from None
    if record.task_id != identifier(task_id):
        message = f"the answer is task {record.task_id!r:.60}, not {task_id}"
        raise unreadable(response, message, task_id=task_id)
    return record


MIDJOURNEY = MidjourneyFamily()

MIDJOURNEY_MODAL = MidjourneyModalFamily()

FAMILIES: dict[str, TaskFamily[TaskRecord]] = {
    family.name: family for family in (MIDJOURNEY, MIDJOURNEY_MODAL)
}
"""The families by the name that a saved handle gives."""
