"""
What the server says of a video: its two answers into a :class:`VideoRecord`.

The general query answers for every provider, with the provider's word translated by
the server. Doubao's own path answers in Doubao's words. Their form says which it is.
Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``, ``relay/channel/``),
the code of the server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ezlink_async._core.error_mapping import Refusal, Rule, error_from
from ezlink_async._core.long_texts import LongText, decode_data_uri, parse_inner
from ezlink_async._core.messages import HttpResponse, collapse_blanks, identifier
from ezlink_async.errors import (
    ApiError,
    EzlinkError,
    ProtocolError,
    ServerError,
    TaskNotFoundError,
)
from ezlink_async.models import Result, TaskStatus, VideoRecord
from ezlink_async.services.refusals import says_error

DONE = "succeed"
"""Done, in the server's word for all providers but one."""

DOUBAO_DONE = "succeeded"
"""Done, in Doubao's word, which the server hands on."""

RUNWAY_FAILED = "Task failed"
"""What stands beside ``unknown`` when a task of Runway has failed."""

_STATUSES = {
    DOUBAO_DONE: TaskStatus.SUCCESS,
    "failed": TaskStatus.FAILURE,
    "processing": TaskStatus.IN_PROGRESS,
    "running": TaskStatus.IN_PROGRESS,
    "queued": TaskStatus.SUBMITTED,
    "cancelled": TaskStatus.CANCEL,
    "expired": TaskStatus.FAILURE,
}

_PASSED_ON = (401, 403, 404)

_OF_PROVIDER = Rule(ServerError, says="the server's provider refuses the query")

_UNKNOWN_IDS = ("no record found for task_id", "task not found:")

_LONGEST_ADDRESS = 8_000


def read_video(response: HttpResponse, task_id: str) -> VideoRecord:
    """
    Read the answer to a query about *task_id*, or raise the error it stands for.

    An answer without an id, or with that of another task, is a query that failed, and
    no state: the server answers so where a provider's error could be read.
    """
    body = response.document
    if not response.ok:
        raise _error(response, task_id)
    if not isinstance(body, Mapping):
        raise _unreadable(response, task_id, "the answer is no task")
    if says_error(body) and "id" not in body:
        raise _unreadable(response, task_id, "the answer is an error")
    is_doubao = "task_status" not in body and "status" in body
    found = identifier(body.get("id" if is_doubao else "task_id"))
    if found != identifier(task_id):
        raise _unreadable(response, task_id, f"the answer is about {found!r:.60}")
    try:
        return _of_doubao(body, found) if is_doubao else _general(body, found)
    except ValueError as fault:
        message = f"a video in the answer is broken ({fault})"
        raise _unreadable(response, task_id, message) from None


def _rules(refusal: Refusal) -> Rule | None:
    """Return what is special to a query: the status may be that of a provider."""
    return _OF_PROVIDER if refusal.status in _PASSED_ON else None


def _error(response: HttpResponse, task_id: str) -> EzlinkError:
    body = response.document
    is_handlers = isinstance(body, Mapping) and isinstance(body.get("error"), str)
    error = error_from(response, rules=_rules if is_handlers else None)
    words = error.description if isinstance(error, ApiError) else ""
    if any(each in words for each in _UNKNOWN_IDS):
        error = TaskNotFoundError(
            f"the server does not know task {task_id}",
            request_id=response.request_id,
        )
    error.task_id = task_id
    return error


def _unreadable(response: HttpResponse, task_id: str, says: str) -> ProtocolError:
    return ProtocolError(
        f"{says}: {response.excerpt}",
        head=response.head,
        status=response.status,
        task_id=task_id,
        request_id=response.request_id,
    )


def _general(body: Mapping[str, object], task_id: str) -> VideoRecord:
    word = _word(body.get("task_status"))
    if not word:
        raise ValueError("it has no status")
    message = collapse_blanks(body.get("message"))
    results = tuple(map(_result, _once(_addresses(body))))
    status = _STATUSES.get(word, TaskStatus.UNKNOWN)
    if word == DONE:  # without an address it is still at work
        status = TaskStatus.SUCCESS if results else TaskStatus.IN_PROGRESS
    if word == "unknown" and message == RUNWAY_FAILED:
        status = TaskStatus.FAILURE
    seconds = _number(body.get("video_duration"))
    return VideoRecord(
        task_id=task_id,
        status=status,
        raw_status=word,
        message=message,
        video_id=identifier(body.get("video_id")),
        seconds=_number(body.get("duration")) if seconds is None else seconds,
        usage=_counts(body.get("usage")),
        results=results if status is TaskStatus.SUCCESS else (),
    )


def _of_doubao(body: Mapping[str, object], task_id: str) -> VideoRecord:
    word = _word(body.get("status"))
    content, error = body.get("content"), body.get("error")
    url = content.get("video_url") if isinstance(content, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else ""
    status = _STATUSES.get(word, TaskStatus.UNKNOWN)
    done = status is TaskStatus.SUCCESS
    return VideoRecord(
        task_id=task_id,
        status=status,
        raw_status=word,
        message=collapse_blanks(message) or ("" if done else word),
        video_id=task_id,
        usage=_counts(body.get("usage")),
        results=tuple(map(_result, _texts([url]))) if done else (),
    )


def _word(value: object) -> str:
    return collapse_blanks(value).lower()


def _addresses(body: Mapping[str, object]) -> Iterator[str]:
    """
    Yield where the videos are; the same ones may stand in two fields.

    The list counts, and the single field where the list names none. That may be an
    address, a data URI, or a list of them as JSON in a text.
    """
    listed = body.get("video_results")
    rows = listed if isinstance(listed, list) else []
    found = list(_texts([row.get("url") for row in rows if isinstance(row, Mapping)]))
    if found:
        yield from found
        return
    single = body.get("video_result")
    if isinstance(single, str) and single.lstrip().startswith("["):
        inner = parse_inner(single)
        yield from _texts(inner if isinstance(inner, list) else [])
        return
    yield from _texts([single])


def _once(addresses: Iterator[str]) -> Iterator[str]:
    """Yield each address once; of a video in the answer only the begin is compared."""
    seen = set[str]()
    for each in addresses:
        if isinstance(each, LongText) or each not in seen:
            yield each
        seen.add(each)


def _texts(values: list[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and value.strip():
            yield value


def _result(address: str) -> Result:
    """Return a video at an address, or in it; :exc:`ValueError` for a broken one."""
    inline = decode_data_uri(address)
    if inline is not None:
        return Result(kind="video", content=inline[1])
    if isinstance(address, LongText) or len(address) > _LONGEST_ADDRESS:
        raise ValueError(f"an address of more than {_LONGEST_ADDRESS:,} characters")
    return Result(kind="video", url=address.strip())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _counts(usage: object) -> dict[str, float]:
    """Return the numbers of *usage*; lists in it are details of them."""
    given = usage if isinstance(usage, Mapping) else {}
    numbers = {str(name): _number(value) for name, value in given.items()}
    return {name: number for name, number in numbers.items() if number is not None}
