"""The sheet of the engine's page: its pairs, its size, and its mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from docs.make_engine_sheet import TARGETS, sheet
from ezlink_async.emulator.pictures.codec import decode
from ezlink_async.emulator.pictures.synthetic_mark import SOURCE_TYPE

_DOCS = Path(__file__).parent


def test_sheet_shows_each_target_before_and_after_the_swap() -> None:
    """Three pairs a row; the first half of a pair is grey where the target is."""
    samples = _DOCS / "samples"
    targets = [
        (decode((samples / name).read_bytes()).pixels, change)
        for name, change in TARGETS
    ]
    data = sheet(decode((samples / "astronaut.jpg").read_bytes()).pixels, targets)
    pixels = decode(data).pixels
    assert pixels.shape == (2 * (230 + 4), 3 * (2 * 230 + 4 + 14), 3)
    assert SOURCE_TYPE.encode() in data
    grey = pixels[20:200, 500:700].astype(int)
    assert np.ptp(grey, axis=2).max() < 6
    before, after = pixels[:220, 10:220], pixels[:220, 244:454]
    assert np.abs(before.astype(int) - after).mean() > 2


@pytest.mark.parametrize("name", sorted({name for name, _ in TARGETS}))
def test_page_names_each_target_of_the_sheet(name: str) -> None:
    assert f"`{name}`" in (_DOCS / "explanation" / "engine.md").read_text()
