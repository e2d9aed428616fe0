"""The official package through ``ez.openai()``, beside the emulator on a socket."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import wave
from contextlib import aclosing

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ezlink_async import AsyncEzlink, errors
from ezlink_async.emulator import EmulatorSettings, faults
from ezlink_async.llm import checked, checked_stream
from tests.support.client_harness import EmulatedClient, emulated_client, until
from tests.support.samples import SAMPLES

# Newer versions of the package call translations and variations deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")

_TEXT = "Say hello to the whole wide world"
_MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": _TEXT}]},
]
_FILE = SAMPLES / "samples-families.jsonl"


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG")
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def _charged(both: EmulatedClient) -> int:
    return both.server.control.charged


async def test_chat_is_answered_and_streamed() -> None:
    """The stand-in repeats the last message, and the usage is what is charged."""
    async with emulated_client() as both:
        chats = both.ez.openai().chat.completions
        answer = checked(await chats.create(model="gpt-4o", messages=_MESSAGES))
        assert answer.choices[0].message.content == _TEXT
        assert answer.choices[0].finish_reason == "stop"
        used = answer.usage
        assert used is not None
        price = (used.prompt_tokens + 3 * used.completion_tokens) * 2.5
        assert _charged(both) == math.ceil(price)
        stream = await chats.create(
            model="gpt-4o",
            messages=_MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in checked_stream(stream)]
        assert _charged(both) == 2 * math.ceil(price)
    words = [each.choices[0].delta.content for each in chunks if each.choices]
    assert words == [None, *_words(_TEXT), None]
    assert chunks[-1].usage == used


def _words(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


async def test_chat_ends_at_its_limit_and_gives_as_many_choices_as_asked() -> None:
    async with emulated_client() as both:
        answer = await both.ez.openai().chat.completions.create(
            model="gpt-4o", messages=_MESSAGES, max_completion_tokens=2, n=3
        )
    said = [(each.message.content, each.finish_reason) for each in answer.choices]
    assert said == [("Say hello", "length")] * 3


async def test_completions_repeat_their_prompts() -> None:
    async with emulated_client() as both:
        completions = both.ez.openai().completions
        answer = await completions.create(
            model="gpt-3.5-turbo-instruct", prompt=["one two", "three"]
        )
        assert [each.text for each in checked(answer).choices] == ["one two", "three"]
        stream = await completions.create(
            model="gpt-3.5-turbo-instruct", prompt="one two", stream=True
        )
        parts = [each.choices[0].text async for each in checked_stream(stream)]
    assert parts == ["one", " two", ""]


async def test_embeddings_are_unit_vectors_that_follow_from_the_text() -> None:
    async with emulated_client() as both:
        make = both.ez.openai().embeddings.create
        model = "text-embedding-3-small"
        answer = checked(await make(model=model, input=["a cat", "a dog", "a cat"]))
        short = await make(model=model, input="a cat", dimensions=8)
        plain = await make(
            model=model, input=[1, 2, 3], dimensions=8, encoding_format="float"
        )
    one, other, same = (each.embedding for each in answer.data)
    assert (len(one), one) == (1536, same)
    assert one != other
    assert abs(sum(a * b for a, b in zip(one, other, strict=True))) < 0.2
    for vector in (one, short.data[0].embedding, plain.data[0].embedding):
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-5)


async def test_moderation_flags_nothing() -> None:
    async with emulated_client() as both:
        answer = await both.ez.openai().moderations.create(
            model="omni-moderation-latest", input=["x", "y"]
        )
    assert [each.flagged for each in checked(answer).results] == [False, False]
    assert answer.results[0].category_scores.violence == 0


async def test_picture_is_made_and_edited() -> None:
    """Each has the size asked for; the same call gives the same picture."""
    async with emulated_client() as both:
        images = both.ez.openai().images
        made = checked(
            await images.generate(
                model="gpt-image-1", prompt="a cat", size="1024x1536", n=2
            )
        )
        again = await images.generate(
            model="gpt-image-1", prompt="a cat", size="1024x1536"
        )
        first, second = (_content(each.b64_json) for each in made.data or ())
        assert [_size(first), _size(second)] == [(1024, 1536)] * 2
        assert _content((again.data or [])[0].b64_json) == first != second
        linked = await images.generate(model="dall-e-2", prompt="x", size="256x256")
        url = (linked.data or [])[0].url
        assert url is not None
        picture = await both.ez.fetch_image(url)
        assert picture.content is not None
        assert _size(picture.content) == (256, 256)
        before = _charged(both)
        edited = await images.edit(
            model="gpt-image-1", image=("a.png", picture.content), prompt="a hat"
        )
        assert _size(_content((checked(edited).data or [])[0].b64_json)) == (256, 256)
        assert _charged(both) > before
        with pytest.raises(openai.BadRequestError, match="Model name is required"):
            await images.edit(image=("a.png", picture.content), prompt="a hat")
        with pytest.raises(openai.InternalServerError, match="not implemented"):
            await images.create_variation(
                model="dall-e-2", image=("a.png", picture.content)
            )


def _content(text: str | None) -> bytes:
    return base64.b64decode(text or "")


async def test_picture_is_streamed_to_its_last_event() -> None:
    async with emulated_client() as both:
        stream = await both.ez.openai().images.generate(
            model="gpt-image-1", prompt="a cat", stream=True
        )
        events = [event async for event in checked_stream(stream)]
    assert [event.type for event in events] == ["image_generation.completed"]
    assert _size(_content(events[0].b64_json)) == (1024, 1024)


async def test_speech_and_transcription_come_back() -> None:
    """Speech is a tone that carries its text, which its transcription gives back."""
    async with emulated_client() as both:
        audio = both.ez.openai().audio
        sound = checked(
            await audio.speech.create(model="tts-1", input=_TEXT, voice="alloy")
        ).content
        with wave.open(io.BytesIO(sound)) as file:
            assert file.getnframes() == 400 * len(_TEXT)
        given = ("a.wav", sound)
        heard = await audio.transcriptions.create(model="whisper-1", file=given)
        assert checked(heard).text == _TEXT
        english = await audio.translations.create(model="whisper-1", file=given)
        assert checked(english).text == _TEXT
        other = await audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("b.mp3", b"ID3")
        )
        assert other.text == "a sound of 3 bytes named b.mp3"
        stream = await audio.transcriptions.create(
            model="gpt-4o-transcribe", file=given, stream=True
        )
        events = [event async for event in checked_stream(stream)]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == _TEXT


async def test_subtitles_carry_the_text_too() -> None:
    async with emulated_client() as both:
        transcribe = both.ez.openai().audio.transcriptions.create
        file = ("b.mp3", b"ID3")
        text = await transcribe(model="whisper-1", file=file, response_format="text")
        srt = await transcribe(model="whisper-1", file=file, response_format="srt")
        vtt = await transcribe(model="whisper-1", file=file, response_format="vtt")
        full = await transcribe(
            model="whisper-1", file=file, response_format="verbose_json"
        )
        charges = {each.units for each in both.server.control.charges}
    says = "a sound of 3 bytes named b.mp3"
    assert str(text).strip() == full.text == says
    assert says in str(srt)
    assert str(vtt).startswith("WEBVTT")
    assert charges == {508}


async def test_models_are_listed_and_an_unknown_one_is_an_error() -> None:
    async with emulated_client() as both:
        models = both.ez.openai().models
        known = {model.id async for model in models.list()}
        assert checked(await models.retrieve("gpt-4o")).id == "gpt-4o"
        unknown = await models.retrieve("nope-1")
    assert {"gpt-4o", "dall-e-3", "tts-1"} <= known
    with pytest.raises(errors.ServerError, match="'nope-1' does not exist"):
        checked(unknown)


async def test_read_timeout_makes_one_attempt() -> None:
    """The package by itself would ask three times, and each would be paid."""
    async with emulated_client() as both:
        both.server.control.script("llm", faults.Stall(job=True))
        timeout = openai.Timeout(60, read=0.1)
        impatient = both.ez.openai().with_options(timeout=timeout)
        with pytest.raises(openai.APITimeoutError):
            await impatient.chat.completions.create(model="gpt-4o", messages=_MESSAGES)
        await until(both.server, "charges")
        assert len(both.server.control.charges) == 1
    assert both.paths.count("/v1/chat/completions") == 1


async def test_error_under_status_200_is_raised() -> None:
    async with emulated_client() as both:
        fault = faults.recorded("chat-upstream-200-error", _FILE)
        both.server.control.script("llm", fault)
        chats = both.ez.openai().chat.completions
        answer = await chats.create(model="gpt-4o", messages=_MESSAGES)
        with pytest.raises(errors.ServerError, match="soft failure"):
            checked(answer)


@pytest.mark.parametrize(
    "name",
    ["chat-stream-cut", "chat-stream-ping-400", "chat-stream-upstream-json"],
)
async def test_stream_that_broke_off_is_raised(name: str) -> None:
    async with emulated_client() as both:
        both.server.control.script("llm", faults.recorded(name, _FILE))
        stream = await both.ez.openai().chat.completions.create(
            model="gpt-4o", messages=_MESSAGES, stream=True
        )
        with pytest.raises(errors.ProtocolError, match="the stream ended before"):
            async for _ in checked_stream(stream):
                pass


async def test_stream_that_is_left_is_paid_in_full() -> None:
    async with emulated_client() as both:
        stream = await both.ez.openai().chat.completions.create(
            model="gpt-4o", messages=_MESSAGES, stream=True
        )
        async with aclosing(checked_stream(stream)) as chunks:
            async for _ in chunks:
                break
        assert len(both.server.control.charges) == 1


async def test_key_that_arrives_is_ours_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-foreign")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "foreign")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-foreign")
    async with emulated_client() as both:
        ai = both.ez.openai()
        for each in (ai, ai.with_options(timeout=60)):
            await each.embeddings.create(model="text-embedding-3-small", input="x")
        arrived = both.server.control.requests
        key = both.server.api_key
    sent = [{name.lower(): text for name, text in each.headers} for each in arrived]
    assert [each["authorization"] for each in sent] == [f"Bearer {key}"] * 2
    assert not any("foreign" in str(each) for each in sent)


async def test_account_that_is_too_poor_is_refused_and_not_charged() -> None:
    async with emulated_client(EmulatorSettings(balance=1000)) as both:
        ai = both.ez.openai()
        with pytest.raises(openai.PermissionDeniedError, match="quota is not enough"):
            await ai.chat.completions.create(model="gpt-4o", messages=_MESSAGES)
        with pytest.raises(openai.PermissionDeniedError, match="quota is not enough"):
            await ai.images.generate(model="dall-e-3", prompt="x")
        assert _charged(both) == 0


async def test_calls_at_the_same_time_share_the_client() -> None:
    async with emulated_client() as both:
        chats = both.ez.openai().chat.completions

        async def ask(number: int) -> str | None:
            answer = await chats.create(
                model="gpt-4o", messages=[{"role": "user", "content": str(number)}]
            )
            return answer.choices[0].message.content

        said = await asyncio.gather(*map(ask, range(40)))
        assert len(both.server.control.charges) == 40
    assert said == [str(number) for number in range(40)]


async def test_client_that_is_closed_early_closes_the_package() -> None:
    async with emulated_client() as both:
        ez: AsyncEzlink = both.ez
        ai = ez.openai()
        await ez.aclose()
        assert ai.is_closed()
