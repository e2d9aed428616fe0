"""The submit of ``/v1/async/images``, and how its answer is read."""

from __future__ import annotations

import attrs

from ezlink_async._core.error_mapping import Refusal, Rule
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    Part,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import ApiError, BusyError, RejectedError
from ezlink_async.models import ImagesRecord
from ezlink_async.services.base import Accepted, Job, TaskFamily
from ezlink_async.services.image_generation.tasks import FAMILIES, Provider
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.refusals import check_whole, handler_rule, refusal_of

_PATH = "/v1/async/images/generations"

_CODE = 0  # an acceptance has no number of its own

_REFUSED = "failed"

_PARALLEL = "(code: 1303"  # Kling's: too many tasks at one time

_THROTTLED = "throttling"  # Wan's code for the same

_BUSY = Rule(BusyError, says="no room now")


@attrs.frozen(kw_only=True)
class ImagesJob(Job[ImagesRecord]):
    """One submit of pictures."""

    model: str
    provider: Provider
    label: str
    body: tuple[Part, ...]

    @property
    def family(self) -> TaskFamily[ImagesRecord]:
        """The family that knows whose task it is."""
        return FAMILIES[self.provider]

    @property
    def lane(self) -> str:
        """Jobs of one model wait for room together."""
        return f"images:{self.model}"

    def request(self) -> HttpRequest:
        """Describe the submit."""
        return HttpRequest("POST", _PATH, self.body)

    def read(self, response: HttpResponse) -> Accepted:
        """
        Read the answer, or raise the error it stands for.

        ``succeed`` means that the job was accepted, and is charged; without an id it
        is paid and out of reach. A refusal of Wan is a 200 with ``failed``.
        """
        if not response.ok:
            raise refusal_of(response, _rules)
        body = check_whole(response)
        if task_id := identifier(body.get("task_id")):
            return Accepted(task_id, _CODE, collapse_blanks(body.get("message")))
        if body.get("task_status") == _REFUSED:
            raise _refused(response, collapse_blanks(body.get("message")))
        message = "the job was accepted without an id: it is paid, and cannot be found"
        raise unreadable(response, message, maybe_charged=True)


def _rules(refusal: Refusal) -> Rule | None:
    is_full = _PARALLEL in refusal.text and refusal.code == "kling_api_error"
    return _BUSY if is_full else handler_rule(refusal)


def _refused(response: HttpResponse, words: str) -> ApiError:
    kind = BusyError if _THROTTLED in words.lower() else RejectedError
    return kind(
        f"the provider refused the job: {words or 'no reason given'}",
        status=response.status,
        description=words,
        request_id=response.request_id,
        retry_safe=True,
    )
