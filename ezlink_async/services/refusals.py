"""
What a refusal of the handlers behind ``/v1/async/images`` and ``/flux`` means.

They answer ``{"error": {"code": ..., "message": ..., "type": "api_error"}}`` without a
request id; what the API says in front of them has one. The key that a handler is
refused with is that of the operator, so its 401 and 403 say nothing about ours.
Source: ``ye4293/one-api`` (``relay/controller/image.go``, ``controller/flux.go``,
``controller/relay.go``).
"""

from __future__ import annotations

from collections.abc import Mapping

from ezlink_async._core.error_mapping import FamilyRules, Refusal, Rule, error_from
from ezlink_async._core.messages import HttpResponse
from ezlink_async.errors import (
    BusyError,
    EzlinkError,
    QuotaError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.services.midjourney.submits import unreadable

_OPERATOR = Rule(
    ServerError, says="the server's own upstream refused it; the key is not at fault"
)
_FAULT = Rule(ServerError)
_MAY_RUN = Rule(
    ServerError,
    safe=False,
    says="nothing was charged, but the upstream may be at work on it",
)
_POOR = Rule(QuotaError, says="the balance is too low")
_REJECTED = Rule(RejectedError)
_BUSY = Rule(BusyError, says="no room now")

_BY_STATUS = {
    400: _REJECTED,
    401: _OPERATOR,
    402: _OPERATOR,
    403: _OPERATOR,
    404: _OPERATOR,
    422: _REJECTED,
    429: _BUSY,
    501: _REJECTED,
}

# Errors after the call to the upstream had left: it may have taken the job.
_BROKEN_CODES = ("request_error", "read_response_error", "do_request_failed")
_BROKEN_TEXTS = ("request failed:", "解析响应失败")

_PANIC = "api_panic"

_TOO_POOR = "余额不足"

_INTERNAL = 500


def is_of_handler(response: HttpResponse) -> bool:
    """Return whether *response* is the refusal of a handler, not of what is before."""
    body = response.document
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or "code" not in error:
        return False
    return error.get("type") == "api_error" and "(request id: " not in str(
        error.get("message")
    )


def handler_rule(refusal: Refusal) -> Rule | None:
    """Return what a handler's *refusal* of a submit means, ``None`` if unknown."""
    if refusal.status == _INTERNAL:
        return _internal(refusal)
    if _TOO_POOR in refusal.text:
        return _POOR
    return _BY_STATUS.get(refusal.status)


def _internal(refusal: Refusal) -> Rule | None:
    code = refusal.code if isinstance(refusal.code, str) else ""
    if code == _PANIC:
        return None
    parsing = code.endswith("_parse_error") or code.startswith("unmarshal_")
    if parsing or code in _BROKEN_CODES or refusal.text.startswith(_BROKEN_TEXTS):
        return _MAY_RUN
    return _FAULT


def refusal_of(response: HttpResponse, rules: FamilyRules) -> EzlinkError:
    """Return the error of a submit that was not accepted; *rules* are the family's."""
    return error_from(
        response, submit=True, rules=rules if is_of_handler(response) else None
    )


def check_not_early(response: HttpResponse) -> None:
    """Raise :exc:`TransportError` for an answer that preceded the end of the body."""
    if response.early:
        raise TransportError(
            "an answer came before the end of the submit, so there is no job: "
            f"{response.excerpt}",
            request_id=response.request_id,
            retry_safe=True,
            stage="upload",
        )


def check_whole(response: HttpResponse) -> Mapping[str, object]:
    """
    Return the body of a 2xx answer to a submit, or raise the error it stands for.

    An answer before the end of the body is no acceptance, and one with an error in it
    was not charged, although the upstream may be at work. What cannot be read may be
    paid.
    """
    check_not_early(response)
    body = response.document
    if not isinstance(body, Mapping):
        message = "the answer to the submit cannot be read, and the job may be paid"
        cause = unreadable(response, message)
        unknown = SubmitUnknownError(str(cause), request_id=response.request_id)
        raise unknown from cause
    if says_error(body):
        raise error_from(response, submit=True, rules=lambda _: _MAY_RUN)
    return body


def says_error(body: Mapping[str, object]) -> bool:
    """Return whether *body* has an error; an empty place for one is none."""
    return body.get("error") not in (None, "")


def query_error(response: HttpResponse) -> EzlinkError:
    """
    Return the error of a query that was not answered.

    A handler's 401, 403 or 404 is about the operator's own upstream.
    """
    rules = _query_rule if is_of_handler(response) else None
    return error_from(response, rules=rules)


def _query_rule(refusal: Refusal) -> Rule | None:
    return _OPERATOR if refusal.status in {401, 402, 403, 404} else None
