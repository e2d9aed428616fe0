"""
Which models are served, what a call costs, and how the relay counts tokens.

Pure arithmetic, in units: 500,000 to the dollar. Ratios are those of ye4293/one-api
``common/model-ratio.go`` and, where the running server had others, as seen there. Its
operator may have changed each of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from attrs import frozen

#: Units for one token that is sent.
_RATIOS = {
    "gpt-3.5-turbo": 0.25,
    "gpt-3.5-turbo-instruct": 0.75,
    "gpt-4": 15,
    "gpt-4o": 2.5,
    "text-embedding-3-large": 0.065,
    "text-embedding-3-small": 0.01,
    "text-embedding-ada-002": 0.05,
    "text-moderation-latest": 0.1,
    "text-moderation-stable": 0.1,
    "gpt-image-1": 2.5,
}
_OTHER_RATIO = 30  # of a model without a ratio
#: How many times the price of a token sent one received costs, by prefix.
_OUTPUT = (
    ("gpt-3.5-turbo-instruct", 4 / 3),
    ("gpt-image-", 8),
    ("gpt-3.5", 3),
    ("gpt-4o", 3),
    ("gpt-4-turbo", 3),
    ("gpt-4", 2),
    ("claude-3", 5),
    ("claude-", 3),
    ("gemini-", 3),
    ("mistral-", 3),
)
#: Beginnings of the names that an upstream of the emulator serves.
_SERVED = (
    *("gpt-", "chatgpt-", "o1", "o3", "o4", "babbage-", "davinci-"),
    *("claude-", "gemini-", "deepseek-", "qwen", "grok-", "glm-", "mistral-"),
    *("moonshot-", "command-", "text-embedding-", "text-moderation-"),
    *("omni-moderation-", "dall-e-", "whisper-", "tts-"),
)

_DEPOSIT = 500  # tokens beside those of the call
_TRUSTED = 100  # deposits that an account has when none is booked
_PICTURES = {"dall-e-2": 10_000, "dall-e-3": 20_000}
_OTHER_PICTURE = 50_000
_SIZES = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1024x1792", "1792x1024"),
}
_SPEECH = {"tts-1": 19.5, "tts-1-hd": 39.0}  # units for one token of the text
_TRANSCRIPTION = 500
#: What a refusal of the upstream for its guidelines costs.
GUIDELINES_FEE = 25_000


@frozen
class Usage:
    """Tokens sent and received, as the upstream counts or the relay."""

    sent: int
    received: int = 0


def is_served(model: str) -> bool:
    """Return whether an upstream serves *model*."""
    return model.startswith(_SERVED)


def _ratio(model: str) -> float:
    return _RATIOS.get(model, _OTHER_RATIO)


def units(model: str, usage: Usage) -> int:
    """Return the price of a call by its tokens."""
    found = (ratio for begin, ratio in _OUTPUT if model.startswith(begin))
    total = usage.sent + usage.received * next(found, 1)
    # Rounded first: floats leave 850.0000000000001 where Go has 850.
    return math.ceil(round(total * _ratio(model), 6))


def count(text: str) -> int:
    """Return the tokens of *text*: one for each four characters that are begun."""
    return -(-len(text) // 4)


def count_messages(messages: Iterable[object]) -> int:
    """Return the tokens of a chat: three for each message, and three for the answer."""
    total = 3
    for message in messages:
        if isinstance(message, Mapping):
            role = message.get("role")
            total += 3 + count(role if isinstance(role, str) else "")
            total += count(text_of(message.get("content")))
    return total


def text_of(content: object) -> str:
    """Return the text of a message: its content, or the texts among its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "".join(text for text in texts if isinstance(text, str))


def deposit(model: str, sent: int, limit: int) -> int:
    """Return what the balance must cover before a call that sends so many tokens."""
    return int((_DEPOSIT + sent + limit) * _ratio(model))


def is_trusted(balance: int, required: int) -> bool:
    """Return whether the account is so rich that no deposit is booked."""
    return balance > _TRUSTED * required


# Pictures and sounds


def refused_size(model: str, size: str) -> str:
    """Return the relay's words for a size that it knows no price of, or nothing."""
    known = _SIZES.get(model)
    if known is None or not size or size in known:
        return ""
    name = model.upper().replace("DALL-E-", "DALL-E ")
    return f"size not supported for {name}: {size}"


def picture_price(model: str, size: str, quality: str, number: int) -> int:
    """Return the price of pictures that are not paid by their tokens."""
    price = _PICTURES.get(model, _OTHER_PICTURE)
    if model == "dall-e-3":
        wide, fine = size in {"1024x1792", "1792x1024"}, quality == "hd"
        price *= 1 + wide + fine
    return price * max(1, number)


def speech_price(model: str, text: str) -> int:
    """Return the price of a text that is read out."""
    return int(count(text) * _SPEECH.get(model, _OTHER_RATIO))


def transcription_price(text: str) -> int:
    """Return the price of a transcription whose usage is not known."""
    return _TRANSCRIPTION + count(text)
