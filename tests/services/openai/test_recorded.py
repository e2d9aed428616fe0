"""
What a user of ``ez.openai()`` gets from each recorded exchange of these calls.

The recorded bytes come from a socket. Each outcome is written by hand beside the name
of its sample: what the answer says, the package's own error with its status, or what
``checked`` and ``checked_stream`` raise.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import attrs
import openai
import pytest
from openai import AsyncOpenAI

from ezlink_async import AsyncEzlink, errors
from ezlink_async.llm import checked, checked_stream
from tests.support.raw_servers import Connection, serving
from tests.support.samples import SAMPLES

GROUPS = {
    *("chat", "completions", "embeddings", "moderations", "images", "audio"),
    *("responses", "models", "fine", "relay"),
}

NOT_READ = {
    "images-timeout-default-retries": "no response was recorded, the caller had left",
    "models-list": "its body was not recorded",
}
"""Exchanges of these groups without an outcome, and the reason."""


@attrs.frozen
class Said:
    """An answer that passes the checks, and what it says."""

    what: object


@attrs.frozen
class Refused:
    """The package's own error: its class, and the status of the answer if any."""

    kind: type[openai.OpenAIError]
    status: int | None = None


@attrs.frozen
class Hidden:
    """An error under a success status: its words, and whether it may be paid."""

    says: str
    paid: bool = False


@attrs.frozen
class Broken:
    """A stream or a sound that broke off, what came before, and that it is paid."""

    before: str
    paid: bool = True


def _refused(kind: type[openai.OpenAIError]) -> Callable[[int], Refused]:
    return lambda status: Refused(kind, status)


_BAD = Refused(openai.BadRequestError, 400)
_KEY = Refused(openai.AuthenticationError, 401)
_FORBIDDEN = Refused(openai.PermissionDeniedError, 403)
_NOT_FOUND = Refused(openai.NotFoundError, 404)
_BUSY = Refused(openai.RateLimitError, 429)
_SERVER = _refused(openai.InternalServerError)
_HELLO = Said("Hello world")
_CUT_OFF = Refused(openai.APIConnectionError)
_STATUS = "上游服务错误 (状态码: {})"

OUTCOMES: dict[str, object] = {
    "chat-no-channel": _SERVER(503),
    "chat-accepted": _HELLO,
    "chat-tools": Said("weather"),
    "chat-max-completion-tokens": _HELLO,
    "chat-max-tokens": _HELLO,
    "chat-no-usage": _HELLO,
    "chat-key-short-trusted": _HELLO,
    "chat-own-request-id": _HELLO,
    "chat-parallel-poor": _HELLO,
    "chat-lost-answer-default-retries": _HELLO,
    "chat-timeout-default-retries": _CUT_OFF,
    "chat-rid-accepted": Said("Hi"),
    "chat-unknown-model": _SERVER(503),
    "chat-own-request-id-error": _SERVER(503),
    "chat-base-without-v1": _NOT_FOUND,
    "chat-no-model": _BAD,
    "chat-no-messages": _BAD,
    "chat-wrong-type": _BAD,
    "chat-unknown-key": _KEY,
    "chat-key-exhausted": _KEY,
    "chat-env": _KEY,
    "chat-poor": _FORBIDDEN,
    "chat-key-short": _FORBIDDEN,
    "chat-rid-guidelines": _FORBIDDEN,
    "chat-upstream-400": _BAD,
    "chat-rid-refused": _BAD,
    "chat-upstream-401": _KEY,
    "chat-upstream-403": _FORBIDDEN,
    "chat-upstream-404": _NOT_FOUND,
    "chat-upstream-408": Refused(openai.APIStatusError, 408),
    "chat-upstream-409": Refused(openai.ConflictError, 409),
    "chat-upstream-422": Refused(openai.UnprocessableEntityError, 422),
    "chat-upstream-429": _BUSY,
    "chat-upstream-500": _SERVER(500),
    "chat-upstream-502-html": _SERVER(502),
    "chat-upstream-200-error": Hidden("soft failure"),
    "chat-upstream-201": Hidden(_STATUS.format(201)),
    "chat-upstream-200-html": _SERVER(500),
    "chat-upstream-200-empty": _SERVER(500),
    "chat-upstream-reset": _SERVER(500),
    "chat-upstream-refused": _SERVER(500),
    "chat-refused-deposit-kept": _SERVER(500),
    "chat-refused-deposit-kept-sdk-default": _SERVER(500),
    "chat-stream": _HELLO,
    "chat-stream-usage": _HELLO,
    "chat-stream-lines": Said("Hi"),
    "chat-stream-tools": Said('{"city":"Oslo"}'),
    "chat-stream-ping": Said("w0 w1 "),
    "chat-stream-cut": Broken("Hello"),
    "chat-stream-long-line": Broken("short"),
    "chat-stream-error-event": Refused(openai.APIError),
    "chat-stream-upstream-400": _BAD,
    "chat-stream-upstream-json": Broken(""),
    "chat-stream-upstream-json-error": Broken(""),
    "chat-stream-upstream-json-charset": Broken(""),
    "chat-stream-ping-400": Broken(""),
    "relay-retry-helped-2": _HELLO,
    "relay-retry-500": _SERVER(500),
    "relay-retry-500-sdk-default": _SERVER(500),
    "relay-retry-401": _KEY,
    "relay-retry-image-html": _SERVER(500),
    "relay-timeout-chat": _SERVER(500),
    "relay-timeout-stream": Broken("w0 w1 w2 w3 "),
    "completions-accepted": Said(" world"),
    "embeddings-accepted": Said([0.5, 0.25, -1.0]),
    "embeddings-rid-accepted": Said([0.1, 0.2]),
    "moderations-accepted": Said("nothing flagged"),
    "moderations-default-model": Said("nothing flagged"),
    "images-generate": Said(1),
    "images-generate-default-model": Said(1),
    "images-gpt-image": Said(1),
    "images-rid-generate": Said(1),
    "images-edit": Said(1),
    "images-stream": Said("image_generation.completed"),
    "images-200-error": Hidden("soft failure", paid=True),
    "images-bad-size": _SERVER(500),
    "images-upstream-400": _BAD,
    "images-400-small": _BAD,
    "images-rid-refused": _BAD,
    "images-upstream-html": _SERVER(500),
    "images-cut": _SERVER(500),
    "images-cut-small": _SERVER(500),
    "images-gpt-image-poor": _FORBIDDEN,
    "images-edit-no-model": _BAD,
    "images-variation": _SERVER(501),
    "images-variation-no-model": _BAD,
    "audio-speech": Said(1027),
    "audio-speech-400": _BAD,
    "audio-speech-cut": Broken(""),
    "audio-speech-cut-sized": _CUT_OFF,
    "audio-transcription": Said("hello world"),
    "audio-transcription-usage": Said("hello world"),
    "audio-transcription-seconds": Said("hello world"),
    "audio-transcription-stream": Said("transcript.text.done"),
    "audio-transcription-400": _SERVER(500),
    "audio-transcription-diarized": _SERVER(500),
    "audio-translation": Said("hello world"),
    "responses-accepted": Said("Hello"),
    "responses-background": Said(""),
    "responses-stream": Said("response.completed"),
    "responses-stream-cut": Broken("response.output_text.delta"),
    "responses-upstream-400": _BAD,
    "responses-upstream-429": _BUSY,
    "responses-upstream-html": _SERVER(500),
    "responses-retrieve": _NOT_FOUND,
    "models-retrieve": Said("gpt-4o"),
    "models-retrieve-unknown": Hidden("The model 'nope-1' does not exist"),
    "models-delete": _BAD,
    "fine-tuning-create": _SERVER(501),
}


def _rows() -> Iterator[dict[str, object]]:
    for name in ("samples.jsonl", "samples-families.jsonl"):
        for line in (SAMPLES / name).read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["name"].split("-")[0] in GROUPS:
                yield row


ROWS = {str(row["name"]): row for row in _rows()}


def test_an_outcome_stands_beside_every_name() -> None:
    assert set(OUTCOMES) | set(NOT_READ) == set(ROWS)
    assert not set(OUTCOMES) & set(NOT_READ)


@attrs.frozen
class _Response:
    """A recorded response, as bytes to be sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool

    def wire(self) -> bytes:
        """Return the bytes; one that broke off announces a byte that never comes."""
        phrase = HTTPStatus(self.status).phrase
        own = {"content-length", "transfer-encoding", "connection"}
        kept = [(name, text) for name, text in self.headers if name.lower() not in own]
        length = len(self.body) + (not self.complete)
        kept += [("Content-Length", str(length)), ("Connection", "close")]
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{n}: {t}" for n, t in kept)]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def _response(name: str) -> _Response:
    recorded = json.loads(json.dumps(ROWS[name]["response"]))
    body = recorded["body"]
    content = base64.b64decode(body["base64"]) if "base64" in body else b""
    content = content or body.get("text", "").encode()
    headers = [(field, text) for field, text in recorded["headers"]]
    return _Response(recorded["status"], headers, content, recorded["complete"])


@asynccontextmanager
async def _replaying(name: str) -> AsyncIterator[AsyncOpenAI]:
    """Yield the package's client beside a server that answers with the recording."""
    content = _response(name).wire()

    async def answer(connection: Connection) -> None:
        if await connection.read_request():
            connection.send(content)

    async with (
        serving(answer) as server,
        AsyncEzlink(api_key="sk-recorded", base_url=server.url) as ez,
    ):
        yield ez.openai()
        assert len(server.requests) == 1


# The calls, by their path


_SOUND = ("a.wav", b"RIFF")
_PICTURE = ("a.png", b"\x89PNG")


async def _chat(ai: AsyncOpenAI) -> str:
    answer = checked(
        await ai.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "x"}]
        )
    )
    message = answer.choices[0].message
    if message.tool_calls and message.tool_calls[0].type == "function":
        return message.tool_calls[0].function.name
    return message.content or ""


async def _chat_stream(ai: AsyncOpenAI) -> str:
    stream = await ai.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "x"}], stream=True
    )
    said = ""
    try:
        async for chunk in checked_stream(stream):
            for choice in chunk.choices:
                said += choice.delta.content or ""
                for tool in choice.delta.tool_calls or ():
                    said += (tool.function and tool.function.arguments) or ""
    except errors.ProtocolError as error:
        error.add_note(said)
        raise
    return said


async def _completion(ai: AsyncOpenAI) -> str:
    answer = await ai.completions.create(model="gpt-3.5-turbo-instruct", prompt="x")
    return checked(answer).choices[0].text


async def _embedding(ai: AsyncOpenAI) -> list[float]:
    answer = await ai.embeddings.create(model="text-embedding-3-small", input="x")
    return checked(answer).data[0].embedding


async def _moderation(ai: AsyncOpenAI) -> str:
    results = checked(await ai.moderations.create(input="x")).results
    return "flagged" if any(each.flagged for each in results) else "nothing flagged"


async def _image(ai: AsyncOpenAI) -> int:
    answer = await ai.images.generate(model="dall-e-3", prompt="x")
    return len(checked(answer).data or ())


async def _edit(ai: AsyncOpenAI) -> int:
    answer = await ai.images.edit(model="gpt-image-1", image=_PICTURE, prompt="x")
    return len(checked(answer).data or ())


async def _variation(ai: AsyncOpenAI) -> int:
    answer = await ai.images.create_variation(model="dall-e-2", image=_PICTURE)
    return len(checked(answer).data or ())


async def _image_stream(ai: AsyncOpenAI) -> str:
    return await _last_type(
        await ai.images.generate(model="gpt-image-1", prompt="x", stream=True)
    )


async def _speech(ai: AsyncOpenAI) -> int:
    answer = await ai.audio.speech.create(model="tts-1", input="x", voice="alloy")
    return len(checked(answer).content)


async def _transcription(ai: AsyncOpenAI) -> str:
    answer = await ai.audio.transcriptions.create(model="whisper-1", file=_SOUND)
    return checked(answer).text


async def _transcription_stream(ai: AsyncOpenAI) -> str:
    return await _last_type(
        await ai.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=_SOUND, stream=True
        )
    )


async def _translation(ai: AsyncOpenAI) -> str:
    answer = await ai.audio.translations.create(model="whisper-1", file=_SOUND)
    return checked(answer).text


async def _respond(ai: AsyncOpenAI) -> str:
    return checked(await ai.responses.create(model="gpt-4o", input="x")).output_text


async def _response_stream(ai: AsyncOpenAI) -> str:
    return await _last_type(
        await ai.responses.create(model="gpt-4o", input="x", stream=True)
    )


async def _retrieve(ai: AsyncOpenAI) -> str:
    return checked(await ai.responses.retrieve("resp_1")).id


async def _model(ai: AsyncOpenAI) -> str:
    return checked(await ai.models.retrieve("gpt-4o")).id


async def _delete(ai: AsyncOpenAI) -> str:
    return checked(await ai.models.delete("gpt-4o")).id


async def _tune(ai: AsyncOpenAI) -> str:
    answer = await ai.fine_tuning.jobs.create(model="gpt-4o", training_file="f")
    return checked(answer).id


async def _last_type(stream: AsyncIterator[object]) -> str:
    """Return the type of the last event; it stands in the notes of an error too."""
    last = ""
    try:
        async for event in checked_stream(stream):
            last = str(getattr(event, "type", ""))
    except errors.ProtocolError as error:
        error.add_note(last)
        raise
    return last


_CALLS: dict[tuple[str, bool], Callable[[AsyncOpenAI], Awaitable[object]]] = {
    ("POST /v1/chat/completions", False): _chat,
    ("POST /v1/chat/completions", True): _chat_stream,
    ("POST /chat/completions", False): _chat,
    ("POST /v1/completions", False): _completion,
    ("POST /v1/embeddings", False): _embedding,
    ("POST /v1/moderations", False): _moderation,
    ("POST /v1/images/generations", False): _image,
    ("POST /v1/images/generations", True): _image_stream,
    ("POST /v1/images/edits", False): _edit,
    ("POST /v1/images/variations", False): _variation,
    ("POST /v1/audio/speech", False): _speech,
    ("POST /v1/audio/transcriptions", False): _transcription,
    ("POST /v1/audio/transcriptions", True): _transcription_stream,
    ("POST /v1/audio/translations", False): _translation,
    ("POST /v1/responses", False): _respond,
    ("POST /v1/responses", True): _response_stream,
    ("GET /v1/responses/resp_1", False): _retrieve,
    ("GET /v1/models/gpt-4o", False): _model,
    ("GET /v1/models/nope-1", False): _model,
    ("DELETE /v1/models/gpt-4o", False): _delete,
    ("POST /v1/fine_tuning/jobs", False): _tune,
}


def _call(name: str) -> Callable[[AsyncOpenAI], Awaitable[object]]:
    request = json.loads(json.dumps(ROWS[name]["request"]))
    body = request["body"]
    content = base64.b64decode(body["base64"]) if "base64" in body else b""
    content = content or body.get("text", "").encode()
    streams = b'"stream":true' in content or b'name="stream"' in content
    return _CALLS[f"{request['method']} {request['path']}", streams]


async def _outcome(name: str) -> object:
    async with _replaying(name) as ai:
        try:
            return Said(await _call(name)(ai))
        except openai.APIStatusError as error:
            return Refused(type(error), error.status_code)
        except openai.OpenAIError as error:
            return Refused(type(error))
        except errors.ServerError as error:
            return Hidden(error.description, error.maybe_charged)
        except errors.ProtocolError as error:
            notes: list[str] = getattr(error, "__notes__", [""])
            return Broken(notes[-1], error.maybe_charged)


# Newer versions of the package call translations and variations deprecated.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", OUTCOMES)
async def test_recorded_answer_becomes_the_outcome_beside_its_name(name: str) -> None:
    assert await _outcome(name) == OUTCOMES[name]


@pytest.mark.parametrize(
    "name", [n for n, each in OUTCOMES.items() if isinstance(each, Hidden | Broken)]
)
async def test_error_of_ours_has_the_request_id_of_the_answer(name: str) -> None:
    headers = {field.lower(): text for field, text in _response(name).headers}
    async with _replaying(name) as ai:
        with pytest.raises(errors.EzlinkError) as caught:
            await _call(name)(ai)
    assert caught.value.request_id == headers["x-request-id"]


def test_what_was_charged_is_never_called_surely_free() -> None:
    """An error from ``checked`` says that it may be paid wherever money was taken."""
    for name, outcome in OUTCOMES.items():
        facts = json.loads(json.dumps(ROWS[name]["facts"]))
        if isinstance(outcome, Hidden):
            assert outcome.paid or not facts["charged"], name
