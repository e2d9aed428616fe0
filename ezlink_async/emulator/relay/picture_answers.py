"""
What the relay makes of the answers of Flux, Kling and Wan at ``/v1/async/images``.

Pure, after ye4293/one-api ``relay/controller/image.go`` and as seen on the running
server: which answers accept a job, whose errors keep their status, and what a query
shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import frozen

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.replies import JSON, JSON_UTF8, Reply, as_json

SATURATED = "The current group upstream load is saturated, please try again later."
SUBMITTED = "Request submitted successfully"

_OK = 200
_INVALID = 422
_BUSY = 429
_ERROR = 500
_COMPLETED = "Image generation completed"
_ENDINGS = {
    "refused": "dial tcp {host}: connect: connection refused",
    "reset": "EOF",
    "half": "unexpected EOF",
    "slow": "net/http: timeout awaiting response headers ({who} exceeded while awaiting"
    " headers)",
}


class RefusedPictureError(Exception):
    """The relay refuses a submit, or cannot answer a query; *reply* says so."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.reply: Reply = refusal(status, code, message)


@frozen
class Shown:
    """A task as a query shows it; *refund* says that the provider has given it up."""

    status: str
    message: str
    urls: list[str] | None = None
    refund: bool = False

    def reply(self, task_id: str) -> Reply:
        """Return the answer to the query."""
        body = {
            "task_id": task_id,
            "image_id": task_id if self.urls else "",
            "task_status": self.status,
            "message": self.message,
            "image_urls": self.urls,
        }
        return as_json(body)


def refusal(status: int, code: str | None, message: str) -> Reply:
    """Return the refusal of a handler: it names no request."""
    error = {"code": code, "message": message, "param": "", "type": "api_error"}
    return as_json({"error": error}, status=status, content_type=JSON_UTF8)


def submitted(status: str, task_id: str, message: str) -> Reply:
    """Return the answer to a submit; its handler names the length itself."""
    body = go_json.dumps(
        {"task_id": task_id, "task_status": status, "message": message}
    )
    return Reply(_OK, body, JSON, (("Content-Length", str(len(body))),))


def broken_call(word: str, call: str, host: str, who: str) -> str:
    """Return Go's words for a *call* that broke as *word* says."""
    return f"{call}: {_ENDINGS[word].format(host=host, who=who)}"


def check_call(answer: faults.Upstream, call: str, code: str) -> None:
    """Raise the refusal for a *call* to the provider that broke."""
    if answer.broken:
        words = broken_call(answer.broken, call, "<host>", "")
        raise RefusedPictureError(_ERROR, code, words)


def read_object(body: bytes) -> Mapping[str, object]:
    """Return an answer's JSON object; ValueError in Go's words for another one."""
    try:
        value = go_json.loads(body)
    except ValueError:
        raise ValueError(why_no_json(body)) from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(  # noqa: TRY004 - one error for callers
            _UNFIT.format(_KINDS.get(type(value), "number"))
        )
    return value


_UNFIT = "json: cannot unmarshal {} into Go value of type map[string]interface {{}}"
_KINDS: Mapping[type, str] = {list: "array", str: "string", bool: "bool"}


def why_no_json(body: bytes) -> str:
    """Return why Go cannot read *body* as JSON."""
    text = body.decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as fault:
        rest = text[fault.pos :].lstrip()
        if rest:
            return f"invalid character '{rest[0]}' looking for beginning of value"
    return "unexpected end of JSON input"


# Submits: the provider's answer accepts the job, or is refused


def flux_accepted(answer: faults.Upstream) -> tuple[str, str]:
    """Return the id of an accepted job, which may be empty, and the message."""
    if answer.status == _BUSY:
        raise RefusedPictureError(_BUSY, "flux_api_error", SATURATED)
    text = answer.content.decode("utf-8", "replace")
    if answer.status == _INVALID:
        words = f"Flux API validation error: {_first_detail(answer)}"
        raise RefusedPictureError(_INVALID, "flux_validation_error", words)
    if answer.status != _OK:
        words = f"Flux API error: status code {answer.status}, response: {text}"
        raise RefusedPictureError(answer.status, "flux_api_error", words)
    return _text(_body_of(answer).get("id")), SUBMITTED


def kling_accepted(answer: faults.Upstream) -> tuple[str, str]:
    """Return the same; only a code refuses a job, and no status does."""
    body = _body_of(answer)
    task_id, message = _text(_mapping(body, "data").get("task_id")), body.get("message")
    if code := body.get("code"):
        words = f"Kling API error: {message} (code: {code}, task_id: {task_id})"
        raise RefusedPictureError(400, "kling_api_error", words)
    return task_id, _text(message)


def wan_accepted(answer: faults.Upstream) -> tuple[str, str]:
    """Return the same; a refusal is a 200 that says failed."""
    body = _body_of(answer)
    if answer.status != _OK or body.get("code"):
        words = f"{_text(body.get('message'))} (code: {_text(body.get('code'))})"
        error = RefusedPictureError(_OK, None, words)
        error.reply = submitted("failed", "", words)
        raise error
    return _text(_mapping(body, "output").get("task_id")), SUBMITTED


def _body_of(answer: faults.Upstream) -> Mapping[str, object]:
    try:
        return read_object(answer.content)
    except ValueError as fault:
        code = "unmarshal_response_body_failed"
        raise RefusedPictureError(_ERROR, code, str(fault)) from None


def _first_detail(answer: faults.Upstream) -> str:
    detail = _body_of(answer).get("detail")
    first = detail[0] if isinstance(detail, list) and detail else {}
    return _text(first.get("msg")) if isinstance(first, Mapping) else ""


# Queries


def flux_shown(answer: faults.Upstream) -> Shown:
    """Return what a query shows of an answer of Flux."""
    _check_query(answer)
    body = _query_body(answer)
    status = _text(body.get("status"))
    if status == "Pending":
        return Shown("processing", "Task is pending, please check later")
    if status == "Ready":
        sample = _text(_mapping(body, "result").get("sample"))
        return Shown("succeed", _COMPLETED, [sample] if sample else None)
    if status.endswith("Moderated"):
        reasons = _mapping(body, "details").get("Moderation Reasons")
        why = ", ".join(map(str, reasons)) if isinstance(reasons, list) else ""
        return Shown("failed", f"{status.capitalize()}: {why}".removesuffix(": "))
    if status == "Error":
        return Shown("failed", "Image generation failed")
    return Shown("processing", f"Task processing (status: {status})")


def kling_shown(answer: faults.Upstream) -> Shown:
    """Return what a query shows of an answer of Kling."""
    body = _query_body(answer)
    message = _text(body.get("message"))
    if code := body.get("code"):
        words = f"Kling API error: {message} (code: {code})"
        raise RefusedPictureError(_ERROR, "api_error", words)
    data = _mapping(body, "data")
    status = _text(data.get("task_status"))
    urls = _urls(_mapping(data, "task_result").get("images"))
    return Shown(status, message, urls if status == "succeed" else None)


_GIVEN_UP = {"FAILED", "CANCELED", "UNKNOWN"}


def wan_shown(answer: faults.Upstream) -> Shown:
    """Return what a query shows of an answer of Wan; a failure is given back."""
    _check_query(answer)
    output = _mapping(_query_body(answer), "output")
    status = _text(output.get("task_status"))
    if status in _GIVEN_UP:
        return Shown("failed", _text(output.get("message")), refund=True)
    if status != "SUCCEEDED":
        return Shown("processing", f"Task processing (status: {status})")
    metrics = _mapping(output, "task_metrics")
    done, failed = metrics.get("SUCCEEDED"), metrics.get("FAILED")
    words = f"Partially completed: {done} succeeded, {failed} failed"
    return Shown(
        "succeed", words if failed else _COMPLETED, _urls(output.get("results"))
    )


def _check_query(answer: faults.Upstream) -> None:
    if answer.status == _BUSY:
        raise RefusedPictureError(_BUSY, "api_error", SATURATED)
    if answer.status != _OK:
        words = f"API error: {answer.content.decode('utf-8', 'replace')}"
        raise RefusedPictureError(answer.status, "api_error", words)


def _query_body(answer: faults.Upstream) -> Mapping[str, object]:
    try:
        return read_object(answer.content)
    except ValueError as fault:
        raise RefusedPictureError(_ERROR, "api_error", str(fault)) from None


def _urls(rows: object) -> list[str] | None:
    listed = rows if isinstance(rows, list) else []
    found = [_text(row.get("url")) for row in listed if isinstance(row, Mapping)]
    return [url for url in found if url] or None


def _mapping(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = body.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
