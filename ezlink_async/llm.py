"""
Answers of language models and their like, checked for what the server hides.

The official package, which ``client.openai()`` returns, raises an error for each
status that says one. The server reports some errors with status 200, and ends a
stream that its upstream broke off like a complete one (ye4293/one-api
``relay/channel/openai/main.go``); the package takes both for success.
:func:`checked` and :func:`checked_stream` do not.

The module needs no package: it looks at the attributes of what it is given.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from ezlink_async._core.messages import collapse_blanks
from ezlink_async.errors import ConfigurationError, ProtocolError, ServerError

__all__ = ["checked", "checked_stream"]

_T = TypeVar("_T")

_FREE = ("choices", "owned_by")
"""Fields of answers that cost nothing when they are an error: chats, models."""

_BROKEN_SOUND = b'{"error":{"code":"copy_response_body_failed"'
"""What the server appends to a sound that broke off."""

_TAIL = 2_000  # bytes at the end of a sound in which the server's note is looked for

_LAST_EVENTS = {
    "image_edit.completed",
    "image_generation.completed",
    "response.completed",
    "response.failed",
    "response.incomplete",
    "speech.audio.done",
    "transcript.text.done",
}
"""The types of the events that end a stream of events."""


@runtime_checkable
class _Closing(Protocol):
    async def close(self) -> None: ...


def checked(answer: _T) -> _T:
    """
    Return *answer*, an object of the official package, if it is an answer at all.

    Raises :exc:`ServerError` with the server's words for an error that came with a
    success status: every field of the answer is ``None`` (a model that does not exist
    is one, with an ``id`` of ``None``). An error in place of a picture is charged like
    the picture, so ``maybe_charged`` is true there; in place of a chat it is free.

    Raises :exc:`ProtocolError` for a sound that broke off and was charged; the server
    appends an error to its bytes. Text, and everything else, is returned as it is.
    """
    _check_awaited(answer)
    sound = getattr(answer, "content", None)
    if isinstance(sound, bytes) and _BROKEN_SOUND in sound[-_TAIL:]:
        raise ProtocolError(
            "the sound broke off at the server's upstream, and was charged",
            status=200,
            request_id=_request_id(answer),
            maybe_charged=True,
        )
    fields = _fields_of(answer)
    if fields and all(value is None for value in fields.values()):
        _raise_error(answer, fields)
    return answer


def checked_stream(stream: AsyncIterable[_T]) -> AsyncGenerator[_T]:
    """
    Yield the chunks of *stream*, and raise if it ends before its end.

    *stream* is what a call of the official package with ``stream=True`` returns: chunks
    of a chat or a completion, or events of a response, a picture, a transcription.
    The server's own pings are left out. A chunk without choices that carries the usage
    is yielded.

    Raises :exc:`ProtocolError` when the stream ends before every choice has its
    ``finish_reason``, or before the event that completes it. What came until then
    is charged, so ``maybe_charged`` is true. An error inside the stream raises the
    package's own ``openai.APIError``.

    Leaving early closes the stream once the generator is closed: put
    ``contextlib.aclosing`` around it to have that at once. The server works on, and
    charges the whole answer.
    """
    _check_awaited(stream)
    return _until_finished(stream)


async def _until_finished(stream: AsyncIterable[_T]) -> AsyncGenerator[_T]:
    ending = _Ending()
    try:
        async for chunk in stream:
            if _is_ping(chunk):
                continue
            ending.see(chunk)
            yield chunk
    finally:
        if isinstance(stream, _Closing):
            await stream.close()
    if not ending.is_complete:
        raise ProtocolError(
            "the stream ended before the answer did: the server's upstream broke it "
            "off, or answered with something else; what came may be charged",
            status=200,
            request_id=_request_id(stream),
            maybe_charged=True,
        )


class _Ending:
    """Notes which choices of a stream have begun, and which have finished."""

    def __init__(self) -> None:
        self._open: set[object] = set()
        self._finished = False

    def see(self, chunk: object) -> None:
        """Take note of one chunk or event."""
        if getattr(chunk, "type", None) in _LAST_EVENTS:
            self._finished = True
        for index, reason in _choices_of(chunk):
            if reason is None:
                self._open.add(index)
            else:
                self._open.discard(index)
                self._finished = True

    @property
    def is_complete(self) -> bool:
        """Whether something has finished, and nothing is left open."""
        return self._finished and not self._open


def _choices_of(chunk: object) -> Iterator[tuple[object, object]]:
    """Yield index and finish reason of each choice in *chunk*."""
    choices = getattr(chunk, "choices", None)
    for choice in choices if isinstance(choices, Sequence) else ():
        yield getattr(choice, "index", None), getattr(choice, "finish_reason", None)


def _is_ping(chunk: object) -> bool:
    """Return whether *chunk* is the server's ``{"type": "ping"}``."""
    return getattr(chunk, "type", None) == "ping"


def _check_awaited(value: object) -> None:
    if inspect.iscoroutine(value):
        value.close()  # or Python warns that it was never awaited
        raise ConfigurationError("await the call first: checked(await ...)")


def _fields_of(answer: object) -> Mapping[str, object]:
    """Return the declared fields of an object of the package; of others none."""
    names = getattr(type(answer), "model_fields", {})
    known = names if isinstance(names, Mapping) else {}
    return {name: getattr(answer, name, None) for name in known if name != "error"}


def _raise_error(answer: object, fields: Mapping[str, object]) -> None:
    error = getattr(answer, "error", None)
    given = error if isinstance(error, Mapping) else getattr(error, "__dict__", {})
    words = collapse_blanks(given.get("message"))
    shown = words or "the server answered with an empty object"
    raise ServerError(
        f"the server reports an error with a success status: {shown:.300}",
        status=200,
        description=words[:300],
        request_id=_request_id(answer),
        maybe_charged=not any(name in fields for name in _FREE),
    )


def _request_id(answer: object) -> str | None:
    """Return the id of the request that an object of the package came with."""
    number = getattr(answer, "_request_id", None)
    if number is None:  # a stream, or the bytes of a sound
        headers: object = getattr(getattr(answer, "response", None), "headers", None)
        number = headers.get("x-request-id") if isinstance(headers, Mapping) else None
    return number if isinstance(number, str) else None
