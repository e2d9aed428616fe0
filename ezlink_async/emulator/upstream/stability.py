"""
Stability's own service, as far as the relay's old routes led to it.

It checks a form, makes a sketch or the stand-in video, and keeps what takes time for a
day. The picture is a PNG whichever format was asked for, of the size asked for within
bounds. Prices are the provider's public ones of August 2024.
"""

from __future__ import annotations

import base64
import hashlib
import math
import secrets
from collections.abc import Mapping
from typing import Literal

from attrs import Factory, define, frozen

from ezlink_async.emulator.http import go_json
from ezlink_async.emulator.pictures import clip, sketch
from ezlink_async.emulator.pictures.containers import read_header

_UNITS_PER_CREDIT = 5_000  # 0.01 dollars
_DAY = 86_400_000  # milliseconds
_SMALLEST, _LARGEST = 64, 1536  # pixels of a side
_FLATTEST = 4  # as high as a caption needs it
_AREA = 1024 * 1024
_SIDES = (("left", "right"), ("up", "down"))

_IMAGE = "stable-image"

Result = Literal["image", "video"]


@frozen(kw_only=True)
class Call:
    """One call of the service: its price in credits, and the parts it must have."""

    model: str
    credits: float
    needs: tuple[str, ...] = ("image",)
    task: Result | None = None

    @property
    def price(self) -> int:
        """The price in units."""
        return round(self.credits * _UNITS_PER_CREDIT)


_WITH_PROMPT = ("image", "prompt")

#: The calls by their paths behind ``/v2beta/``.
CALLS = {
    "image-to-video": Call(model="image_to_video", credits=20, task="video"),
    f"{_IMAGE}/upscale/conservative": Call(
        model="upscale_conservative", credits=25, needs=_WITH_PROMPT
    ),
    f"{_IMAGE}/upscale/creative": Call(
        model="upscale_creative", credits=25, needs=_WITH_PROMPT, task="image"
    ),
    f"{_IMAGE}/edit/erase": Call(model="edit_erase", credits=3),
    f"{_IMAGE}/edit/inpaint": Call(model="edit_inpaint", credits=3, needs=_WITH_PROMPT),
    f"{_IMAGE}/edit/outpaint": Call(model="edit_outpaint", credits=4),
    f"{_IMAGE}/edit/search-and-replace": Call(
        model="edit_search_replace", credits=4, needs=(*_WITH_PROMPT, "search_prompt")
    ),
    f"{_IMAGE}/edit/remove-background": Call(model="edit_remove_background", credits=2),
    f"{_IMAGE}/generate/ultra": Call(
        model="generate_ultra", credits=8, needs=("prompt",)
    ),
    f"{_IMAGE}/generate/core": Call(
        model="generate_core", credits=3, needs=("prompt",)
    ),
    f"{_IMAGE}/generate/sd3": Call(model="sd3-large", credits=6.5, needs=("prompt",)),
    f"{_IMAGE}/control/sketch": Call(
        model="control_sketch", credits=3, needs=_WITH_PROMPT
    ),
    f"{_IMAGE}/control/structure": Call(
        model="control_structure", credits=3, needs=_WITH_PROMPT
    ),
}


@frozen(kw_only=True)
class Form:
    """What a call was sent: texts by name, and the contents of files."""

    fields: Mapping[str, str]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 of it all, in hexadecimal."""
        pictures = {
            name: hashlib.sha256(content).hexdigest()
            for name, content in self.files.items()
        }
        said = go_json.dumps(go_json.ordered({**self.fields, **pictures}))
        return hashlib.sha256(said).hexdigest()

    @property
    def seed(self) -> int:
        """The seed that was given, else one that follows from the form."""
        given = self.fields.get("seed", "")
        return (int(given) if given.isdigit() else 0) or int(self.digest[:7], 16)


@frozen
class Answer:
    """The status and the body of an answer of the service."""

    status: int
    body: Mapping[str, object]

    @property
    def content(self) -> bytes:
        """The body as JSON."""
        return go_json.dumps(self.body)


def refusal(status: int, name: str, *errors: str) -> Answer:
    """Return a refusal in the service's own form."""
    return Answer(status, {"errors": errors, "id": secrets.token_hex(16), "name": name})


@frozen(kw_only=True)
class Generation:
    """What one accepted call makes; it is there from *ready*, in milliseconds."""

    path: str
    answer: Answer
    ready: int


@define
class StabilityService:
    """The service, and the generations that it keeps, by their ids."""

    generations: dict[str, Generation] = Factory(dict)

    def call(self, path: str, form: Form, ready: int) -> Answer:
        """Answer one call, whose result is there from *ready*, in milliseconds."""
        call = CALLS[path]
        for part in call.needs:
            if not (form.fields.get(part) or form.files.get(part)):
                return refusal(400, "bad_request", f"{part}: is required")
        try:
            made = _made(path, call, form)
        except (ValueError, ZeroDivisionError) as fault:  # a picture, a number, a shape
            return refusal(400, "bad_request", str(fault))
        if call.task is None:
            return made
        number = secrets.token_hex(32)
        self.generations[number] = Generation(path=path, answer=made, ready=ready)
        return Answer(200, {"id": number})

    def result(self, path: str, number: str, now: int) -> Answer:
        """Return the result of a generation at *now*, in milliseconds."""
        found = self.generations.get(number)
        if found is None or found.path != path or now >= found.ready + _DAY:
            return refusal(404, "not_found", "no generation with this id, or expired")
        if now < found.ready:
            return Answer(202, {"id": number, "status": "in-progress"})
        return found.answer


def _made(path: str, call: Call, form: Form) -> Answer:
    if call.task == "video":
        read_header(form.files["image"])  # a picture, or it is refused
        content = clip.clip_of(form.digest.encode())
    else:
        wide, high = _size(path, form)
        title = form.fields.get("prompt") or path.rpartition("/")[2]
        seed = f"{path}{form.seed}{form.digest}"
        content = sketch.single(seed, title, wide, high).to_png()
    return Answer(
        200,
        {
            call.task or "image": base64.b64encode(content).decode(),
            "finish_reason": "SUCCESS",
            "seed": form.seed,
        },
    )


def _size(path: str, form: Form) -> tuple[int, int]:
    """Return the size of the result: that of the picture given, or by its shape."""
    if "image" not in form.files:
        across, _, down = form.fields.get("aspect_ratio", "1:1").partition(":")
        shape = int(across) / int(down)
        return _within(round(math.sqrt(_AREA * shape)), round(math.sqrt(_AREA / shape)))
    header = read_header(form.files["image"])
    factor = 2 if "/upscale/" in path else 1
    more = [sum(int(form.fields.get(side, "0")) for side in sides) for sides in _SIDES]
    return _within(header.width * factor + more[0], header.height * factor + more[1])


def _within(wide: int, high: int) -> tuple[int, int]:
    wide = min(max(wide, _SMALLEST), _LARGEST)
    return wide, min(max(high, _SMALLEST, wide // _FLATTEST), _LARGEST)
