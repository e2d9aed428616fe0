"""
Tasks behind ``/flux/v1/get_result``: how they are asked for, read and judged.

The server keeps a record, which the provider's own call renews; it may never come. A
query with ``from_source`` asks the provider. Source: ``ye4293/one-api``
(``controller/flux.go``), the code of the server; the statuses are those of
docs.bfl.ai.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ezlink_async._core.json_reader import is_light, parse_json
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    clip,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import EzlinkError, TaskNotFoundError
from ezlink_async.models import FluxRecord, Result, TaskStatus
from ezlink_async.services.balance_bars import BalanceBar
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.endings import Ending, failure
from ezlink_async.services.flux.rows import FLUX_ROWS
from ezlink_async.services.image_generation.tasks import (
    ANSWER_BYTES,
    picture_of,
    query_of,
)
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.refusals import query_error
from ezlink_async.services.traces import Traces

_RESULT = "/flux/v1/get_result"

_SOURCE_EACH = 3  # each so many polls the provider itself is asked

_TIMING = PollTiming(
    first=2.0,
    shortest=2.0,
    longest=5.0,
    deadline=1_200.0,
    submit_wait=330.0,
    query_wait=60.0,
)

_TRACES = Traces(rows=FLUX_ROWS, log=True, proves_absence=True)

BAR = BalanceBar(50_000, "picture of native Flux")

# The ids of both are the provider's, and look alike.
_CAUTION_AT_END = (
    "an id of 'ezlink image' is charged once more if it is followed as a task of flux: "
    "ask for it as images:ID"
)

_STATUSES = {
    "pending": TaskStatus.SUBMITTED,
    "submitted": TaskStatus.SUBMITTED,
    "processing": TaskStatus.IN_PROGRESS,
    "ready": TaskStatus.SUCCESS,
    "failed": TaskStatus.FAILURE,
    "error": TaskStatus.FAILURE,
    "request moderated": TaskStatus.FAILURE,
    "content moderated": TaskStatus.FAILURE,
}

_NOT_FOUND = "task not found"

_UNKNOWN_ID = 404

_REASONS = "Moderation Reasons"


@attrs.frozen
class FluxFamily(TaskFamily[FluxRecord]):
    """
    Native Flux tasks; an id of ``client.images`` must never be asked for here.

    The first success that the server sees is charged, once for all keys; the success
    of an async image would be charged a second time. So a query that asks the provider
    may be repeated, and renews the address of a finished task for nothing.
    """

    name: str = "flux"
    record_type: type[FluxRecord] = FluxRecord
    timing: PollTiming = _TIMING
    traces: Traces = _TRACES
    caution_at_end: str = _CAUTION_AT_END
    bars: tuple[BalanceBar, ...] = (BAR,)

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for the record; each third time the provider is asked."""
        asks_source = polls % _SOURCE_EACH == _SOURCE_EACH - 1
        return self._query(task_id, from_source=asks_source)

    def _query(self, task_id: str, *, from_source: bool) -> HttpRequest:
        path = f"{_RESULT}?{query_of('id', task_id)}"
        path += "&from_source=true" if from_source else ""
        return HttpRequest("GET", path, repeatable=True, answer_bytes=ANSWER_BYTES)

    def read(self, response: HttpResponse, task_id: str) -> FluxRecord:
        """
        Read one task, or raise the error that the answer stands for.

        The record of another task, or of none, is an answer that cannot be read.
        ``Task not found`` may come from a provider that is late.
        """
        body = response.document
        fields = body if isinstance(body, Mapping) else {}
        word = collapse_blanks(fields.get("status"))
        if response.ok and word and word.lower() != _NOT_FOUND:
            return _read(response, fields, task_id)
        raise _query_error(response, word, task_id)

    def judge(self, record: FluxRecord, before: FluxRecord | None) -> Ending | None:
        """Return how the task has ended; a failure costs nothing."""
        if record.status is TaskStatus.FAILURE:
            says = f"failed: {record.fail_reason or 'no reason given'}"
            return Ending(failure(record, says, refunded=True))
        return super().judge(record, before)

    def renew(self, record: FluxRecord) -> HttpRequest:
        """Ask the provider again, which was charged for already."""
        return self._query(record.task_id, from_source=True)

    def is_refunded(self, record: FluxRecord | None) -> bool:
        """Return whether the task costs nothing: only a success does."""
        return record is not None and record.status is TaskStatus.FAILURE


def ready_record(task_id: str, picture: Result) -> FluxRecord:
    """Return the record of a picture that was there when the job was accepted."""
    return FluxRecord(
        task_id=task_id,
        status=TaskStatus.SUCCESS,
        raw_status="Ready",
        url=picture.url,
        inline=None if picture.content is None else picture,
    )


def _query_error(response: HttpResponse, word: str, task_id: str) -> EzlinkError:
    unknown = response.status == _UNKNOWN_ID and response.document is not None
    if unknown or word.lower() == _NOT_FOUND:
        return TaskNotFoundError(
            f"the server does not know task {task_id}, or its provider does not yet",
            task_id=task_id,
            request_id=response.request_id,
        )
    if response.ok:
        return unreadable(response, "the answer is no task", task_id=task_id)
    error = query_error(response)
    error.task_id = task_id
    return error


def _read(
    response: HttpResponse, fields: Mapping[str, object], task_id: str
) -> FluxRecord:
    found = identifier(fields.get("id"))
    if found != identifier(task_id):
        message = f"the answer is task {found!r:.60}, not {task_id}"
        raise unreadable(response, message, task_id=task_id)
    word = collapse_blanks(fields.get("status"))
    result = _mapping(fields.get("result"))
    said = _mapping(_told(fields.get("error"))) or fields
    moderation = _reasons(said)
    status = _STATUSES.get(word.lower(), TaskStatus.UNKNOWN)
    failed = status is TaskStatus.FAILURE
    prompt = result.get("prompt")
    picture = picture_of(response, result.get("sample"), task_id)
    is_inline = picture is not None and picture.content is not None
    return FluxRecord(
        task_id=found,
        status=status,
        fail_reason=_fail_reason(fields, said, moderation) if failed else "",
        raw_status=word,
        url=None if picture is None else picture.url,
        inline=picture if is_inline else None,
        seed=_whole(result.get("seed")),
        prompt=clip(prompt) if isinstance(prompt, str) else "",
        moderation=moderation,
    )


def _told(error: object) -> object:
    """Return the provider's whole answer, where the record's *error* is its text."""
    body = error.encode(errors="replace") if isinstance(error, str) else b""
    is_json = body.lstrip()[:1] == b"{" and is_light(body)
    return parse_json(body) if is_json else None


def _fail_reason(
    fields: Mapping[str, object],
    said: Mapping[str, object],
    moderation: tuple[str, ...],
) -> str:
    """Return why a task failed: the provider's status, reasons, or words."""
    word = collapse_blanks(said.get("status"))
    if moderation:
        return f"{word}: {', '.join(moderation)}"
    words = collapse_blanks(fields.get("error")) if said is fields else ""
    words = words or collapse_blanks(said.get("error")) or word
    return "" if words.lower() == "failed" else words


def _reasons(said: Mapping[str, object]) -> tuple[str, ...]:
    rows = _mapping(said.get("details")).get(_REASONS)
    listed = rows if isinstance(rows, list) else []
    return tuple(text for each in listed if (text := collapse_blanks(each)))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


FLUX = FluxFamily()
