"""
Blending of two pictures in frequency bands: coarse colour widely, detail narrowly.

Short for a module: Laplacian pyramids, and nothing else.
"""

from __future__ import annotations

import cv2
import numpy as np

from ezlink_async.emulator.engine.arrays import Floats, Size

_MOST_LEVELS = 4


def levels_for(width: float) -> int:
    """Return how many bands suit a face *width* pixels across."""
    return int(np.clip(np.log2(max(width, 16) / 40), 1, _MOST_LEVELS))


def blend(under: Floats, over: Floats, alpha: Floats, levels: int) -> Floats:
    """
    Return *over* where *alpha* is 1, *under* where it is 0, without a seam between.

    Pictures are (height, width, 3), *alpha* is (height, width).
    """
    soft = alpha[..., None]
    if not levels:
        return under + (over - under) * soft
    size = (under.shape[0], under.shape[1])
    small_under, small_over = _halved(under), _halved(over)
    coarse = blend(small_under, small_over, _halved(alpha), levels - 1)
    below = under - _doubled(small_under, size)
    above = over - _doubled(small_over, size)
    return _doubled(coarse, size) + below + (above - below) * soft


def _halved(image: Floats) -> Floats:
    return np.asarray(cv2.pyrDown(image), np.float32)


def _doubled(image: Floats, size: Size) -> Floats:
    return np.asarray(cv2.pyrUp(image, dstsize=(size[1], size[0])), np.float32)
