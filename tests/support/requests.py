"""Requests as bytes."""

from __future__ import annotations

import base64

from ezlink_async._core.images import EncodedImage, InspectedImage
from ezlink_async._core.messages import HttpRequest


def render(request: HttpRequest) -> bytes:
    """Encode the body as it is sent: bytes as they are, pictures as base64 text."""
    body = b""
    for part in request.body:
        if isinstance(part, InspectedImage):
            body += base64.b64encode(part.image.content or b"")
        elif isinstance(part, EncodedImage):
            body += part.text
        else:
            assert isinstance(part, bytes), part
            body += part
    return body
