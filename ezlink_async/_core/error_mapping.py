"""
What an answer that is no acceptance means: which error, and is it safe.

Rules:

1. The shape of the body decides before the status does. Seven shapes exist;
   a proxy, a foreign gateway or an empty body is judged by status alone, and
   what broke off by nothing: the words that decide may be missing.
2. *safe* is claimed only where the server's source shows that it answers so
   before it hands the job on (``ye4293/one-api``: ``middleware/auth.go``,
   ``middleware/distributor.go``, ``relay/controller/midjourney.go``).
3. Whatever is left over on a submit is unknown, never assumed away.
4. A key is refused in the API's own envelope only. A firewall or a proxy that
   says 401 or 403 knows nothing of the key, and perhaps of no job.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping

import attrs

from ezlink_async import errors
from ezlink_async._core.messages import Credential, HttpRequest, HttpResponse

NO_CHANNEL_WAIT = 10.0
"""Seconds before a group without a free channel is worth asking again."""

_NOT_YOU = 401
_BLANKS = re.compile(r"\s+")

# What the servers of this protocol say, in the words of their sources.
_ENGLISH = {
    "队列已满": "the queue is full",
    "人脸图片格式错误": "the source picture's format is wrong",
    "目标图片格式错误": "the target picture's format is wrong",
    "人脸图片和目标图片不能相同": "source and target are the same picture",
    "人脸图片大小超过最大限制": "the source picture is too large",
    "目标图片大小超过最大限制": "the target picture is too large",
    "可能包含敏感词": "banned words",
    "文件上传失败": "the upload to the engine failed",
    "上游任务超时": "the task took more than an hour",
    "获取渠道信息失败": "the server's upstream is gone",
    "该任务所属渠道已被禁用": "the server's upstream is disabled",
}


def collapse_blanks(text: object) -> str:
    """Return the server's words with blanks collapsed; they come doubled."""
    return _BLANKS.sub(" ", text).strip() if isinstance(text, str) else ""


def with_translation(text: str) -> str:
    """Return *text* with what it means behind it, where that is known."""
    for words, meaning in _ENGLISH.items():
        if words in text:
            return f"{text} ({meaning})"
    return text


def parse_json(body: bytes) -> object:
    """Read JSON from *body*, whatever its content type said; ``None`` if none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


@attrs.frozen
class _Rule:
    error: type[errors.ApiError] | None  # None: the outcome is unknown
    safe: bool = True
    says: str = ""
    wait: float | None = None


_UNKNOWN = _Rule(None, safe=False)
_BROKEN = _Rule(None, safe=False, says="the answer broke off")
_STRANGE = _Rule(
    None,
    safe=False,
    says="not the API's own answer, but that of a proxy, a firewall or another "
    "server; check base_url",
)
_FAULT = _Rule(errors.ServerError)
_AT_WORK = _Rule(errors.ServerError, safe=False)
_BUSY = _Rule(errors.BusyError, says="no room now")
_NO = _Rule(errors.RejectedError)
_AUTH = _Rule(errors.AuthenticationError, says="the key is refused")
_QUOTA = _Rule(errors.QuotaError)
_NOT_SERVED = _Rule(
    errors.EndpointNotSupportedError,
    says="this address does not serve the call; check base_url",
)

# Envelope A: {"error": {"message", "type": "api_error"}}, by status and text.
_ENVELOPE_A = (
    (401, "Token verification failed", _FAULT),
    (
        401,
        "quota has been exhausted",
        attrs.evolve(_QUOTA, says="the key's quota is used up"),
    ),
    (401, "", _AUTH),
    (403, "", _Rule(errors.PermissionDeniedError)),
    (400, "", _NO),
    (429, "", _BUSY),
    (500, "", _FAULT),
    (
        503,
        "There are no channels available",
        attrs.evolve(
            _FAULT,
            says="no upstream is free for this account's group",
            wait=NO_CHANNEL_WAIT,
        ),
    ),
    (503, "Database consistency has been violated", _FAULT),
)

# Envelope B: {"code", "description", "type": "upstream_error"}.
_ENVELOPE_B = (
    (4, "insert_midjourney_task_failed", _UNKNOWN),
    (4, "Insert midjourneyTask failed", _UNKNOWN),
    (
        4,
        "User quota is not enough",
        attrs.evolve(_QUOTA, says="the balance is below the price"),
    ),
    (4, "Failed to get user quota", _FAULT),
    (5, "empty_response_body", _FAULT),
    (5, "read_request_body_failed", _FAULT),
    (5, "marshal_request_body_failed", _FAULT),
    (5, "create_request_failed", _FAULT),
    (5, "", _AT_WORK),
    (9, "队列已满", _BUSY),
    (9, "queue", _BUSY),
    (23, "", _BUSY),
    (30, "", _BUSY),
)

_BY_STATUS = {
    401: _STRANGE,
    402: _QUOTA,
    403: _STRANGE,
    404: _NOT_SERVED,
    407: _STRANGE,
    408: _UNKNOWN,
    413: attrs.evolve(_NO, says="the body is larger than a proxy allows"),
    429: _BUSY,
    501: _NOT_SERVED,
    511: _STRANGE,
}


def _envelope(body: object) -> tuple[str, int | None, str]:
    """Tell the shape of *body*: its letter, its code, its words."""
    if not isinstance(body, Mapping):
        return "G", None, ""
    error, code = body.get("error"), body.get("code")
    if isinstance(error, Mapping):
        message = collapse_blanks(error.get("message"))
        genuine = error.get("type") == "api_error" and "(request id: " in message
        return ("A" if genuine else "G"), None, message
    if isinstance(error, str):
        return "C", None, collapse_blanks(error)
    if type(code) is int and body.get("type") == "upstream_error":
        return "B", code, collapse_blanks(body.get("description"))
    words = body.get("description") or body.get("message")
    return "G", code if type(code) is int else None, collapse_blanks(words)


def _by_status(status: int) -> _Rule:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:  # noqa: PLR2004 - what 3xx means
        return _NOT_SERVED
    if 400 <= status < 500:  # noqa: PLR2004
        return _NO
    return _UNKNOWN


def _judge(response: HttpResponse, letter: str, code: int | None, text: str) -> _Rule:
    status = response.status
    if letter == "A":
        for wanted, words, verdict in _ENVELOPE_A:
            if status == wanted and words in text:
                return verdict
    # The server answers with 400, or 429 for code 30, whatever upstream said.
    if letter == "B" and status in {400, 429}:
        for number, words, verdict in _ENVELOPE_B:
            if code == number and words.lower() in text.lower():
                return verdict
        return _NO
    return _by_status(status) if _is_whole(response) else _BROKEN


def _is_whole(response: HttpResponse) -> bool:
    # Some proxies end cleanly what broke off behind them.
    torn = (
        response.body.lstrip()[:1] in {b"{", b"["} and parse_json(response.body) is None
    )
    return response.whole and not torn


def retry_after(response: HttpResponse) -> float | None:
    """
    Return the seconds a proxy asks to wait; the API itself never says.

    A date is read against the answer's own ``Date``: clocks differ.
    """
    hint = response.headers.get("retry-after", "").strip()
    if hint.isascii() and hint.isdigit():
        return float(hint[:9])
    until, now = _moment(hint), server_time(response)
    return None if until is None or now is None else max(0.0, until - now)


def server_time(response: HttpResponse) -> float | None:
    """Return the server's clock when it answered, in seconds since 1970."""
    return _moment(response.headers.get("date", ""))


def _moment(date: str) -> float | None:
    """Return a date of HTTP in seconds since 1970, if it can be read."""
    try:
        told = email.utils.parsedate_to_datetime(date)
        # Without a zone it would be taken for this machine's.
        return told.timestamp() if told.tzinfo else None
    except (ValueError, TypeError, LookupError, OverflowError):
        return None  # the standard library's own parser raises all four


def _sentence(response: HttpResponse, verdict: _Rule, text: str) -> str:
    what = f"HTTP {response.status}"
    if verdict in {_STRANGE, _NOT_SERVED}:
        target = response.headers.get("location")
        what += f" from {response.url}" + (f", sent on to {target}" if target else "")
    words = with_translation(text) or "no words of the API in the answer"
    return ": ".join(filter(None, (what, verdict.says, words)))


def _error(
    response: HttpResponse, verdict: _Rule, says: str, code: int | None, text: str
) -> errors.EzlinkError:
    if verdict == _STRANGE:
        return errors.ProtocolError(
            says,
            head=response.body,
            status=response.status,
            request_id=response.request_id,
        )
    error = (verdict.error or errors.ServerError)(
        says,
        status=response.status,
        code=code,
        description=text,
        request_id=response.request_id,
    )
    error.retry_after = retry_after(response) or verdict.wait
    return error


def error_from(response: HttpResponse, *, submit: bool = False) -> errors.EzlinkError:
    """
    Return the error that *response* means.

    With *submit*, ``retry_safe`` and ``maybe_charged`` say what became of the
    job, and what cannot be told is a :exc:`SubmitUnknownError`.
    """
    letter, code, text = _envelope(parse_json(response.body))
    verdict = _judge(response, letter, code, text)
    says = _sentence(response, verdict, text)
    # An answer that overtook the body: the server never had a whole job.
    if verdict.error is None and submit and not response.early:
        return errors.SubmitUnknownError(
            f"{says}; the job may have been created and paid",
            request_id=response.request_id,
        )
    error = _error(response, verdict, says, code, text)
    error.retry_safe = submit and (verdict.safe or response.early)
    return error


def is_insert_failure(response: HttpResponse) -> bool:
    """Tell whether the job was accepted, and its row could not be written."""
    letter, code, text = _envelope(parse_json(response.body))
    return letter == "B" and _judge(response, letter, code, text) == _UNKNOWN


def is_retryable(request: HttpRequest, response: HttpResponse) -> bool:
    """Tell whether *request*, which changes nothing, is worth sending again."""
    if request.credential is Credential.ACCOUNT and response.status == _NOT_YOU:
        return False  # in words of its own, which the door of the key does not use
    error = None if response.ok else error_from(response)
    again = (errors.BusyError, errors.ServerError, errors.ProtocolError)
    return isinstance(error, again)
