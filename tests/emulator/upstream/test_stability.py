"""Stability's own service: sizes, seeds, and what is kept for a day."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image as Pillow

from ezlink_async.emulator.upstream.stability import (
    CALLS,
    Answer,
    Form,
    StabilityService,
)
from tests.support.pictures import png

ULTRA = "stable-image/generate/ultra"


def _png(wide: int, high: int) -> bytes:
    stream = io.BytesIO()
    Pillow.new("RGB", (wide, high)).save(stream, "PNG")
    return stream.getvalue()


def _draw(path: str, picture: bytes | None = None, **fields: str) -> Answer:
    files = {} if picture is None else {"image": picture}
    given = {"prompt": "a fox", "search_prompt": "a dog", **fields}
    return StabilityService().call(path, Form(fields=given, files=files), 0)


def _size(answer: Answer) -> tuple[int, int]:
    content = base64.b64decode(str(answer.body["image"]))
    return Pillow.open(io.BytesIO(content)).size


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("1:1", (1024, 1024)), ("16:9", (1365, 768)), ("9:21", (670, 1536))],
)
def test_new_picture_has_the_shape_that_was_asked_for(
    ratio: str, size: tuple[int, int]
) -> None:
    assert _size(_draw(ULTRA, aspect_ratio=ratio)) == size


@pytest.mark.parametrize(
    ("path", "given", "made"),
    [
        ("upscale/conservative", (100, 80), (200, 160)),
        ("upscale/conservative", (1000, 1000), (1536, 1536)),
        ("edit/erase", (100, 80), (100, 80)),
        ("edit/erase", (1, 1), (64, 64)),
        ("edit/erase", (1000, 10), (1000, 250)),
        ("control/sketch", (300, 200), (300, 200)),
    ],
)
def test_picture_has_the_size_of_the_one_given(
    path: str, given: tuple[int, int], made: tuple[int, int]
) -> None:
    assert _size(_draw(f"stable-image/{path}", _png(*given))) == made


def test_outpaint_adds_its_sides() -> None:
    sides = {"left": "10", "right": "20", "up": "30", "down": "40"}
    answer = _draw("stable-image/edit/outpaint", _png(100, 100), **sides)
    assert _size(answer) == (130, 170)


def test_seed_decides_and_zero_is_one_by_chance() -> None:
    one, zero, none = (_draw(ULTRA, seed=seed) for seed in ("7", "0", "odd"))
    assert one.body["seed"] == 7
    assert zero.body["seed"] not in {0, none.body["seed"]}
    assert _draw(ULTRA, seed="7") == one
    assert _draw(ULTRA, seed="8").body["image"] != one.body["image"]


def test_every_call_that_makes_no_task_answers_with_a_picture() -> None:
    for path, call in CALLS.items():
        answer = _draw(path, png())
        assert answer.status == 200
        assert ("image" in answer.body) is (call.task is None)
        assert call.price == round(call.credits * 5_000)
