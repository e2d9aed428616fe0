"""
The wire of swaps and tasks: values to requests, responses to values.

The server's spelling lives here. Sources: the public page ``api-205930916``
(swap) and ``ye4293/one-api`` (``relay/controller/midjourney.go``,
``router/relay-router.go``), the code behind it. No address, no key, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import attrs

from ezlink_async._core.error_mapping import decode, refusal, tidy
from ezlink_async._core.images import EncodedImage, PreparedImage
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse, Part
from ezlink_async._core.records import advance, identifier, read_record
from ezlink_async.errors import (
    ApiError,
    ConfigurationError,
    ProtocolError,
    TaskNotFoundError,
)
from ezlink_async.models import AccountFilter, Mode, TaskRecord

LIST_LIMIT = 100
"""The most ids of one list request; the server sets none, its docs use few."""

_STATE_LIMIT = 255
_HOOK_LIMIT = 2000
_ACCEPTED = (1, 21, 22)
_NOT_FOUND = "Get mj id failed"


@attrs.frozen(kw_only=True)
class FaceSwapJob:
    """One swap, as asked for, before the server knows of it."""

    source: PreparedImage | EncodedImage
    target: PreparedImage
    options: SwapOptions


def _text_or_none(value: object, name: str, limit: int) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} is a string, not {value!r}")
    if value is not None and len(value) > limit:
        raise ConfigurationError(f"{name} has at most {limit} characters")


def _filter_or_none(value: object) -> None:
    if value is not None and not isinstance(value, AccountFilter):
        raise ConfigurationError(f"account_filter is an AccountFilter, not {value!r}")


@attrs.frozen(kw_only=True)
class SwapOptions:
    """The optional fields of a swap, checked; absent ones are not sent."""

    state: str | None = None
    notify_hook: str | None = None
    account_filter: AccountFilter | None = None
    mode: Mode | None = None

    def __attrs_post_init__(self) -> None:
        _text_or_none(self.state, "state", _STATE_LIMIT)
        _text_or_none(self.notify_hook, "notify_hook", _HOOK_LIMIT)
        _filter_or_none(self.account_filter)
        hook = self.notify_hook
        if hook is not None and not hook.startswith(("http://", "https://")):
            raise ConfigurationError(f"notify_hook is an http(s) address, not {hook!r}")

    def fields(self) -> dict[str, object]:
        """Return what goes into the body beside the pictures."""
        chosen: dict[str, object] = {}
        if self.state is not None:
            chosen["state"] = self.state
        if self.notify_hook is not None:
            chosen["notifyHook"] = self.notify_hook
        if self.account_filter is not None:
            name = self.account_filter.instance_id
            chosen["accountFilter"] = {} if name is None else {"instanceId": name}
        return chosen


@attrs.frozen
class Submission:
    """An acceptance: the server has the job and will not ask for it again."""

    task_id: str
    code: int
    description: str


def submit_request(job: FaceSwapJob) -> HttpRequest:
    """Describe the submit; its last part is two bytes that make it whole."""
    prefix = f"/mj-{job.options.mode.value}" if job.options.mode else ""
    head = json.dumps(job.options.fields())[:-1].encode()
    comma = b"," if job.options.fields() else b""
    source = job.source
    stamp = source.prepared if isinstance(source, EncodedImage) else source
    body: tuple[Part, ...] = (
        head + comma + b'"sourceBase64":"' + stamp.prefix,
        source,
        b'","targetBase64":"' + job.target.prefix,
        job.target,
        b'"}',
    )
    return HttpRequest("POST", f"{prefix}/mj/insight-face/swap", body)


def read_submission(response: HttpResponse) -> Submission:
    """
    Read the answer to a submit, or raise what it means.

    The body is looked at before the status: an accepted shape under 500 is an
    acceptance (seen on the server). Code 1 is accepted, 22 accepted and
    queued, 21 there already.
    """
    body = decode(response.body)
    code = body.get("code") if isinstance(body, Mapping) else None
    if isinstance(body, Mapping) and type(code) is int and code in _ACCEPTED:
        if task_id := identifier(body.get("result")):
            return Submission(task_id, code, tidy(body.get("description")))
        says = "the job was accepted without an id: paid, and out of reach"
        raise _unreadable(response, says, maybe_charged=True)
    if response.ok:
        says = "the answer to the submit cannot be read, and may mean a paid job"
        raise _unreadable(response, says, maybe_charged=True)
    raise refusal(response, submit=True)


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
            record = read_record(decode(response.body), task_id)
        except ValueError as fault:
            says = f"the answer is no task ({fault})"
            raise _unreadable(response, says, task_id=task_id) from None
        if record.task_id != identifier(task_id):
            says = f"the answer is task {record.task_id!r:.60}, not {task_id}"
            raise _unreadable(response, says, task_id=task_id)
        return record
    error = refusal(response)
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
        raise refusal(response)
    rows = decode(response.body)
    if not isinstance(rows, list):
        raise _unreadable(response, "the answer is no list of tasks")
    records: dict[str, TaskRecord] = {}
    for row in rows:
        try:
            record = read_record(row)
        except ValueError:
            continue
        known = records.get(record.task_id)
        if known is None or advance(record) > advance(known):
            records[record.task_id] = record
    return records


def image_request(task_id: str) -> HttpRequest:
    """Ask for a task's picture; the id alone opens it, so no key is sent."""
    path = f"/mj/image/{task_path(task_id)}"
    return HttpRequest("GET", path, repeatable=True, credential=Credential.NONE)


def key_request() -> HttpRequest:
    """Ask for an id nobody has: 401 or 403 tells that the key is refused."""
    return fetch_request("0")
