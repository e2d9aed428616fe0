"""
What a model of the emulator's own answers: it has none, and repeats.

A chat repeats its last message word by word, a completion its prompt. An embedding is
a unit vector made of the text's hash, so equal texts have equal vectors and others
nearly orthogonal ones. A moderation flags nothing. The same call always gives the same
answer, but for the second in which it was made.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Mapping

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.relay.llm import prices
from ezlink_async.emulator.relay.llm.answers import EVENTS, Answer
from ezlink_async.emulator.relay.llm.calls import Call

_DIMENSIONS = {"text-embedding-3-large": 3072}
_OTHER_DIMENSIONS = 1536
_MOST_DIMENSIONS = 8192
_MOST_CHOICES = 128

_CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening"),
    *("illicit", "illicit/violent", "self-harm", "self-harm/instructions"),
    *("self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
)

Value = Mapping[str, object]


def chat(call: Call, seconds: int) -> Answer:
    """Return the last message of a chat as the model's, in one piece or in events."""
    messages = call.fields.get("messages")
    listed = messages if isinstance(messages, list) else []
    last = listed[-1] if listed and isinstance(listed[-1], Mapping) else {}
    text = prices.text_of(last.get("content"))
    usage = prices.Usage(prices.count_messages(listed))
    if call.is_set("stream"):
        return _events(_chat_chunks(call, seconds, text, usage))
    said, reason = _limited(call, text)
    message = {"role": "assistant", "content": said}
    choice = {"message": message, "logprobs": None, "finish_reason": reason}
    body = _head(call, "chatcmpl", "chat.completion", seconds)
    return _json({**body, **_choices(call, choice), "usage": _usage(usage, said)})


def _chat_chunks(
    call: Call, seconds: int, text: str, usage: prices.Usage
) -> Iterator[Value]:
    head = _head(call, "chatcmpl", "chat.completion.chunk", seconds)
    said, reason = _limited(call, text)
    deltas: list[dict[str, str]] = [{"role": "assistant"}]
    deltas += [{"content": word} for word in _words(said)]
    for delta in deltas:
        yield {**head, **_choices(call, {"delta": delta, "finish_reason": None})}
    yield {**head, **_choices(call, {"delta": {}, "finish_reason": reason})}
    if _wants_usage(call):
        yield {**head, "choices": [], "usage": _usage(usage, said)}


def completion(call: Call, seconds: int) -> Answer:
    """Return each prompt as its own completion, in one piece or in events."""
    prompts = call.texts("prompt")
    sent = sum(map(prices.count, prompts))
    head = _head(call, "cmpl", "text_completion", seconds)
    if call.is_set("stream"):
        return _events(_completion_chunks(call, head, prompts))
    said = [_limited(call, prompt) for prompt in prompts]
    choices = [
        {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
        for index, (text, reason) in enumerate(said)
    ]
    usage = _usage(prices.Usage(sent), "".join(text for text, _ in said))
    return _json({**head, "choices": choices, "usage": usage})


def _completion_chunks(call: Call, head: Value, prompts: list[str]) -> Iterator[Value]:
    for index, prompt in enumerate(prompts):
        said, reason = _limited(call, prompt)
        for word in _words(said):
            choice = {"text": word, "index": index, "finish_reason": None}
            yield {**head, "choices": [choice]}
        choice = {"text": "", "index": index, "finish_reason": reason}
        yield {**head, "choices": [choice]}


def embeddings(call: Call, _seconds: int) -> Answer:
    """Return a vector of length 1 for each text of the input."""
    texts = call.texts("input")
    default = _DIMENSIONS.get(call.model, _OTHER_DIMENSIONS)
    size = min(call.number("dimensions") or default, _MOST_DIMENSIONS)
    packed = call.text("encoding_format") == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _vector(text, size, packed),
        }
        for index, text in enumerate(texts)
    ]
    sent = sum(map(prices.count, texts))
    usage = {"prompt_tokens": sent, "total_tokens": sent}
    return _json({"object": "list", "data": data, "model": call.model, "usage": usage})


def _vector(text: str, size: int, packed: bool) -> object:  # noqa: FBT001 - one caller
    noise = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * size)
    parts = [number - 32767.5 for number in struct.unpack(f"<{size}H", noise)]
    length = math.sqrt(math.fsum(part * part for part in parts))
    vector = [part / length for part in parts]
    if not packed:
        return vector
    return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()


def moderation(call: Call, _seconds: int) -> Answer:
    """Return one result that flags nothing for each text of the input."""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {each: ["text"] for each in _CATEGORIES},
    }
    number = len(call.texts("input"))
    body = {"id": f"modr-{_digest(call)}", "model": call.model}
    return _json({**body, "results": [result] * number})


def _head(call: Call, prefix: str, kind: str, seconds: int) -> dict[str, object]:
    return {
        "id": f"{prefix}-{_digest(call)}",
        "object": kind,
        "created": seconds,
        "model": call.model,
    }


def _digest(call: Call) -> str:
    return hashlib.sha256(go_json.dumps(call.fields)).hexdigest()[:24]


def _choices(call: Call, choice: Value) -> dict[str, object]:
    number = min(max(1, call.number("n")), _MOST_CHOICES)
    return {"choices": [{"index": index, **choice} for index in range(number)]}


def _limited(call: Call, text: str) -> tuple[str, str]:
    """Return as many words of *text* as the call allows, and why they end."""
    limit = call.number("max_completion_tokens") or call.number("max_tokens")
    words = _words(text)
    if limit <= 0 or len(words) <= limit:
        return text, "stop"
    return "".join(words[:limit]), "length"


def _words(text: str) -> list[str]:
    """Return *text* cut before each blank that a word follows."""
    words: list[str] = []
    for piece in text.split(" "):
        words.append(piece if not words else f" {piece}")
    return [word for word in words if word]


def _usage(usage: prices.Usage, said: str) -> dict[str, int]:
    received = prices.count(said)
    return {
        "prompt_tokens": usage.sent,
        "completion_tokens": received,
        "total_tokens": usage.sent + received,
    }


def _wants_usage(call: Call) -> bool:
    options = call.fields.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def _json(value: Value) -> Answer:
    return Answer(go_json.dumps(value))


def _events(chunks: Iterable[Value]) -> Answer:
    lines = [b"data: " + go_json.dumps(chunk) + b"\n\n" for chunk in chunks]
    return Answer(b"".join([*lines, b"data: [DONE]\n\n"]), EVENTS)
