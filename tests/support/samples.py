"""The exchanges recorded on the real server."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import attrs

from ezlink_async._core.messages import HttpResponse

SAMPLES = Path(__file__).parents[1] / "samples"


@attrs.frozen
class Sample:
    """One recorded request and response, as far as the client sees them."""

    name: str
    method: str
    path: str
    sent: bytes
    charged: bool
    response: HttpResponse


def _bytes(body: dict[str, str]) -> bytes:
    if "text" in body:
        return body["text"].encode()
    return base64.b64decode(body["base64"]) if "base64" in body else b""


def _sample(line: str) -> Sample:
    row = json.loads(line)
    asked, answered = row["request"], row["response"]
    headers = {name.lower(): value for name, value in answered["headers"]}
    return Sample(
        row["name"],
        asked["method"],
        asked["path"],
        _bytes(asked["body"]),
        bool(row["facts"].get("charged")),
        HttpResponse(
            answered["status"],
            headers,
            _bytes(answered["body"]),
            url="https://api.ezlinkai.com" + asked["path"],
        ),
    )


@cache
def family_samples() -> dict[str, Sample]:
    """Return the exchanges of the other families, without those that had no answer."""
    text = (SAMPLES / "samples-families.jsonl").read_text(encoding="utf-8")
    found = map(_sample, text.splitlines())
    return {each.name: each for each in found if each.response.status}


@cache
def samples() -> dict[str, Sample]:
    """Return every recorded exchange by its name."""
    files = [SAMPLES / name for name in ("samples.jsonl", "balance.jsonl")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    lines = [line for text in texts for line in text.splitlines()]
    return {sample.name: sample for sample in map(_sample, lines)}
