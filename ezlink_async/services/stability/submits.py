"""
Stability's submits: checked requests, forms, and the answers to them.

Each call is a form (``multipart/form-data``). Two calls make a task; the others answer
with the picture itself, so a lost answer is a lost picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import attrs

from ezlink_async._core.images import EncodedImage, Image, InspectedImage
from ezlink_async._core.messages import (
    JSON,
    FormFile,
    HttpRequest,
    HttpResponse,
    clip,
    identifier,
    multipart_body,
    raw_picture,
)
from ezlink_async.errors import (
    EzlinkError,
    ProtocolError,
    SubmitUnknownError,
    TransportError,
)
from ezlink_async.models import StabilityRecord
from ezlink_async.services.base import (
    Accepted,
    Job,
    JobRequest,
    LoadedImage,
    TaskFamily,
)
from ezlink_async.services.stability.endpoints import (
    CREATIVE,
    IMAGE_TO_VIDEO,
    Endpoint,
)
from ezlink_async.services.stability.tasks import (
    ANSWER_BYTES,
    STABILITY,
    STABILITY_IMAGE,
    STABILITY_UPSCALE,
    read_result,
    refusal_of,
)

_ACCEPTED = 1  # the code of an acceptance in which the server names none

_LABEL = 60  # characters of a prompt

_FAMILIES: Mapping[str, TaskFamily[StabilityRecord]] = {
    IMAGE_TO_VIDEO.name: STABILITY,
    CREATIVE.name: STABILITY_UPSCALE,
}


@attrs.frozen(kw_only=True)
class StabilityRequest(JobRequest[StabilityRecord]):
    """
    One call, checked: its *fields* as they are sent, and its pictures by part.

    Make one with :meth:`of`. It is in no batch: what a synchronous call has lost,
    a journal could not find again.
    """

    kind: ClassVar[str] = "stability"

    endpoint: Endpoint
    fields: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, Image], ...]

    @classmethod
    def of(cls, endpoint: Endpoint, given: Mapping[str, object]) -> Self:
        """
        Check what is *given* for a call, pictures and fields.

        :exc:`ConfigurationError` for a field that is unknown, missing or out of its
        bounds, or :exc:`ImageError`; an absent field is not in *given*.
        """
        endpoint.check_names(frozenset(given))
        parts = {
            name: Image.of(given[name])  # type: ignore[arg-type]  # it checks
            for name in endpoint.pictures
            if name in given
        }
        plain = {name: each for name, each in given.items() if name not in parts}
        sent = endpoint.sent(plain, frozenset(parts))
        return cls(
            endpoint=endpoint,
            fields=tuple(sent.items()),
            parts=tuple(parts.items()),
        )

    @property
    def family(self) -> TaskFamily[StabilityRecord]:
        """The family of the task, if the call makes one."""
        return _FAMILIES.get(self.endpoint.name, STABILITY_IMAGE)

    @property
    def label(self) -> str:
        """The call and the begin of its prompt."""
        prompt = clip(dict(self.fields).get("prompt", ""), _LABEL)
        return f"{self.endpoint.name} {prompt}".strip()

    def pictures(self) -> tuple[Image, ...]:
        """Return the pictures to send, in the order of the parts."""
        return tuple(picture for _, picture in self.parts)

    def job(self, pictures: tuple[LoadedImage, ...]) -> StabilityJob:
        """Return the job, whose *pictures* are those of :meth:`pictures`, in order."""
        names = (name for name, _ in self.parts)
        return StabilityJob(
            endpoint=self.endpoint,
            family=self.family,
            label=self.label,
            fields=self.fields,
            parts=tuple(zip(names, map(_inspected, pictures), strict=True)),
        )


def _inspected(picture: LoadedImage) -> InspectedImage:
    return picture.inspected if isinstance(picture, EncodedImage) else picture


@attrs.frozen(kw_only=True)
class StabilityJob(Job[StabilityRecord]):
    """One call, ready to be sent."""

    endpoint: Endpoint
    family: TaskFamily[StabilityRecord]
    label: str
    fields: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, InspectedImage], ...]

    @property
    def lane(self) -> str:
        """The calls wait for room one by one: none knows how busy another one is."""
        return f"stability:{self.endpoint.name}"

    def request(self) -> HttpRequest:
        """Describe the submit; a file is named by its part, never as on the disk."""
        files = [
            FormFile(
                name=name,
                file_name=f"{name}.{picture.media_type.partition('/')[2]}",
                content=raw_picture(picture),
                content_type=picture.media_type,
            )
            for name, picture in self.parts
        ]
        content_type, body = multipart_body(self.fields, files)
        return HttpRequest(
            "POST",
            self.endpoint.path,
            body,
            content_type=content_type,
            accept=JSON,
            answer_bytes=ANSWER_BYTES,
        )

    def read(self, response: HttpResponse) -> Accepted:
        """
        Read the acceptance, or the picture itself, or raise the answer's error.

        What cannot be read under a 2xx may be paid: :exc:`SubmitUnknownError`.
        """
        if response.ok and response.early:
            raise TransportError(
                "an answer came before the end of the submit, so there is no job: "
                f"{response.excerpt}",
                request_id=response.request_id,
                retry_safe=True,
                stage="upload",
            )
        if not response.ok:
            raise refusal_of(response, submit=True)
        if self.endpoint.result is not None:
            return Accepted(_task_id(response), _ACCEPTED, "")
        # The id of the request stands for that of a task, which there is not.
        task_id = str(response.sent_id)
        try:
            record = read_result(response, task_id, "image")
        except ProtocolError as fault:
            raise _lost(response, fault) from fault
        return Accepted(task_id, _ACCEPTED, "", record=record)


def _task_id(response: HttpResponse) -> str:
    body = response.document
    if not isinstance(body, Mapping):
        raise _lost(
            response,
            ProtocolError(f"the answer to the submit is no JSON: {response.excerpt}"),
        )
    if task_id := identifier(body.get("id")):
        return task_id
    raise ProtocolError(
        "the job was accepted without an id: it is paid, and cannot be found: "
        f"{response.excerpt}",
        head=response.head,
        status=response.status,
        request_id=response.request_id,
        maybe_charged=True,
    )


def _lost(response: HttpResponse, fault: EzlinkError) -> SubmitUnknownError:
    return SubmitUnknownError(
        f"{fault}; the job may be paid", request_id=response.request_id
    )
