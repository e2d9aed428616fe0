"""
Speech as a tone that carries its text, and transcriptions that read it back.

The tone is a WAV file whose length follows from the text and whose pitch from the
voice. The text stands in the file's comment (RIFF ``LIST`` of type ``INFO``), so the
transcription of such a file is the text. Of another sound the transcription says what
the file is.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.llm import prices
from ezlink_async.emulator.relay.llm.answers import EVENTS, Answer
from ezlink_async.emulator.relay.llm.calls import Call

_RATE = 8000  # samples a second
_PER_CHARACTER = 400  # samples
_MOST_SAMPLES = 10 * _RATE
_LOUDNESS = 8000
_MARK = b"ezlink stand-in: "
_TEXT = "text/plain; charset=utf-8"


def speech(call: Call) -> Answer:
    """Return a tone in place of the text."""
    content = _wav(call.text("input"), call.text("voice"))
    return Answer(content, "audio/wav")


def _wav(text: str, voice: str) -> bytes:
    comment = _MARK + text.encode("utf-8", "replace") + b"\0"
    info = b"INFO" + _chunk(b"ICMT", comment)
    size = min(max(1, len(text)) * _PER_CHARACTER, _MOST_SAMPLES)
    form = struct.pack("<HHIIHH", 1, 1, _RATE, 2 * _RATE, 2, 16)
    sound = _tone(200 + hashlib.sha256(voice.encode()).digest()[0], size)
    parts = _chunk(b"fmt ", form) + _chunk(b"LIST", info) + _chunk(b"data", sound)
    return _chunk(b"RIFF", b"WAVE" + parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _tone(pitch: int, size: int) -> bytes:
    """Return *size* samples of a tone; one second of it repeats."""
    turn = 2 * math.pi * pitch / _RATE
    samples = [round(_LOUDNESS * math.sin(turn * each)) for each in range(_RATE)]
    second = struct.pack(f"<{_RATE}h", *samples)
    return (second * -(-size // _RATE))[: 2 * size]


def transcription(call: Call) -> Answer:
    """Return the text of a sound in the form that the call asks for."""
    text = _heard(call)
    if call.is_set("stream"):
        return _events(text)
    form = call.text("response_format") or "json"
    if form in {"text", "srt", "vtt"}:
        return Answer(_subtitles(form, text).encode(), _TEXT)
    body: dict[str, object] = {"text": text}
    if form == "verbose_json":
        seconds = _seconds(call)
        body = {"task": "transcribe", "language": "english", "duration": seconds}
        segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
        body |= {"text": text, "segments": [segment]}
    elif not call.model.startswith("whisper-"):
        body["usage"] = _usage(text)
    return Answer(go_json.dumps(body))


def text_in(answer: Answer, form: str) -> str:
    """Return the text of an answer, by which the relay charges; as in audio.go."""
    content = answer.content.decode("utf-8", "replace")
    if form in {"srt", "vtt"}:
        lines = content.splitlines()
        return "".join(
            line
            for line, before in zip(lines[1:], lines, strict=False)
            if "-->" in before
        )
    if form == "text":
        return content.removesuffix("\n")
    value = answer.document
    text = value.get("text") if isinstance(value, Mapping) else ""
    return text if isinstance(text, str) else ""


def _heard(call: Call) -> str:
    for file in call.files:
        _, found, rest = file.content.partition(_MARK)
        if found:
            return rest.partition(b"\0")[0].decode("utf-8", "replace")
        return f"a sound of {file.size} bytes named {file.name}"
    return ""


def _seconds(call: Call) -> float:
    return sum(file.size for file in call.files) / (2 * _RATE)


def _subtitles(form: str, text: str) -> str:
    if form == "text":
        return f"{text}\n"
    if form == "vtt":
        return f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n\n"
    return f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n\n"


def _usage(text: str) -> dict[str, object]:
    received = prices.count(text)
    return {
        "type": "tokens",
        "input_tokens": 100,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 100},
        "output_tokens": received,
        "total_tokens": 100 + received,
    }


def _events(text: str) -> Answer:
    def lines() -> Iterator[bytes]:
        for number, word in enumerate(text.split(" ")):
            delta = f" {word}" if number else word
            yield _event({"type": "transcript.text.delta", "delta": delta})
        done = {"type": "transcript.text.done", "text": text, "usage": _usage(text)}
        yield _event(done)
        yield b"data: [DONE]\n\n"

    return Answer(b"".join(lines()), EVENTS)


def _event(value: Mapping[str, object]) -> bytes:
    return b"data: " + go_json.dumps(value) + b"\n\n"
