"""
Stability's tasks and results: how each is fetched, and how answers are read.

``ye4293/one-api`` (``relay/controller/sd.go``, ``relay/channel/stability``, as it was
until January 2026) passed the provider's status and body on, but not its headers: so
JSON is asked for, in which seed and finish reason stand. Its own refusals are ``400
{"error": "words"}``. No address, no key, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import attrs

from ezlink_async._core.containers import verify_complete
from ezlink_async._core.error_mapping import Refusal, Rule, error_from
from ezlink_async._core.long_texts import decode_base64
from ezlink_async._core.messages import (
    JSON,
    HttpRequest,
    HttpResponse,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import (
    ConfigurationError,
    EndpointNotSupportedError,
    EzlinkError,
    ImageError,
    ProtocolError,
    QuotaError,
    RejectedError,
    ServerError,
    TaskNotFoundError,
)
from ezlink_async.models import StabilityRecord, TaskStatus
from ezlink_async.services.base import PollTiming, TaskFamily
from ezlink_async.services.endings import Ending
from ezlink_async.services.stability.endpoints import (
    CREATIVE,
    IMAGE_TO_VIDEO,
    Endpoint,
)

Kind = Literal["image", "video"]
"""What a result is."""

REMOVED = "this server has removed its Stability routes (January 2026)"
"""What the 404 of a server without the routes means."""

ANSWER_BYTES = 192 * 1024 * 1024
"""The most bytes of an answer with a result in it: base64 of some 140 MB."""

_NOT_FOUND = 404
_RUNNING = 202

# What the provider answers for good; a status like 401 is about the operator's key.
_FINAL = frozenset({400, 403, 422})

_UNKNOWN_ID = "get_channel_id_failed"
_WRONG_ADDRESS = "invalid url ("

_CONTENTS = ("image", "video", "result")

# What the poller asks while the task runs: documented is once in 10 s at most.
_TIMING = PollTiming(
    first=10,
    shortest=10,
    longest=10,
    deadline=1_800,
    submit_wait=90,
    query_wait=60,
)


@attrs.frozen
class StabilityFamily(TaskFamily[StabilityRecord]):
    """
    The tasks of one call, whose results are behind *path*.

    The server answers 202 while a task runs, 200 with the result for 24 hours, and
    404 with JSON for an id that it does not know. A query costs nothing.
    """

    name: str
    path: str
    kind: Kind = "image"
    record_type = StabilityRecord
    timing = _TIMING

    def fetch_request(self, task_id: str, polls: int = 0) -> HttpRequest:
        """Ask for the result of one task."""
        return HttpRequest(
            "GET",
            f"{self.path}/{_segment(task_id)}",
            repeatable=True,
            accept=JSON,
            answer_bytes=ANSWER_BYTES,
        )

    def read(self, response: HttpResponse, task_id: str) -> StabilityRecord:
        """Read one task, or raise the error that the answer stands for."""
        if response.status == _RUNNING:
            running = TaskStatus.IN_PROGRESS
            return StabilityRecord(task_id=task_id, status=running, kind=self.kind)
        if response.ok:
            return read_result(response, task_id, self.kind)
        failed = _failed(response, task_id, self.kind)
        if failed is not None:
            return failed
        error = refusal_of(response)
        if _is_unknown_id(response, error):
            raise TaskNotFoundError(
                f"the server does not know task {task_id}, or its result has expired",
                task_id=task_id,
                request_id=response.request_id,
            )
        error.task_id = task_id
        raise error

    def judge(
        self, record: StabilityRecord, before: StabilityRecord | None
    ) -> Ending | None:
        """
        Return how the task has ended; a failure counts only the second time.

        A restored handle takes the record it was saved with twice: that is one time.
        """
        if record.status is TaskStatus.FAILURE:
            other = None if before is record else before
            again = other is not None and other.status is TaskStatus.FAILURE
            return super().judge(record, before) if again else None
        return super().judge(record, before)

    def renew(self, record: StabilityRecord) -> HttpRequest:
        """Ask again for a result that a saved handle does not hold; free."""
        request = self.fetch_request(record.task_id)
        return attrs.evolve(request, wait=_TIMING.query_wait)

    def is_refunded(self, record: StabilityRecord | None) -> bool:
        """Return ``False``: the server gives nothing back."""
        return False


def _family(name: str, endpoint: Endpoint, kind: Kind) -> StabilityFamily:
    return StabilityFamily(name, str(endpoint.result), kind)


STABILITY = _family("stability", IMAGE_TO_VIDEO, "video")
"""The tasks of image-to-video."""

STABILITY_UPSCALE = _family("stability-upscale", CREATIVE, "image")
"""The tasks of the creative upscale; an id does not tell one from the other."""

STABILITY_IMAGE = _family("stability-image", IMAGE_TO_VIDEO, "image")
"""
Pictures that come with the answer to their submit.

They have no task at the server, so nothing restores one, and the registry lacks it.
"""


def _segment(task_id: str) -> str:
    """Return *task_id* as one segment of a path, quoted."""
    try:
        segment = quote(task_id, safe="")
    except UnicodeEncodeError:
        segment = ""
    if not segment.strip("."):
        raise ConfigurationError(f"{task_id!r:.80} is no task id")
    return segment


def read_result(response: HttpResponse, task_id: str, kind: Kind) -> StabilityRecord:
    """Read a whole result; :exc:`ProtocolError` if there is none in the answer."""
    body = response.document
    found = body if isinstance(body, Mapping) else {}
    try:
        content = _content(response, found)
        media_type = verify_complete(content)
    except ValueError as fault:  # broken base64, or a picture that is cut off
        raise _unreadable(response, task_id, str(fault)) from None
    seed = identifier(found.get("seed")) or response.headers.get("seed", "")
    reason = found.get("finish_reason") or response.headers.get("finish-reason", "")
    return StabilityRecord(
        task_id=task_id,
        status=TaskStatus.SUCCESS,
        kind=kind,
        content=content,
        media_type=media_type,
        seed=int(seed) if seed.isascii() and seed.isdigit() else None,
        finish_reason=collapse_blanks(reason),
    )


def _content(response: HttpResponse, found: Mapping[object, object]) -> bytes:
    """Return the bytes of a result: in JSON, or, from other servers, as they are."""
    if not response.whole:
        raise ImageError(response.obstacle or "the answer broke off")
    texts = (found.get(name) for name in _CONTENTS)
    text = next((each for each in texts if isinstance(each, str) and each), None)
    return response.body if text is None else decode_base64(text)


def _unreadable(response: HttpResponse, task_id: str, why: str) -> ProtocolError:
    return ProtocolError(
        f"the answer holds no whole result ({why}): {response.excerpt}",
        head=response.head,
        status=response.status,
        task_id=task_id,
        request_id=response.request_id,
    )


def _failed(response: HttpResponse, task_id: str, kind: Kind) -> StabilityRecord | None:
    """Return the record of a task that the provider says it has given up."""
    words = _provider_words(response)
    if words is None or response.status not in _FINAL:
        return None
    return StabilityRecord(
        task_id=task_id,
        status=TaskStatus.FAILURE,
        kind=kind,
        fail_reason=": ".join(words),
    )


def _is_unknown_id(response: HttpResponse, error: EzlinkError) -> bool:
    words = str(error).lower()
    if response.status == _NOT_FOUND:
        is_json = response.document is not None
        return is_json and _WRONG_ADDRESS not in words
    return _UNKNOWN_ID in words


def _provider_words(response: HttpResponse) -> tuple[str, str] | None:
    """Return name and sentences of a refusal in the provider's own words."""
    body = response.document
    if not isinstance(body, Mapping) or not isinstance(body.get("errors"), list):
        return None
    said = "; ".join(filter(None, map(collapse_blanks, body["errors"])))
    return collapse_blanks(body.get("name")) or "error", said


def refusal_of(response: HttpResponse, *, submit: bool = False) -> EzlinkError:
    """
    Return the error that an answer without success stands for.

    The server charges for status 200 alone, so every refusal in words that are known
    is free. An empty 500 and the like leave the outcome of a *submit* unknown.
    """
    if response.status == _NOT_FOUND and response.document is None:
        return EndpointNotSupportedError(
            REMOVED,
            status=response.status,
            request_id=response.request_id,
            retry_safe=submit,
        )
    words = _provider_words(response)
    if words is not None:
        name, said = words
        body = json.dumps({"code": name, "message": said or name})
        response = attrs.evolve(response, body=body.encode())
    return error_from(response, submit=submit, rules=_rules)


_MODERATED = "content_moderation"

_BY_WORDS = {
    "user balance is not enough": Rule(
        QuotaError, says="the balance is below the price"
    ),
    "failed to get userquota": Rule(ServerError),
    # The provider may work on it all the same; nothing is charged before it answers.
    "failed to get response": Rule(ServerError, safe=False),
    # Charged by now, and the picture is gone.
    "failed to insert sdtask": Rule(None, safe=False),
    "failed to show response": Rule(None, safe=False),
}

_OPERATORS = Rule(ServerError, says="the provider refuses the operator of the server")


def _rules(refusal: Refusal) -> Rule | None:
    """Return what is special to an answer below ``/v2beta``."""
    if refusal.is_front:
        return None
    words = refusal.text.lower()
    for known, rule in _BY_WORDS.items():
        if words.startswith(known):
            return rule
    if refusal.code == _MODERATED:
        return Rule(RejectedError, says="refused by the content moderation")
    # 401 to 403 in the provider's words are about the operator's own key.
    is_about_operator = refusal.status in {401, 402, 403} and refusal.code is not None
    return _OPERATORS if is_about_operator else None
