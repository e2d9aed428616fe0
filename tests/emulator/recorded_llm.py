"""
The upstream's part in the recorded chats, pictures and sounds, and their accounts.

Of most answers the relay passes on the upstream's bytes, so those of the recording are
the upstream's. What the relay itself writes is in no table here.
"""

from __future__ import annotations

from typing import TypedDict

from ezlink_async.emulator import faults

#: The first words of the names of these samples.
GROUPS = {
    *("chat", "completions", "embeddings", "moderations", "images", "audio"),
    *("responses", "fine", "relay"),
}

_ATTEMPTS = "what several attempts of the package cost together"
_OPERATOR = "the operator of that server had set an option that the emulator lacks"
_RESPONSES = "the emulator does not serve the calls of responses"
_BROKE_OFF = "the upstream broke off in the middle of a sound"
_REBUILT = (
    "the relay rebuilds the body for its upstream, which the emulator has none of"
)
#: Samples of these groups that are not replayed, each with the reason.
LEFT_OUT = {
    "chat-lost-answer-default-retries": _ATTEMPTS,
    "chat-parallel-poor": "what five calls at the same time cost together",
    "chat-refused-deposit-kept-sdk-default": _ATTEMPTS,
    "chat-timeout-default-retries": _ATTEMPTS,
    "chat-max-completion-tokens": _REBUILT,
    "chat-stream-ping": _OPERATOR,
    "chat-stream-ping-400": _OPERATOR,
    "images-timeout-default-retries": "no response was recorded",
    "images-upstream-html": _ATTEMPTS,
    "audio-speech-cut": _BROKE_OFF,
    "audio-speech-cut-sized": _BROKE_OFF,
    "fine-tuning-create": "the emulator does not serve this call",
    "responses-accepted": _RESPONSES,
    "responses-background": _RESPONSES,
    "responses-retrieve": "an unknown path; another library has packed the body",
    "responses-stream": _RESPONSES,
    "responses-stream-cut": _RESPONSES,
    "responses-upstream-400": _RESPONSES,
    "responses-upstream-429": _RESPONSES,
    "responses-upstream-html": _RESPONSES,
    "relay-retry-401": _OPERATOR,
    "relay-retry-500": _OPERATOR,
    "relay-retry-500-sdk-default": _OPERATOR,
    "relay-retry-helped-2": _OPERATOR,
    "relay-retry-image-html": _OPERATOR,
    "relay-timeout-stream": _OPERATOR,
}


class Account(TypedDict, total=False):
    """The settings in which a sample differs from a rich account."""

    balance: int
    key_quota: int


#: A balance that a deposit is booked from.
_SMALL = 100_000
ACCOUNTS: dict[str, Account] = {
    "chat-poor": {"balance": 1289},
    "chat-key-short": {"balance": _SMALL, "key_quota": 100},
    "chat-key-short-trusted": {"key_quota": 100},
    "chat-key-exhausted": {"key_quota": 0},
    "chat-refused-deposit-kept": {"balance": _SMALL},
    "images-gpt-image-poor": {"balance": 40_000},
    "images-cut-small": {"balance": _SMALL},
    "images-400-small": {"balance": _SMALL},
}


def _error(status: int, message: str, code: object = None) -> faults.Upstream:
    """Return an error in the upstream's own form, whose type and param are lost."""
    kind = "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return faults.Upstream(status, {"error": error})


_NOT_WORKING = {"hello": "you"}
_HTML = "<html>502</html>"
_REFUSED = faults.Upstream(broken="refused")
_HALF = faults.Upstream(broken="half")
_GUIDELINES = "Content violates usage guidelines"
#: The upstream's answer, where the relay does not pass it on.
ANSWERS: dict[str, faults.Upstream] = {
    "chat-upstream-400": _error(400, "Invalid value for temperature", "invalid_value"),
    "chat-upstream-401": _error(401, "Incorrect API key provided", "invalid_api_key"),
    "chat-upstream-403": _error(403, "Country not supported", "unsupported_country"),
    "chat-upstream-404": _error(404, "The model does not exist", "model_not_found"),
    "chat-upstream-408": faults.Upstream(408, ""),
    "chat-upstream-409": _error(409, "conflict"),
    "chat-upstream-422": _error(422, "unprocessable"),
    "chat-upstream-429": _error(429, "Rate limit", "rate_limit_exceeded"),
    "chat-upstream-500": _error(500, "The server had an error"),
    "chat-upstream-502-html": faults.Upstream(502, _HTML),
    "chat-upstream-200-error": _error(200, "soft failure"),
    "chat-upstream-200-html": faults.Upstream(200, _HTML),
    "chat-upstream-200-empty": faults.Upstream(200, ""),
    "chat-upstream-201": faults.Upstream(201, _NOT_WORKING),
    "chat-upstream-reset": faults.Upstream(broken="reset"),
    "chat-upstream-refused": _REFUSED,
    "chat-refused-deposit-kept": _REFUSED,
    "chat-rid-refused": _error(400, "bad", "x"),
    "chat-rid-guidelines": _error(403, _GUIDELINES, "y"),
    "chat-stream-upstream-400": _error(400, "Invalid value", "invalid_value"),
    "chat-stream-upstream-json": faults.Upstream(200, _NOT_WORKING),
    "chat-stream-upstream-json-error": _error(200, "overloaded"),
    "chat-stream-upstream-json-charset": faults.Upstream(
        200, {}, headers=(("Content-Type", "application/json; charset=utf-8"),)
    ),
    "relay-timeout-chat": faults.Upstream(broken="slow"),
    "images-cut": _HALF,
    "images-cut-small": _HALF,
    "audio-speech-400": _error(400, "bad voice", "invalid_voice"),
    "audio-transcription-400": _error(400, "Invalid file format.", "unsupported_file"),
    "audio-transcription-diarized": faults.Upstream(200, {"text": "hello"}),
}
#: What the relay leaves out of a stream, before or behind what it passes on.
LEFT_OUT_LINES = {
    "chat-stream-lines": (": a comment\nevent: x\nid: 1\ndata:without a blank\n", ""),
    "chat-stream-long-line": ("", f"data: {'x' * 70_000}\n\ndata: [DONE]\n\n"),
}
