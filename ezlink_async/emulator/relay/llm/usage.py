"""
What an answer of the upstream says it used, or what the relay counts in its place.

Streams are charged by the usage that one of their chunks names, and without one by
their texts; the arguments of tools are not counted. After ye4293/one-api
``relay/channel/openai/main.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.llm import prices, sounds
from ezlink_async.emulator.relay.llm.answers import Answer, refused

_FORMATS = {"json", "text", "srt", "verbose_json", "vtt"}


def used(value: Mapping[str, object], sent: int) -> prices.Usage:
    """Return the usage that the answer *value* names, else the relay's own count."""
    usage = _numbers(value.get("usage"))
    if usage:
        return prices.Usage(
            usage.get("prompt_tokens", usage.get("input_tokens", 0)),
            usage.get("completion_tokens", usage.get("output_tokens", 0)),
        )
    return prices.Usage(sent, prices.count(_said(value)))


def used_by_stream(events: bytes, sent: int) -> prices.Usage:
    """Return the same for the lines of a stream."""
    said = ""
    for line in events.split(b"\n"):
        value = read_object(line.removeprefix(b"data: "))
        if _numbers(value.get("usage")):
            return used(value, sent)
        said += _said(value)
    return prices.Usage(sent, prices.count(said))


def used_by_pictures(answer: Answer) -> prices.Usage:
    """Return the usage that an answer with pictures names, or none at all."""
    if answer.is_stream:
        return used_by_stream(answer.content, 0)
    return used(read_object(answer.content), 0)


def transcription_units(answer: Answer, model: str, form: str) -> int:
    """
    Return the price of a transcription in the format *form*.

    By its tokens, or nothing where it is measured in seconds. Without a usage it is
    read as audio.go does, which knows five formats and refuses others after the work.
    """
    usage = read_object(answer.content).get("usage")
    if isinstance(usage, dict):
        by_time = usage.get("type") == "duration"
        return 0 if by_time else prices.units(model, used({"usage": usage}, 0))
    if form not in _FORMATS:
        raise refused(500, "get_text_from_body_err", "unexpected_response_format")
    try:
        return prices.transcription_price(sounds.text_in(answer, form))
    except ValueError as error:
        raise refused(500, "get_text_from_body_err", str(error)) from None


def read_object(text: bytes) -> Mapping[str, object]:
    """Return the JSON object in *text*, an empty one for anything else."""
    try:
        value = go_json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _numbers(usage: object) -> dict[str, int]:
    if not isinstance(usage, dict):
        return {}
    return {name: value for name, value in usage.items() if type(value) is int}


def _said(value: Mapping[str, object]) -> str:
    """Return the texts in all choices of an answer or of a chunk."""
    choices = value.get("choices")
    return "".join(map(_text_of, choices if isinstance(choices, list) else []))


def _text_of(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    inner = choice.get("message") or choice.get("delta")
    found = inner.get("content") if isinstance(inner, dict) else choice.get("text")
    return found if isinstance(found, str) else ""
