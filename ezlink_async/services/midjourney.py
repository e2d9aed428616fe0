"""
Tasks behind ``/mj``: values to requests, responses to values.

Sources: ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code of the server. No address, no key, no I/O.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import attrs

from ezlink_async._core.error_mapping import error_from
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    identifier,
)
from ezlink_async._core.records import progress_order, read_record
from ezlink_async.errors import (
    ApiError,
    ConfigurationError,
    ProtocolError,
    SubmitUnknownError,
    TaskNotFoundError,
    TransportError,
)
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import Accepted, TaskFamily


class Mode(enum.Enum):
    """The queue of the server to use; the price of a swap is the same."""

    FAST = "fast"
    TURBO = "turbo"
    RELAX = "relax"

    @classmethod
    def parse(cls, mode: Mode | str | None) -> Mode | None:
        """Return *mode* as a member; :exc:`ConfigurationError` on any other word."""
        if mode is None or isinstance(mode, Mode):
            return mode
        try:
            return cls(mode)
        except ValueError:
            words = ", ".join(repr(each.value) for each in cls)
            raise ConfigurationError(f"mode is one of {words}, not {mode!r}") from None


def _instance(_: object, __: attrs.Attribute[str | None], name: str | None) -> None:
    if name is not None and not isinstance(name, str):
        raise ConfigurationError(f"instance_id is a string, not {name!r}")


@attrs.frozen(kw_only=True)
class AccountFilter:
    """
    The account of the server's pool that should do the job.

    It is sent as the API's page documents it; the public server ignores it.
    """

    instance_id: str | None = attrs.field(default=None, validator=_instance)


LIST_LIMIT = 100
"""The most ids of one list request. The server sets no limit, its docs use few."""

_ACCEPTED = (1, 21, 22)

_NOT_FOUND = "Get mj id failed"


def read_submission(response: HttpResponse) -> Accepted:
    """
    Read the answer to a submit, or raise the error it stands for.

    The body counts before the status: the server was seen to accept a job
    under status 500. Code 1 means accepted, 22 accepted and queued, 21 that the
    job was there already.

    An answer that came before the end of the body is no acceptance: the server
    had no whole job then, so there is none, and the submit may be sent again.
    """
    body = response.document
    code = body.get("code") if isinstance(body, Mapping) else None
    is_accepted = type(code) is int and code in _ACCEPTED
    if response.early and (is_accepted or response.ok):
        raise TransportError(
            "an answer came before the end of the submit, so there is no job: "
            f"{response.excerpt}",
            request_id=response.request_id,
            retry_safe=True,
            stage="upload",
        )
    if isinstance(body, Mapping) and type(code) is int and is_accepted:
        if task_id := identifier(body.get("result")):
            return Accepted(task_id, code, collapse_blanks(body.get("description")))
        message = "the job was accepted without an id: it is paid, and cannot be found"
        raise _unreadable(response, message, maybe_charged=True)
    if response.ok:
        message = "the answer to the submit cannot be read, and the job may be paid"
        cause = _unreadable(response, message)
        unknown = SubmitUnknownError(str(cause), request_id=response.request_id)
        raise unknown from cause
    raise error_from(response, submit=True)


def _unreadable(
    response: HttpResponse,
    message: str,
    *,
    task_id: str | None = None,
    maybe_charged: bool = False,
) -> ProtocolError:
    return ProtocolError(
        f"{message}: {response.excerpt}",
        head=response.body,
        status=response.status,
        task_id=task_id,
        request_id=response.request_id,
        maybe_charged=maybe_charged,
    )


def _segment(task_id: str) -> str:
    """Return *task_id* as one segment of a path; ids are opaque, so it is quoted."""
    try:
        segment = quote(task_id, safe="")
    except UnicodeEncodeError:
        segment = ""
    if not segment.strip("."):
        raise ConfigurationError(f"{task_id!r} is no task id")
    return segment


@attrs.frozen
class MidjourneyFamily:
    """Swaps, and every other task behind ``/mj/task/``."""

    name: str = "midjourney"
    list_limit: int = LIST_LIMIT

    def fetch_request(self, task_id: str) -> HttpRequest:
        """Ask for one task; the server reads its own row, which costs nothing."""
        path = f"/mj/task/{_segment(task_id)}/fetch"
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
        if not response.ok:
            raise error_from(response)
        rows = response.document
        if not isinstance(rows, list):
            raise _unreadable(response, "the answer is no list of tasks")
        records: dict[str, TaskRecord] = {}
        for row in rows:
            try:
                record = read_record(row)
            except ValueError:
                continue
            known = records.get(record.task_id)
            if known is None or progress_order(record) > progress_order(known):
                records[record.task_id] = record
        return records

    def result_request(self, task_id: str) -> HttpRequest:
        """Ask for a task's picture; the id alone opens it, so no key is sent."""
        path = f"/mj/image/{_segment(task_id)}"
        return HttpRequest("GET", path, repeatable=True, credential=Credential.NONE)


def _read_one(response: HttpResponse, task_id: str) -> TaskRecord:
    try:
        record = read_record(response.document, task_id)
    except ValueError as fault:
        message = f"the answer is no task ({fault})"
        raise _unreadable(response, message, task_id=task_id) from None
    if record.task_id != identifier(task_id):
        message = f"the answer is task {record.task_id!r:.60}, not {task_id}"
        raise _unreadable(response, message, task_id=task_id)
    return record


MIDJOURNEY = MidjourneyFamily()

FAMILIES: dict[str, TaskFamily] = {MIDJOURNEY.name: MIDJOURNEY}
"""The families by the name that a saved handle gives."""
