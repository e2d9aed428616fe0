"""The events of single requests: how each ended, and that one is sent again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

from ezlink_async._core.events import Emitter, Subject
from ezlink_async._io.addresses import without_secrets
from ezlink_async.errors import EzlinkError
from ezlink_async.models import RequestFinished, RequestRetried

Purpose = Literal["submit", "poll", "other"]

Note = Callable[[int, str | None], None]
"""Takes the status and the request id of an answer."""


@contextlib.contextmanager
def observed(
    events: Emitter,
    method: str,
    url: str,
    request_id: str | None = None,
    subject: Subject | None = None,
) -> Iterator[Note]:
    """Emit the event of the request in the block, which notes the answer if it came."""
    if not events.is_on:
        yield lambda _, __: None
        return
    clock = asyncio.get_running_loop().time
    began, error = clock(), None
    answer: tuple[int | None, str | None] = (None, request_id)

    def note(status: int, answered_id: str | None) -> None:
        nonlocal answer
        answer = status, answered_id or request_id

    try:
        yield note
    except BaseException as fault:
        error = type(fault).__name__
        raise
    finally:
        event = RequestFinished(
            **events.facts(subject),
            request_id=answer[1],
            method=method,
            url=without_secrets(url),
            status=answer[0],
            error=error,
            seconds=clock() - began,
        )
        events.emit(event)


def retried(
    events: Emitter,
    purpose: Purpose,
    fault: EzlinkError,
    wait: float,
    subject: Subject | None = None,
) -> None:
    """Emit the event of a request that met *fault* and is sent again after *wait*."""
    if events.is_on:
        event = RequestRetried(
            **events.facts(subject),
            request_id=fault.request_id,
            purpose=purpose,
            reason=str(fault),
            seconds=wait,
        )
        events.emit(event)
