"""
What a submit of a video asks for: its provider, what this one is sent, and the price.

Pure rules, after the ``HandleVideoRequest`` of each provider in ye4293/one-api
``relay/channel/{keling,doubao,minimax,vertexai,xai,ali,gemini}`` and
``common/video-pricing.go``, whose table of prices is empty unless an operator fills it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from attrs import frozen

from ezlink_async.emulator.relay.video.answers import (
    RefusedVideoError,
    below,
    number_in,
    text_in,
    wrong_type,
)
from ezlink_async.emulator.relay.video_rows import listed_price

Body = dict[str, object]

_PREFIXES = {
    "kling": "kling",
    "doubao": "doubao",
    "minimax": "minimax",
    "video-01": "minimax",
    "t2v-01": "minimax",
    "i2v-01": "minimax",
    "s2v-01": "minimax",
    "veo": "veo",
    "grok-imagine-video": "grok",
    "wan": "wan",
    "gemini-omni": "omni",
}
_DOLLAR = 500_000
#: The price of a Doubao video until it is done: 1.40 yuan.
DOUBAO_PREPAID = 98_000
_YUAN = 0.14  # dollars, the relay's figure when no exchange rate can be had
_YUAN_PER_MILLION = {
    "doubao-seedance-1-0-lite": 10,
    "doubao-seedance-1-0-pro": 15,
    "doubao-seaweed": 30,
}
_LARGEST_GROK = 15  # seconds
_DIGITS = re.compile("[0-9]{1,18}")
_BAR = 100_000
_BARS = {"veo": 3_000_000}
_MINIMAX_TEXTS = (
    *("model", "prompt", "first_frame_image", "image", "resolution"),
    *("callback_url", "last_frame_image"),
)


@frozen(kw_only=True)
class VideoCall:
    """
    One submit: *body* as the provider is sent it, *path* where.

    *duration* is the text that queries show. *price* is in units, 500,000 to the
    dollar. *count* videos come of it.
    """

    provider: str
    model: str
    path: str
    body: Body
    price: int
    duration: str = ""
    prompt: str = ""
    count: int = 1

    @property
    def query_path(self) -> str:
        """The beginning of the path of this task's queries."""
        return _QUERIES.get(self.provider, self.path + "/")


def bar_of(provider: str, price: int) -> int:
    """Return the balance below which a submit is refused; it is seldom the price."""
    bar = _BARS.get(provider, _BAR)
    return max(bar, price) if provider in {"grok", "wan"} else bar


def provider_of(model: str) -> str:
    """Return the provider that serves a model; RefusedVideoError for none."""
    low = model.lower()
    for prefix, provider in _PREFIXES.items():
        if low.startswith(prefix):
            return provider
    raise RefusedVideoError(400, "unsupported_model", "unsupported model")


def read_call(provider: str, model: str, body: Body) -> VideoCall:
    """Return the submit that *body* asks for, or raise RefusedVideoError."""
    return _READERS[provider](model, body)


def settled_price(model: str, tokens: float) -> int:
    """Return the true price of a Doubao video, by the model that its answer names."""
    fitting = (yuan for name, yuan in _YUAN_PER_MILLION.items() if name in model)
    return int(next(fitting, 50) / 1_000_000 * tokens * _YUAN * _DOLLAR)


def omni_price(texts_in: float, texts_out: float, videos_out: float) -> int:
    """Return the price of an Omni video from its tokens, which are known at its end."""
    dollars = texts_in * 1.5 / 1e6 + texts_out * 9 / 1e6 + videos_out * 17.5 / 1e6
    return int(dollars * _DOLLAR)


# What each provider is sent


def _kling(model: str, body: Body) -> VideoCall:
    sent = {name: value for name, value in body.items() if name != "model"}
    sent["model_name"] = model
    route = "text2video"
    if text_in(body, "image") or text_in(body, "image_tail"):
        route = "image2video"
    if isinstance(body.get("image_list"), list) and body["image_list"]:
        route = "multi-image2video"
    return VideoCall(
        provider="kling",
        model=model,
        path=f"/v1/videos/{route}",
        body=sent,
        price=listed_price(model),
        duration=_seconds_text(body.get("duration")),
        prompt=text_in(body, "prompt"),
    )


def _doubao(model: str, body: Body) -> VideoCall:
    content = body.get("content")
    if not isinstance(content, list | None):
        text = wrong_type(content, "[]doubao")
        raise RefusedVideoError(400, "parse_doubao_request_failed", text)
    if not content:
        raise RefusedVideoError(400, "invalid_request_error", "content is required")
    sent: Body = {"model": model, "content": list(map(_content_item, content))}
    if callback := text_in(body, "callback_url"):
        sent["callback_url"] = callback
    prompts = (text for item in content if (text := text_in(item, "text")))
    return VideoCall(
        provider="doubao",
        model=model,
        path="/api/v3/contents/generations/tasks",
        body=sent,
        price=DOUBAO_PREPAID,
        prompt=next(prompts, ""),
    )


def _content_item(item: object) -> Body:
    kept: Body = {"type": text_in(item, "type")}
    if text := text_in(item, "text"):
        kept["text"] = text
    if address := text_in(item, "image_url", "url"):
        kept["image_url"] = {"url": address}
    if role := text_in(item, "role"):
        kept["role"] = role
    return kept


def _minimax(model: str, body: Body) -> VideoCall:
    for name in _MINIMAX_TEXTS:
        if not isinstance(body.get(name), str | None):
            text = wrong_type(body[name], "string")
            raise RefusedVideoError(400, "invalid_request_error", text)
    sent: Body = {name: body[name] for name in _MINIMAX_TEXTS if body.get(name)}
    for name in ("prompt_optimizer", "fast_pretreatment"):
        if body.get(name) is True:  # Go's omitempty drops a false
            sent[name] = True
    if body.get("subject_reference"):
        sent["subject_reference"] = body["subject_reference"]
    seconds = _whole(body.get("duration")) or 6
    resolution = sent.setdefault("resolution", "768P")
    sent["duration"] = seconds
    return VideoCall(
        provider="minimax",
        model=model,
        path="/v1/video_generation",
        body=sent,
        price=_minimax_price(model, seconds, str(resolution)),
        duration=str(seconds),
        prompt=text_in(body, "prompt"),
    )


def _minimax_price(model: str, seconds: int, resolution: str) -> int:
    prices = _HAILUO.get(model)
    if prices is None:
        return listed_price(model)
    yuan = prices.get((resolution, seconds), prices["768P", 6])
    return int(yuan / 7.2 * _DOLLAR)


_HAILUO = {
    "MiniMax-Hailuo-2.3-Fast": {
        ("768P", 6): 1.35,
        ("768P", 10): 2.25,
        ("1080P", 6): 2.31,
    },
    "MiniMax-Hailuo-2.3": {("768P", 6): 2.0, ("768P", 10): 4.0, ("1080P", 6): 3.5},
    "MiniMax-Hailuo-02": {
        ("512P", 6): 1.5,
        ("512P", 10): 3.0,
        ("768P", 6): 2.0,
        ("768P", 10): 4.0,
        ("1080P", 6): 3.5,
        ("1088P", 6): 3.5,
    },
}


def _veo(model: str, body: Body) -> VideoCall:
    given = body.get("parameters")
    parameters: Body = dict(given) if isinstance(given, dict) else {}
    sent = {name: value for name, value in body.items() if name != "model"}
    sent["parameters"] = parameters
    instances = body.get("instances")
    first = instances[0] if isinstance(instances, list) and instances else None
    seconds = int(number_in(parameters, "durationSeconds"))
    count = int(number_in(parameters, "sampleCount")) or 1
    return VideoCall(
        provider="veo",
        model=model,
        path=f"/v1/projects/p/locations/global/publishers/google/models/{model}"
        ":predictLongRunning",
        body=sent,
        price=listed_price(model),
        duration=str(seconds or 8),
        prompt=text_in(first, "prompt"),
        count=min(max(count, 1), 4),
    )


def _grok(model: str, body: Body) -> VideoCall:
    if isinstance(body.get("duration"), float | str | bool | list | dict):
        text = wrong_type(body["duration"], "int")
        raise RefusedVideoError(400, "invalid_video_request", text)
    given = _whole(body.get("duration"))
    seconds = min(given, _LARGEST_GROK) if given > 0 else 6
    edits = bool(text_in(body, "video", "url"))
    pictured = bool(text_in(body, "image", "url"))
    price = seconds * (0.07 if body.get("resolution") == "720p" else 0.05)
    price += seconds * 0.01 if edits else 0.002 * pictured
    return VideoCall(
        provider="grok",
        model=model,
        path=f"/v1/videos/{'edits' if edits else 'generations'}",
        body=dict(body),
        price=int(price * _DOLLAR),
        duration=str(seconds),
        prompt=text_in(body, "prompt"),
    )


def _wan(model: str, body: Body) -> VideoCall:
    return VideoCall(
        provider="wan",
        model=model,
        path="/api/v1/services/aigc/video-generation/video-synthesis",
        body=dict(body),
        price=listed_price(model),
        duration=_seconds_text(below(body, "parameters", "duration")) or "5",
        prompt=text_in(body, "input", "prompt"),
    )


def _omni(model: str, body: Body) -> VideoCall:
    prompt, address = text_in(body, "prompt"), text_in(body, "image_url")
    picture = {"type": "image", "uri": address}
    sent: Body = {"model": "gemini-omni-flash-preview", "input": prompt}
    if address:
        sent["input"] = [picture, {"type": "text", "text": prompt}]
    return VideoCall(
        provider="omni",
        model=model,
        path="/v1beta/interactions?key=UPSTREAM-KEY",
        body=sent,
        price=0,  # charged when a query first sees the video
        prompt=prompt,
    )


_READERS: Mapping[str, Callable[[str, Body], VideoCall]] = {
    "kling": _kling,
    "doubao": _doubao,
    "minimax": _minimax,
    "veo": _veo,
    "grok": _grok,
    "wan": _wan,
    "omni": _omni,
}
_QUERIES = {
    "minimax": "/v1/query/video_generation?task_id=",
    "grok": "/v1/videos/",
    "wan": "/api/v1/tasks/",
    "omni": "/v1beta/interactions/",
}


def _seconds_text(value: object) -> str:
    """Return a length as a text: a number without its fraction, a text as it is."""
    if isinstance(value, str):
        return value
    return str(_whole(value)) if _whole(value) else ""


def _whole(value: object) -> int:
    """Return a number without its fraction, also from a text; 0 for anything else."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else 0
    return int(number_in(value))
