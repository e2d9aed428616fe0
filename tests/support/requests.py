"""Requests as bytes."""

from __future__ import annotations

import base64

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import FileContent, HttpRequest, Part, raw_picture


def render(request: HttpRequest) -> bytes:
    """Encode the body as it is sent: pictures as base64 text, all else as it is."""
    return b"".join(map(_bytes_of, request.body))


def _bytes_of(part: Part) -> bytes:
    if isinstance(part, InspectedImage):
        part = raw_picture(part)
        content = part if isinstance(part, bytes) else _bytes_of(part)
        return base64.b64encode(content)
    if isinstance(part, EncodedImage):
        return part.text
    if isinstance(part, FileContent):
        return part.path.read_bytes()
    assert isinstance(part, bytes), "an iterator can be read only once"
    return part
