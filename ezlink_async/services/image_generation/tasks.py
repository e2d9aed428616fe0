"""
Tasks behind ``/v1/async/images``: how they are asked for, read and judged.

Source: ``ye4293/one-api`` (``relay/controller/image.go``), the code of the server.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from urllib.parse import urlencode

import attrs

from ezlink_async._core.long_texts import decode_data_uri
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    clip,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import (
    ApiError,
    ConfigurationError,
    TaskError,
    TaskNotFoundError,
)
from ezlink_async.models import ImagesRecord, Result, TaskStatus
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.endings import Ending, failure
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.refusals import query_error
from ezlink_async.services.traces import Traces

_RESULT = "/v1/async/images/result"

_TIMING = PollTiming(
    first=3.0,
    shortest=2.0,
    longest=5.0,
    deadline=1_800.0,
    submit_wait=330.0,
    query_wait=60.0,
)

_TRACES = Traces(log=True)

_STATUSES = {
    "processing": TaskStatus.IN_PROGRESS,
    "submitted": TaskStatus.SUBMITTED,
    "succeed": TaskStatus.SUCCESS,
    "failed": TaskStatus.FAILURE,
}

_NO_REASON = "SUCCEED"  # Kling's message, of its failures too

_OF_FLUX = ("Image generation failed", "Request moderated", "Content moderated")
"""The messages of a failure that only Flux has."""

_UNKNOWN = "failed to get image"

_ADDRESS_LIMIT = 8_000

ANSWER_BYTES = 140 * 1024 * 1024
"""The most bytes of an answer: its pictures may stand in it, as base64 of 100 MiB."""

_BELIEVED = 4  # the poll at which a success without a picture is believed

_COUNTED = 10_000  # tasks whose polls are counted


class Provider(enum.Enum):
    """Who makes the pictures; it follows from the model's name."""

    FLUX = "flux"
    KLING = "kling"
    WAN = "wan"


@attrs.frozen
class ImagesFamily(TaskFamily[ImagesRecord]):
    """
    The tasks of all three providers, or of one that a job has named.

    A query goes to the provider each time and costs nothing, so it also renews the
    addresses of a finished task. An id of this family is asked for nowhere else: where
    native Flux tasks are, it would be charged a second time.
    """

    provider: Provider | None = None
    name: str = "images"
    record_type: type[ImagesRecord] = ImagesRecord
    timing: PollTiming = _TIMING
    traces: Traces = _TRACES
    _empty: dict[str, int] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for one task; without an id the server would show a stranger's."""
        path = f"{_RESULT}?{query_of('taskid', task_id)}"
        return HttpRequest("GET", path, repeatable=True, answer_bytes=ANSWER_BYTES)

    def read(self, response: HttpResponse, task_id: str) -> ImagesRecord:
        """
        Read one task, or raise the error that the answer stands for.

        The record of another task, or of none, is an answer that cannot be read.
        """
        if response.ok:
            return _read(response, task_id)
        error = query_error(response)
        if isinstance(error, ApiError) and _is_unknown(response):
            raise TaskNotFoundError(
                f"the server does not know task {task_id}, or cannot look it up now",
                task_id=task_id,
                request_id=response.request_id,
            )
        error.task_id = task_id
        raise error

    def judge(self, record: ImagesRecord, before: ImagesRecord | None) -> Ending | None:
        """
        Return how the task has ended, ``None`` while it goes on.

        The server says ``succeed`` without addresses while they are on their way, so
        that is a failure only when it comes the fourth time. It is paid.
        """
        if not record.is_terminal:
            return None
        if record.status is TaskStatus.SUCCESS and not record.results:
            if self._times_empty(record, before) < _BELIEVED:
                return None
            says = "succeeded, but without a picture; it stays paid"
            return Ending(failure(record, says, refunded=False))
        self._empty.pop(record.task_id, None)
        return Ending(self._error(record))

    def _times_empty(self, record: ImagesRecord, before: ImagesRecord | None) -> int:
        """
        Count the successes without a picture of a task, this one too.

        A handle that begins counts anew, and the record it was saved with only once:
        it is no answer of now.
        """
        counts, task_id = self._empty, record.task_id
        known = 0 if before is None or before is record else counts.get(task_id, 0)
        counts.pop(task_id, None)
        counts[task_id] = times = known + 1
        if len(counts) > _COUNTED:
            del counts[next(iter(counts))]
        return times

    def _error(self, record: ImagesRecord) -> TaskError | None:
        if record.status is TaskStatus.SUCCESS:
            return None
        refunded = self.is_refunded(record)
        stays = ", and stays paid" if refunded is False else ""
        reason = record.fail_reason or "no reason given"
        return failure(record, f"failed{stays}: {reason}", refunded=refunded)

    def renew(self, record: ImagesRecord) -> HttpRequest:
        """Ask for the task again, which costs nothing."""
        return self.fetch_request(record.task_id)

    def is_refunded(self, record: ImagesRecord | None) -> bool | None:
        """
        Return whether the server gives back what the task cost, if it is known.

        It does so for a failure of Wan alone. For a task that is known by its id alone
        the message may tell that it was another's.
        """
        if record is None or record.status is not TaskStatus.FAILURE:
            return False
        if self.provider is not None:
            return self.provider is Provider.WAN
        message = record.message
        of_others = message == _NO_REASON or message.startswith(_OF_FLUX)
        return False if of_others else None


def query_of(name: str, task_id: str) -> str:
    """Return *task_id* as a query; :exc:`ConfigurationError` if it is no id."""
    try:
        query = urlencode({name: task_id})
    except UnicodeEncodeError:
        query = ""
    if not query or not task_id.strip():
        raise ConfigurationError(f"{task_id!r} is no task id")
    return query


def _is_unknown(response: HttpResponse) -> bool:
    body = response.document
    error = body.get("error") if isinstance(body, Mapping) else None
    return isinstance(error, Mapping) and error.get("code") == _UNKNOWN


def _read(response: HttpResponse, task_id: str) -> ImagesRecord:
    body = response.document
    if not isinstance(body, Mapping) or "task_status" not in body:
        raise unreadable(response, "the answer is no task", task_id=task_id)
    found = identifier(body.get("task_id"))
    if found != identifier(task_id):
        message = f"the answer is task {found!r:.60}, not {task_id}"
        raise unreadable(response, message, task_id=task_id)
    word = collapse_blanks(body.get("task_status"))
    status = _STATUSES.get(word.lower(), TaskStatus.UNKNOWN)
    message = collapse_blanks(body.get("message"))
    failed = status is TaskStatus.FAILURE and message != _NO_REASON
    pictures = _pictures(response, body.get("image_urls"), task_id)
    return ImagesRecord(
        task_id=found,
        status=status,
        fail_reason=message if failed else "",
        raw_status=word,
        message=message,
        image_id=identifier(body.get("image_id")),
        urls=tuple(dict.fromkeys(each.url for each in pictures if each.url)),
        inline=tuple(each for each in pictures if each.content is not None),
    )


def _pictures(response: HttpResponse, value: object, task_id: str) -> list[Result]:
    """Return the pictures of a list; an empty text is none."""
    rows = value if isinstance(value, list) else []
    found = (picture_of(response, each, task_id) for each in rows)
    return [each for each in found if each is not None]


def picture_of(response: HttpResponse, value: object, task_id: str) -> Result | None:
    """
    Return the picture at an address, or in it if it is a data URI in base64.

    ``None`` for what is no text, or an empty one, or holds nothing.
    :exc:`ProtocolError` for base64 that is broken: the next answer may be whole.
    """
    if not isinstance(value, str) or not value:
        return None
    try:
        inline = decode_data_uri(value)
    except ValueError as fault:
        message = f"a picture in the answer is broken ({fault})"
        raise unreadable(response, message, task_id=task_id) from None
    if inline is not None:
        return Result(kind="image", content=inline[1]) if inline[1] else None
    return Result(kind="image", url=clip(value, _ADDRESS_LIMIT))


IMAGES = ImagesFamily()

FAMILIES: dict[Provider, ImagesFamily] = {
    provider: ImagesFamily(provider) for provider in Provider
}
"""The families of tasks whose provider is known, all of one name."""
