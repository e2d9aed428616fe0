"""The strip of samples in the README is made of marked pictures."""

from __future__ import annotations

import cv2
import numpy as np

from docs.make_strip import strip
from ezlink_async.emulator.pictures.codec import decode
from ezlink_async.emulator.pictures.synthetic_mark import SOURCE_TYPE


def test_strip_shows_source_and_pairs_side_by_side() -> None:
    """One marked JPEG of the asked height, as wide as its pictures and gaps."""
    data = cv2.imencode(".jpg", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()
    result = decode(strip(data, [(data, data)], height=96))
    assert result.pixels.shape == (96, 3 * 128 + 14 + 4, 3)
    assert result.header.kind == "jpeg"
    assert SOURCE_TYPE.encode() in strip(data, [])
