"""Drawings of an emulator: their pictures, their buttons, what they cost."""

from __future__ import annotations

import base64

from ezlink_async.emulator import Emulator
from ezlink_async.emulator.pictures import sketch
from ezlink_async.emulator.pictures.sketch import Sketch
from tests.support.emulator_requests import RawApi

Task = dict[str, object]


async def sketch_of(api: RawApi, task: Task) -> Sketch:
    """Return the picture of a task."""
    return sketch.read_sketch((await api.image(str(task["id"]))).body)


def labels_of(task: Task) -> list[str]:
    buttons = task["buttons"]
    assert isinstance(buttons, list)
    return [button["label"] or button["emoji"] for button in buttons]


def custom_id_of(task: Task, label: str) -> str:
    buttons = task["buttons"]
    assert isinstance(buttons, list)
    found = [b["customId"] for b in buttons if label in {b["label"], b["emoji"]}]
    return str(found[0])


def charged_units(emu: Emulator) -> list[int]:
    return [charge.units for charge in emu.control.charges]


def png_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
