"""
What the upstream makes of a Midjourney submit: sketches, texts, buttons.

Pictures are those of ``pictures/sketch``, texts facts about the request. Buttons and
their custom ids are spelled as in the recorded exchanges, and as Midjourney spells
them where none was recorded.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping

from attrs import frozen

from ezlink_async.emulator.pictures import inspection, sketch
from ezlink_async.emulator.pictures.containers import PictureError
from ezlink_async.emulator.pictures.sketch import Sketch

#: Actions that always ask for input before anything is drawn.
DIALOGS = frozenset({"INPAINT", "CUSTOM_ZOOM"})
#: Actions that ask for a new prompt where remix is switched on.
REMIXED = frozenset({"REROLL", "VARIATION", "HIGH_VARIATION", "LOW_VARIATION", "PAN"})

_GONE = "the picture of the task before is gone"
_FILLERS = (
    "a an the this that these those which such some is are was were very really quite "
    "rather just so please extremely highly somewhat"
)
_ZOOM = re.compile(r"--zoom\s+([0-9]+(?:\.[0-9]+)?)")
_OUTPAINT = re.compile("MJ::Outpaint::([1-9][0-9]{0,3})::")
_SIDES: tuple[sketch.Side, ...] = ("left", "right", "up", "down")


@frozen(kw_only=True)
class Drawing:
    """
    One job, ready to be worked on.

    *before* is the picture of the task whose button was pressed. *job* is the id
    inside the custom ids of the result's buttons.
    """

    action: str
    index: int = 0
    custom_id: str = ""
    prompt: str = ""
    pictures: tuple[bytes, ...] = ()
    mask: bytes | None = None
    before: bytes | None = None
    job: str = ""


@frozen(eq=False)
class Finished:
    """The end of a job: its picture, if any, and fields of the upstream's view."""

    picture: bytes | None
    view: Mapping[str, object]


def job_of(task_id: str) -> str:
    """Return the id that stands in the custom ids of a task's buttons."""
    return str(uuid.UUID(bytes=hashlib.sha256(task_id.encode()).digest()[:16]))


def draw(drawing: Drawing) -> Finished:
    """Do the job; ValueError, whose text is the reason, when it cannot be done."""
    worker = _WORKERS.get(drawing.action)
    if worker is None:
        raise ValueError(f"the upstream knows no action {drawing.action}")
    return worker(drawing)


# Pictures


def _grid(drawing: Drawing, seed: str = "") -> Finished:
    return _grid_of(drawing, sketch.grid(drawing.prompt, seed))


def _grid_of(drawing: Drawing, picture: Sketch) -> Finished:
    return _drawn(drawing, picture, grid_buttons(drawing.job))


def _single_of(drawing: Drawing, picture: Sketch) -> Finished:
    return _drawn(drawing, picture, single_buttons(drawing.job))


def _drawn(
    drawing: Drawing, picture: Sketch, buttons: list[dict[str, object]]
) -> Finished:
    view = {
        "promptEn": drawing.prompt,
        "buttons": buttons,
        "properties": {"finalPrompt": drawing.prompt},
    }
    return Finished(picture.to_png(), view)


def _blend(drawing: Drawing) -> Finished:
    if not drawing.pictures:
        raise ValueError("there is no picture to blend")
    colours = [_colour_of(picture) for picture in drawing.pictures]
    title = f"blend of {len(colours)} pictures"
    return _grid_of(drawing, sketch.stripes(colours, title))


def _colour_of(picture: bytes) -> sketch.Colour:
    """Return the main colour; of bytes that cannot be decoded, one of their hash."""
    try:
        return inspection.main_colour(inspection.decode_pixels(picture))
    except PictureError:
        red, green, blue = hashlib.sha256(picture).digest()[:3]
        return red, green, blue


def _before(drawing: Drawing) -> Sketch:
    if drawing.before is None:
        raise ValueError(_GONE)
    return sketch.read_sketch(drawing.before)


def _upscale(drawing: Drawing) -> Finished:
    picture = _before(drawing)
    if "upsample_" not in drawing.custom_id:  # upsample_v6_2x_subtle is of one picture
        picture = sketch.tile_of(picture, drawing.index)
    return _single_of(drawing, sketch.enlarged(picture))


def _variation(drawing: Drawing) -> Finished:
    return _grid(drawing, sketch.tile_of(_before(drawing), drawing.index).digest)


def _varied(drawing: Drawing) -> Finished:
    return _grid(drawing, f"{drawing.action} of {_before(drawing).digest}")


def _zoom(drawing: Drawing) -> Finished:
    percent = _OUTPAINT.match(drawing.custom_id)
    return _framed(drawing, 100 / int(percent[1]) if percent else 2.0)


def _custom_zoom(drawing: Drawing) -> Finished:
    asked = _ZOOM.search(drawing.prompt)
    return _framed(drawing, float(asked[1]) if asked else 2.0)


def _framed(drawing: Drawing, factor: float) -> Finished:
    factor = min(max(factor, 1.0), 2.0)  # the limits of Midjourney's --zoom
    picture = sketch.framed(_before(drawing), factor, drawing.prompt)
    return _single_of(drawing, picture)


def _pan(drawing: Drawing) -> Finished:
    named = (one for one in _SIDES if f"pan_{one}" in drawing.custom_id)
    side: sketch.Side = next(named, "left")
    return _single_of(drawing, sketch.shifted(_before(drawing), side, drawing.prompt))


def _region(drawing: Drawing) -> Finished:
    old = _before(drawing)
    mask = [b"\xff" * old.width] * old.height
    if drawing.mask is not None:
        mask = inspection.read_mask(drawing.mask, old.width, old.height)
    return _single_of(drawing, sketch.replaced(old, mask, drawing.prompt))


# Texts


def _describe(drawing: Drawing) -> Finished:
    if not drawing.pictures:
        raise ValueError("there is no picture to describe")
    facts = inspection.describe(drawing.pictures[0])
    buttons = _numbered("PicReader", len(facts))
    buttons.append(_button("MJ::Picread::Retry"))
    return _written(drawing.pictures[0], facts, buttons)


def _shorten(drawing: Drawing) -> Finished:
    fillers = _FILLERS.split()
    words = drawing.prompt.split()
    kept = " ".join(word for word in words if word.lower() not in fillers)
    return _written(None, (kept,), _numbered("PromptAnalyzer", 1))


def _written(
    picture: bytes | None, lines: tuple[str, ...], buttons: list[dict[str, object]]
) -> Finished:
    text = "\n\n".join(f"{_keycap(n)} {line}" for n, line in enumerate(lines, 1))
    view = {"promptEn": text, "buttons": buttons, "properties": {"finalPrompt": text}}
    return Finished(picture, view)


_WORKERS: dict[str, Callable[[Drawing], Finished]] = {
    "IMAGINE": _grid,
    "MODAL": _grid,
    "BLEND": _blend,
    "DESCRIBE": _describe,
    "SHORTEN": _shorten,
    "UPSCALE": _upscale,
    "VARIATION": _variation,
    "HIGH_VARIATION": _varied,
    "LOW_VARIATION": _varied,
    "REROLL": _varied,
    "ZOOM": _zoom,
    "CUSTOM_ZOOM": _custom_zoom,
    "PAN": _pan,
    "INPAINT": _region,
}


# Buttons


def grid_buttons(job: str) -> list[dict[str, object]]:
    """Return the nine buttons below four pictures."""
    return [
        *(_button(f"MJ::JOB::upsample::{n}::{job}", f"U{n}") for n in range(1, 5)),
        _button(f"MJ::JOB::reroll::0::{job}::SOLO", emoji="🔄"),
        *(_button(f"MJ::JOB::variation::{n}::{job}", f"V{n}") for n in range(1, 5)),
    ]


def single_buttons(job: str) -> list[dict[str, object]]:
    """Return the buttons below one picture."""

    def solo(verb: str, label: str = "", emoji: str = "") -> dict[str, object]:
        return _button(f"MJ::{verb}::1::{job}::SOLO", label, emoji)

    return [
        solo("JOB::upsample_v6_2x_subtle", "Upscale (Subtle)", "upscale_1"),
        solo("JOB::upsample_v6_2x_creative", "Upscale (Creative)", "upscale_1"),
        solo("JOB::low_variation", "Vary (Subtle)", "🪄"),
        solo("JOB::high_variation", "Vary (Strong)", "🪄"),
        solo("Inpaint", "Vary (Region)", "🖌️"),
        solo("Outpaint::50", "Zoom Out 2x", "🔍"),
        solo("Outpaint::75", "Zoom Out 1.5x", "🔍"),
        _button(f"MJ::CustomZoom::{job}", "Custom Zoom", "🔍"),
        solo("JOB::pan_left", emoji="⬅️"),
        solo("JOB::pan_right", emoji="➡️"),
        solo("JOB::pan_up", emoji="⬆️"),
        solo("JOB::pan_down", emoji="⬇️"),
    ]


def _numbered(kind: str, count: int) -> list[dict[str, object]]:
    numbers = range(1, count + 1)
    return [_button(f"MJ::Job::{kind}::{n}", emoji=_keycap(n)) for n in numbers]


def _keycap(number: int) -> str:
    return f"{number}\ufe0f\u20e3"


def _button(custom_id: str, label: str = "", emoji: str = "") -> dict[str, object]:
    return {
        "customId": custom_id,
        "emoji": emoji,
        "label": label,
        "type": 2,
        "style": 2,
    }
