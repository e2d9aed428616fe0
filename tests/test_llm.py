"""What ``checked`` and ``checked_stream`` raise, and what they let through."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing

import attrs
import pytest
from openai.types import CreateEmbeddingResponse, ImagesResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ezlink_async import errors, llm
from ezlink_async.llm import checked, checked_stream


def _chunk(*choices: tuple[int, str | None]) -> ChatCompletionChunk:
    return ChatCompletionChunk.construct(
        id="c",
        choices=[
            {"index": index, "delta": {}, "finish_reason": reason}
            for index, reason in choices
        ],
    )


@attrs.define
class _Stream:
    """Chunks as the package gives them; notes that it was closed."""

    chunks: list[object]
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[object]:
        for chunk in self.chunks:
            yield chunk

    async def close(self) -> None:
        self.closed = True


async def _read(*chunks: object) -> list[object]:
    return [chunk async for chunk in checked_stream(_Stream(list(chunks)))]


def test_module_names_its_two_functions() -> None:
    assert llm.__all__ == ["checked", "checked_stream"]


@pytest.mark.parametrize("answer", ["text", b"bytes", 17, None, object(), [None]])
def test_what_is_no_object_of_the_package_is_returned(answer: object) -> None:
    assert checked(answer) is answer


def test_answer_with_any_field_is_returned() -> None:
    answer = ChatCompletion.construct(id="c", error={"message": "of another kind"})
    assert checked(answer) is answer


def test_error_of_a_chat_is_free_and_carries_its_words_and_id() -> None:
    answer = ChatCompletion.construct(error={"message": "soft \n failure", "code": 7})
    answer._request_id = "r-1"
    with pytest.raises(errors.ServerError, match="success status: soft failure") as got:
        checked(answer)
    error = got.value
    assert (error.status, error.description) == (200, "soft failure")
    assert (error.request_id, error.maybe_charged) == ("r-1", False)
    assert not error.retry_safe


@pytest.mark.parametrize(
    ("answer", "paid"),
    [
        (ImagesResponse.construct(error={"message": "x"}), True),
        (CreateEmbeddingResponse.construct(error={"message": "x"}), True),
        (Model.construct(error={"message": "x"}), False),
    ],
)
def test_error_in_place_of_a_picture_may_be_paid(answer: object, *, paid: bool) -> None:
    with pytest.raises(errors.ServerError) as got:
        checked(answer)
    assert got.value.maybe_charged is paid


@pytest.mark.parametrize("error", [None, {}, {"message": 5}, "words", 17])
def test_error_without_words_is_still_one(error: object) -> None:
    with pytest.raises(errors.ServerError, match="an empty object"):
        checked(ChatCompletion.construct(error=error))


def test_words_that_may_be_secret_are_left_out_and_long_ones_cut() -> None:
    words = f"refused Bearer sk-aVerySecretKeyOfTheUpstream {'x' * 5000}"
    with pytest.raises(errors.ServerError) as got:
        checked(ChatCompletion.construct(error={"message": words}))
    assert "SecretKey" not in str(got.value) + got.value.description
    assert len(got.value.description) == 300


@attrs.frozen
class _Sound:
    content: bytes


def test_sound_that_broke_off_is_an_error_that_is_paid() -> None:
    note = b'{"error":{"code":"copy_response_body_failed","message":"unexpected EOF"}}'
    with pytest.raises(errors.ProtocolError, match="was charged") as got:
        checked(_Sound(b"ID3" * 1000 + note))
    assert got.value.maybe_charged
    whole = _Sound(note + b"ID3" * 1000)  # the words are in the middle of a sound
    assert checked(whole) is whole


@pytest.mark.parametrize("check", [checked, checked_stream])
def test_call_that_was_not_awaited_is_named(check: object) -> None:
    async def call() -> None: ...

    assert callable(check)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.ConfigurationError, match="await the call first"):
            check(call())
        gc.collect()


async def test_stream_is_complete_when_each_choice_has_finished() -> None:
    chunks = [_chunk((0, None), (1, None)), _chunk((1, "stop")), _chunk((0, "length"))]
    usage = _chunk()
    assert await _read(*chunks, usage) == [*chunks, usage]


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [_chunk()],
        [_chunk((0, None))],
        [_chunk((0, "stop")), _chunk((1, None))],
        [ChatCompletionChunk.construct(type="ping")],
        [object()],
    ],
)
async def test_stream_without_its_end_is_an_error_that_may_be_paid(
    chunks: list[object],
) -> None:
    with pytest.raises(errors.ProtocolError, match="ended before") as got:
        await _read(*chunks)
    assert got.value.maybe_charged
    assert got.value.status == 200


async def test_pings_are_left_out() -> None:
    last = _chunk((0, "stop"))
    assert await _read(ChatCompletionChunk.construct(type="ping"), last) == [last]


@attrs.frozen
class _Event:
    type: str


@pytest.mark.parametrize(
    "last",
    [
        *("response.completed", "response.failed", "response.incomplete"),
        *("image_generation.completed", "image_edit.completed"),
        *("transcript.text.done", "speech.audio.done"),
    ],
)
async def test_stream_of_events_is_complete_with_its_last_one(last: str) -> None:
    events = [_Event("response.output_text.done"), _Event(last)]
    assert await _read(*events) == events
    with pytest.raises(errors.ProtocolError):
        await _read(events[0])


async def test_stream_is_closed_at_its_end_and_when_it_is_left() -> None:
    stream = _Stream([_chunk((0, None)), _chunk((0, "stop"))])
    async with aclosing(checked_stream(stream)) as chunks:
        async for _ in chunks:
            break
    assert stream.closed
    whole = _Stream([_chunk((0, "stop"))])
    async for _ in checked_stream(whole):
        assert not whole.closed
    assert whole.closed


async def test_stream_that_cannot_be_closed_is_read() -> None:
    async def chunks() -> AsyncIterator[object]:
        yield _chunk((0, "stop"))

    assert len([chunk async for chunk in checked_stream(chunks())]) == 1
