"""
Pictures that the emulator makes in place of a model: sketches of the size asked for.

A picture is described by its address alone, so none is kept: the same prompt, number,
size and files give the same picture.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
from urllib.parse import unquote

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.http.exchange import Exchange
from ezlink_async.emulator.http.replies import Reply, unknown_path
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.relay.llm.answers import EVENTS, Answer
from ezlink_async.emulator.relay.llm.calls import Call
from ezlink_async.emulator.relay.state import RelayState

PATH = "/__emu/sketch/"

_SIZE = re.compile("([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 24  # bytes of a PNG up to its size
_LARGEST = 4096
_MOST = 10
_SHOWN = 100  # characters of the prompt that a caption can hold
_TOKENS = 50  # of the prompt, at most
_DRAWN = 1000  # tokens for a picture


async def pictures(call: Call, state: RelayState) -> Answer:
    """Return as many sketches as the call asks for, inside the answer or by address."""
    names = [_name(call, number) for number in range(_number(call))]
    if call.is_set("stream"):
        return await _events(call, names[0], state.seconds)
    inline = is_priced_by_tokens(call.model) or (
        call.text("response_format") == "b64_json"
    )
    data: list[dict[str, str]] = []
    for name in names:
        if inline:
            data.append({"b64_json": await _encoded(name)})
        else:
            url = f"{state.base_url}{PATH}{name}"
            data.append({"url": url, "revised_prompt": call.text("prompt")})
    body: dict[str, object] = {"created": state.seconds, "data": data}
    if is_priced_by_tokens(call.model):
        body["usage"] = _usage(call, len(names))
    return Answer(go_json.dumps(body))


async def show(_state: RelayState, exchange: Exchange) -> Reply:
    """Draw the picture that the address describes."""
    try:
        content = await asyncio.to_thread(_drawn, unquote(exchange.task_id))
    except ValueError:
        return unknown_path(exchange.method, exchange.path)
    return Reply(200, content, "image/png", bare=True)


def is_priced_by_tokens(model: str) -> bool:
    """Return whether a picture of *model* is paid by the tokens of its answer."""
    return model.startswith("gpt-image-")


def _number(call: Call) -> int:
    return min(max(1, call.number("n")), _MOST)


def _name(call: Call, number: int) -> str:
    width, height = _size(call)
    hashes = "".join(file.sha256 for file in call.files)
    prompt = call.text("prompt")
    made = f"{call.path}\n{call.model}\n{hashes}\n{number}\n{prompt}"
    digest = hashlib.sha256(made.encode("utf-8", "replace")).hexdigest()[:16]
    shown = prompt[:_SHOWN].encode("utf-8", "replace")
    caption = base64.urlsafe_b64encode(shown).decode().rstrip("=")
    return f"{width}x{height}-{digest}-{caption}.png"


def _size(call: Call) -> tuple[int, int]:
    if found := _SIZE.fullmatch(call.text("size")):
        return min(int(found[1]), _LARGEST), min(int(found[2]), _LARGEST)
    contents = (file.content for file in call.files)
    content = next((each for each in contents if each.startswith(_PNG)), None)
    if content is None or len(content) < _HEADER:
        return sketch.SIDE, sketch.SIDE
    width, height = struct.unpack_from(">II", content, _HEADER - 8)
    return min(max(1, width), _LARGEST), min(max(1, height), _LARGEST)


def _drawn(name: str) -> bytes:
    size, digest, caption = name.removesuffix(".png").split("-", 2)
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ValueError(f"{size} is no size")
    prompt = base64.urlsafe_b64decode(caption + "==").decode("utf-8", "replace")
    width, height = (min(int(side), _LARGEST) for side in found.groups())
    drawn = sketch.single(digest, prompt, width, height)
    # The caption alone is higher than a very small picture.
    return sketch.Sketch(drawn.rows[:height]).to_png()


async def _encoded(name: str) -> str:
    return base64.b64encode(await asyncio.to_thread(_drawn, name)).decode()


def _usage(call: Call, number: int) -> dict[str, object]:
    sent = min(len(call.text("prompt")), _TOKENS)
    received = _DRAWN * number
    return {
        "input_tokens": sent,
        "input_tokens_details": {"text_tokens": sent, "image_tokens": 0},
        "output_tokens": received,
        "total_tokens": sent + received,
    }


async def _events(call: Call, name: str, seconds: int) -> Answer:
    kind = "image_edit" if call.path.endswith("edits") else "image_generation"
    picture = await _encoded(name)
    event = {
        "type": f"{kind}.completed",
        "b64_json": picture,
        "created_at": seconds,
        "size": name.partition("-")[0],
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
        "usage": _usage(call, 1),
    }
    text = go_json.dumps(event).decode()
    return Answer(f"event: {event['type']}\ndata: {text}\n\n".encode(), EVENTS)
