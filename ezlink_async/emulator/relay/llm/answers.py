"""
The upstream's answer as the relay passes it on, and the relay's own refusals.

Three kinds of calls differ in what becomes of an error: texts (chats, completions,
embeddings, moderations, speech), pictures, and transcriptions. After ye4293/one-api
``relay/util/common.go`` RelayErrorHandler, ``relay/channel/openai/main.go`` and
``relay/controller/audio.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from ezlink_async.emulator import faults
from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.replies import (
    JSON,
    JSON_UTF8,
    Reply,
    api_error,
    as_json,
)

EVENTS = "text/event-stream"
OK = 200

_BUSY = 429
_LONGEST_LINE = 64 * 1024  # bufio.Scanner's own limit
_SATURATED = "The current group upstream load is saturated, please try again later."
#: How the relay's call to its upstream fails, in Go's words.
_BROKEN = {
    "refused": (
        'do request failed: Post "http://192.0.2.1:443/v1/{path}": '
        "dial tcp 192.0.2.1:443: connect: connection refused"
    ),
    "reset": 'do request failed: Post "http://upstream.example/v1/{path}": EOF',
    "slow": (
        'do request failed: Post "http://upstream.example/v1/{path}": net/http: timeout'
        " awaiting response headers (Client.Timeout exceeded while awaiting headers)"
    ),
}
#: Headers of a stream that the relay writes anew.
_STREAMED = (
    ("Cache-Control", "no-cache"),
    ("Connection", "keep-alive"),
    ("X-Accel-Buffering", "no"),
)


@frozen
class Answer:
    """The upstream's answer: status, bytes, and headers without the content type."""

    content: bytes
    content_type: str = JSON
    status: int = OK
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def scripted(cls, fault: faults.Upstream) -> Answer:
        """Return the answer that a test has scripted."""
        named = {name: text for name, text in fault.headers if name != "Content-Type"}
        kind = dict(fault.headers).get("Content-Type", JSON)
        return cls(fault.content, kind, fault.status, tuple(named.items()))

    @property
    def document(self) -> object:
        """The body as JSON; ValueError, with Go's words, for anything else."""
        try:
            return go_json.loads(self.content)
        except ValueError:
            text = self.content.decode("utf-8", "replace").strip()
        if not text:
            raise ValueError("unexpected end of JSON input")
        raise ValueError(
            f"invalid character '{text[0]}' looking for beginning of value"
        )

    @property
    def is_stream(self) -> bool:
        """Whether the upstream answers with events."""
        return self.content_type == EVENTS


class RefusedError(Exception):
    """The relay, or its upstream, refuses a call: *reply* says why."""

    kept: bool = False
    """Whether the relay forgets to give a booked deposit back."""
    counted: bool = False
    """Whether the upstream's status was a good one, which counts as a picture."""

    def __init__(self, reply: Reply, text: str = "") -> None:
        super().__init__(text)
        self.reply = reply


def refusal(status: int, code: object, message: str) -> Reply:
    """Return an error in the form of the relay's own handlers."""
    error = {"code": code, "message": message, "param": "", "type": "api_error"}
    return as_json({"error": error}, status=status, content_type=JSON_UTF8)


def refused(status: int, code: object, message: str) -> RefusedError:
    """Return the same as an exception to be raised."""
    return RefusedError(refusal(status, code, message), message)


def no_model(request_id: str) -> Reply:
    """Return the refusal of a call whose model cannot be found."""
    return api_error(400, "Model name is required", request_id)


def not_implemented() -> Reply:
    """Return the refusal of a call that no handler serves."""
    error = {
        "message": "API not implemented",
        "type": "api_error",
        "param": "",
        "code": "api_not_implemented",
    }
    return as_json({"error": error}, status=501, content_type=JSON_UTF8)


def broken_call(kind: str, path: str) -> RefusedError:
    """Return what a caller sees of the relay's own call that failed."""
    if kind not in _BROKEN:
        error = refused(500, "read_response_body_failed", "unexpected EOF")
        error.counted = True
        return error
    error = refused(500, "do_request_failed", _BROKEN[kind].format(path=path))
    error.kept = True
    return error


# Errors of the upstream


def check_text(answer: Answer) -> None:
    """Raise :class:`RefusedError` for an error of the upstream of a text."""
    if answer.status != OK:
        raise _status_error(answer)


def _status_error(answer: Answer) -> RefusedError:
    code: object = "bad_response_status_code"
    message = ""
    error = _error_of(answer)
    if error is not None:
        code, message = error
    if answer.status == _BUSY:
        message = _SATURATED
    return refused(answer.status, code, message)


def _error_of(answer: Answer) -> tuple[object, str] | None:
    """Return code and message of an answer in JSON; None for other bodies."""
    try:
        value = answer.document
    except ValueError:
        return None
    error = _mapping(value).get("error")
    message = str(_mapping(error).get("message") or "")
    if not message:
        return "bad_response_status_code", f"上游服务错误 (状态码: {answer.status})"
    return _mapping(error).get("code"), message


def check_document(answer: Answer) -> Mapping[str, object]:
    """Return the JSON of a good answer; raise for an error with a good status."""
    try:
        value = _mapping(answer.document)
    except ValueError as unreadable:
        code = "unmarshal_response_body_failed"
        raise refused(500, code, str(unreadable)) from None
    error = _mapping(value.get("error"))
    if message := error.get("message"):
        # The error goes out with the upstream's status, which is 200.
        raise refused(OK, error.get("code"), str(message))
    return value


def check_events(answer: Answer) -> None:
    """Raise for JSON in place of a stream; of another type, anything is a stream."""
    if answer.content_type == JSON:
        raise _status_error(answer)


def check_picture(answer: Answer) -> None:
    """
    Raise :class:`RefusedError` for an error of the upstream of a picture.

    An error object under a good status is passed on like a picture.
    """
    if answer.status == _BUSY:
        raise _status_error(answer)
    if answer.status != OK:
        body = answer.content.decode("utf-8", "replace")
        message = f"API请求失败，状态码: {answer.status}，响应: {body}"
        raise refused(answer.status, "api_error", message)
    if answer.is_stream:
        return
    try:
        _ = answer.document
    except ValueError as error:
        unreadable = refused(500, "unmarshal_response_body_failed", str(error))
        unreadable.counted = True
        raise unreadable from None


def check_transcription(answer: Answer) -> None:
    """Raise for an error of the upstream of a transcription: each becomes a 500."""
    try:
        error = _mapping(_mapping(answer.document).get("error"))
    except ValueError:
        error = {}
    if error.get("message"):
        message = "type {type}, code {code}, message {message}".format_map(error)
        raise refused(500, "request_error", message)
    check_text(answer)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


# Good answers


def passed_on(answer: Answer, *, counted: bool = False) -> Reply:
    """
    Return the answer with the upstream's headers.

    The upstream's own length is among them, unless the relay has *counted* anew.
    """
    headers = answer.headers
    if not counted and not answer.is_stream:
        headers = (*headers, ("Content-Length", ""))
    return Reply(
        answer.status,
        answer.content,
        answer.content_type,
        (*headers, ("Date", "")),
        flushed=answer.is_stream,
    )


def streamed(answer: Answer) -> Reply:
    """
    Return the lines of events that begin with ``data:``, and none of the others.

    The relay's reader gives up at a line that is too long, without a word.
    """
    kept = []
    for line in answer.content.split(b"\n"):
        if len(line) > _LONGEST_LINE:
            break
        if line.startswith(b"data: "):
            kept.append(line + b"\n\n")
    return as_events(b"".join(kept))


def as_events(content: bytes) -> Reply:
    """Return *content* as a stream that the relay itself begins."""
    return Reply(OK, content, EVENTS, _STREAMED, flushed=True)
