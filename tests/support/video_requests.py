"""Requests of videos with fields that a type checker would refuse."""

from __future__ import annotations

from ezlink_async.services.video.requests import VideoRequest


def ask(kind: type[VideoRequest], *given: object, **fields: object) -> VideoRequest:
    """Make a request of this *kind*, with fields of any type."""
    return kind(*given, **fields)  # type: ignore[arg-type]
