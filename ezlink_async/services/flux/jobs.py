"""The submit of a native Flux job, and how its answer is read."""

from __future__ import annotations

import contextlib

import attrs

from ezlink_async._core.error_mapping import Refusal, Rule
from ezlink_async._core.messages import (
    HttpRequest,
    HttpResponse,
    Part,
    collapse_blanks,
    identifier,
)
from ezlink_async.errors import ContentRefusedError, ProtocolError
from ezlink_async.models import FluxRecord
from ezlink_async.services.base import Accepted, Job, TaskFamily
from ezlink_async.services.flux.rows import FEE_WORDS
from ezlink_async.services.flux.tasks import FLUX, ready_record
from ezlink_async.services.image_generation.tasks import ANSWER_BYTES, picture_of
from ezlink_async.services.midjourney.submits import unreadable
from ezlink_async.services.refusals import check_whole, handler_rule, refusal_of

FEE = 25_000
"""What the server charges for content that breaks the guidelines, in units."""

_CODE = 0  # an acceptance has no number of its own

_FORBIDDEN = 403

_CONTENT = Rule(
    ContentRefusedError,
    safe=False,
    says="the content was refused, and the server charges 25,000 units (0.05 USD) for "
    "that",
    fee=FEE,
)


@attrs.frozen(kw_only=True)
class FluxJob(Job[FluxRecord]):
    """One submit of a picture."""

    model: str
    label: str
    body: tuple[Part, ...]

    @property
    def family(self) -> TaskFamily[FluxRecord]:
        """A submit becomes a native Flux task."""
        return FLUX

    def request(self) -> HttpRequest:
        """Describe the submit; the model is in its path."""
        path = f"/flux/v1/{self.model}"
        return HttpRequest("POST", path, self.body, answer_bytes=ANSWER_BYTES)

    def read(self, response: HttpResponse) -> Accepted:
        """
        Read the answer, or raise the error it stands for.

        Nothing is charged at acceptance. An answer without an id costs nothing, and
        its task is out of reach. A picture that is there already is in the record;
        any other ``polling_url`` is the provider's own, which takes another key.
        """
        if not response.ok:
            raise refusal_of(response, _rules)
        body = check_whole(response)
        task_id = identifier(body.get("id"))
        if not task_id:
            message = (
                "the job was accepted without an id: it costs nothing, and is lost"
            )
            raise unreadable(response, message)
        word, picture = collapse_blanks(body.get("status")), None
        if word == "Ready":
            with contextlib.suppress(ProtocolError):  # the queries bring it whole
                picture = picture_of(response, body.get("polling_url"), task_id)
        record = None if picture is None else ready_record(task_id, picture)
        return Accepted(task_id, _CODE, word, record)


def _rules(refusal: Refusal) -> Rule | None:
    is_content = any(words in refusal.text for words in FEE_WORDS)
    if refusal.status == _FORBIDDEN and is_content:
        return _CONTENT
    return handler_rule(refusal)
