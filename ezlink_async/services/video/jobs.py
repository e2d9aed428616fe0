"""
The submit of a video, ready to be sent, and what its answer means.

Source: ``ye4293/one-api`` (``relay/controller/directvideo.go``), the code of the
server. No address, no key, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from ezlink_async._core.error_mapping import Refusal, Rule, error_from
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    Part,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import (
    BusyError,
    EzlinkError,
    ProtocolError,
    QuotaError,
    RejectedError,
    ServerError,
    SubmitUnknownError,
)
from ezlink_async.models import VideoRecord
from ezlink_async.services.base import Accepted, Job, TaskFamily
from ezlink_async.services.refusals import check_not_early, says_error

PATH = "/v1/video/generations"

_TOO_POOR = "User balance is not enough"

_PANIC = "api_panic"

_NO_SUCH_PATH = "Invalid URL ("

# The provider may have the job: its answer was lost, or could not be read.
_BROKEN_CALL = re.compile(
    r"request_error|do_request_failed|read_response_error|unmarshal_.*|.*_parse_error"
    r"|parse_.*_response_failed"
)

_OPERATOR = "the server's own account with its provider, not the key, is refused"

_BAR = "the balance is below 0.20 USD, which any video needs; Veo needs 6.00 USD"

_RULES = {
    402: Rule(ServerError, says=_OPERATOR),
    429: Rule(BusyError, says="no room now"),
    **dict.fromkeys((401, 403, 404), Rule(ServerError, says=_OPERATOR)),
    **dict.fromkeys((400, 422, 501), Rule(RejectedError)),
}
"""What an answer of the handler means, by its status; none of them makes a job."""


def video_rules(refusal: Refusal) -> Rule | None:
    """
    Return what is special to a refused submit of a video.

    Its handler answers with a code in words and without the id of the request, and
    hands on the status of a provider: a 401 of those says nothing about the key.
    """
    code, status = str(refusal.code or ""), refusal.status
    if refusal.is_front or refusal.text.startswith(_NO_SUCH_PATH):
        return None
    if code == _TOO_POOR:
        return Rule(QuotaError, says=_BAR)
    if status == 500:  # noqa: PLR2004 - a fault of the server
        return Rule(ServerError, safe=_BROKEN_CALL.fullmatch(code) is None)
    return _RULES.get(status)


@attrs.frozen(kw_only=True)
class VideoJob(Job[VideoRecord]):
    """One submit of a video."""

    family: TaskFamily[VideoRecord]
    model: str
    label: str
    body: tuple[Part, ...]

    @property
    def lane(self) -> str:
        """Each model has an upstream, and so a queue, of its own."""
        return f"video:{self.model}"

    def request(self) -> HttpRequest:
        """Describe the submit."""
        return HttpRequest("POST", PATH, self.body)

    def read(self, response: HttpResponse) -> Accepted:
        """
        Read the answer to the submit, or raise the error it stands for.

        A 200 is no acceptance yet: it may hold an error, which costs nothing, or no
        id, which is paid.
        """
        if not response.ok:
            rules = video_rules if _is_of_handler(response) else None
            raise error_from(response, submit=True, rules=rules)
        check_not_early(response)
        body = response.document
        if not isinstance(body, Mapping):
            says = "the answer to the submit cannot be read, and the job may be paid"
            raise SubmitUnknownError(
                f"{says}: {response.excerpt}", request_id=response.request_id
            )
        task_id = identifier(body.get("task_id"))
        if says_error(body) or not task_id:
            raise _no_task(response, body)
        return Accepted(task_id, 1, collapse_blanks(body.get("message")))


def _is_of_handler(response: HttpResponse) -> bool:
    """
    Return whether an error has the form of the handler's; proxies have others.

    A panic ends the handler at any point, also after the provider took the job.
    """
    body = response.document
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or _PANIC in (
        error.get("type"),
        error.get("code"),
    ):
        return False
    return {"code", "param", "type"} <= set(error)


def _no_task(response: HttpResponse, body: Mapping[str, object]) -> EzlinkError:
    """Return the error of a 200 that names no task."""
    if says_error(body):
        error = error_from(response)
        return ServerError(
            f"the server's provider took the job, and the server lost it: {error}; "
            "nothing is charged",
            status=response.status,
            request_id=response.request_id,
        )
    return ProtocolError(
        "the job was accepted without an id: it is paid, and there is no task: "
        f"{response.excerpt}",
        head=response.head,
        status=response.status,
        request_id=response.request_id,
        maybe_charged=True,
    )
