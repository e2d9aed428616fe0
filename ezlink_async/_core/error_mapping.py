"""
Which error a response is, and whether the job was surely not created.

Rules:

1. The envelope of the body decides before the status does. A proxy, a foreign
   gateway or an empty body is judged by its status alone. A truncated answer is
   not judged at all: the words that decide may be missing.
2. *safe* is claimed only where the server's source shows that it answers so
   before it hands the job on (``ye4293/one-api``: ``middleware/auth.go``,
   ``middleware/distributor.go``, ``relay/controller/midjourney.go``).
3. Every other answer to a submit leaves its outcome unknown.
4. A key is refused in the API's own envelope only. The 401 or 403 of a firewall
   or a proxy says nothing about the key, and perhaps nothing about the job.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Callable, Mapping

import attrs

from ezlink_async import errors
from ezlink_async._core.messages import (
    Credential,
    HttpRequest,
    HttpResponse,
    clip,
    collapse_blanks,
)

NO_CHANNEL_WAIT = 10.0
"""Seconds to wait when no channel is free for the account's group."""

_UNAUTHORIZED = 401

# Where the words of an error quote what an upstream answered.
_QUOTED = re.compile(r"body=|响应|[{<]")
_QUOTED_LIMIT = 300

# Texts of the server, from its source, in English.
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


def with_translation(text: str) -> str:
    """Return *text*, followed by its English where the text is a known one."""
    meanings = (meaning for words, meaning in _ENGLISH.items() if words in text)
    meaning = next(meanings, "")
    return f"{text} ({meaning})" if meaning else text


# What the servers say of a picture that they refuse, in Chinese or English.
_PICTURE = re.compile(r"人脸|目标图片|敏感词|(?<![\w/-])faces?\b", re.IGNORECASE)


def is_about_picture(text: str) -> bool:
    """Return whether *text* of a server refuses a picture, so another one helps."""
    return _PICTURE.search(text) is not None


@attrs.frozen
class Rule:
    """
    What a refusal is: an *error*, or ``None`` for an unknown outcome.

    *safe*: the job was surely not created. *says* explains it, *wait* is the shortest
    wait before another try, and *fee* what the refusal costs, in units.
    """

    error: type[errors.ApiError] | None
    safe: bool = True
    says: str = ""
    wait: float | None = None
    fee: int = 0


@attrs.frozen
class Refusal:
    """
    An answer that is no success, as a family's own rules see it.

    *code* is the one in the body, *text* the server's words without secrets. It
    *is_front* when the API answered before it looked at the call.
    """

    status: int
    code: object
    text: str
    is_front: bool


FamilyRules = Callable[[Refusal], Rule | None]
"""The rules of one family; ``None`` where those of all families decide."""


_UNKNOWN = Rule(None, safe=False)
_TRUNCATED = Rule(None, safe=False, says="the answer broke off")
_FOREIGN = Rule(
    None,
    safe=False,
    says="not the API's own answer, but that of a proxy, a firewall or another "
    "server; check base_url",
)
_FAULT = Rule(errors.ServerError)
_MAY_RUN = Rule(errors.ServerError, safe=False)
_BUSY = Rule(errors.BusyError, says="no room now")
_REJECTED = Rule(errors.RejectedError)
_AUTH = Rule(
    errors.AuthenticationError,
    says="the key is refused; set EZLINK_API_KEY to a valid one, which "
    "'ezlink doctor' checks",
)
_QUOTA = Rule(errors.QuotaError)
_KEY_USED_UP = Rule(errors.QuotaError, says="the key's quota is used up")
_TOO_POOR = Rule(errors.QuotaError, says="the balance is below the price")
_NO_CHANNEL = Rule(
    errors.ServerError,
    says="no upstream is free for this account's group",
    wait=NO_CHANNEL_WAIT,
)
_NOT_SERVED = Rule(
    errors.EndpointNotSupportedError,
    says="this address does not serve the call; check base_url",
)

# Answers of the middleware, by status and text:
# {"error": {"message": "... (request id: ...)", "type": "api_error"}}.
_MIDDLEWARE = (
    (401, "token verification failed", _FAULT),
    (401, "quota has been exhausted", _KEY_USED_UP),
    (401, "", _AUTH),
    (403, "", Rule(errors.PermissionDeniedError)),
    (400, "", _REJECTED),
    (429, "", _BUSY),
    (500, "", _FAULT),
    (503, "there are no channels available", _NO_CHANNEL),
    (503, "database consistency has been violated", _FAULT),
)

# Answers of the swap's handler, by code and text:
# {"code": 4, "description": "...", "type": "upstream_error"}.
_HANDLER = (
    (4, "insert_midjourney_task_failed", _UNKNOWN),
    (4, "insert midjourneytask failed", _UNKNOWN),
    (4, "user quota is not enough", _TOO_POOR),
    (4, "failed to get user quota", _FAULT),
    (5, "empty_response_body", _FAULT),
    (5, "read_request_body_failed", _FAULT),
    (5, "marshal_request_body_failed", _FAULT),
    (5, "create_request_failed", _FAULT),
    (5, "do_request_failed", _MAY_RUN),
    (5, "response_body_failed", _MAY_RUN),
    (5, "close_", _MAY_RUN),
    (5, "", _MAY_RUN),
    (9, "队列已满", _BUSY),
    (9, "queue", _BUSY),
    (23, "", _BUSY),
    (30, "", _BUSY),
)

_BY_STATUS = {
    401: _FOREIGN,
    402: _QUOTA,
    403: _FOREIGN,
    404: _NOT_SERVED,
    407: _FOREIGN,
    408: _UNKNOWN,
    413: attrs.evolve(_REJECTED, says="the body is larger than a proxy allows"),
    429: _BUSY,
    501: _NOT_SERVED,
    511: _FOREIGN,
}


@attrs.frozen
class _Envelope:
    """What a body says: *rules* are those of its kind, ``None`` for a foreign one."""

    rules: tuple[tuple[int, str, Rule], ...] | None = None
    code: int | None = None
    text: str = ""
    raw_code: object = None


def _envelope(response: HttpResponse) -> _Envelope:
    body = response.document
    if not isinstance(body, Mapping):
        return _Envelope()
    error, code = body.get("error"), body.get("code")
    if isinstance(error, Mapping):
        text = collapse_blanks(error.get("message"))
        if error.get("type") == "api_error" and "(request id: " in text:
            return _Envelope(_MIDDLEWARE, None, text)
        return _Envelope(None, None, _with_short_body(text), error.get("code"))
    if isinstance(error, str):
        return _Envelope(None, None, _with_short_body(collapse_blanks(error)))
    words = body.get("description") or body.get("message")
    text = _with_short_body(collapse_blanks(words))
    number = code if type(code) is int else None
    is_handler = number is not None and body.get("type") == "upstream_error"
    return _Envelope(_HANDLER if is_handler else None, number, text, code)


def _with_short_body(text: str) -> str:
    """Return *text* with at most so much of an upstream's body that it quotes."""
    quoted = _QUOTED.search(text)
    return clip(text, quoted.start() + _QUOTED_LIMIT) if quoted else text


def _rule_for(
    response: HttpResponse, envelope: _Envelope, rules: FamilyRules | None = None
) -> Rule:
    is_front = envelope.rules is _MIDDLEWARE
    refusal = Refusal(response.status, envelope.raw_code, envelope.text, is_front)
    own = rules(refusal) if rules and response.document is not None else None
    return own or _common_rule(response, envelope)


def _common_rule(response: HttpResponse, envelope: _Envelope) -> Rule:
    # The handler answers with 400, or 429 for code 30, whatever upstream said.
    is_handler = envelope.rules is _HANDLER and response.status in {400, 429}
    if is_handler or envelope.rules is _MIDDLEWARE:
        number = envelope.code if is_handler else response.status
        for wanted, words, rule in envelope.rules or ():
            if number == wanted and words in envelope.text.lower():
                return rule
    if is_handler:
        return _REJECTED
    return _rule_by_status(response.status) if _is_whole(response) else _TRUNCATED


def _rule_by_status(status: int) -> Rule:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return {3: _NOT_SERVED, 4: _REJECTED}.get(status // 100, _UNKNOWN)


def _is_whole(response: HttpResponse) -> bool:
    # Some proxies end an answer cleanly that broke off behind them.
    is_json = response.body.lstrip()[:1] in {b"{", b"["}
    return response.whole and not (is_json and response.document is None)


def retry_after(response: HttpResponse) -> float | None:
    """
    Return the seconds of ``Retry-After``; only proxies send it, never the API.

    A date is read against the answer's own ``Date``: clocks differ.
    """
    hint = response.headers.get("retry-after", "").strip()
    if hint.isascii() and hint.isdigit():
        return float(hint[:9])
    until, now = _time(hint), server_time(response)
    return None if until is None or now is None else max(0.0, until - now)


def server_time(response: HttpResponse) -> float | None:
    """Return the server's clock when it answered, in seconds since 1970."""
    return _time(response.headers.get("date", ""))


def _time(date: str) -> float | None:
    """Return an HTTP date in seconds since 1970, ``None`` if it cannot be read."""
    try:
        time = email.utils.parsedate_to_datetime(date)
        # A time without a zone would be read as local time.
        return time.timestamp() if time.tzinfo else None
    except (ValueError, TypeError, LookupError, OverflowError):
        return None  # the standard library's own parser raises all four


def _sentence(response: HttpResponse, rule: Rule, text: str) -> str:
    what = f"HTTP {response.status}"
    if rule in {_FOREIGN, _NOT_SERVED}:
        target = response.headers.get("location")
        what += f" from {response.url}" + (f", sent on to {target}" if target else "")
    words = with_translation(text) or "no words of the API in the answer"
    return ": ".join(filter(None, (what, rule.says, words)))


def _error(
    response: HttpResponse, rule: Rule, envelope: _Envelope
) -> errors.EzlinkError:
    says = _sentence(response, rule, envelope.text)
    if rule == _FOREIGN:
        return errors.ProtocolError(
            says,
            head=response.head,
            status=response.status,
            request_id=response.request_id,
        )
    error = (rule.error or errors.ServerError)(
        says,
        status=response.status,
        code=envelope.code,
        description=envelope.text,
        request_id=response.request_id,
    )
    error.retry_after = retry_after(response) or rule.wait
    if isinstance(error, errors.ContentRefusedError):
        error.fee = rule.fee
    return error


def error_from(
    response: HttpResponse, *, submit: bool = False, rules: FamilyRules | None = None
) -> errors.EzlinkError:
    """
    Return the error that *response* means; a family's own *rules* come first.

    With *submit*, ``retry_safe`` and ``maybe_charged`` say what became of the
    job; an unknown outcome is a :exc:`SubmitUnknownError`.
    """
    envelope = _envelope(response)
    rule = _rule_for(response, envelope, rules)
    error = _error(response, rule, envelope)
    # An answer that came before the end of the body: the server had no whole job.
    if rule.error is None and submit and not response.early:
        return errors.SubmitUnknownError(
            f"{error}; the job may have been created and paid",
            request_id=response.request_id,
        )
    error.retry_safe = submit and (rule.safe or response.early)
    return error


def is_insert_failure(response: HttpResponse) -> bool:
    """Return whether the job was accepted, but the server lost its row."""
    envelope = _envelope(response)
    return envelope.rules is _HANDLER and _rule_for(response, envelope) == _UNKNOWN


def names_insert_failure(text: str) -> bool:
    """Return whether *text*, an error of the server, says the same."""
    return _names(text, _UNKNOWN)


def names_broken_call(text: str) -> bool:
    """
    Return whether *text*, an error of the server, names a broken call to the upstream.

    The upstream may run the job all the same; the account is not charged for it.
    """
    return _names(text, _MAY_RUN)


def _names(text: str, wanted: Rule) -> bool:
    words = text.lower()
    return any(
        marker and marker in words for _, marker, rule in _HANDLER if rule == wanted
    )


def is_retryable(request: HttpRequest, response: HttpResponse) -> bool:
    """Return whether *request*, which changes nothing, is worth sending again."""
    if request.credential is Credential.ACCOUNT and response.status == _UNAUTHORIZED:
        return False  # the account's pages refuse a token in words of their own
    error = None if response.ok else error_from(response)
    again = (errors.BusyError, errors.ServerError, errors.ProtocolError)
    return isinstance(error, again)
