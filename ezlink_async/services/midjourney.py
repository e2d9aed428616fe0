"""
The wire of swaps and tasks: values to requests, responses to values.

The server's spelling lives here. Sources: the public page ``api-205930916``
(swap) and ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code behind it. No address, no key, no I/O.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import attrs

from ezlink_async._core.error_mapping import collapse_blanks, error_from, parse_json
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse
from ezlink_async._core.records import identifier, progress_order, read_record
from ezlink_async.errors import (
    ApiError,
    ConfigurationError,
    ProtocolError,
    TaskNotFoundError,
)
from ezlink_async.models import TaskRecord
from ezlink_async.services.base import Accepted, TaskFamily


class Mode(enum.Enum):
    """Which queue of the server to use; the price of a swap is the same."""

    FAST = "fast"
    TURBO = "turbo"
    RELAX = "relax"

    @classmethod
    def parse(cls, mode: Mode | str | None) -> Mode | None:
        """Read *mode* as given; :exc:`ConfigurationError` on any other word."""
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
    Which account of the server's pool should do the job.

    Sent as the API's page documents it; the public server drops it.
    """

    instance_id: str | None = attrs.field(default=None, validator=_instance)


LIST_LIMIT = 100
"""The most ids of one list request; the server sets none, its docs use few."""

_ACCEPTED = (1, 21, 22)

_NOT_FOUND = "Get mj id failed"


def read_submission(response: HttpResponse) -> Accepted:
    """
    Read the answer to a submit, or raise what it means.

    The body is looked at before the status: an accepted shape under 500 is an
    acceptance (seen on the server). Code 1 is accepted, 22 accepted and
    queued, 21 there already.
    """
    body = parse_json(response.body)
    code = body.get("code") if isinstance(body, Mapping) else None
    if isinstance(body, Mapping) and type(code) is int and code in _ACCEPTED:
        if task_id := identifier(body.get("result")):
            return Accepted(task_id, code, collapse_blanks(body.get("description")))
        says = "the job was accepted without an id: paid, and out of reach"
        raise _unreadable(response, says, maybe_charged=True)
    if response.ok:
        says = "the answer to the submit cannot be read, and may mean a paid job"
        raise _unreadable(response, says, maybe_charged=True)
    raise error_from(response, submit=True)


def _unreadable(
    response: HttpResponse,
    says: str,
    *,
    task_id: str | None = None,
    maybe_charged: bool = False,
) -> ProtocolError:
    return ProtocolError(
        f"{says}: {response.body[:60]!r}",
        head=response.body,
        status=response.status,
        task_id=task_id,
        request_id=response.request_id,
        maybe_charged=maybe_charged,
    )


def task_path(task_id: str) -> str:
    """Return *task_id* for a path; ids are opaque, so it is encoded."""
    try:
        path = quote(task_id, safe="")
    except UnicodeEncodeError:
        path = ""
    if not path.strip("."):
        raise ConfigurationError(f"{task_id!r} is no task id")
    return path


def fetch_request(task_id: str) -> HttpRequest:
    """Ask for one task; it reads the server's own row and costs nothing."""
    return HttpRequest("GET", f"/mj/task/{task_path(task_id)}/fetch", repeatable=True)


def read_task(response: HttpResponse, task_id: str) -> TaskRecord:
    """
    Read one task, or raise what the answer means.

    An unknown id, another account's id and a database fault are answered
    alike, so one :exc:`TaskNotFoundError` proves nothing. A record of another
    task says nothing of this one: it is an answer that cannot be read.
    """
    if response.ok:
        try:
            record = read_record(parse_json(response.body), task_id)
        except ValueError as fault:
            says = f"the answer is no task ({fault})"
            raise _unreadable(response, says, task_id=task_id) from None
        if record.task_id != identifier(task_id):
            says = f"the answer is task {record.task_id!r:.60}, not {task_id}"
            raise _unreadable(response, says, task_id=task_id)
        return record
    error = error_from(response)
    if isinstance(error, ApiError) and _NOT_FOUND in error.description:
        raise TaskNotFoundError(
            f"the server does not know task {task_id}, or cannot look it up now",
            task_id=task_id,
            request_id=response.request_id,
        )
    error.task_id = task_id
    raise error


def list_request(task_ids: Iterable[str]) -> HttpRequest:
    """Ask for up to :data:`LIST_LIMIT` tasks at once; ids must be strings."""
    body = json.dumps({"ids": list(task_ids)}).encode()
    return HttpRequest("POST", "/mj/task/list-by-condition", (body,), repeatable=True)


def read_tasks(response: HttpResponse) -> dict[str, TaskRecord]:
    """
    Read many tasks by id; ids the server leaves out are missing.

    Of several rows with one id the most advanced counts: only one of them is
    refreshed. A row that cannot be read is left out like an unknown one.
    """
    if not response.ok:
        raise error_from(response)
    rows = parse_json(response.body)
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


def image_request(task_id: str) -> HttpRequest:
    """Ask for a task's picture; the id alone opens it, so no key is sent."""
    path = f"/mj/image/{task_path(task_id)}"
    return HttpRequest("GET", path, repeatable=True, credential=Credential.NONE)


def probe_key_request() -> HttpRequest:
    """Ask for an id nobody has: 401 or 403 tells that the key is refused."""
    return fetch_request("0")


@attrs.frozen
class MidjourneyFamily:
    """Swaps, and every other task behind ``/mj/task/``."""

    name: str = "midjourney"
    list_limit: int = LIST_LIMIT

    def fetch_request(self, task_id: str) -> HttpRequest:
        """Ask for one task."""
        return fetch_request(task_id)

    def read(self, response: HttpResponse, task_id: str) -> TaskRecord:
        """Read one task."""
        return read_task(response, task_id)

    def list_request(self, task_ids: Sequence[str]) -> HttpRequest:
        """Ask for many tasks."""
        return list_request(task_ids)

    def read_list(self, response: HttpResponse) -> dict[str, TaskRecord]:
        """Read many tasks."""
        return read_tasks(response)

    def result_request(self, task_id: str) -> HttpRequest:
        """Ask for the picture; the id alone opens it."""
        return image_request(task_id)


MIDJOURNEY = MidjourneyFamily()

FAMILIES: dict[str, TaskFamily] = {MIDJOURNEY.name: MIDJOURNEY}
"""The kinds a saved handle may name."""
