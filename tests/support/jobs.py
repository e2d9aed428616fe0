"""Jobs of the tests: their pictures are inspected as the client does it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ezlink_async._core import images
from ezlink_async._core.images import Image, InspectedImage
from ezlink_async.services.base import AnyRecord, Job, JobRequest, R
from tests.support.requests import render


def inspected(content: bytes) -> InspectedImage:
    """Return a picture with its media type and its length."""
    image = Image.from_bytes(content)
    media_type = images.check_acceptable(content, len(content))
    return InspectedImage(image, media_type, len(content))


def job_of(request: JobRequest[R]) -> Job[R]:
    """Return the job of *request*, whose pictures are given as bytes."""
    given = (Image.of(picture).content or b"" for picture in request.pictures())
    return request.job(tuple(map(inspected, given)))


def sent_by(request: JobRequest[AnyRecord]) -> tuple[str, Mapping[str, object]]:
    """Return the path and the body of the submit."""
    described = job_of(request).request()
    body = render(described)
    assert described.content_length == len(body)
    return described.path, json.loads(body)
