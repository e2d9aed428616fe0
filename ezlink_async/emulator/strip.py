"""One picture of several: a source, then pairs of before and after."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ezlink_async.emulator.pictures.codec import Picture, decode, encode
from ezlink_async.emulator.pictures.containers import Header

Pixels = npt.NDArray[np.uint8]

_GAP, _PAIR_GAP = 4, 14
_WHITE = 255
_QUALITY = 82  # it is for a page, not for keeping


def strip(
    source: bytes, pairs: Sequence[tuple[bytes, bytes]], height: int = 220
) -> bytes:
    """
    Return a JPEG that shows *source* and each pair side by side, *height* tall.

    Marked as synthetic, as the pictures in it are.
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
