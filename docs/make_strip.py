"""
Make docs/strip.jpg: one source, and photos before and after the swap.

Run ``python docs/make_strip.py`` with the ``local`` extra installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ezlink_async.emulator.pictures.codec import Picture, Pixels, decode, encode
from ezlink_async.emulator.pictures.containers import Header
from ezlink_async.emulator.pictures.opencv_engine import load_engine

_DOCS = Path(__file__).parent
_SOURCE, *_TARGETS = ("astronaut.jpg", "synthetic_3.jpg", "group.jpg", "joconde.jpg")

_GAP, _PAIR_GAP = 4, 14
_WHITE = 255
_QUALITY = 82  # low enough for a page that loads fast


def strip(
    source: bytes, pairs: Sequence[tuple[bytes, bytes]], height: int = 220
) -> bytes:
    """
    Return a JPEG that shows *source* and each pair side by side, *height* tall.

    The JPEG is marked as synthetic, as the results in it are.
    """
    columns = [_tile(source, height)]
    for before, after in pairs:
        columns += [
            _space(_PAIR_GAP, height),
            _tile(before, height),
            _space(_GAP, height),
            _tile(after, height),
        ]
    pixels = np.concatenate(columns, axis=1)
    header = Header(kind="jpeg", width=pixels.shape[1], height=height)
    return encode(Picture(pixels=pixels, alpha=None, header=header), quality=_QUALITY)


def _tile(data: bytes, height: int) -> Pixels:
    pixels = decode(data).pixels
    width = max(1, round(pixels.shape[1] * height / pixels.shape[0]))
    tile = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(tile, np.uint8)


def _space(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), _WHITE, np.uint8)


def main() -> None:
    """Swap the face of the source into each target, and write the strip."""
    engine = load_engine()
    source = (_DOCS / "samples" / _SOURCE).read_bytes()
    targets = [(_DOCS / "samples" / name).read_bytes() for name in _TARGETS]
    pairs = [(target, engine.swap(source, target)) for target in targets]
    (_DOCS / "strip.jpg").write_bytes(strip(source, pairs))


if __name__ == "__main__":
    main()
